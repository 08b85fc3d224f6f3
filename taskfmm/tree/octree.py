"""The adaptive linear octree, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain, enclose
from taskfmm.jit import loop
from taskfmm.tree.balance import balance, children


@dataclass(frozen=True, slots=True)
class Octree:
    """Boxes in level order, in Morton order within a level; points in Morton order.

    Only boxes that hold a point exist. Box ``b`` has the children ``child_ptr[b]:child_ptr[b + 1]``, a leaf
    none. A box's points, leaf or inner, are one contiguous run of the sorted points.

    domain : Domain
    level_ptr : int64 [n_levels + 1]
        The boxes of level ``l`` are ``level_ptr[l]:level_ptr[l + 1]``; the root is box 0 at level 0.
    level : int8 [n_boxes]
    anchor : int64 [n_boxes, 3]
        Integer coordinates of the box in the grid of its own level, 0 to 2**level - 1, order x, y, z.
    parent : int32 [n_boxes]
        -1 for the root.
    child_ptr : int32 [n_boxes + 1]
    source_ptr, target_ptr : int64 [n_boxes, 2]
        First and one past the last sorted source (target) of the box.
    sources, targets : float64 [3, n]
        Sorted, scaled coordinates; each row is contiguous. The same array when targets are the sources.
    source_order, target_order : int64 [n]
        The caller's row of each sorted point.
    lengths : float64 [n_sources], or None
        Softening of the sorted sources, scaled; None where the kernel has none.
    """

    domain: Domain
    level_ptr: np.ndarray
    level: np.ndarray
    anchor: np.ndarray
    parent: np.ndarray
    child_ptr: np.ndarray
    source_ptr: np.ndarray
    target_ptr: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    source_order: np.ndarray
    target_order: np.ndarray
    lengths: np.ndarray | None = None

    @property
    def n_levels(self) -> int:
        return self.level_ptr.size - 1

    @property
    def n_boxes(self) -> int:
        return self.level.size

    @property
    def n_wide(self) -> int:
        """Sources before those of the root: they are in no box, and meet all points one by one."""
        return int(self.source_ptr[0, 0])

    @property
    def is_leaf(self) -> np.ndarray:
        """bool [n_boxes]"""
        return np.diff(self.child_ptr) == 0

    def original(self, name: str) -> np.ndarray:
        """The points as they were given, float64 [n, 3]: ``name`` is "source" or "target"."""
        points, order = getattr(self, f"{name}s"), getattr(self, f"{name}_order")
        out = np.empty((order.size, 3))
        out[order] = points.T
        out /= self.domain.scale
        return out

    @property
    def original_lengths(self) -> np.ndarray | None:
        """The lengths as they were given, float64 [n_sources]."""
        if self.lengths is None:
            return None
        out = np.empty(self.lengths.size)
        out[self.source_order] = self.lengths / self.domain.scale
        return out

    @property
    def order(self) -> np.ndarray:
        """The caller's rows as they are sorted here, int64 [n]; those of targets after all of the sources."""
        if self.targets is self.sources:
            return self.source_order
        return np.concatenate((self.source_order, self.source_order.size + self.target_order))

    @property
    def fullest(self) -> int:
        """Most sources, or most targets, of any leaf: more than the leaf size where the deepest level is reached."""
        counts = (np.diff(ptr[self.is_leaf], axis=1) for ptr in (self.source_ptr, self.target_ptr))
        return max(int(count.max(initial=0)) for count in counts)


