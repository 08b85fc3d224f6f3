"""Charges and dipoles d, with the potential q / r + d . r / r^3 and its gradient."""

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import GRADIENT, POTENTIAL, Kernel, Source

KERNEL = Kernel(
    "dipoles",
    __name__,
    factor=1.0,
    degree=-1,
    sources=(Source("charge"), Source("dipole", 3, odd=True, derivative=1, vector=True)),
    outputs=(POTENTIAL, GRADIENT),
)


@formula
def charge(dx, dy, dz, q, parameters):
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    value = q / r if r > 0.0 else 0.0
    slope = value / (r * r) if r > 0.0 else 0.0
    return value, -slope * dx, -slope * dy, -slope * dz


@formula
def dipole(dx, dy, dz, px, py, pz, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    cube = 1.0 / (r2 * np.sqrt(r2)) if r2 > 0.0 else 0.0
    along = px * dx + py * dy + pz * dz
    slope = 3.0 * along * cube / r2 if r2 > 0.0 else 0.0
    return along * cube, cube * px - slope * dx, cube * py - slope * dy, cube * pz - slope * dz
