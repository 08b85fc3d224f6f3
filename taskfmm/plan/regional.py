"""The plan of one region: its shards, their works, and what everybody else has to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from taskfmm.cost.counts import PLAIN, Weights
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.plan import direct_where_cheaper, within_reach, without_coincident
from taskfmm.plan.runs import list_runs
from taskfmm.plan.shards import Interactions, ShardBuilder, halo
from taskfmm.plan.works import CHARGES, Chunk, FarShard, Halo, Part
from taskfmm.tree import lists
from taskfmm.tree.essential import Essential, Runs, asked
from taskfmm.tree.octree import Octree


@dataclass(frozen=True, slots=True)
class How:
    """What all regions are planned by.

    task : seconds that a shard should take; top : the first level with expansions
    columns, weights : as of `taskfmm.plan.plan.build`
    counts_itself : of the kernel
    """

    task: float
    top: int
    columns: int = 1
    weights: Weights = PLAIN
    counts_itself: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the shards of a region begin.

    bounds : by level with expansions, int64 [n + 1], rows of the region's boxes, with the end of the level last
    charge_ptr : int64 [n + 1], of its sources
    n_near : works of the near field
    """

    bounds: dict[int, np.ndarray]
    charge_ptr: np.ndarray
    n_near: int


@dataclass(frozen=True, slots=True)
class Survey:
    """A region's tree with its lists, and how it is cut.

    ranges : by level, the boxes of the tree at which its shards begin and end, int64 [n, 2]
    near : the level and the leaves of each work of the near field
    runs : sources of other regions that its lists ask for, those of ``boxes``
    """

    essential: Essential
    lists: Interactions
    cut: Cut
    ranges: dict[int, np.ndarray]
    near: list[tuple[int, np.ndarray]]
    boxes: np.ndarray
    runs: Runs


def survey(found: Essential, operators: BoxOperators, how: How) -> Survey:
    """Make the lists of a region, and cut it into shards of about equal cost.

    operators : of the boxes of level ``top``
    """
    tree, own = found.tree, found.own
    every = within_reach(tree, lists.build(tree), how.top)
    if not how.counts_itself:
        every = without_coincident(tree, every)
    own_lists = direct_where_cheaper(tree, every, operators.upward_equivalent.shape[1], how.top)
    counted = cost.counted(tree, own_lists, operators, top=how.top, columns=how.columns, weights=how.weights)
    seconds = cost.seconds(counted)
    near_cost, m2l = seconds.pop("P2P"), seconds["M2L"]
    far_cost = sum(seconds.values(), np.zeros(tree.n_boxes))
    evaluated = np.diff(own_lists.u.ptr) > 0
    ranges, near = shards(tree, own, evaluated, (near_cost, far_cost, m2l), operators, how)
    bounds = {level: _bounds(found.row, each) for level, each in ranges.items()}
    # one shard, as each chunk of charges is asked for those of each
    charge_ptr = np.unique([0, tree.source_order.size])
    boxes = np.unique(np.concatenate([own_lists.u.idx, own_lists.x.idx]))
    cut = Cut(bounds, charge_ptr, len(near))
    return Survey(found, own_lists, cut, ranges, near, boxes, asked(found, boxes))


def shards(
    tree: Octree,
    own: np.ndarray,
    evaluated: np.ndarray,
    cost_of: tuple[np.ndarray, np.ndarray, np.ndarray],
    operators: BoxOperators,
    how: How,
    each: float = 1.0,
) -> tuple[dict[int, np.ndarray], list[tuple[int, np.ndarray]]]:
    """Where the shards of a region are cut, and the works of its near field; see `Survey`.

    own, evaluated : bool [n_boxes], the boxes of the region, and those with U lists
    cost_of : seconds of the near field, of the far field, and of M2L as a part of it, float64 [n_boxes] each
    each : boxes that each stands for
    """
    near_cost, far_cost, m2l = cost_of
    ranges, near = {}, []
    for level in range(tree.n_levels):
        first, last = tree.level_ptr[level : level + 2]
        here = first + np.flatnonzero(own[first:last])
        if here.size and level >= how.top:
            ranges[level] = _ranges(tree, here, far_cost, m2l, operators, how.task, each)
        leaves = here[evaluated[here]]
        if leaves.size:
            near += [(level, leaves[a:b]) for a, b in pairwise(cost.cut(near_cost[leaves], how.task))]
    return ranges, near


