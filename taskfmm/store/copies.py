"""Whether what a plan holds more than once is the same everywhere: points and centres of boxes.

Works carry copies of what they need, so that they can travel alone. `taskfmm.store.check` sees to it that every index
is in range; here the copies are compared with the original, bit for bit, so that one that was changed is no plan.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from operator import call

import numpy as np

from taskfmm.geometry.cell import AWAY, HOME
from taskfmm.geometry.domain import box_centers
from taskfmm.plan.plan import Plan
from taskfmm.plan.works import Chunk, FarShard, Halo, Part
from taskfmm.store.bounds import at, need

BLOCK = 2**16
"""Points compared at a time; they stay in the cache."""


def check(plan: Plan, sources: np.ndarray, targets: np.ndarray) -> None:
    """Compare all copies.

    plan : one that `taskfmm.store.check` has passed
    sources, targets : float64 [n, 3], the caller's points, finite; the same array where they are the same points

    Raises
    ------
    Unfit
        Naming the first copy that differs.
    """
    for name, points in {"sources": sources, "targets": targets}.items():
        count = getattr(plan.tree, f"{name[:-1]}_order").size
        need(len(points) == count, f"{name} and the tree differ in number")
    place = np.empty(len(targets), np.int64)
    place[plan.tree.target_order] = np.arange(len(targets))
    jobs = [partial(_ranks, plan, "sources", sources)]
    if targets is not sources:
        jobs.append(partial(_ranks, plan, "targets", targets))
    jobs += (partial(_far, plan, shard, place) for shard in chain(*plan.far))
    jobs += (partial(_moments, plan, number) for number in range(len(plan.moments)))
    jobs += (partial(_near, plan, number, place) for number in range(len(plan.near)))
    with ThreadPoolExecutor(2) as pool:  # as many as compute the checksums
        for _ in pool.map(call, jobs):
            pass


def _ranks(plan: Plan, name: str, points: np.ndarray) -> None:
    ranked, order = getattr(plan.tree, name), getattr(plan.tree, f"{name[:-1]}_order")
    for first in range(0, order.size, BLOCK):
        block = slice(first, first + BLOCK)
        scaled = np.take(points, order[block], axis=0) * plan.tree.domain.scale
        need(np.array_equal(bits(scaled), bits(ranked)[:, block].T), f"{name} are not those of the tree")


def _moments(plan: Plan, number: int) -> None:
    work = plan.moments[number]
    with at(f"moments/{number}"):
        rows = plan.charge_ptr[number] + work.charges.rows
        need(_columns(bits(work.points), rows, bits(plan.tree.sources)), "points are not those of the tree")


def _near(plan: Plan, number: int, place: np.ndarray) -> None:
    near = plan.near[number]
    with at(f"near/{number}"):
        _sources(plan, near.points, near.charges)
        if near.mutual is not None:
            _sources(plan, near.targets, near.mutual.own)
        _targets(plan, near.targets, [(chunk, chunk.near.get(number)) for chunk in plan.chunks], place)


def _far(plan: Plan, shard: FarShard, place: np.ndarray) -> None:
    where = (shard.level, shard.number)
    with at(f"far/{shard.level}/{shard.number}"):
        _boxes_and_sources(plan, shard)
        if shard.l2p is not None:
            _targets(plan, shard.l2p.targets, [(chunk, chunk.far.get(where)) for chunk in plan.chunks], place)


def _boxes_and_sources(plan: Plan, shard: FarShard) -> None:
    first = _first(plan, shard.level)[shard.number]
    for points in (shard.p2m, shard.p2l):
        if points is not None:
            _sources(plan, points.points, points.charges)
            _centres(plan, shard.level, first + points.rows, points.hi, points.lo)
    if shard.l2p is None:
        return
    for work in (shard.l2p, shard.m2p):
        if work is not None:
            leaves = first + shard.l2p.halo.rows
            _centres(plan, shard.level, leaves, work.hi, work.lo)
            _images_of_centres(plan, work.halo.level, _boxes(plan, work.halo), work.box_hi, work.box_lo)
            need(same(work.targets, shard.l2p.targets), "M2P has other targets than L2P")


def _first(plan: Plan, level: int) -> np.ndarray:
    """The first box of every shard of a level."""
    counts = [shard.n_boxes for shard in plan.far[level]]
    return plan.tree.level_ptr[level] + np.cumsum([0, *counts])[:-1]


def _boxes(plan: Plan, halo: Halo) -> np.ndarray:
    return np.repeat(_first(plan, halo.level)[list(halo.shards)], np.diff(halo.ptr)) + halo.rows


def _sources(plan: Plan, points: np.ndarray, charges: Halo) -> None:
    rows = np.repeat(plan.charge_ptr[list(charges.shards)], np.diff(charges.ptr)) + charges.rows
    cell = plan.tree.domain.cell
    if cell is None:
        need(_columns(bits(points), rows, bits(plan.tree.sources)), "points are not those of the tree")
        return
    for image in cell.images:  # each point is one of the tree, or an image of it
        moved = np.take(plan.tree.sources, rows, axis=1)
        if image != HOME:
            moved += cell.shift(np.array([image]))
        other = (bits(points) != bits(moved)).any(axis=0)
        points, rows = points[:, other], rows[other]
    need(not rows.size, "points are not those of the tree, nor images of them")


def _targets(
    plan: Plan, targets: np.ndarray, parts: list[tuple[Chunk, Part | None]], place: np.ndarray
) -> None:
    """``place`` of the caller's rows in the tree; the chunks say which of them the targets are."""
    rows = np.zeros(targets.shape[1], np.int64)
    for chunk, part in parts:
        if part is not None:
            rows[part.columns] = np.take(place, chunk.begin + part.rows)
    need(_columns(bits(targets), rows, bits(plan.tree.targets)), "targets are not those of the tree")


def _centres(plan: Plan, level: int, boxes: np.ndarray, hi: np.ndarray, lo: np.ndarray) -> None:
    need(hi.shape[1] == boxes.size, "hi and lo are of other boxes")
    centres = box_centers(plan.tree.domain, level, plan.tree.anchor[boxes])
    need(same(hi, centres[0]) and same(lo, centres[1]), "hi and lo are not the centres of the boxes")


def _images_of_centres(plan: Plan, level: int, boxes: np.ndarray, hi: np.ndarray, lo: np.ndarray) -> None:
    """The same, where boxes may be images."""
    cell = plan.tree.domain.cell
    if cell is None:
        return _centres(plan, level, boxes, hi, lo)
    need(hi.shape[1] == boxes.size, "box_hi and box_lo are of other boxes")
    for image in cell.images:
        anchor = plan.tree.anchor[boxes] + AWAY[:, image] * (np.array(cell.cubes) << (level - cell.level))
        centres = box_centers(plan.tree.domain, level, anchor)
        other = ((bits(centres[0]) != bits(hi)) | (bits(centres[1]) != bits(lo))).any(axis=0)
        boxes, hi, lo = boxes[other], hi[:, other], lo[:, other]
    need(not boxes.size, "box_hi and box_lo are not the centres of boxes, nor of images of them")


def bits(array: np.ndarray) -> np.ndarray:
    """As integers, which are compared as they are: minus zero is not zero, and a NaN is itself."""
    return array.view(np.int64)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(bits(one), bits(other))


def _columns(copy: np.ndarray, rows: np.ndarray, whole: np.ndarray) -> bool:
    """Whether column i of the copy is column rows[i] of the whole."""
    return all(np.array_equal(np.take(whole[axis], rows), copy[axis]) for axis in range(3))
