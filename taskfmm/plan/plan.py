"""The plan: everything that depends on geometry alone, made once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.csr import Csr
from taskfmm.operators.expansions import Expansions
from taskfmm.plan import cost
from taskfmm.plan.shards import TOP_LEVEL, Interactions, ShardBuilder
from taskfmm.plan.work import FarShard, PointsToPoints
from taskfmm.tree.lists import Lists
from taskfmm.tree.octree import Octree


@dataclass(frozen=True, slots=True)
class Plan:
    """Shards of a tree.

    far : for each level, from the root, its shards; no shards above level 2
    near : the near field, cut on its own since its cost lies elsewhere
    """

    tree: Octree
    lists: Interactions
    far: tuple[tuple[FarShard, ...], ...]
    near: tuple[PointsToPoints, ...]


def _csr(rows: np.ndarray, columns: np.ndarray, n_rows: int) -> Csr:
    order = np.lexsort((columns, rows))
    ptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])
    return Csr(ptr.astype(np.int64), columns[order].astype(np.int32))


def _rows(csr: Csr) -> np.ndarray:
    return np.repeat(np.arange(len(csr)), np.diff(csr.ptr))


def direct_where_cheaper(tree: Octree, lists: Lists, n_surface: int) -> Interactions:
    """Move W and X entries into the near field where points are fewer than surface points.

    A W entry (source box A, leaf B) costs n_surface evaluations a target through A's multipole and as many as A
    has sources without it. An X entry (leaf A, target box B) can be moved only if B is a leaf.
    """
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    w_rows, x_rows = _rows(lists.w), _rows(lists.x)
    w_direct = n_sources[lists.w.idx] <= n_surface
    x_direct = tree.is_leaf[x_rows] & (n_targets[x_rows] <= n_surface)
    if not (w_direct.any() or x_direct.any()):
        return Interactions(lists.u, lists.v, lists.w, lists.x)
    u_rows = np.concatenate([_rows(lists.u), w_rows[w_direct], x_rows[x_direct]])
    u_idx = np.concatenate([lists.u.idx, lists.w.idx[w_direct], lists.x.idx[x_direct]])
    return Interactions(
        _csr(u_rows, u_idx, tree.n_boxes),
        lists.v,
        _csr(w_rows[~w_direct], lists.w.idx[~w_direct], tree.n_boxes),
        _csr(x_rows[~x_direct], lists.x.idx[~x_direct], tree.n_boxes),
    )


def build(tree: Octree, lists: Lists, operators: Expansions) -> Plan:
    """Cut the tree into shards of about equal cost."""
    interactions = direct_where_cheaper(tree, lists, operators.upward_check.shape[1])
    far_cost = cost.far(tree, interactions.v, interactions.w, interactions.x, operators)
    near_cost = cost.near(tree, interactions.u)
    task = float(np.clip((far_cost.sum() + near_cost.sum()) / cost.TASKS, cost.SHORTEST, cost.LONGEST))

    level_of = tree.level_ptr
    bounds = {
        level: level_of[level] + cost.cut(far_cost[level_of[level] : level_of[level + 1]], task)
        for level in range(TOP_LEVEL, tree.n_levels)
    }
    builder = ShardBuilder(tree, interactions, bounds)
    far = tuple(
        tuple(builder.far(level, s) for s in range(bounds[level].size - 1)) if level in bounds else ()
        for level in range(tree.n_levels)
    )
    near = []
    evaluated = np.diff(interactions.u.ptr) > 0
    for level in range(tree.n_levels):
        leaves = level_of[level] + np.flatnonzero(evaluated[level_of[level] : level_of[level + 1]])
        if leaves.size:
            runs = cost.cut(near_cost[leaves], task)
            near += [builder.near(level, leaves[a:b]) for a, b in zip(runs[:-1], runs[1:], strict=True)]
    return Plan(tree, interactions, far, tuple(near))
