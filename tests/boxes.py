"""One or a few boxes by hand, as works of the operators: each operator can then be tested alone."""

from __future__ import annotations

import numpy as np

from taskfmm.plan.works import (
    CHARGES,
    Halo,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)

FOUR_PI = 4.0 * np.pi

BITS = np.array([4, 2, 1])
"""Of the axes, in octants and reflections."""


def exact(targets: np.ndarray, sources: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """Potential (row 0) and gradient (rows 1 to 3) without 1/(4 pi), by NumPy; zero distance adds nothing.

    targets [3, n_t], sources [3, n_s], charges [n_s] -> [4, n_t]
    """
    d = targets[:, :, None] - sources[:, None, :]
    r = np.sqrt((d * d).sum(axis=0))
    inverse = np.divide(1.0, r, out=np.zeros_like(r), where=r > 0)
    return np.concatenate([(inverse @ charges)[None], -(d * inverse**3) @ charges])


def l2_error(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|"""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def column(center: np.ndarray) -> np.ndarray:
    return np.asarray(center, np.float64).reshape(3, -1)


def points_in(rng: np.random.Generator, center: np.ndarray, half_width: float, n: int) -> np.ndarray:
    """Uniform in a box, float64 [3, n]."""
    return column(center) + half_width * rng.uniform(-1, 1, (3, n))


def onto_surface(center: np.ndarray, half_width: float, points: np.ndarray) -> PointsToSurfaces:
    """P2M or P2L of one box from one run of points."""
    n = points.shape[1]
    return PointsToSurfaces(
        half_width,
        1,
        np.zeros(1, np.int32),
        column(center),
        np.zeros((3, 1)),
        np.array([0, 1]),
        np.array([0]),
        np.array([n]),
        points,
        whole(CHARGES, n),
    )


def whole(level: int, n: int) -> Halo:
    """A halo of the ``n`` rows of one shard."""
    return Halo(level, (0,), np.array([0, n]), np.arange(n, dtype=np.int32))


def one_transfer(vector: tuple[int, int, int]) -> Siblings:
    """M2L: one row from one row, target minus source as given, both children of neighbouring parents."""
    v = np.array(vector)
    parents = np.sign(v)
    rest = v - 2 * parents
    octants = [int((sign * rest > 0) @ [4, 2, 1]) for sign in (1, -1)]
    children = np.full((2, 1, 8), -1, np.int32)
    for child, octant in zip(children, octants, strict=True):
        child[0, octant] = 0
    code_ptr = np.zeros((1, 8), np.int64)
    code_ptr[0, (parents != 0) @ BITS :] = 1
    mirror = np.array([(parents < 0) @ BITS], np.int8)
    return Siblings(whole(3, 1), 1, code_ptr, np.zeros(1, np.int32), np.zeros(1, np.int32), mirror, *children)


def family_entries(work: Siblings) -> np.ndarray:
    """Every row of the result, row of the halo and transfer vector that a family's work stands for, int64 [n, 5]."""
    bits = np.array([(o >> 2 & 1, o >> 1 & 1, o & 1) for o in range(8)])
    direction = np.repeat(np.tile(bits[1:], (len(work.code_ptr), 1)), np.diff(work.code_ptr).ravel(), axis=0)
    direction = direction * np.where(bits[work.mirror], -1, 1)  # of the parents, one row for each pair
    found = []
    for t in range(8):
        for s in range(8):
            offset = 2 * direction + bits[t] - bits[s]
            target, source = work.target_child[work.target, t], work.source_child[work.source, s]
            both = (target >= 0) & (source >= 0) & (np.abs(offset).max(axis=1) > 1)
            found.append(np.column_stack([target, source, offset])[both])
    return np.concatenate(found)


def gather_eight() -> Translation:
    """M2M: row 0 from eight rows, one in each octant."""
    return Translation(
        whole(3, 8), 1, np.arange(9)[None, :], np.zeros(8, np.int32), np.arange(8, dtype=np.int32)
    )


def scatter_eight() -> Translation:
    """L2L: eight rows, one in each octant, from row 0."""
    return Translation(
        whole(3, 1), 8, np.arange(9)[None, :], np.arange(8, dtype=np.int32), np.zeros(8, np.int32)
    )


def from_surface(
    center: np.ndarray, half_width: float, targets: np.ndarray, box_center: np.ndarray
) -> SurfacesToPoints:
    """L2P (the box is the leaf) or M2P at the targets of one leaf, from boxes of a half-width."""
    boxes = column(box_center)
    n = boxes.shape[1]
    return SurfacesToPoints(
        whole(3, n),
        half_width,
        np.array([0, targets.shape[1]]),
        targets,
        column(center),
        np.zeros((3, 1)),
        np.array([0, n]),
        np.arange(n, dtype=np.int32),
        boxes,
        np.zeros((3, n)),
    )


def near_field(targets: np.ndarray, sources: np.ndarray, runs: list[tuple[int, int]]) -> PointsToPoints:
    """The near field of one leaf whose U list are runs of the sources."""
    begin, end = np.array(runs).T
    return PointsToPoints(
        3,
        np.array([0, targets.shape[1]]),
        targets,
        np.array([0, len(runs)]),
        begin,
        end,
        sources,
        whole(CHARGES, sources.shape[1]),
        None,
    )
