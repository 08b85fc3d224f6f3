"""Kernels of statistics and interpolation, each made of one function by `taskfmm.kernels.from_function`.

They solve no differential equation away from their sources. A point counts at its own place where its kernel is
finite there. Copy one of them to begin a kernel of your own.
"""

from __future__ import annotations

import math

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels.exponential import LARGEST, decay
from taskfmm.kernels.from_function import from_function
from taskfmm.kernels.kernel import Kernel
from taskfmm.kernels.real import real
from taskfmm.kernels.roots import inverse_distance


def Gaussian(width: float) -> Kernel:
    """exp(-r^2 / (2 width^2)): the squared exponential of Gaussian processes, or a Gaussian blur."""
    return from_function(gaussian, _length("width", width))


def Exponential(length: float) -> Kernel:
    """exp(-r / length): the covariance of a field that is continuous but nowhere smooth."""
    return from_function(exponential, _length("length", length))


def Matern(length: float, smoothness: float = 1.5) -> Kernel:
    """The Matern covariance of smoothness 3/2 or 5/2, with s = sqrt(2 smoothness) r / length:

    (1 + s) exp(-s)    or    (1 + s + s^2 / 3) exp(-s)
    """
    function = {1.5: matern_3_2, 2.5: matern_5_2}.get(real(smoothness))
    if function is None:
        raise InputError(f"smoothness is {smoothness!r}: give 1.5 or 2.5")
    return from_function(function, _length("length", length))


def InverseSquare() -> Kernel:
    """1 / r^2, and 0 at distance zero."""
    return from_function(inverse_square, degree=-2)


def ThinPlate() -> Kernel:
    """r^2 log r, the radial function of a thin plate; r in the unit of the points."""
    return from_function(thin_plate)


def Multiquadric(shape: float) -> Kernel:
    """sqrt(r^2 + shape^2), Hardy's radial function."""
    return from_function(multiquadric, _length("shape", shape))


def _length(name: str, value: float) -> float:
    number = real(value)
    if 0.0 < number < math.inf:
        return number
    raise InputError(f"{name} is {value!r}: give a positive number, in the unit of the points")


@formula
def distance(r2):
    """The square root of r2, as a product: it takes part of the time of one."""
    return r2 * inverse_distance(r2)


@formula
def gaussian(dx, dy, dz, parameters):
    """See `Gaussian`."""
    r2 = dx * dx + dy * dy + dz * dz
    return decay(min(r2 * (0.5 / (parameters[0] * parameters[0])), LARGEST))


@formula
def exponential(dx, dy, dz, parameters):
    """See `Exponential`."""
    return decay(min(distance(dx * dx + dy * dy + dz * dz) / parameters[0], LARGEST))


@formula
def matern_3_2(dx, dy, dz, parameters):
    """See `Matern`."""
    s = min(math.sqrt(3.0) * distance(dx * dx + dy * dy + dz * dz) / parameters[0], LARGEST)
    return (1.0 + s) * decay(s)


@formula
def matern_5_2(dx, dy, dz, parameters):
    """See `Matern`."""
    s = min(math.sqrt(5.0) * distance(dx * dx + dy * dy + dz * dz) / parameters[0], LARGEST)
    return (1.0 + s + s * s / 3.0) * decay(s)


@formula
def inverse_square(dx, dy, dz):
    """See `InverseSquare`."""
    r2 = dx * dx + dy * dy + dz * dz
    return 1.0 / r2 if r2 > 0.0 else 0.0


@formula
def thin_plate(dx, dy, dz):
    """See `ThinPlate`."""
    r2 = dx * dx + dy * dy + dz * dz
    return 0.5 * r2 * np.log(r2) if r2 > 0.0 else 0.0


@formula
def multiquadric(dx, dy, dz, parameters):
    """See `Multiquadric`."""
    return np.sqrt(dx * dx + dy * dy + dz * dz + parameters[0] * parameters[0])
