"""How hard the gradients at some points are: what they are made of, the far field or pairs that are close.

The error of a far field is relative to the far field. Where close pairs make gradients large it matters less, and
where a gradient is small beside the potential it came from it matters more. So the accuracy that a gradient needs
hangs on the points. Only the tree is looked at, as charges are not known when planning.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from taskfmm.tree.octree import Octree

FEW = 30
"""So many of the closest pairs do not count: results should not hang on what charges a handful of points has."""

SAME = 1e-37
"""Points that are closer, in widths of the cloud, count as one."""

GRID_CLOSENESS = 3.0
"""The largest `closeness` of a regular grid. Where pairs of points are closer, gradients are larger by as much, and
the far field errs less in comparison."""

GRID_LEAVES = ((8, 64), (9, 128), (12, 256), (16, 512))
"""Up to which order, leaf size of the calibration's grids: about what is chosen for speed."""

SMALL_LEAVES = 10.0
"""Gradients on grids in leaves of fewer points err more, up to so many times for leaves of one point."""

APART = 12.0
"""Gradients at targets that lie apart from all sources err up to so many times as much as on grids, signed charges
at ten to a hundred widths of the cloud."""

WIDTHS = 100.0
"""Further away the gradient falls faster than the error, in proportion to the distance."""

SHARE = 0.1
"""Targets are apart from the sources if fewer than this share a leaf with any."""


def hardness(tree: Octree, orders: Iterable[int]) -> dict[int, float]:
    """How many times as much a gradient may err at these points as on the calibration's grids.

    Parameters
    ----------
    tree : Octree
    orders : int
        Points along an edge of the surfaces: each was calibrated with leaves of a size of its own.

    Returns
    -------
    dict of float, by order
        From below 1e-3, on surfaces, to 10, for grids in leaves of a few points; above it where targets are apart
        from all sources; 0 if the tree is too flat for a far field.
    """
    if tree.n_levels < 3:
        return dict.fromkeys(orders, 0.0)
    if is_apart(tree):
        return dict.fromkeys(orders, APART * max(1.0, gap(tree) / WIDTHS))
    close = max(closeness(tree), GRID_CLOSENESS)
    calibrated = {order: next(size for largest, size in GRID_LEAVES if order <= largest) for order in orders}
    small = {
        order: np.clip(size / max(1, tree.fullest), 1.0, SMALL_LEAVES) for order, size in calibrated.items()
    }
    return {order: float(times * GRID_CLOSENESS / close) for order, times in small.items()}


def closeness(tree: Octree) -> float:
    """Gradients of close pairs over gradients across a leaf, both as root mean squares over charges of random sign.

    The first are ``1 / r**2`` for points that follow one another in Morton order: among them are most of the
    closest pairs, and none is counted too often, so the true ratio is larger. The second are ``sqrt(n) / w**2``
    for a leaf of width ``w`` with ``n`` sources. On a regular grid the ratio is 1.3 to 3, in a uniform random
    cloud 10 to 50, on surfaces hundreds. It is 0 where targets are not the sources: that is not looked at.
    """
    if tree.targets is not tree.sources:
        return 0.0
    width = 2.0 * tree.domain.half_width
    steps = np.diff(tree.sources, axis=1) / width
    squares = np.einsum("ij,ij->j", steps, steps)
    pairs = 1.0 / squares[squares > SAME**2] ** 2
    if pairs.size <= FEW:
        return 0.0
    pairs = np.partition(pairs, pairs.size - FEW)[:-FEW]
    leaves = np.flatnonzero(tree.is_leaf)
    counts = np.diff(tree.source_ptr[leaves], axis=1)[:, 0].astype(float)
    across = counts**2 * 16.0 ** tree.level[leaves]
    return float(np.sqrt(2.0 * pairs.sum() / across.sum()))


def is_apart(tree: Octree) -> bool:
    """Whether next to no target shares a leaf with a source."""
    n_sources, n_targets = (
        np.diff(ptr[tree.is_leaf], axis=1)[:, 0] for ptr in (tree.source_ptr, tree.target_ptr)
    )
    return bool(n_targets[n_sources > 0].sum() < SHARE * n_targets.sum())


def gap(tree: Octree) -> float:
    """Distance between the bounding boxes of sources and targets, in widths of the wider of the two."""
    low, high = (
        np.stack([reduce(x, axis=1) for x in (tree.sources, tree.targets)]) for reduce in (np.min, np.max)
    )
    between = np.maximum(0.0, np.maximum(low[0] - high[1], low[1] - high[0])).max()
    width = (high - low).max()
    return float(between / width) if width > 0.0 else 0.0
