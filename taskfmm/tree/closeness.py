"""How much of the gradients comes from the closest pairs of points, which no approximation touches."""

from __future__ import annotations

import numpy as np

from taskfmm.tree.octree import Octree

FEW = 30
"""So many of the closest pairs do not count: results should not hang on what charges a handful of points has."""


def closeness(tree: Octree) -> float:
    """Gradients of close pairs over gradients across a leaf, both as root mean squares over charges of random sign.

    The first are ``1 / r**2`` for points that follow one another in Morton order: among them are most of the
    closest pairs, and none is counted too often, so the true ratio is larger. The second are ``sqrt(n) / w**2``
    for a leaf of width ``w`` with ``n`` sources. On a regular grid the ratio is 1.3 to 3, in a uniform random
    cloud 10 to 50, on surfaces hundreds.

    Parameters
    ----------
    tree : Octree

    Returns
    -------
    float
        0 where targets are not the sources: how close the two come is not looked at.
    """
    if tree.targets is not tree.sources:
        return 0.0
    width = 2.0 * tree.domain.half_width
    steps = np.diff(tree.sources, axis=1) / width
    squares = np.einsum("ij,ij->j", steps, steps)
    pairs = 1.0 / squares[squares > 0.0] ** 2
    if pairs.size <= FEW:
        return 0.0
    pairs = np.partition(pairs, pairs.size - FEW)[:-FEW]
    leaves = np.flatnonzero(tree.is_leaf)
    counts = np.diff(tree.source_ptr[leaves], axis=1)[:, 0].astype(float)
    across = counts**2 * 16.0 ** tree.level[leaves]
    return float(np.sqrt(2.0 * pairs.sum() / across.sum()))
