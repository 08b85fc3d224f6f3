"""A small cloud that stands for a large one of the same shape.

A tree whose leaves shrink with the number of points has the shape of the whole one, as when leaves are chosen
(`taskfmm.plan.tune`). And a cloud of 2^d times as many points, where d is the dimension that the points fill, has a
tree with one level more and otherwise like the one of the smaller cloud, but for what lies at its border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from taskfmm.geometry.domain import Domain, enclose
from taskfmm.tree import octree
from taskfmm.tree.octree import Octree

THINNEST = 16
"""One point in so many is the thinnest cloud: a leaf of it still holds a few points."""

PROBED = 20_000
"""Points whose trees tell the dimension."""

CLOSE = 0.35
"""Of a cube 2.7 was found, as random leaves are not all split at the same level."""

FINE, COARSE = 8, 64
"""Leaf sizes of these trees; in three dimensions one level lies between them, in two one and a half."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Points that stand for more of them.

    points : float64 [n, 3]
    every : each stands for so many of a cloud of ``points.shape[0] * every`` points
    levels : levels that the whole tree has besides; its boxes are ``times`` as many
    dimension : that the points fill, between 1 and 3
    """

    points: np.ndarray
    every: float
    levels: int
    dimension: float

    @property
    def times(self) -> float:
        """Clouds of this kind that the whole cloud is made of."""
        return float(2.0 ** (self.dimension * self.levels))

    @property
    def n_points(self) -> float:
        """Of the cloud that the points are a part of."""
        return len(self.points) * self.every

    def tree(self, leaf_size: int, domain: Domain) -> Octree:
        """Its boxes, which hold as many points as those of the whole do, on average."""
        found = octree.build(self.points, None, max(1, round(leaf_size / self.every)), domain, 1)
        ptr = found.source_ptr * self.every
        return replace(found, source_ptr=ptr, target_ptr=ptr)


def alike(some: np.ndarray, n: float, most: float, dimension: float) -> Alike:
    """A cloud like one of n points: one of up to ``most`` points, of which it has no more than are given.

    some : float64 [m, 3], points of the shape in random order
    """
    most = min(n, most, float(THINNEST * len(some)))
    levels = max(0, math.ceil(math.log2(n / most) / dimension))
    stands_for = n / 2.0 ** (dimension * levels)
    points = some[: max(1, math.floor(min(len(some), stands_for)))]
    return Alike(points, stands_for / len(points), levels, dimension)


def dimension(some: np.ndarray) -> float:
    """That some points in random order fill: leaves of an eighth of the points lie 3 / d levels deeper.

    Lines, surfaces and filled spaces are nearly all that there is, so what is close to their dimension is that.
    """
    points = some[:PROBED]
    domain = enclose(points, points[:0])
    fine, coarse = (_depth(octree.build(points, None, size, domain, 1)) for size in (FINE, COARSE))
    found = float(np.clip(math.log2(COARSE / FINE) / max(1.0, fine - coarse), 1.0, 3.0))
    return float(round(found)) if abs(found - round(found)) <= CLOSE else found


def _depth(tree: Octree) -> float:
    """The level of the leaf of a point, on average."""
    leaf = tree.is_leaf
    n = np.diff(tree.source_ptr, axis=1)[leaf, 0]
    return float((tree.level[leaf] * n).sum() / max(1, n.sum()))