def _bounds(row: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Rows of the region's boxes at which shards begin, and the end; ranges : the same as boxes of its tree."""
    return np.append(row[ranges[:, 0]], row[ranges[-1, 1] - 1] + 1)


def _ranges(
    tree: Octree,
    here: np.ndarray,
    far: np.ndarray,
    m2l: np.ndarray,
    operators: BoxOperators,
    task: float,
    each: float,
) -> np.ndarray:
    """Runs of a region's boxes of one level that follow each other in the tree, cut where siblings end."""
    ranges: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.append(True, np.diff(here) != 1))
    for begin, end in pairwise([*edges.tolist(), here.size]):
        first, last = int(here[begin]), int(here[end - 1]) + 1
        fewest = max(1, int(cost.fewest_boxes(far[first:last], m2l[first:last], operators) / each))
        inner = first + cost.cut(far[first:last], task, fewest)[1:-1]
        inner = tree.child_ptr[tree.parent[inner]]
        bounds = np.unique(np.concatenate([[first], inner[inner > first], [last]]))
        ranges += list(pairwise(bounds.tolist()))
    return np.array(ranges, np.int64).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of all shards: of each level, of charges and of the near field, by region.

    Those of one region come after those of the one before.

    cuts : of each region, and of the `TOP`
    far : by level and region, the number of its first shard; charges, near : by region
    n_levels : of the whole tree
    """

    cuts: dict[int, Cut]
    far: dict[int, dict[int, int]]
    charges: dict[int, int]
    near: dict[int, int]
    n_levels: int

    @classmethod
    def of(cls, cuts: Mapping[int, Cut], n_levels: int) -> Numbers:
        far: dict[int, dict[int, int]] = {}
        n_far: dict[int, int] = {}
        charges, near, n_charges, n_near = {}, {}, 0, 0
        for region, cut in cuts.items():
            for level, bounds in cut.bounds.items():
                far.setdefault(level, {})[region] = n_far.setdefault(level, 0)
                n_far[level] += bounds.size - 1
            charges[region], near[region] = n_charges, n_near
            n_charges += cut.charge_ptr.size - 1
            n_near += cut.n_near
        return cls(dict(cuts), far, charges, near, n_levels)


class Regional:
    """In which rows of which shards the boxes of a region's tree, and its sources, are."""

    def __init__(self, found: Survey, region: int, numbers: Numbers) -> None:
        self.essential, self.numbers = found.essential, numbers
        n = int(found.cut.charge_ptr[-1])
        self.first = np.concatenate([[0], n + np.concatenate([[0], np.cumsum(found.runs.size)[:-1]])])
        self.first = self.first[: 1 + found.runs.size.size]
        self.region = np.concatenate([[region], found.runs.region])
        self.begin = np.concatenate([[0], found.runs.begin])

    def boxes(self, level: int, boxes: np.ndarray) -> Halo:
        owner, row = self.essential.owner[boxes], self.essential.row[boxes]
        cuts, first = self.numbers.cuts, self.numbers.far[level]
        bounds = {region: cuts[region].bounds[level] for region in np.unique(owner).tolist()}
        return _placed(level, owner, row, bounds, first)

    sending = boxes

    def sources(self, rows: np.ndarray) -> Halo:
        run = np.searchsorted(self.first, rows, side="right") - 1
        owner, row = self.region[run], self.begin[run] + rows - self.first[run]
        bounds = {region: self.numbers.cuts[region].charge_ptr for region in np.unique(owner).tolist()}
        return _placed(CHARGES, owner, row, bounds, self.numbers.charges)


def _placed(
    level: int, owner: np.ndarray, row: np.ndarray, bounds: Mapping[int, np.ndarray], first: Mapping[int, int]
) -> Halo:
    shard, inside = np.empty(row.size, np.int64), np.empty(row.size, np.int64)
    for region, of_region in bounds.items():
        some = owner == region
        at = np.searchsorted(of_region, row[some], side="right") - 1
        shard[some], inside[some] = first[region] + at, row[some] - of_region[at]
    return halo(level, shard, inside)


@dataclass(frozen=True, slots=True)
class Works:
    """All works of a region.

    far : its shards by level and number; near : by number
    chunk : how their values become the results at its points, in their order in the tree
    """

    far: dict[tuple[int, int], FarShard]
    near: dict[int, Any]
    chunk: Chunk


def works(found: Survey, region: int, numbers: Numbers, operators: BoxOperators, how: How) -> Works:
    """Write down the work of every operator on each shard of a region, whose tree has the points it asked for."""
    tree = found.essential.tree
    builder = ShardBuilder(tree, found.lists, Regional(found, region, numbers), how.top)
    single = operators.accuracy.dtype == "float32"
    far, near, parts = {}, {}, {}
    for level, ranges in found.ranges.items():
        number = numbers.far[level][region]
        for first, last in ranges.tolist():
            far[level, number] = shard = builder.far(level, number, first, last)
            if shard.l2p is not None:
                parts[level, number] = _part(tree.target_ptr, builder.leaf_targets(first, last))
            number += 1
    near_parts = {}
    for number, (level, leaves) in enumerate(found.near, numbers.near[region]):
        near[number] = builder.near(level, leaves, single)
        near_parts[number] = _part(tree.target_ptr, leaves)
    return Works(far, near, Chunk(0, tree.target_order.size, parts, near_parts))


def _part(target_ptr: np.ndarray, leaves: np.ndarray) -> Part:
    places = list_runs(*target_ptr[leaves].T)
    return Part(np.arange(places.size, dtype=np.int32), places.astype(np.int32))
