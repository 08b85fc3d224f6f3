"""Cube surfaces: where equivalent densities live and where potentials are checked."""

from __future__ import annotations

import numpy as np

INNER = 1.05
"""Radius, in box half-widths, of the upward equivalent and the downward check surface."""

OUTER = 2.95
"""Radius of the upward check and the downward equivalent surface: just inside the nearest well-separated box."""


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


def octant_centers() -> np.ndarray:
    """Centres of the eight children of the box [-1, 1]^3, float64 [8, 3]; octant = 4 x + 2 y + z."""
    octant = np.arange(8)
    return np.stack([octant >> 2 & 1, octant >> 1 & 1, octant & 1], axis=1) - 0.5
