"""What the points of a tree tell without charges, for `taskfmm.passes.share`."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from taskfmm.geometry.domain import box_centers
from taskfmm.operators.known import Share
from taskfmm.operators.radial import Radial
from taskfmm.passes.share_loops import PLUS, SUMS, close_pairs, descend, sum_boxes
from taskfmm.plan.shards import Interactions
from taskfmm.tree.octree import Octree


class Places:
    """What the points of a tree tell without charges; found when first asked for, and then kept for the next charges.

    own : bool [n_boxes], those whose points are known, where some are elsewhere
    targets : the sums over the targets of each box, where they are known
    leaves : int64 [n_leaves], boxes
    """

    def __init__(
        self, tree: Octree, own: np.ndarray | None = None, targets: np.ndarray | None = None
    ) -> None:
        self.tree = tree
        if targets is not None:
            self.targets = targets
        self.leaves = np.flatnonzero(tree.is_leaf if own is None else tree.is_leaf & own)

    def sums(
        self,
        ptr: np.ndarray,
        points: np.ndarray,
        charges: np.ndarray,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """See `sum_boxes`; known : which boxes, and their sums"""
        tree = self.tree
        center = box_centers(tree.domain, tree.level, tree.anchor)[0]
        half_width = np.ldexp(tree.domain.half_width, -tree.level.astype(np.int32))
        where = center, half_width, tree.domain.lower
        nothing = np.zeros(tree.n_boxes, bool), np.zeros((tree.n_boxes, SUMS))
        return sum_boxes(tree.child_ptr, ptr, points, charges, *where, *(nothing if known is None else known))

    def reached(
        self,
        lists: Interactions,
        level: np.ndarray,
        boxes: np.ndarray,
        size: Radial,
        least: np.ndarray,
        degree: int,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """See `descend`.

        level, boxes : of the boxes and of their images; known : of which boxes it is known, and what reaches these
        """
        csrs = [array for csr in (lists.v, lists.x, lists.w) for array in (csr.ptr, csr.idx)]
        how = self.targets, boxes, *size.numbers, least, degree
        n = self.tree.n_boxes
        return descend(
            self.tree.parent, level, *csrs, *how, *(known or (np.zeros(n, bool), np.zeros((n, 4))))
        )

    @cached_property
    def targets(self) -> np.ndarray:
        """The sums over the targets of each box."""
        return self.sums_of_targets(np.zeros(self.tree.n_boxes, bool))

    def sums_of_targets(self, known: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """The same; known : of which boxes they are known, and these, or zeros"""
        points = self.tree.targets
        start = np.zeros((self.tree.n_boxes, SUMS)) if values is None else values
        return self.sums(self.tree.target_ptr, points, np.ones(points.shape[1]), (known, start))

    @cached_property
    def lone_charge(self) -> Share:
        """What a single charge may do to gradients far from it, in units of its gradient there.

        It is 1 / r^2 at a distance r, and its potential over the half-width h of a leaf is 1 / (r h): that is r / h
        times as much, most at leaves that are small and far away. How far they may be follows from the sources.
        """
        n_targets = np.diff(self.tree.target_ptr[self.leaves], axis=1)[:, 0]
        weight = n_targets / self.half_widths**2
        at = self.targets[self.leaves, PLUS : PLUS + 3]
        center = weight @ at / weight.sum()
        spread = np.sqrt(weight @ ((at - center) ** 2).sum(axis=1) / weight.sum())
        offset = self.tree.sources - (self.tree.domain.lower + center)[:, None]
        distance = np.sqrt((offset**2).sum(axis=0).max()) + spread
        return Share(total=1.0, far=0.0, smooth=float(distance * np.sqrt(weight.sum() / n_targets.sum())))

    @cached_property
    def half_widths(self) -> np.ndarray:
        """Of the leaves, float64 [n_leaves]."""
        return np.ldexp(self.tree.domain.half_width, -self.tree.level[self.leaves].astype(np.int32))

    @cached_property
    def width_at_sources(self) -> np.ndarray:
        """The half-width of the leaf of each source, float64 [n_sources]."""
        order = np.argsort(self.tree.source_ptr[self.leaves, 0], kind="stable")
        n_sources = np.diff(self.tree.source_ptr[self.leaves[order]], axis=1)[:, 0]
        return np.repeat(self.half_widths[order], n_sources)

    @cached_property
    def close_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Targets that have a source next to them, see `taskfmm.passes.share_loops.close_pairs`."""
        tree = self.tree
        leaves = self.leaves, self.half_widths, tree.source_ptr, tree.target_ptr
        return close_pairs(tree.sources, tree.targets, *leaves)
