"""The sum over all pairs as tasks of the near field: the plan of a tree of one box.

Nothing is approximated, so neither expansions nor operators are needed. The pairs are cut into tiles, and the tiles
into tasks. A target may be in several tiles: what they give it is added when the result is collected, in the order
of the tasks, so that its bits depend neither on the scheduler nor on the number of threads.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement, pairwise

import numpy as np

from taskfmm.cost.counts import Weights
from taskfmm.plan import cost
from taskfmm.plan.runs import list_runs, take_runs
from taskfmm.plan.shards import halo_of
from taskfmm.plan.works import CHARGES, Halo, MutualPairs, PointsToPoints
from taskfmm.tree.octree import Octree

TARGETS, SOURCES = 256, 8192
"""Most targets and most sources of a tile where targets are not the sources: its sources stay in a core's cache."""

GROUP = 1024
"""Points of a group where the targets are the sources: a tile is a pair of groups, or one group with itself."""

MOST_GROUPS = 16
"""Every tile has copies of its points, and a point is in as many tiles as there are groups."""

ROW = 128
"""In the tile of one group, points that are taken at a time: each distance to the rows after it serves both points,
each distance within it one."""

Work = tuple[PointsToPoints, np.ndarray]


def build(tree: Octree, weights: Weights) -> list[Work]:
    """The tasks, of about equal cost, and for each the places of its targets in the tree, int64 [n_targets]."""
    n_sources, n_targets = tree.source_order.size, tree.target_order.size
    same = tree.targets is tree.sources
    seconds = cost.direct(n_sources, n_targets, same, weights)
    n_tasks = max(1, round(seconds / cost.task(seconds)))
    if same:
        return _mutual_tiles(tree, n_tasks)
    # the longer side is cut into tasks
    if n_targets > n_sources:
        return [_one_side(tree, (0, n_sources), run) for run in pairwise(_even(n_targets, n_tasks))]
    return [_one_side(tree, run, (0, n_targets)) for run in pairwise(_even(n_sources, n_tasks))]


def of_wide(tree: Octree, charge_ptr: np.ndarray, task: float, weights: Weights) -> list[Work]:
    """As `build`, of the pairs of all targets with the sources that are in no box.

    charge_ptr : the sources at which shards of charges begin, as `taskfmm.plan.plan.Plan` has it
    task : seconds that one should take; weights : of the pairs
    """
    wide, n_targets, same = tree.n_wide, tree.target_order.size, tree.targets is tree.sources
    if not wide:
        return []
    runs = max(1, round(cost.beside(wide, n_targets, same, weights) / task))
    if same:
        groups = np.append(0, wide + _even(n_targets - wide, runs))
        works = [_tiles(tree, groups, [(0, group)]) for group in range(groups.size - 1)]
    else:
        works = [_one_side(tree, (0, wide), run) for run in pairwise(_even(n_targets, runs))]
    return [(_by_shard(work, charge_ptr), places) for work, places in works]


def _by_shard(work: PointsToPoints, charge_ptr: np.ndarray) -> PointsToPoints:
    """The same, of charges that are cut into shards; the places of its sources ascend."""
    charges = halo_of(CHARGES, work.charges.rows, charge_ptr)
    mutual = work.mutual and replace(work.mutual, own=halo_of(CHARGES, work.mutual.own.rows, charge_ptr))
    return replace(work, charges=charges, mutual=mutual)


def _even(n: int, pieces: int) -> np.ndarray:
    """Bounds of runs of about equal length, none of them empty: int64 [n_runs + 1]."""
    pieces = min(n, pieces)
    return n * np.arange(pieces + 1) // pieces


def _one_side(tree: Octree, sources: tuple[int, int], targets: tuple[int, int]) -> Work:
    """Every row is a tile."""
    (first, last), (begin, end) = sources, targets
    of_sources = _even(last - first, -(-(last - first) // SOURCES))
    of_targets = begin + _even(end - begin, -(-(end - begin) // TARGETS))
    n_runs, n_blocks = of_sources.size - 1, of_targets.size - 1
    blocks = np.repeat(of_targets[:-1], n_runs), np.repeat(of_targets[1:], n_runs)
    at_targets, target_ptr = take_runs(tree.targets, *blocks)
    work = PointsToPoints(
        0,
        target_ptr,
        at_targets,
        np.arange(n_runs * n_blocks + 1),
        np.tile(of_sources[:-1], n_blocks),
        np.tile(of_sources[1:], n_blocks),
        tree.sources[:, first:last],
        _charges(np.arange(first, last)),
        None,
    )
    return work, list_runs(*blocks)


def _mutual_tiles(tree: Octree, n_tasks: int) -> list[Work]:
    n = tree.source_order.size
    groups = _even(n, min(MOST_GROUPS, -(-n // GROUP)))
    tiles = list(combinations_with_replacement(range(groups.size - 1), 2))
    pairs = np.array([1.0 + (one != other) for one, other in tiles])
    return [_tiles(tree, groups, tiles[a:b]) for a, b in pairwise(cost.cut(pairs, pairs.sum() / n_tasks))]


def _tiles(tree: Octree, groups: np.ndarray, tiles: list[tuple[int, int]]) -> Work:
    """Every tile is a block."""
    rows = [_rows(groups, one, other) for one, other in tiles]
    begin, end = np.concatenate(rows, axis=1)
    block_ptr = np.cumsum([0, *(found.shape[1] for found in rows)])
    n_rows = np.diff(block_ptr)
    later = np.arange(1, begin.size + 1), np.repeat(block_ptr[1:], n_rows)
    alone = np.repeat([one == other for one, other in tiles], n_rows)
    points, source_ptr = take_runs(tree.sources, begin[alone], end[alone])
    targets, target_ptr = take_runs(tree.targets, begin, end)
    places = list_runs(begin, end)
    work = PointsToPoints(
        0,
        target_ptr,
        targets,
        np.cumsum([0, *alone]),
        source_ptr[:-1],
        source_ptr[1:],
        points,
        _charges(list_runs(begin[alone], end[alone])),
        MutualPairs(
            block_ptr,
            _charges(places),
            np.cumsum([0, *(later[1] - later[0])]),
            list_runs(*later).astype(np.int32),
        ),
    )
    return work, places


def _charges(places: np.ndarray) -> Halo:
    """Of one shard that has all charges."""
    return Halo(CHARGES, (0,), np.array([0, places.size]), places.astype(np.int32))


def _rows(groups: np.ndarray, one: int, other: int) -> np.ndarray:
    """Runs of points, int64 [2, n_rows]: two groups, or one group in pieces."""
    if one != other:
        return np.array([groups[[one, other]], groups[[one + 1, other + 1]]])
    n = groups[one + 1] - groups[one]
    bounds = groups[one] + _even(n, -(-n // ROW))
    return np.stack([bounds[:-1], bounds[1:]])