Keys = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Both words of keys that ascend, uint64, and the rows of their points, int64."""


def build(
    sources: np.ndarray,
    targets: np.ndarray | None,
    leaf_size: int | tuple[int, int],
    domain: Domain | None = None,
    threads: int = 1,
    reach: np.ndarray | None = None,
    keys: Keys | None = None,
    before: np.ndarray | None = None,
) -> Octree:
    """Sort the points and make the boxes.

    A box is split while it holds more than ``leaf_size`` sources or more than ``leaf_size`` targets, unless
    its points are too close together to tell apart at the deepest level (`morton.MAX_LEVEL`). Further boxes
    are then split until the tree is 2:1 balanced. No box below the root is narrower than the reach of any source in
    it.

    Parameters
    ----------
    sources : float64 [n_sources, 3]
        In the caller's units.
    targets : float64 [n_targets, 3], or None
        None when the targets are the sources.
    leaf_size : int
        At least 1. Or two of them, for sources and for targets.
    domain : Domain, optional
        A cube that holds every point; by default the smallest one.
    threads : int
    reach : float64 [n_sources], optional
        Of each source, the distance within which expansions must not stand for it; in the caller's units.
    keys : optional
        What `sorted_keys` gives for all points, sources first, where it is known already.
    before : int64 [n], optional
        An order of all points, sources first, that may be close to that of their keys.

    Returns
    -------
    Octree
        The same, bit for bit, for any number of threads.
    """
    sources = np.ascontiguousarray(sources, dtype=np.float64)
    if targets is None:
        points = sources
    else:
        points = np.concatenate((sources, np.asarray(targets, dtype=np.float64)))
    if domain is None:
        domain = enclose(points, points[:0])
    hi, lo, order = sorted_keys(points, domain, threads, before) if keys is None else keys
    source_count, target_count = _running_counts(order, None if targets is None else len(sources))
    deepest = None if reach is None else _deepest(reach, order, domain)
    most = leaf_size if isinstance(leaf_size, tuple) else (leaf_size, leaf_size)
    split = balance(hi, lo, source_count, target_count, most, threads, deepest, domain.cell)
    boxes, begin, end = boxes_of(hi, lo, split, threads)
    source_ptr = np.stack((source_count[begin], source_count[end]), axis=1)
    source_order = order if targets is None else order[order < len(sources)]
    sorted_sources = sorted_in_rows(points, source_order, domain, threads)
    if targets is None:
        target_ptr, target_order, sorted_targets = source_ptr, source_order, sorted_sources
    else:
        target_ptr = np.stack((target_count[begin], target_count[end]), axis=1)
        target_order = order[order >= len(sources)]
        sorted_targets = sorted_in_rows(points, target_order, domain, threads)
        target_order -= len(sources)
    return Octree(
        domain, *boxes, source_ptr, target_ptr, sorted_sources, sorted_targets, source_order, target_order,
    )  # fmt: skip


def root(sources: np.ndarray, targets: np.ndarray | None, domain: Domain) -> Octree:
    """A tree of one box, with the points in the caller's order: nothing has to be sorted or sought.

    Parameters as in `build`.
    """

    def scaled(points: np.ndarray) -> np.ndarray:
        return np.multiply(points.T, domain.scale, out=np.empty((3, len(points))))

    y, source_ptr, source_order = scaled(sources), np.array([[0, len(sources)]]), np.arange(len(sources))
    x, target_ptr, target_order = y, source_ptr, source_order
    if targets is not None:
        x, target_ptr, target_order = scaled(targets), np.array([[0, len(targets)]]), np.arange(len(targets))
    return Octree(
        domain, np.array([0, 1]), np.zeros(1, np.int8), np.zeros((1, 3), np.int64), np.array([-1], np.int32),
        np.array([1, 1], np.int32), source_ptr, target_ptr, y, x, source_order, target_order,
    )  # fmt: skip


def sorted_keys(points: np.ndarray, domain: Domain, threads: int, before: np.ndarray | None = None) -> Keys:
    """Keys of points in ascending order; before : see `taskfmm.geometry.morton.sort`"""
    hi, lo = morton.keys(points, domain, threads)
    order = morton.sort(hi, lo, before)
    sorted_hi, sorted_lo = np.empty_like(hi), np.empty_like(lo)
    _take_keys(0, order.size, hi, lo, order, sorted_hi, sorted_lo, threads=threads)
    return sorted_hi, sorted_lo, order


def _deepest(reach: np.ndarray, order: np.ndarray, domain: Domain) -> np.ndarray:
    """The level of the smallest box in which each sorted point may be, int8 [n]; 0 where it is none but the root."""
    found = np.full(order.size, morton.MAX_LEVEL, np.int8)
    is_source = order < reach.size
    found[is_source] = deepest_level(reach, domain)[order[is_source]]
    return found


def deepest_level(reach: np.ndarray, domain: Domain) -> np.ndarray:
    """The level of the smallest box that is as wide as each reach, int [n]; 0 where none is, or the root alone.

    reach : float64 [n], in the caller's units
    """
    with np.errstate(divide="ignore", over="ignore"):
        # exact, as the width has few bits: a reach that is larger than a box by a bit gives less than a power of two
        ratio = np.minimum(2.0 * domain.half_width / (reach * domain.scale), 2.0 * morton.CELLS)
    return np.clip(np.frexp(ratio)[1] - 1, 0, morton.MAX_LEVEL)


def _running_counts(order: np.ndarray, n_sources: int | None) -> tuple[np.ndarray, np.ndarray]:
    """How many sources, and how many targets, come before each sorted point; one entry more than points."""
    everything = np.arange(order.size + 1)
    if n_sources is None:
        return everything, everything
    source_count = np.zeros(order.size + 1, np.int64)
    np.cumsum(order < n_sources, out=source_count[1:])
    return source_count, everything - source_count


Boxes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What an `Octree` has from ``level_ptr`` to ``child_ptr``."""


