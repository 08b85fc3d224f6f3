"""Cut each level into shards and write down the work of every operator on each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.cell import HOME, N_CELLS
from taskfmm.geometry.domain import box_centers, box_half_width
from taskfmm.plan.runs import distinct, joined, list_runs, sort_by_code, split_pairs, take_runs
from taskfmm.plan.works import (
    CHARGES,
    FarImages,
    FarShard,
    Halo,
    Moments,
    MutualPairs,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)
from taskfmm.tree.images import Images
from taskfmm.tree.lists import SELF
from taskfmm.tree.octree import Octree

M2L_BLOCK = 256
"""Target parents that one thread works on at a time."""

DENSE_BLOCK = 512
"""Target boxes of M2M and L2L that one thread works on at a time."""

NEAR_BLOCK = (16, 1024)
"""Fewest and most leaves of a block of the near field: inside it each distance serves both of its points, so a
block is large; it is also what one thread takes, so a shard has two or more."""


def _mirrored() -> np.ndarray:
    """By direction to a colleague, how M2L sorts and reflects a pair of parents (see `Siblings`), int8 [2, 27].

    A colleague lies at source minus target, M2L wants target minus source. The first row counts from 0.
    """
    colleague = np.indices((3, 3, 3)).reshape(3, 27) - 1
    bits = np.array([4, 2, 1])
    return np.stack([bits @ (colleague != 0) - 1, bits @ (colleague > 0)]).astype(np.int8)


MIRRORED = _mirrored()


@dataclass(frozen=True, slots=True)
class Interactions:
    """The lists that the passes run, after cheap W and X entries have become near-field entries."""

    colleagues: np.ndarray
    u: Csr
    v: Csr
    w: Csr
    x: Csr
    images: Images


def halo_of(level: int, boxes: np.ndarray, bounds: np.ndarray) -> Halo:
    """The halo made of ``boxes`` of a level, or sources, whose shards are ``bounds[i]:bounds[i + 1]``.

    They ascend, but for images, which ascend in each cell.
    """
    if (boxes[1:] >= boxes[:-1]).all():  # the few bounds are sought among the boxes, and not the other way
        owner = np.repeat(np.arange(bounds.size - 1), np.diff(np.searchsorted(boxes, bounds)))
    else:
        owner = np.searchsorted(bounds, boxes, side="right") - 1
    return halo(level, owner, boxes - bounds[owner])


def halo(level: int, shards: np.ndarray, rows: np.ndarray) -> Halo:
    """The halo made of rows of shards; what follows each other in one shard is read in one go."""
    first = np.flatnonzero(np.append(True, np.diff(shards) != 0)[: shards.size])
    read = shards[first]
    if not shards.size:  # of the charges that nobody reads: none of those of the first shard
        read, first = np.zeros(1, np.int64), np.zeros(1, np.int64)
    return Halo(
        level, tuple(read.tolist()), np.append(first, shards.size).astype(np.int64), rows.astype(np.int32)
    )


class Places(Protocol):
    """In which rows of which shards the boxes of a tree, and its sources, are."""

    def boxes(self, level: int, boxes: np.ndarray) -> Halo:
        """The halo of the locals of some boxes of a level, and of the multipoles that the plan's own shards form."""

    def sending(self, level: int, boxes: np.ndarray) -> Halo:
        """The halo of the multipoles of some boxes of a level."""

    def sources(self, rows: np.ndarray) -> Halo:
        """The halo of some sources of the tree."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Shards that are all runs of one tree.

    levels[l] are the box numbers at which the shards of level l begin, with the end of the level last; charge_ptr are
    the sources at which those of the charges begin, with the number of all sources last.
    """

    levels: dict[int, np.ndarray]
    charge_ptr: np.ndarray

    def boxes(self, level: int, boxes: np.ndarray) -> Halo:
        return halo_of(level, boxes, self.levels[level])

    sending = boxes

    def sources(self, rows: np.ndarray) -> Halo:
        return halo_of(CHARGES, rows, self.charge_ptr)


