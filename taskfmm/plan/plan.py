"""The plan: everything that depends on geometry alone, made once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from taskfmm.cost.counts import PLAIN, Weights
from taskfmm.csr import Csr
from taskfmm.geometry.domain import Domain
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost, direct
from taskfmm.plan.base import Base, OfBase
from taskfmm.plan.runs import list_runs, take_runs
from taskfmm.plan.shards import Bounds, Interactions, ShardBuilder
from taskfmm.plan.works import Chunk, FarShard, Moments, Part, PointsToPoints
from taskfmm.tree import octree
from taskfmm.tree.images import Images
from taskfmm.tree.lists import SELF, TOP_LEVEL, Lists
from taskfmm.tree.octree import Octree

CHUNK = 2**18
"""Rows of a chunk of the result, at least."""

CHARGES_OF_A_SHARD = 2**17
"""Charges of a shard, at least."""

MOST_CHUNKS = 16
"""A chunk of the result reads from most shards, and a shard of lazy charges from most chunks that were given: so
their numbers are bounded."""


CROWDED = 1000
"""Sources of a leaf that are more than anyone would choose; whether they coincide is then looked at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Shards of a tree.

    far : for each level, from the root, its shards; none above `top`
    near : the near field, cut on its own since its cost lies elsewhere
    chunks : how the values of L2P and near field become the result, in the caller's order
    charge_ptr : int64 [n + 1], the sources at which the shards of charges begin, in the order of the tree
    moments : of these shards, in a periodic box
    base : the plan whose multipoles this one reads, if there is one; its moments as well
    """

    tree: Octree
    lists: Interactions
    far: tuple[tuple[FarShard, ...], ...]
    near: tuple[PointsToPoints, ...]
    chunks: tuple[Chunk, ...]
    charge_ptr: np.ndarray
    moments: tuple[Moments, ...] = ()
    base: Base | None = None

    @property
    def charges(self) -> list[np.ndarray]:
        """Of each shard of charges, the rows of its sources in the caller's order, int64."""
        return [self.tree.source_order[begin:end] for begin, end in pairwise(self.charge_ptr)]

    @property
    def lengths(self) -> list[np.ndarray]:
        """Of each shard of charges, the lengths of its sources; empty where these have none."""
        found = self.tree.lengths
        return [] if found is None else [found[begin:end] for begin, end in pairwise(self.charge_ptr)]

    @property
    def scale(self) -> float:
        """By which coordinates are multiplied."""
        return self.tree.domain.scale

    @property
    def top(self) -> int:
        """The first level with expansions; the number of levels if there is none."""
        return next((level for level, shards in enumerate(self.far) if shards), len(self.far))

    @property
    def is_direct(self) -> bool:
        """Whether the sum over all pairs is taken: nothing is approximated, and no operators are needed."""
        return not any(self.far)

    @property
    def is_near(self) -> bool:
        """Whether all pairs are summed: it is direct, or no boxes with expansions are far from each other."""
        lists = self.lists
        met = (each.idx.size for each in (lists.v, lists.w, lists.x))
        return self.is_direct or not (any(met) or self.tree.domain.cell)


def within_reach(tree: Octree, lists: Lists, top: int) -> Lists:
    """Without boxes that are too far from each other, where a kernel has died away at the levels above ``top``."""
    if top <= TOP_LEVEL:
        return lists
    level = lists.images.with_own(tree.level)

    def kept(csr: Csr) -> Csr:
        rows = csr.rows
        near = np.maximum(level[rows], level[csr.idx]) >= top
        return Csr.of(rows[near], csr.idx[near], tree.n_boxes)

    return replace(lists, v=kept(lists.v), w=kept(lists.w), x=kept(lists.x))


