"""Reciprocal roots of squared distances, and how many of their digits are computed.

All begin in float32, with 22 bits or more or with an estimate, and end with a Newton step in float64: several times
faster than a root and a division in float64. With e = 1 - r2 y^2 of the number y that it begins with, the root is
y (1 - e)^(-1/2), and the step takes the first terms of that series: y (1 + e/2 + 3 e^2/8 + ...).

A function whose name ends in `Kernel.roots` stands for the one without in loops that are compiled for that kernel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import Kernel

NORMAL = np.float32(2.0**-126)
"""The smallest squared distance whose root can begin. Scaled coordinates (see `taskfmm.geometry.domain`) put
it at 1e-37 of the width of the cube: clouds with a closer pair are refused (`taskfmm.geometry.resolution`)."""

ESTIMATED, QUADRATIC = "estimated", "quadratic"
"""Names of roots: those that begin with an estimate, and those that do not, both with a step of second order."""

ROOTS = {ESTIMATED: 1e-5, QUADRATIC: 1e-10}
"""The smallest eps for which roots of each name are used. The former err by 1e-8 of themselves in the mean and by
1e-7 at most, the latter by 3e-15: nearly all in the same direction, so that a sum errs by as much of itself."""


def with_roots(kernel: Kernel, eps: float, periodic: bool = False) -> Kernel:
    """The same kernel with the roots that eps allows.

    A kernel without a degree has a length, and may take a distance for a phase: then no estimates are used. Neither
    are they in a periodic box, as sums over all images make much of a net charge that is left of rounding.
    """
    if kernel.fixed_order:
        return kernel
    enough = (name for name, least in ROOTS.items() if eps >= least)
    refused = ESTIMATED if periodic or kernel.degree is None else None
    return replace(kernel, roots=next((name for name in enough if name != refused), ""))


def roots_of(kernel: Kernel, derivative: int) -> str:
    """Of loops over pairs of a kernel.

    Densities on a surface around a small leaf add up to gradients that are far smaller than what each of them does.
    So no estimates are used where outputs or sources are derivatives.
    """
    formed = derivative or any(kind.derivative for kind in kernel.sources)
    return QUADRATIC if formed and kernel.roots == ESTIMATED else kernel.roots


@formula
def _beginning(r2):
    low = np.float32(r2)
    return np.float64(np.float32(1.0) / np.sqrt(low)) if low >= NORMAL else 0.0


@formula
def inverse_distance(r2):
    """1 / sqrt(r2) to float64 accuracy, and 0 where r2 is 0, by a step of third order, which triples the digits."""
    y = _beginning(r2)
    e = 1.0 - r2 * y * y
    return y * (1.0 + e * (0.5 + 0.375 * e))


@formula
def inverse_distance_quadratic(r2):
    """The same by a step of second order, which doubles the digits."""
    y = _beginning(r2)
    return y * (1.5 - 0.5 * r2 * y * y)


inverse_distance_estimated = inverse_distance_quadratic
"""The same in loops that begin with an estimate, see `taskfmm.jit.estimated_roots`."""


@formula
def inverse_distance_single(r2):
    """The same to float32 accuracy, for float32."""
    return np.float32(1.0) / np.sqrt(r2) if r2 >= NORMAL else np.float32(0.0)
