"""The Laplace kernel of blunt charges and dipoles: they act as if no distance were less than a length h.

With r = x - y from the source to the target and R = max(|r|, h), the potential is

    (q / R + p . r / R^3) / (4 pi)

Beyond h that is the potential of points, and within it nothing grows without bound: what a rule of integration has in
the place of a surface may be taken away again there without a loss of digits (`taskfmm.interop.meshes`). Expansions
are Laplace's, one column, and pairs closer than h are summed one by one (`taskfmm.kernels.softening`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels import laplace
from taskfmm.kernels.kernel import CHARGE, DIPOLE, POTENTIAL, Kernel
from taskfmm.kernels.roots import inverse_distance
from taskfmm.kernels.softening import Softening

SHARP = Kernel(
    "sharp",
    __name__,
    factor=1.0 / (4.0 * np.pi),
    degree=-1,
    sources=(CHARGE, DIPOLE),
    outputs=(POTENTIAL,),
    expansion=laplace.KERNEL,
)
"""With h = 0."""

KERNEL = replace(SHARP, name="blunt", softening=Softening("blunt", beyond=SHARP.name))
"""To be used by its ``with_lengths``, which takes h of each source."""


@formula
def charge(dx, dy, dz, q, parameters):
    """The potential of a charge."""
    return (q * inverse_distance(dx * dx + dy * dy + dz * dz),)


@formula
def dipole(dx, dy, dz, px, py, pz, parameters):
    """The potential of a dipole."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    return ((px * dx + py * dy + pz * dz) * inverse * inverse * inverse,)


@formula
def blunt_charge(dx, dy, dz, q, h, parameters):
    """The same with the length of a pair; zero at distance zero, as all kernels are."""
    r2 = dx * dx + dy * dy + dz * dz
    return (q * inverse_distance(max(r2, h * h)) if r2 > 0.0 else 0.0,)


@formula
def blunt_dipole(dx, dy, dz, px, py, pz, h, parameters):
    """The same with the length of a pair."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(max(r2, h * h))
    return ((px * dx + py * dy + pz * dz) * inverse * inverse * inverse,)


@formula
def charge_columns(dx, dy, dz, q, parameters):
    """What an expansion in 1 / r receives from a charge."""
    return charge(dx, dy, dz, q, parameters)


@formula
def dipole_columns(dx, dy, dz, px, py, pz, parameters):
    """What it receives from a dipole."""
    return dipole(dx, dy, dz, px, py, pz, parameters)


@formula
def columns(dx, dy, dz, q, parameters):
    """The potential of densities: as that of charges."""
    return charge(dx, dy, dz, q, parameters)
