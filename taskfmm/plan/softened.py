"""Softened sources: those in boxes, whose pairs within reach are near, and those that are in no box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskfmm.csr import Csr
from taskfmm.plan.runs import list_runs
from taskfmm.tree.lists import Lists
from taskfmm.tree.octree import Octree


def direct_within_reach(tree: Octree, lists: Lists, reach: np.ndarray) -> Lists:
    """Move W and X entries into the near field where a source may be closer than its reach.

    Boxes of a V list are further apart, as no box is narrower than the reach of its sources. An X entry of an inner
    box becomes one of each leaf below it.

    reach : float64 [n_sources], sorted and scaled; where the targets are the sources, that of the target counts, too
    """
    of_box = _largest(reach, tree.source_ptr)
    of_target = of_box if tree.targets is tree.sources else np.zeros(tree.n_boxes)
    moved: list[tuple[np.ndarray, np.ndarray]] = []
    kept: list[Csr] = []
    for name in ("w", "x"):
        csr: Csr = getattr(lists, name)
        rows = csr.rows
        near = _gap(tree, rows, csr.idx) < np.maximum(of_target[rows], of_box[csr.idx])
        kept.append(Csr.of(rows[~near], csr.idx[~near], tree.n_boxes))
        moved.append((rows[near], csr.idx[near].astype(np.int64)))
    rows, idx = (np.concatenate(each) for each in zip(*moved, strict=True))
    if not rows.size:
        return lists
    u_rows, u_idx = [lists.u.rows], [lists.u.idx]
    has_targets = tree.target_ptr[:, 1] > tree.target_ptr[:, 0]
    while rows.size:
        leaf = tree.is_leaf[rows]
        u_rows.append(rows[leaf & has_targets[rows]])
        u_idx.append(idx[leaf & has_targets[rows]])
        begin, end = (tree.child_ptr[rows[~leaf] + i].astype(np.int64) for i in (0, 1))
        rows, idx = list_runs(begin, end), np.repeat(idx[~leaf], end - begin)
    u = Csr.of(np.concatenate(u_rows), np.concatenate(u_idx), tree.n_boxes)
    return replace(lists, u=u, w=kept[0], x=kept[1])


def _largest(values: np.ndarray, ptr: np.ndarray) -> np.ndarray:
    """The largest value of each run, 0 of an empty one; ptr : int64 [n, 2]"""
    found, some = np.zeros(len(ptr)), ptr[:, 1] > ptr[:, 0]
    # between the beginning and the end of a run, and from there to the next beginning, which is left out
    found[some] = np.maximum.reduceat(np.append(values, 0.0), ptr[some].ravel())[::2]
    return found


def _gap(tree: Octree, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The distance between boxes, float64 [n], in scaled coordinates."""
    level = np.maximum(tree.level[some], tree.level[others]).astype(np.int64)
    low, high = [], []
    for boxes in (some, others):
        finer = (level - tree.level[boxes])[:, None]
        low.append(tree.anchor[boxes] << finer)
        high.append((tree.anchor[boxes] + 1) << finer)
    apart = np.maximum(0, np.maximum(low[0] - high[1], low[1] - high[0]))
    return np.sqrt((apart.astype(np.float64) ** 2).sum(axis=1)) * np.ldexp(
        2.0 * tree.domain.half_width, -level
    )


def with_wide(tree: Octree, sources: np.ndarray, wide: np.ndarray) -> Octree:
    """A tree of all sources but the wide ones, with these before the others, in no box.

    A tree of one box has them in it, as all its pairs are summed one by one.

    sources : float64 [n, 3], all in the caller's units
    wide : int64, ascending rows of them; where the targets are the sources, they are no targets of the tree either
    """
    others = np.delete(np.arange(len(sources)), wide)
    order = np.concatenate([wide, others[tree.source_order]])
    points = np.ascontiguousarray(np.hstack([sources[wide].T * tree.domain.scale, tree.sources]))
    ptr = tree.source_ptr + wide.size if tree.n_boxes > 1 else np.array([[0, order.size]])
    if tree.targets is tree.sources:
        tree = replace(tree, target_ptr=ptr, targets=points, target_order=order)
    return replace(tree, source_ptr=ptr, sources=points, source_order=order)
