"""Where equivalent densities live and where potentials are checked: points on the surfaces of cubes, and within.

A kernel names its arrangement of these points (`ARRANGEMENTS`). All of them stay the same under the reflections and
exchanges of axes of a cube. The downward check points are the upward equivalent ones, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

INNER = 1.05
"""Radius, in box half-widths, of the upward equivalent and the downward check surface."""

OUTER = 2.95
"""Radius of the upward check and the downward equivalent surface: just inside the nearest well-separated box."""

SECOND, FEWER = 0.6, 3
"""Radius of a second, smaller equivalent surface, and how many points less it has on an edge. Waves that vanish on
the one surface, those of the resonances of a cube, do not vanish on the other."""

WITHIN = 0.9
"""Half of the edge of the grid of points that fill a box."""

FURTHER = 4.0
"""Radius of a second check surface. Where no equation says how a field falls with the distance, it is looked at in
two. At 5 instead, a Gaussian as wide as a box erred by eight times as much, and other kernels by as much."""


def n_points(order: int) -> int:
    """Points on the surface of a cube with ``order`` points on each edge: 6 (p - 1)^2 + 2; order 1 has one."""
    return 1 if order == 1 else 6 * (order - 1) ** 2 + 2


def cube(order: int, radius: float = 1.0) -> np.ndarray:
    """The regular grid on the surface of the cube [-radius, radius]^3.

    Returns
    -------
    float64 [3, n_points(order)]
        Contiguous rows x, y, z. Order 1 is the centre alone: exact for a kernel that is constant.
    """
    if order == 1:
        return np.zeros((3, 1))
    line = np.linspace(-radius, radius, order)
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij")).reshape(3, -1)
    return np.ascontiguousarray(grid[:, np.abs(grid).max(axis=0) == radius])


def grid(n: int, radius: float) -> np.ndarray:
    """A grid of n^3 points that fill the cube [-radius, radius]^3, closer to each other near its faces.

    Their coordinates are those of Chebyshev. Returns float64 [3, n^3].
    """
    line = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    line = 0.5 * radius * (line - line[::-1])  # symmetric to the last bit
    return np.stack(np.meshgrid(line, line, line, indexing="ij")).reshape(3, -1)


Points = Callable[[int], np.ndarray]

ARRANGEMENTS: dict[str, tuple[Points, Points]] = {
    "single": (lambda p: cube(p, INNER), lambda p: cube(p, OUTER)),
    "doubled": (
        lambda p: np.hstack([cube(p, INNER), cube(max(1, p - FEWER), SECOND)]),
        lambda p: cube(p, OUTER),
    ),
    "filled": (
        lambda p: np.hstack([cube(p, INNER), grid(max(1, p - 2), WITHIN)]),
        lambda p: np.hstack([cube(p, OUTER), cube(p, FURTHER)]),
    ),
}
"""By name, the upward equivalent and the upward check points of an order, around a box of half-width 1:

- single: one surface each, for a kernel whose field in a box follows from its values on a surface around it
- doubled: two equivalent surfaces, for such a kernel whose fields may be resonant in a box, as waves are
- filled: equivalent points all over the box and two check surfaces, for a kernel that solves no equation
"""


@cache
def equivalent(arrangement: str, order: int) -> np.ndarray:
    """Upward equivalent points around a box of half-width 1, float64 [3, n]."""
    return np.ascontiguousarray(ARRANGEMENTS[arrangement][0](order))


@cache
def check(arrangement: str, order: int) -> np.ndarray:
    """Upward check points around a box of half-width 1, float64 [3, n]."""
    return np.ascontiguousarray(ARRANGEMENTS[arrangement][1](order))


def octant_centers() -> np.ndarray:
    """Centres of the eight children of the box [-1, 1]^3, float64 [8, 3]; octant = 4 x + 2 y + z."""
    octant = np.arange(8)
    return np.stack([octant >> 2 & 1, octant >> 1 & 1, octant & 1], axis=1) - 0.5
