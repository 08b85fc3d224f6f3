"""Whether what a plan holds more than once is the same everywhere: points and centres of boxes.

Works carry copies of what they need, so that they can travel alone. `taskfmm.plan.check` sees to it that every index
is in range; here the copies are compared with the original, bit for bit, so that one that was changed is no plan.
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from taskfmm.geometry.domain import box_centers
from taskfmm.jit import jit
from taskfmm.plan.bounds import at, need
from taskfmm.plan.plan import Plan
from taskfmm.plan.work import FarShard, Halo, Part


def check(plan: Plan, sources: np.ndarray, targets: np.ndarray) -> None:
    """Compare all copies.

    plan : one that `taskfmm.plan.check` has passed
    sources, targets : float64 [n, 3], the caller's points, finite; the same array where they are the same points

    Raises
    ------
    Unfit
        Naming the first copy that differs.
    """
    tree, scale = plan.tree, plan.tree.domain.scale
    for name, points in {"sources": sources, "targets": targets}.items():
        ranked, order = getattr(tree, name), getattr(tree, f"{name[:-1]}_order")
        need(len(points) == order.size, f"{name} and the tree differ in number")
        if name == "sources" or targets is not sources:
            need(_ranked(bits(ranked), points, order, scale), f"{name} are not those of the tree")
    for shard in chain.from_iterable(plan.far):
        with at(f"far/{shard.level}/{shard.number}"):
            _far(plan, shard)
    for number, near in enumerate(plan.near):
        with at(f"near/{number}"):
            _sources(plan, near.points, near.charge_rows)
            if near.both is not None:
                _sources(plan, near.targets, near.both.own_rows)
    for chunk in plan.chunks:
        own = targets[chunk.begin : chunk.end]
        for where, part in chunk.far.items():
            l2p = plan.far[where[0]][where[1]].l2p
            assert l2p is not None  # `taskfmm.plan.check` has refused that
            _targets(l2p.targets, part, own, scale)
        for number, part in chunk.near.items():
            _targets(plan.near[number].targets, part, own, scale)


def _far(plan: Plan, shard: FarShard) -> None:
    first = _first(plan, shard.level)[shard.number]
    for points in (shard.p2m, shard.p2l):
        if points is not None:
            _sources(plan, points.points, points.charge_rows)
            _centres(plan, shard.level, first + points.rows, points.hi, points.lo)
    if shard.l2p is None:
        return
    for work in (shard.l2p, shard.m2p):
        if work is not None:
            leaves = first + shard.l2p.halo.rows
            _centres(plan, shard.level, leaves, work.hi, work.lo)
            _centres(plan, work.halo.level, _boxes(plan, work.halo), work.box_hi, work.box_lo)
            need(same(work.targets, shard.l2p.targets), "M2P has other targets than L2P")


def _first(plan: Plan, level: int) -> np.ndarray:
    """The first box of every shard of a level."""
    counts = [shard.n_boxes for shard in plan.far[level]]
    return plan.tree.level_ptr[level] + np.cumsum([0, *counts])[:-1]


def _boxes(plan: Plan, halo: Halo) -> np.ndarray:
    return np.repeat(_first(plan, halo.level)[list(halo.shards)], np.diff(halo.ptr)) + halo.rows


def _sources(plan: Plan, points: np.ndarray, rows: np.ndarray) -> None:
    need(_columns(bits(points), rows, bits(plan.tree.sources)), "points are not those of the tree")


def _targets(targets: np.ndarray, part: Part, own: np.ndarray, scale: float) -> None:
    need(
        _gathered(bits(targets), part.columns, own, part.rows, scale),
        "targets of a chunk are not the caller's",
    )


def _centres(plan: Plan, level: int, boxes: np.ndarray, hi: np.ndarray, lo: np.ndarray) -> None:
    need(hi.shape[1] == boxes.size, "hi and lo are of other boxes")
    centres = box_centers(plan.tree.domain, level, plan.tree.anchor[boxes])
    need(same(hi, centres[0]) and same(lo, centres[1]), "hi and lo are not the centres of the boxes")


def bits(array: np.ndarray) -> np.ndarray:
    """As integers, which are compared as they are; loops compiled for finite numbers find any NaN equal."""
    return array.view(np.int64)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(bits(one), bits(other))


@jit
def _columns(copy, rows, whole):
    """Whether column i of the copy is column rows[i] of the whole."""
    different = np.int64(0)
    for i in range(rows.size):
        row = rows[i]
        for axis in range(3):
            different |= copy[axis, i] ^ whole[axis, row]
    return different == 0


@jit
def _ranked(ranked, points, order, scale):
    """Whether column i of what is ranked is row order[i] of the points, scaled."""
    different = np.int64(0)
    for i in range(order.size):
        row = order[i]
        for axis in range(3):
            different |= ranked[axis, i] ^ np.float64(points[row, axis] * scale).view(np.int64)
    return different == 0


@jit
def _gathered(copy, columns, points, rows, scale):
    """Whether column columns[i] of the copy is row rows[i] of the points, scaled."""
    different = np.int64(0)
    for i in range(columns.size):
        column, row = columns[i], rows[i]
        for axis in range(3):
            different |= copy[axis, column] ^ np.float64(points[row, axis] * scale).view(np.int64)
    return different == 0
