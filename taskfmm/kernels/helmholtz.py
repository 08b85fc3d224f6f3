"""The Helmholtz kernel, exp(i k r) / (4 pi r): sound, light and other waves of one frequency, as exp(-i w t).

The formulas leave out 1/(4 pi). It solves lap phi + k^2 phi = -q delta, and radiates outward.

A complex number is two real ones, so expansions are those of a kernel that takes two numbers to two. A source
a + i b enters as (a, -b): with that sign the 2 x 2 matrix of exp(i k r) / r is symmetric, as expansions need it.
"""

from __future__ import annotations

import cmath

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels.exponential import LARGEST, decay
from taskfmm.kernels.kernel import Kernel, Output, Source
from taskfmm.kernels.oscillation import cosine_sine
from taskfmm.kernels.roots import inverse_distance

KERNEL = Kernel(
    "helmholtz",
    __name__,
    factor=1.0 / (4.0 * np.pi),
    degree=None,
    parameters=(1.0, 0.0),
    sources=(
        Source("charge", 2, complex=True),
        Source("dipole", 6, odd=True, derivative=1, complex=True),
    ),
    outputs=(
        Output("potential", complex=True),
        Output("gradient", (3,), 1, odd=True, complex=True),
    ),
    surfaces="doubled",
    extra=5.5,
)

NO_NUMBERS = (bool, np.bool, str, bytes)
"""What Python would make a number of."""


def Helmholtz(k: complex) -> Kernel:
    """The kernel of waves from charges q and dipoles p, with r = x - y from the source to the target and R = |r|:

        phi(x) = (q + (1 - i k R) p . r / R^2) exp(i k R) / (4 pi R)

    ``gradient`` is its derivative by x. A pair at zero distance adds nothing. Waves travel outward with the time
    exp(-i w t); with exp(i w t), give the conjugates of the sources and take those of the results.

    Parameters
    ----------
    k : float or complex
        The wavenumber, in one over the unit of the points: 2 pi over the wavelength. Its imaginary part, by which
        waves decay, must not be negative. For waves that only decay, `taskfmm.kernels.Yukawa` is faster.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: sources ``charges`` [n] and ``dipoles`` [n, 3], real or complex;
        outputs ``potential`` [m] and ``gradient`` [m, 3], complex.

    Raises
    ------
    InputError
        k is no finite number, zero, or its imaginary part is negative.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    >>> phi = taskfmm.direct(points, [4 * np.pi, 0.0], kernel=taskfmm.kernels.Helmholtz(k=1.5))
    >>> bool(np.isclose(phi[1], np.exp(3j) / 2.0))
    True
    """
    try:
        number = cmath.nan if isinstance(k, NO_NUMBERS) else complex(k)
    except (TypeError, ValueError, OverflowError):
        number = cmath.nan
    if not cmath.isfinite(number) or number == 0 or number.imag < 0.0:
        raise InputError(
            f"k, the wavenumber, is {k!r}: give a real number, or a complex one whose imaginary part is not "
            "negative; for k = 0 give kernel='laplace'"
        )
    return KERNEL.with_parameters(number.real, number.imag)


@formula
def wave(dx, dy, dz, parameters):
    """Real and imaginary part of exp(i k R) and of i k R, and 1 / R."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2)
    r = r2 * inverse
    a, b = parameters[1] * r, parameters[0] * r
    cosine, sine = cosine_sine(b)
    left = decay(min(a, LARGEST))
    return left * cosine, left * sine, -a, b, inverse


@formula
def charge(dx, dy, dz, u, v, parameters):
    """The potential and the gradient of a charge u - i v."""
    cosine, sine, a, b, inverse = wave(dx, dy, dz, parameters)
    re, im = inverse * (u * cosine + v * sine), inverse * (u * sine - v * cosine)
    square = inverse * inverse
    slope, turn = square * (re * (a - 1.0) - im * b), square * (re * b + im * (a - 1.0))
    return re, im, slope * dx, slope * dy, slope * dz, turn * dx, turn * dy, turn * dz


@formula
def dipole(dx, dy, dz, ux, vx, uy, vy, uz, vz, parameters):
    """The same of a dipole u - i v: the derivative of a charge's potential by the place of the charge, along it."""
    cosine, sine, a, b, inverse = wave(dx, dy, dz, parameters)
    cube = inverse * inverse * inverse
    # exp(i k R) (1 - i k R) / R^3, and exp(i k R) (3 - 3 i k R + (i k R)^2) / R^5
    steep, steep_im = cube * (cosine * (1.0 - a) + sine * b), cube * (sine * (1.0 - a) - cosine * b)
    p, q = 3.0 - 3.0 * a + a * a - b * b, (2.0 * a - 3.0) * b
    fifth = cube * inverse * inverse
    slope, slope_im = fifth * (cosine * p - sine * q), fifth * (sine * p + cosine * q)
    along, along_im = ux * dx + uy * dy + uz * dz, -(vx * dx + vy * dy + vz * dz)
    bend, bend_im = along * slope - along_im * slope_im, along * slope_im + along_im * slope
    return (
        along * steep - along_im * steep_im,
        along * steep_im + along_im * steep,
        ux * steep + vx * steep_im - bend * dx,
        uy * steep + vy * steep_im - bend * dy,
        uz * steep + vz * steep_im - bend * dz,
        ux * steep_im - vx * steep - bend_im * dx,
        uy * steep_im - vy * steep - bend_im * dy,
        uz * steep_im - vz * steep - bend_im * dz,
    )