class ShardBuilder:
    """Builds the work of runs of boxes; holds what all of them share.

    top : the first level with expansions
    forms : bool [n_boxes], of which boxes multipoles are formed; of all that have sources, if left out
    """

    def __init__(
        self,
        tree: Octree,
        lists: Interactions,
        places: Places,
        top: int,
        forms: np.ndarray | None = None,
    ) -> None:
        self.tree = tree
        self.lists = lists
        self.places = places
        self.top = top
        self.has_sources = tree.source_ptr[:, 1] > tree.source_ptr[:, 0]
        self.has_targets = tree.target_ptr[:, 1] > tree.target_ptr[:, 0]
        self.forms = self.has_sources if forms is None else forms
        self.is_leaf = tree.is_leaf
        self.octant = ((tree.anchor & 1) @ np.array([4, 2, 1])).astype(np.int16)
        self.source_ptr = lists.images.with_own(tree.source_ptr)
        self.anchor, self.cell = tree.anchor, tree.domain.cell
        if self.cell is not None:
            images = lists.images.anchors(tree.anchor, tree.level, self.cell)
            self.anchor = np.concatenate([tree.anchor, images])

    def far(self, level: int, number: int, first: int, last: int) -> FarShard:
        """All far-field work of one shard, of boxes first to last."""
        return FarShard(
            level,
            number,
            last - first,
            p2m=self._p2m(level, first, last),
            m2m=self._m2m(level, first, last),
            m2l=self._m2l(level, first, last),
            p2l=self._p2l(level, first, last),
            l2l=self._l2l(level, first, last),
            m2p=self._m2p(level, first, last),
            l2p=self._l2p(level, number, first, last),
            i2l=self._i2l(level, first, last),
        )

    def _centers(self, level: int, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return box_centers(self.tree.domain, level, self.anchor[boxes])

    def _distinct(self, entries: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """The distinct entries of lists, ascending, and the place of each entry among them, int32.

        low, high : bounds of those that are no images
        """
        if not self.lists.images.box.size:
            return distinct(entries, low, high)
        found, where = np.unique(entries, return_inverse=True)
        return found, where.astype(np.int32)

    def _p2m(self, level: int, first: int, last: int) -> PointsToSurfaces | None:
        boxes = first + np.flatnonzero((self.is_leaf & self.has_sources & self.forms)[first:last])
        if boxes.size == 0:
            return None
        begin, end, points, charges = self._sources(boxes)
        return PointsToSurfaces(
            box_half_width(self.tree.domain, level),
            last - first,
            (boxes - first).astype(np.int32),
            *self._centers(level, boxes),
            np.arange(boxes.size + 1),
            begin,
            end,
            points,
            charges,
        )

    def _sources(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Halo]:
        """The sources of boxes, each once: where the run of each box begins and ends, all points, their charges."""
        begin, end = self.source_ptr[boxes].T
        cell = self.lists.images.cells(boxes, self.tree.n_boxes)
        # those of each cell after the other, as if each cell had sources of its own
        apart = self.tree.source_order.size * ((cell - HOME) % N_CELLS)
        order = np.lexsort((-end, begin + apart))
        begin, end, cell, apart = begin[order], end[order], cell[order], apart[order]
        # a box may lie in another one, whose run has its points already
        outer = np.append(True, (end + apart)[1:] > np.maximum.accumulate(end + apart)[:-1])[: begin.size]
        host = np.cumsum(outer) - 1
        points, ptr = take_runs(self.tree.sources, begin[outer], end[outer])
        if self.lists.images.box.size and self.cell is not None:
            points = points + np.repeat(self.cell.shift(cell[outer]), np.diff(ptr), axis=1)
        first = np.empty_like(begin)
        first[order] = ptr[host] + begin - begin[outer][host]
        n = np.empty_like(begin)
        n[order] = end - begin
        rows = list_runs(begin[outer], end[outer])
        return first, first + n, points, self.places.sources(rows)

    def _p2l(self, level: int, first: int, last: int) -> PointsToSurfaces | None:
        count = np.diff(self.lists.x.ptr[first : last + 1])
        rows = np.flatnonzero(count)
        if rows.size == 0:
            return None
        entries = self.lists.x.idx[self.lists.x.ptr[first] : self.lists.x.ptr[last]]
        boxes, where = self._distinct(entries, 0, self.tree.n_boxes)
        begin, end, points, charges = self._sources(boxes)
        return PointsToSurfaces(
            box_half_width(self.tree.domain, level),
            last - first,
            rows.astype(np.int32),
            *self._centers(level, first + rows),
            np.concatenate([[0], np.cumsum(count[rows])]),
            begin[where],
            end[where],
            points,
            charges,
        )

    def _m2m(self, level: int, first: int, last: int) -> Translation | None:
        child_ptr = self.tree.child_ptr
        children = np.arange(child_ptr[first], child_ptr[last])
        children = children[self.has_sources[children] & self.forms[self.tree.parent[children]]]
        if children.size == 0:
            return None
        row = (self.tree.parent[children] - first).astype(np.int32)
        source = np.arange(children.size, dtype=np.int32)
        sort = sort_by_code(row, source, self.octant[children], 8, last - first, DENSE_BLOCK)
        return Translation(self.places.sending(level + 1, children), last - first, *sort)

    def _l2l(self, level: int, first: int, last: int) -> Translation | None:
        if level <= self.top:
            return None
        boxes = first + np.flatnonzero(self.has_targets[first:last])
        if boxes.size == 0:
            return None
        parents, where = np.unique(self.tree.parent[boxes], return_inverse=True)
        row = (boxes - first).astype(np.int32)
        source = where.astype(np.int32)
        sort = sort_by_code(row, source, self.octant[boxes], 8, last - first, DENSE_BLOCK)
        return Translation(self.places.boxes(level - 1, parents), last - first, *sort)

    def _m2l(self, level: int, first: int, last: int) -> Siblings | None:
        tree = self.tree
        if level == 0:
            return None
        parents = np.unique(tree.parent[first:last])
        near = self.lists.colleagues[parents]
        near[:, SELF] = -1
        near[self.is_leaf[near]] = -1  # -1 names the last box, a leaf
        target, direction = np.nonzero(near >= 0)
        source = near[target, direction]
        sources, where = distinct(source, *tree.level_ptr[level - 1 : level + 1])
        children = list_runs(tree.child_ptr[sources], tree.child_ptr[sources + 1])
        children = children[self.has_sources[children]]
        if children.size == 0 or not self.has_targets[first:last].any():
            return None
        source_child = self._by_octant(
            children, np.searchsorted(sources, tree.parent[children]), sources.size
        )
        boxes = np.arange(first, last)
        target_child = self._by_octant(boxes, np.searchsorted(parents, tree.parent[boxes]), parents.size)
        target_child[target_child >= 0] = np.where(self.has_targets[first:last], np.arange(last - first), -1)[
            target_child[target_child >= 0]
        ]
        code, mirror = MIRRORED[:, direction]
        pair = np.arange(target.size, dtype=np.int32)
        code_ptr, target, pair = sort_by_code(target.astype(np.int32), pair, code, 7, parents.size, M2L_BLOCK)
        halo = self.places.sending(level, children)
        return Siblings(
            halo, last - first, code_ptr, target, where[pair], mirror[pair], target_child, source_child
        )

    def _i2l(self, level: int, first: int, last: int) -> FarImages | None:
        if self.cell is None or level != self.cell.level:
            return None
        begin, end = self.tree.level_ptr[level : level + 2]
        boxes = begin + np.flatnonzero(self.has_sources[begin:end])
        halo = self.places.sending(level, boxes)
        return FarImages(halo, last - first, self.tree.anchor[first:last], self.tree.anchor[boxes])

    def moments(self, charge_ptr: np.ndarray) -> tuple[Moments, ...]:
        """P2I of all shards of charges, which begin at these sources, in a periodic box."""
        if self.cell is None:
            return ()
        domain, sources = self.tree.domain, self.tree.sources
        center = self.cell.middle(domain.lower)
        half_width = box_half_width(domain, self.cell.level)
        return tuple(
            Moments(
                half_width,
                center,
                sources[:, begin:end],
                self.places.sources(np.arange(begin, end)),
            )
            for begin, end in pairwise(charge_ptr)
        )

    def _by_octant(self, boxes: np.ndarray, row: np.ndarray, n_rows: int) -> np.ndarray:
        """For each parent the places of its children among ``boxes``, int32 [n_rows, 8], -1 for none."""
        place = np.full((n_rows, 8), -1, np.int32)
        place[row, self.octant[boxes]] = np.arange(boxes.size)
        return place

    def leaf_targets(self, first: int, last: int) -> np.ndarray:
        """The leaves among boxes first to last that hold targets: the rows of L2P and M2P."""
        return first + np.flatnonzero((self.is_leaf & self.has_targets)[first:last])

    def _l2p(self, level: int, number: int, first: int, last: int) -> SurfacesToPoints | None:
        boxes = self.leaf_targets(first, last)
        if boxes.size == 0:
            return None
        halo = Halo(level, (number,), np.array([0, boxes.size]), (boxes - first).astype(np.int32))
        own = Csr(np.arange(boxes.size + 1), np.arange(boxes.size, dtype=np.int32))
        return self._to_points(level, boxes, halo, boxes, own)

    def _m2p(self, level: int, first: int, last: int) -> SurfacesToPoints | None:
        leaves = self.leaf_targets(first, last)
        w = self.lists.w
        count = np.diff(w.ptr)[leaves]
        if count.sum() == 0:
            return None
        low, high = self.tree.level_ptr[level + 1 : level + 3]
        boxes, where = self._distinct(w.idx[w.ptr[first] : w.ptr[last]], low, high)
        own = self.lists.images.boxes(boxes, self.tree.n_boxes)
        halo = self.places.sending(level + 1, own)
        ptr = np.concatenate([[0], np.cumsum(count)])
        return self._to_points(level, leaves, halo, boxes, Csr(ptr, where))

    def _to_points(
        self, level: int, leaves: np.ndarray, halo: Halo, boxes: np.ndarray, entries: Csr
    ) -> SurfacesToPoints:
        begin, end = self.tree.target_ptr[leaves].T
        targets, target_ptr = take_runs(self.tree.targets, begin, end)
        return SurfacesToPoints(
            halo,
            box_half_width(self.tree.domain, halo.level),
            target_ptr,
            targets,
            *self._centers(level, leaves),
            entries.ptr,
            entries.idx,
            *self._centers(halo.level, boxes),
        )

    def near(self, level: int, leaves: np.ndarray, single: bool) -> PointsToPoints:
        """The near field of a run of leaves that hold targets; single : whether it may be summed in float32."""
        u = self.lists.u
        begin, end = self.tree.target_ptr[leaves].T
        targets, target_ptr = take_runs(self.tree.targets, begin, end)
        entry_ptr = np.concatenate([[0], np.cumsum(u.ptr[leaves + 1] - u.ptr[leaves])])
        entries = u.idx[list_runs(u.ptr[leaves], u.ptr[leaves + 1])]
        mutual, itself, same = None, None, self.tree.targets is self.tree.sources
        if single:
            rows = np.repeat(np.arange(leaves.size), np.diff(entry_ptr))
            itself = np.zeros(leaves.size, np.int8)
            itself[rows[entries == leaves[rows]]] = same
        elif same:
            block = int(np.clip(-(-leaves.size // 2), *NEAR_BLOCK))
            entry_ptr, entries, pair_ptr, pair = split_pairs(leaves, entry_ptr, entries, block)
            block_ptr = np.append(np.arange(0, leaves.size, block), leaves.size)
            own = self.places.sources(list_runs(begin, end))
            mutual = MutualPairs(block_ptr, own, pair_ptr, pair)
        boxes, where = self._distinct(entries, 0, self.tree.n_boxes)
        begin, end, points, charges = self._sources(boxes)
        runs = joined(entry_ptr, begin[where], end[where])
        return PointsToPoints(level, target_ptr, targets, *runs, points, charges, mutual, itself)
