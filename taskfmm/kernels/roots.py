"""Reciprocal roots of squared distances, and how many of their digits are computed.

All begin in float32, with 22 bits or more, and end with a Newton step in float64: several times
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

QUADRATIC = "quadratic"
"""The name of roots with a step of second order."""

ENOUGH = 1e-10
"""The smallest eps for which they are used. They err by 3e-15 of themselves, nearly all in one direction, so that
a sum errs by as much of itself. That is little where charges cancel as well, unlike the 1e-8 of an estimate."""


def with_roots(kernel: Kernel, eps: float) -> Kernel:
    """The same kernel with the roots that eps allows."""
    return replace(kernel, roots=QUADRATIC if eps >= ENOUGH and not kernel.fixed_order else "")


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


@formula
def inverse_distance_single(r2):
    """The same to float32 accuracy, for float32."""
    return np.float32(1.0) / np.sqrt(r2) if r2 >= NORMAL else np.float32(0.0)
