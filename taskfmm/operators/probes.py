"""Where the sources and targets are by which the errors of operators are measured."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from taskfmm.operators import symmetry

PLACES = (0.0, 0.3, 0.6, 0.8, 1.0)
"""Coordinates of sources in a box, in half-widths; the symmetry of the cube gives the places with other signs."""

FEW_PLACES = (0.0, 0.6, 1.0)
"""The same, where there is no time for all of them: the worst place is at a corner, or in the middle of a face."""

ONE_IN = 3
"""Then one in so many of the leaves of a W or X list is looked at."""

CORNERS = ((-1.0, 0.0, 1.0), (-1.0, -1 / 3, 1 / 3, 1.0))
"""Coordinates of targets most of which lie on edges and corners. There are two grids, since surfaces of odd order
have a point at the middle, where others have none, and their errors are largest elsewhere."""

FILLING = (-0.75, -0.25, 0.25, 0.75)
"""Coordinates of targets that fill a box, or its faces."""

FACES, FILLED = len(CORNERS), len(CORNERS) + 1
"""Numbers of these sets of targets; those before them lie on edges and corners."""

NEAREST = 0.4
"""Distance of the nearest of the targets around a box to a source in its corner, in half-widths."""

AWAY = np.array([3, 2, 1])
"""Position of a box in the V list of another one."""

OCTANTS = (0, 6, 3, 5, 7, 1, 4, 2)
"""The way down to a deep leaf turns at every level."""


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """In units of the half-width of a box at the origin.

    sources : float64 [3, n]
    offsets : int64 [n, 3], positions of boxes of its V list
    leaves : float64 [n, 3], centres of leaves that have it in their W list
    """

    sources: np.ndarray
    offsets: np.ndarray
    leaves: np.ndarray


@cache
def everywhere() -> Probes:
    """All of them."""
    return Probes(_sources(PLACES), symmetry.offsets(), _leaves_next_to_small_boxes())


@cache
def few() -> Probes:
    """At few places. Of the V list there are the nearest boxes alone, whose errors are the largest."""
    offsets = symmetry.offsets()
    near = offsets[np.abs(offsets).max(axis=1) == 2]
    return Probes(_sources(FEW_PLACES), near, _leaves_next_to_small_boxes()[::ONE_IN])


def targets() -> list[np.ndarray]:
    """Sets of targets in a box, float64 [3, n] each: on edges and corners, on faces, and all over it."""
    return [*(grid(line) for line in CORNERS), _faces(FILLING), grid(FILLING)]


def grid(line: tuple[float, ...]) -> np.ndarray:
    """Points of a box, float64 [3, n]."""
    return np.array(list(itertools.product(line, repeat=3))).T


def beside() -> np.ndarray:
    """Targets that fill the 26 boxes around, float64 [3, n]."""
    points = (grid(FILLING)[:, None, :] + 2.0 * grid((-1.0, 0.0, 1.0))[:, :, None]).reshape(3, -1)
    return points[:, np.abs(points).max(axis=0) > 1.0]


def _sources(line: tuple[float, ...]) -> np.ndarray:
    return np.array([p for p in grid(line).T if p[0] >= p[1] >= p[2]]).T


def _faces(line: tuple[float, ...]) -> np.ndarray:
    points = grid((-1.0, *line, 1.0))
    return points[:, (np.abs(points) == 1.0).sum(axis=0) == 1]


def _leaves_next_to_small_boxes() -> np.ndarray:
    """They are twice as wide as the box."""
    centers = grid((-5.0, -3.0, -1.0, 1.0, 3.0, 5.0)).T
    return centers[np.abs(centers).max(axis=1) == 5.0]
