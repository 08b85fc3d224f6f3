"""The tree of the sources of another one with other targets: its boxes of sources are boxes of this one as well.

So what is known of sources in a box, as its multipole, is known here. Only the cube may be larger, of which the root
of the other tree is then a box. Where targets are few, boxes of sources are leaves here that are divided there. No
targets divide a leaf of sources, since each meets about as many sources as a source does. But balance may ask to
divide one beside boxes that hold targets alone: the boxes within it are new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import morton
from taskfmm.geometry.domain import grown
from taskfmm.jit import jit, loop
from taskfmm.tree.balance import closed, descended
from taskfmm.tree.octree import Octree, boxes_of, sorted_in_rows


@dataclass(frozen=True, slots=True)
class Beside:
    """A tree with other targets.

    tree : its sources are those of the other one, in their order; scaled coordinates are those there over ``2**up``
    up : the level of the root of the other tree
    box : int32 [n_boxes], of each box the same one of the other tree, if it has sources there; else -1
    """

    tree: Octree
    up: int
    box: np.ndarray


def build(
    other: Octree, targets: np.ndarray, leaf_size: Callable[[int, int], int], scaled: bool, threads: int = 1
) -> Beside | None:
    """The tree of the sources of another one, and of targets.

    A box is split while it holds more than ``leaf_size`` sources, or targets, and no leaf of the other tree, or where
    the root of that tree is below it.

    Parameters
    ----------
    other : Octree
    targets : float64 [n, 3], in the caller's units, n at least 1; in a periodic box within the cell
    leaf_size : from the numbers of sources and targets in leaves of the other tree that hold both
    scaled : bool, as of `taskfmm.geometry.domain.enclose`
    threads : int

    Returns
    -------
    Beside
        The same, bit for bit, for any number of threads; None where the targets are so far away that the boxes of the
        sources would be too deep.
    """
    domain, up, anchor = other.domain, 0, np.zeros(3, np.int64)
    if domain.cell is None:
        found = grown(domain, targets, scaled, morton.MAX_LEVEL - other.n_levels + 1)
        if found is None:
            return None
        domain, up, anchor = found
    in_boxes = other.sources[:, other.n_wide :].T / other.domain.scale
    of_sources = morton.keys(np.ascontiguousarray(in_boxes), other.domain, threads)
    if up:
        _lower(0, in_boxes.shape[0], *of_sources, up, *anchor.tolist(), threads=threads)
    of_targets = morton.keys(targets, domain, threads)
    target_order = morton.sort(*of_targets)
    hi, lo, source_count = _merged(*of_sources, *(each[target_order] for each in of_targets))
    target_count = np.arange(hi.size + 1) - source_count
    size = leaf_size(*_in_leaves(other, up, hi, lo, source_count))
    split = _split(other, up, hi, lo, source_count, target_count, size, threads)
    boxes, begin, end = boxes_of(hi, lo, closed(hi, lo, split, domain.cell), threads)
    unit = 2.0**-up if scaled else 1.0
    tree = Octree(
        domain,
        *boxes,
        other.n_wide + np.stack((source_count[begin], source_count[end]), axis=1),
        np.stack((target_count[begin], target_count[end]), axis=1),
        other.sources if unit == 1.0 else other.sources * unit,
        sorted_in_rows(targets, target_order, domain, threads),
        other.source_order,
        target_order,
        None if other.lengths is None else other.lengths * unit,
    )
    box = _same(tree, other, up)
    is_same = ((box >= 0) & ~other.is_leaf[box])[tree.parent]
    is_same[0] = up == 0  # it has no parent
    if (is_same & (tree.source_ptr[:, 1] > tree.source_ptr[:, 0]) & (box < 0)).any():
        return None  # rounding put a source into the box beside its own: boxes would not be the same
    return Beside(tree, up, box)


def divides_sources(beside: Beside, other: Octree) -> bool:
    """Whether a leaf of the other tree has been divided that holds sources."""
    box = beside.box
    return bool((other.is_leaf[box] & (box >= 0) & ~beside.tree.is_leaf).any())


def _in_leaves(
    other: Octree, up: int, hi: np.ndarray, lo: np.ndarray, source_count: np.ndarray
) -> tuple[int, int]:
    """How many sources are in leaves of the other tree that hold targets, and how many targets these are."""
    leaves = np.flatnonzero(other.is_leaf & (other.source_ptr[:, 1] > other.source_ptr[:, 0]))
    leaves = leaves[np.argsort(other.source_ptr[leaves, 0])]
    n_sources = np.diff(other.source_ptr[leaves], axis=1)[:, 0]
    n_targets = np.zeros(leaves.size, np.int64)
    is_source = np.diff(source_count) > 0
    places = np.flatnonzero(~is_source), np.flatnonzero(is_source)
    leaf = np.repeat(np.arange(leaves.size), n_sources)
    level = other.level[leaves].astype(np.int64) + up
    _count_targets(hi, lo, source_count, *places, leaf, level, n_targets)
    return int(n_sources[n_targets > 0].sum()), int(n_targets.sum())


@jit
def _count_targets(hi, lo, before, targets, sources, leaf, level, n_targets):
    """Count the targets in the leaf of the source before each on the curve, or else of the one after it."""
    for i in targets:
        for s in range(max(0, before[i] - 1), min(sources.size, before[i] + 1)):
            k = sources[s]
            if morton.same_cell(hi[i], lo[i], hi[k], lo[k], level[leaf[s]]):
                n_targets[leaf[s]] += 1
                break


def _split(
    other: Octree,
    up: int,
    hi: np.ndarray,
    lo: np.ndarray,
    source_count: np.ndarray,
    target_count: np.ndarray,
    leaf_size: int,
    threads: int,
) -> list[np.ndarray]:
    """By level, the first point of every crowded cell that is split in the other tree, or holds targets alone."""
    top = 0 if other.domain.cell is None else other.domain.cell.level

    def is_split(level: int, begin: np.ndarray, end: np.ndarray, distinct: np.ndarray) -> np.ndarray:
        n_sources, n_targets = (count[end] - count[begin] for count in (source_count, target_count))
        inner = _is_inner(other, level - up, other.n_wide + source_count[begin])
        crowded = (np.maximum(n_sources, n_targets) > leaf_size) | ((n_sources > 0) & (level < up))
        return crowded & np.where(n_sources > 0, inner, distinct) | (level < top)

    return descended(hi, lo, is_split, threads)


def _is_inner(other: Octree, level: int, first: np.ndarray) -> np.ndarray:
    """Whether the box of a level is split whose sources begin there, bool [n]; boxes above the root are."""
    if not 0 <= level < other.n_levels:
        return np.full(first.size, level < 0)
    boxes = _with_sources(other, level)
    at = np.minimum(np.searchsorted(other.source_ptr[boxes, 0], first), boxes.size - 1)
    return ~other.is_leaf[boxes[at]] if boxes.size else np.zeros(first.size, bool)


def _with_sources(tree: Octree, level: int) -> np.ndarray:
    """The boxes of a level that hold sources, in the order of these, int64."""
    begin, end = tree.level_ptr[level : level + 2]
    return begin + np.flatnonzero(tree.source_ptr[begin:end, 1] > tree.source_ptr[begin:end, 0])


def _same(tree: Octree, other: Octree, up: int) -> np.ndarray:
    """See `Beside.box`. An only child has the sources of its parent, so levels are compared as well."""
    found = np.full(tree.n_boxes, -1, np.int32)
    for level in range(min(other.n_levels, tree.n_levels - up)):
        there, here = _with_sources(other, level), _with_sources(tree, level + up)
        at = np.minimum(np.searchsorted(other.source_ptr[there, 0], tree.source_ptr[here, 0]), there.size - 1)
        if there.size:
            same = (other.source_ptr[there[at]] == tree.source_ptr[here]).all(axis=1)
            found[here[same]] = there[at[same]]
    return found


@loop
def _lower(first, last, hi, lo, up, x0, y0, z0):
    """Keys of points in a cube, in place, as those in a cube in which it is the box of this level and anchor."""
    for i in range(first, last):
        x, y, z = morton.anchor(hi[i], lo[i], morton.MAX_LEVEL)
        shift = morton.MAX_LEVEL - up
        hi[i], lo[i] = morton.key(
            (x >> up) + (x0 << shift), (y >> up) + (y0 << shift), (z >> up) + (z0 << shift)
        )


@jit
def _merged(source_hi, source_lo, target_hi, target_lo):
    """Sorted keys of sources and targets as one, and how many sources come before each, with one entry more."""
    n = source_hi.size + target_hi.size
    hi, lo, before = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n + 1, np.int64)
    s = 0
    for i in range(n):
        before[i] = s
        t = i - s
        first = t == target_hi.size or (
            s < source_hi.size
            and (
                source_hi[s] < target_hi[t] or (source_hi[s] == target_hi[t] and source_lo[s] <= target_lo[t])
            )
        )
        if first:
            hi[i], lo[i] = source_hi[s], source_lo[s]
            s += 1
        else:
            hi[i], lo[i] = target_hi[t], target_lo[t]
    before[n] = s
    return hi, lo, before