def direct_where_cheaper(tree: Octree, lists: Lists, n_surface: int, top: int = TOP_LEVEL) -> Interactions:
    """Move W and X entries into the near field where points are fewer than surface points.

    A W entry (source box A, leaf B) costs n_surface evaluations a target through A's multipole and as many as A
    has sources without it. An X entry (leaf A, target box B) can be moved only if B is a leaf.
    """
    n_sources = lists.images.with_own(np.diff(tree.source_ptr, axis=1)[:, 0])
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    w_rows, x_rows = lists.w.rows, lists.x.rows
    # leaves above the first level with expansions have no M2P to take their W entries
    w_direct = (n_sources[lists.w.idx] <= n_surface) | (tree.level[w_rows] < top)
    x_direct = tree.is_leaf[x_rows] & (n_targets[x_rows] <= n_surface)
    if not (w_direct.any() or x_direct.any()):
        return Interactions(lists.colleagues, lists.u, lists.v, lists.w, lists.x, lists.images)
    u_rows = np.concatenate([lists.u.rows, w_rows[w_direct], x_rows[x_direct]])
    u_idx = np.concatenate([lists.u.idx, lists.w.idx[w_direct], lists.x.idx[x_direct]])
    return Interactions(
        lists.colleagues,
        Csr.of(u_rows, u_idx, tree.n_boxes),
        lists.v,
        Csr.of(w_rows[~w_direct], lists.w.idx[~w_direct], tree.n_boxes),
        Csr.of(x_rows[~x_direct], lists.x.idx[~x_direct], tree.n_boxes),
        lists.images,
    )


def without_coincident(tree: Octree, lists: Lists) -> Lists:
    """Without the U entry of a leaf for itself, where all its many points are at one place and add nothing there.

    Else a million points of unknown position, all set to zero, say, would take a trillion pairs.
    """
    rows = lists.u.rows
    crowded = np.diff(tree.source_ptr, axis=1)[:, 0] > CROWDED
    own = np.flatnonzero((rows == lists.u.idx) & crowded[rows])
    if own.size == 0:
        return lists
    low, high = np.full((3, own.size), np.inf), np.full((3, own.size), -np.inf)
    for points, ptr in ((tree.sources, tree.source_ptr), (tree.targets, tree.target_ptr)):
        taken, first = take_runs(points, *ptr[rows[own]].T)
        low = np.minimum(low, np.minimum.reduceat(taken, first[:-1], axis=1))
        high = np.maximum(high, np.maximum.reduceat(taken, first[:-1], axis=1))
    gone = own[(low == high).all(axis=0)]
    u = Csr.of(np.delete(rows, gone), np.delete(lists.u.idx, gone), tree.n_boxes)
    return replace(lists, u=u)


def _chunks(
    tree: Octree, far: dict[tuple[int, int], np.ndarray], near: list[np.ndarray]
) -> tuple[Chunk, ...]:
    """Where the values of each task go; far and near hold the places of its targets in the tree."""
    edges = _edges(tree.target_order.size, CHUNK)
    size = edges[1] if len(edges) > 1 else 1
    chunks = tuple(Chunk(begin, end, {}, {}) for begin, end in pairwise(edges.tolist()))

    def scatter(places: np.ndarray, kind: str, key: object) -> None:
        rows = tree.target_order[places]
        owner = (rows // size).astype(np.uint16)  # at most MOST_CHUNKS; NumPy sorts these by counting
        order = np.argsort(owner, kind="stable") if len(chunks) > 1 else np.arange(rows.size)
        ends = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(chunks)))])
        for i, chunk in enumerate(chunks):
            columns = order[ends[i] : ends[i + 1]]
            if columns.size:
                part = Part(columns.astype(np.int32), (rows[columns] - chunk.begin).astype(np.int32))
                getattr(chunk, kind)[key] = part

    for key, places in far.items():
        scatter(places, "far", key)
    for number, places in enumerate(near):
        scatter(places, "near", number)
    return chunks