def boxes_of(
    hi: np.ndarray, lo: np.ndarray, split: list[np.ndarray], threads: int
) -> tuple[Boxes, np.ndarray, np.ndarray]:
    """The boxes of sorted keys; and of each the first and one past the last point, int64 [n_boxes].

    split : see `taskfmm.tree.balance.balance`
    """
    level_ptr, begin, end, parent, child_ptr = _levels(hi, lo, split, threads)
    level = np.repeat(np.arange(level_ptr.size - 1, dtype=np.int8), np.diff(level_ptr))
    anchor = np.empty((level.size, 3), np.int64)
    _anchors(0, begin.size, hi, lo, begin, level, anchor, threads=threads)
    return (level_ptr, level, anchor, parent, child_ptr), begin, end


def _levels(hi: np.ndarray, lo: np.ndarray, split: list[np.ndarray], threads: int) -> tuple[np.ndarray, ...]:
    """Make the boxes from the root down, given the first point of every box to split, level by level."""
    begins, ends, parents = [np.zeros(1, np.int64)], [np.array([hi.size])], [np.array([-1])]
    n_children = []
    first_box = 0
    for level, chosen in enumerate(split):
        inner = np.searchsorted(begins[level], chosen)
        begin, end, owner, count = children(hi, lo, level, chosen, ends[level][inner], threads)
        n_children.append(np.zeros(begins[level].size, np.int64))
        n_children[level][inner] = count
        parents.append(first_box + inner[owner])
        first_box += begins[level].size
        begins.append(begin)
        ends.append(end)
    n_children.append(np.zeros(begins[-1].size, np.int64))
    level_ptr = np.cumsum([0, *(begin.size for begin in begins)])
    child_ptr = np.cumsum(np.concatenate(([1], *n_children)), dtype=np.int32)
    parent = np.concatenate(parents).astype(np.int32)
    return level_ptr, np.concatenate(begins), np.concatenate(ends), parent, child_ptr


def sorted_in_rows(points: np.ndarray, order: np.ndarray, domain: Domain, threads: int) -> np.ndarray:
    """Scaled coordinates of the points in the given order, a contiguous row for each of x, y, z."""
    out = np.empty((3, order.size))
    _scaled_rows(0, order.size, morton.read_only(points), order, domain.scale, out, threads=threads)
    return out


@loop
def _take_keys(first, last, hi, lo, order, sorted_hi, sorted_lo):
    for i in range(first, last):
        sorted_hi[i] = hi[order[i]]
        sorted_lo[i] = lo[order[i]]


@loop
def _scaled_rows(first, last, points, order, scale, out):
    for i in range(first, last):
        row = order[i]
        out[0, i] = points[row, 0] * scale
        out[1, i] = points[row, 1] * scale
        out[2, i] = points[row, 2] * scale


@loop
def _anchors(first, last, hi, lo, begin, level, anchor):
    for b in range(first, last):
        point = begin[b]
        # of other integers `anchor` would be compiled once more
        anchor[b, 0], anchor[b, 1], anchor[b, 2] = morton.anchor(hi[point], lo[point], np.int64(level[b]))