def _edges(n: int, least: int) -> np.ndarray:
    """Of pieces of n rows, ``least`` rows or more but for the last, and no more than `MOST_CHUNKS`: int64."""
    return np.append(np.arange(0, n, max(least, -(-n // MOST_CHUNKS))), n)


def sum_directly(
    sources: np.ndarray,
    targets: np.ndarray | None,
    domain: Domain,
    weights: Weights = PLAIN,
    lengths: np.ndarray | None = None,
) -> Plan:
    """The sum over all pairs; parameters as in `taskfmm.tree.octree.build`.

    weights : of the pairs; lengths : float64 [n_sources], scaled
    """
    return _of_one_box(replace(octree.root(sources, targets, domain), lengths=lengths), weights)


def _of_one_box(tree: Octree, weights: Weights) -> Plan:
    colleagues = np.full((1, 27), -1, np.int32)
    colleagues[0, SELF] = 0
    itself, none = (Csr(np.array([0, n]), np.zeros(n, np.int32)) for n in (1, 0))
    charge_ptr = np.array([0, tree.source_order.size])
    works = direct.build(tree, weights)
    chunks = _chunks(tree, {}, [places for _, places in works])
    lists = Interactions(colleagues, itself, none, none, none, Images.none())
    return Plan(tree, lists, ((),), tuple(work for work, _ in works), chunks, charge_ptr)


def _bounds(
    tree: Octree, level: int, far_cost: np.ndarray, m2l: np.ndarray, operators: BoxOperators, task: float
) -> np.ndarray:
    """Box numbers at which the shards of a level begin; siblings stay together, as M2L works on families."""
    first, last = tree.level_ptr[level : level + 2]
    if level == 0:
        return np.array([first, last])
    fewest = cost.fewest_boxes(far_cost[first:last], m2l[first:last], operators)
    inner = first + cost.cut(far_cost[first:last], task, fewest)[:-1]
    return np.append(np.unique(tree.child_ptr[tree.parent[inner]]), last)


def build(
    tree: Octree,
    lists: Lists,
    operators: BoxOperators,
    top: int = TOP_LEVEL,
    columns: int = 1,
    weights: Weights = PLAIN,
    base: Base | None = None,
) -> Plan:
    """Cut the tree into shards of about equal cost.

    lists : of boxes that are within reach of each other
    top : the first level with expansions; columns : of these, side by side
    weights : of the pairs
    base : where multipoles are those of another plan
    """
    if tree.n_boxes == 1 and tree.domain.cell is None and lists.u.idx.size:
        return _of_one_box(tree, weights)
    interactions = direct_where_cheaper(tree, lists, operators.upward_equivalent.shape[1], top)
    seconds = cost.seconds(
        cost.counted(tree, interactions, operators, top=top, columns=columns, weights=weights)
    )
    if base is not None:
        del seconds["P2M"], seconds["M2M"]
    near_cost, m2l = seconds.pop("P2P"), seconds["M2L"]
    far_cost = sum(seconds.values(), np.zeros(tree.n_boxes))
    task = cost.task(far_cost.sum() + near_cost.sum())

    level_ptr = tree.level_ptr
    bounds = {
        level: _bounds(tree, level, far_cost, m2l, operators, task) for level in range(top, tree.n_levels)
    }
    if base is None or base.up:
        charge_ptr = _edges(tree.source_order.size, CHARGES_OF_A_SHARD)
    else:  # the charges are those of the other plan's tasks, however that was cut
        charge_ptr = base.plan.charge_ptr
    own = Bounds(bounds, charge_ptr)
    if base is None:
        builder = ShardBuilder(tree, interactions, own, top)
    else:
        builder = ShardBuilder(tree, interactions, OfBase(base, own), top, ~base.sends(tree))
    far = tuple(
        tuple(
            builder.far(level, number, first, last)
            for number, (first, last) in enumerate(pairwise(bounds.get(level, np.empty(0)).tolist()))
        )
        for level in range(tree.n_levels)
    )

    def places(leaves: np.ndarray) -> np.ndarray:
        return list_runs(*tree.target_ptr[leaves].T)

    far_places = {
        (shard.level, shard.number): places(builder.leaf_targets(*bounds[shard.level][shard.number :][:2]))
        for shards in far
        for shard in shards
        if shard.l2p is not None
    }
    # where all pairs are summed, nothing is approximated
    single = operators.accuracy.dtype == "float32" and any(far)
    near_leaves = []
    evaluated = np.diff(interactions.u.ptr) > 0
    for level in range(tree.n_levels):
        leaves = level_ptr[level] + np.flatnonzero(evaluated[level_ptr[level] : level_ptr[level + 1]])
        if leaves.size:
            runs = cost.cut(near_cost[leaves], task)
            near_leaves += [(level, leaves[a:b]) for a, b in pairwise(runs)]
    works = [(builder.near(level, leaves, single), places(leaves)) for level, leaves in near_leaves]
    works += direct.of_wide(tree, charge_ptr, task, weights)
    chunks = _chunks(tree, far_places, [at for _, at in works])
    near = tuple(work for work, _ in works)
    moments = () if base is not None else builder.moments(charge_ptr)
    return Plan(tree, interactions, far, near, chunks, charge_ptr, moments, base)
