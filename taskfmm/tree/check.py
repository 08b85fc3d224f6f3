"""Invariants of the tree and the lists, checked from scratch: slow, independent of how they were built."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.cell import HOME, N_CELLS, Cell
from taskfmm.geometry.domain import SIZE, box_centers
from taskfmm.tree.images import Images
from taskfmm.tree.lists import Lists
from taskfmm.tree.octree import Octree

ROUNDING = SIZE * 2.0**-50
"""How far outside its box, in scaled units, quantisation of its rounded coordinates may leave a point."""


def check_tree(tree: Octree) -> None:
    """Assert that the boxes partition the points, nest, are in order, and are 2:1 balanced.

    Raises
    ------
    AssertionError
        Naming the invariant and the first box that breaks it.
    """
    _check_shape(tree)
    _check_points(tree, tree.sources, tree.source_ptr, tree.source_order, "source")
    _check_points(tree, tree.targets, tree.target_ptr, tree.target_order, "target")
    _check_balance(tree)


def check_lists(tree: Octree, lists: Lists) -> None:
    """Assert that every list holds what its definition says, and that together they cover every pair once.

    The proof of coverage is an FMM whose kernel is 1: each source carries a random integer, boxes pass sums
    along the lists, and every target must receive the sum over all sources. Integer sums are exact (they wrap
    around), so a pair missed or met twice cannot hide. In a periodic box a target meets all sources in its cube and
    in the cubes around it, and what an image carries is its sources' times a random integer of its cell.

    Raises
    ------
    AssertionError
        Naming the list and the first box that breaks it.
    """
    _check_colleagues(tree, lists.colleagues)
    _check_rows(tree, lists)
    _check_geometry(tree, lists)
    _check_dual(tree, lists)
    _check_coverage(tree, lists, np.ones(tree.source_order.size, np.int64), np.ones(N_CELLS, np.int64))
    rng = np.random.default_rng(271828)
    weights, of_cells = (rng.integers(1, 2**62, n) for n in (tree.source_order.size, N_CELLS))
    of_cells[HOME] = 1
    _check_coverage(tree, lists, weights, of_cells)


def _require(good: np.ndarray, message: str) -> None:
    """Fail with the message and the first index at which ``good`` is false."""
    good = np.asarray(good)
    if not good.all():
        raise AssertionError(
            f"{message}: first at {int(np.argmin(good.ravel()))}, {good.size - good.sum()} in all"
        )


def _check_shape(tree: Octree) -> None:
    n, parent, child_ptr = tree.n_boxes, tree.parent, tree.child_ptr
    _require(tree.level_ptr[[0, -1]] == [0, n], "level_ptr does not span the boxes")
    _require(np.diff(tree.level_ptr) > 0, "a level holds no box")
    _require(
        tree.level == np.repeat(np.arange(tree.n_levels), np.diff(tree.level_ptr)), "level against level_ptr"
    )
    assert parent[0] == -1, "the root has a parent"
    assert child_ptr.size == n + 1, "child_ptr needs one entry more than there are boxes"
    _require(child_ptr[[0, -1]] == [1, n], "the children do not span every box but the root")
    _require(np.diff(child_ptr) >= 0, "child_ptr descends")
    _require(parent[1:] == np.repeat(np.arange(n), np.diff(child_ptr)), "parent against child_ptr")
    _require(np.diff(child_ptr) <= 8, "more than eight children")
    _require(tree.level[1:] == tree.level[parent[1:]] + 1, "a child is not one level below its parent")
    _require(tree.anchor[1:] // 2 == tree.anchor[parent[1:]], "a child's anchor is not inside its parent's")
    octant = tree.anchor % 2 @ [4, 2, 1]
    siblings = parent[1:-1] == parent[2:]
    _require(octant[1:-1][siblings] < octant[2:][siblings], "siblings are not in Morton order")
    count = np.diff(tree.source_ptr, axis=1) + np.diff(tree.target_ptr, axis=1)
    _require(count > 0, "a box holds no point")


def _check_points(tree: Octree, points: np.ndarray, ptr: np.ndarray, order: np.ndarray, name: str) -> None:
    n = order.size
    assert points.shape == (3, n), f"{name}s have shape {points.shape}, {name}_order {n} rows"
    _require(np.sort(order) == np.arange(n), f"{name}_order is not a permutation")
    _require(ptr[0] == [0, n], f"the root does not hold every {name}")
    _require(ptr[:, 0] <= ptr[:, 1], f"a box's {name}s end before they begin")
    inner = np.flatnonzero(~tree.is_leaf)
    first, last = tree.child_ptr[inner], tree.child_ptr[inner + 1] - 1
    _require(ptr[first, 0] == ptr[inner, 0], f"the first child does not begin with its parent's {name}s")
    _require(ptr[last, 1] == ptr[inner, 1], f"the last child does not end with its parent's {name}s")
    siblings = np.flatnonzero(tree.parent[1:-1] == tree.parent[2:]) + 1
    _require(ptr[siblings, 1] == ptr[siblings + 1, 0], f"siblings' {name}s are not contiguous")
    leaf = np.flatnonzero(tree.is_leaf)
    box = np.repeat(leaf, np.diff(ptr[leaf])[:, 0])
    point = _ranges(ptr[leaf])
    hi, lo = box_centers(tree.domain, tree.level[box], tree.anchor[box])
    distance = np.abs((points[:, point] - hi) - lo).max(axis=0)
    reach = np.ldexp(tree.domain.half_width, -tree.level[box].astype(np.int32)) + ROUNDING
    _require(distance <= reach, f"a {name} lies outside its leaf")


def _ranges(ptr: np.ndarray) -> np.ndarray:
    """The indices ``begin:end`` of every row, one after the other."""
    length = ptr[:, 1] - ptr[:, 0]
    return np.arange(length.sum()) + np.repeat(ptr[:, 0] - (np.cumsum(length) - length), length)


def _slots() -> np.ndarray:
    return np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])


def _lookup(anchors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of ``anchors`` that equals each row of ``wanted``, or -1. Knows nothing of Morton keys."""
    key, query = np.zeros(len(anchors), np.int64), np.zeros(len(wanted), np.int64)
    known = np.ones(len(wanted), bool)
    for axis in range(3):
        values, rank = np.unique(anchors[:, axis], return_inverse=True)
        at = np.minimum(np.searchsorted(values, wanted[:, axis]), values.size - 1)
        known &= values[at] == wanted[:, axis]
        key, query = key * values.size + rank, query * values.size + at
    order = np.argsort(key)
    at = np.minimum(np.searchsorted(key, query, sorter=order), key.size - 1)
    return np.where(known & (key[order[at]] == query), order[at], -1)


@dataclass(frozen=True)
class _Boxes:
    """What is known of boxes, of the tree and of images behind them: each array has a row for each.

    cell : neighbourhood slot of the cell
    """

    own: np.ndarray
    level: np.ndarray
    anchor: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, tree: Octree, images: Images) -> _Boxes:
        own, anchor = images.with_own(np.arange(tree.n_boxes)), tree.anchor
        if images.box.size:
            assert tree.domain.cell is not None
            anchor = np.concatenate([anchor, images.anchors(anchor, tree.level, tree.domain.cell)])
        cell = np.concatenate([np.full(tree.n_boxes, HOME), images.cell]).astype(np.int64)
        return cls(own, tree.level[own].astype(np.int64), anchor, cell)

    def adjacent(self, a: np.ndarray, b: np.ndarray, up_a: bool = False, up_b: bool = False) -> np.ndarray:
        """Whether boxes, or their parents, touch or overlap: their extents compared in units of the finer one."""
        level_a, level_b = self.level[a] - up_a, self.level[b] - up_b
        finest = np.maximum(level_a, level_b)
        width_a, width_b = (2 ** (finest - level)[:, None] for level in (level_a, level_b))
        low_a, low_b = (self.anchor[a] >> up_a) * width_a, (self.anchor[b] >> up_b) * width_b
        return ((low_a <= low_b + width_b) & (low_b <= low_a + width_a)).all(axis=1)


def _around(tree: Octree, level: int, anchors: np.ndarray) -> np.ndarray:
    """The anchors of all neighbours of some boxes of a level, int64 [n * 27, 3]; in a periodic box those of boxes."""
    around = (anchors[:, None, :] + _slots()).reshape(-1, 3)
    cell = tree.domain.cell
    if cell is None:
        return around
    boxes = cell.boxes(level)
    return np.where(boxes > 0, around % np.maximum(boxes, 1), around)


def _level_boxes(tree: Octree, level: int) -> slice:
    return slice(int(tree.level_ptr[level]), int(tree.level_ptr[level + 1]))


def _top(tree: Octree) -> int:
    """The level at which lists begin."""
    return 0 if tree.domain.cell is None else tree.domain.cell.level


def _check_balance(tree: Octree) -> None:
    """No leaf is adjacent to an inner box one level finer."""
    leaf = tree.is_leaf
    for level in range(_top(tree), tree.n_levels - 2):
        here, below = _level_boxes(tree, level), _level_boxes(tree, level + 1)
        inner = tree.anchor[below][~leaf[below]]
        around = _around(tree, level + 1, inner) // 2
        found = _lookup(tree.anchor[here], around)
        touched = np.unique(found[found >= 0]) + here.start
        _require(~leaf[touched], f"not balanced: a leaf of level {level} touches boxes of level {level + 2}")


def _check_colleagues(tree: Octree, colleagues: np.ndarray) -> None:
    assert colleagues.shape == (tree.n_boxes, 27), f"colleagues have shape {colleagues.shape}"
    for level in range(_top(tree), tree.n_levels):
        here = _level_boxes(tree, level)
        found = _lookup(tree.anchor[here], _around(tree, level, tree.anchor[here]))
        expected = np.where(found >= 0, found + here.start, -1).reshape(-1, 27)
        _require((colleagues[here] == expected).all(axis=1), f"colleagues of a box of level {level}")


def _pairs(csr: Csr) -> tuple[np.ndarray, np.ndarray]:
    """Row and entry of everything in the list."""
    return np.repeat(np.arange(len(csr)), np.diff(csr.ptr)), csr.idx.astype(np.int64)


def _check_rows(tree: Octree, lists: Lists) -> None:
    """Shape, order, range; nothing without sources or targets; leaves where only leaves belong."""
    leaf, own = tree.is_leaf, lists.images.with_own(np.arange(tree.n_boxes))
    has_sources = np.diff(tree.source_ptr)[:, 0] > 0
    has_targets = np.diff(tree.target_ptr)[:, 0] > 0
    for name in "uvwx":
        csr = getattr(lists, name)
        assert csr.ptr.size == tree.n_boxes + 1, f"{name}.ptr needs one entry more than there are boxes"
        _require(csr.ptr[[0, -1]] == [0, csr.idx.size], f"{name}.ptr does not span {name}.idx")
        _require(np.diff(csr.ptr) >= 0, f"{name}.ptr descends")
        target, source = _pairs(csr)
        _require((source >= 0) & (source < own.size), f"{name} names a box that does not exist")
        _require((np.diff(source) > 0) | (np.diff(target) > 0), f"a row of {name} is not ascending")
        source = own[source]
        _require(has_sources[source], f"{name} names a box without sources")
        _require(has_targets[target], f"{name} has a row for a box without targets")
        if name in "uw":
            _require(leaf[target], f"{name} has a row for an inner box")
        if name in "ux":
            _require(leaf[source], f"{name} names an inner box")


def _check_geometry(tree: Octree, lists: Lists) -> None:
    boxes = _Boxes.of(tree, lists.images)
    for name in "uvwx":
        target, source = _pairs(getattr(lists, name))
        touching = boxes.adjacent(target, source)
        _require(touching if name == "u" else ~touching, f"adjacency in the {name.upper()} list")
        finer = boxes.level[source] - boxes.level[target]
        if name == "u":
            _require(np.abs(finer) <= 1, "the U list spans more than one level")
            continue
        _require(finer == {"v": 0, "w": 1, "x": -1}[name], f"levels in the {name.upper()} list")
        # Far, but not so far that a parent could have met the other box instead.
        reached = boxes.adjacent(target, source, name != "w", name != "x")
        _require(reached, f"the {name.upper()} list reaches too far")


def _check_dual(tree: Octree, lists: Lists) -> None:
    """X is W turned round, wherever both boxes hold sources and targets."""
    both = (np.diff(tree.source_ptr)[:, 0] > 0) & (np.diff(tree.target_ptr)[:, 0] > 0)
    boxes = _Boxes.of(tree, lists.images)

    def coded(leaf: np.ndarray, box: np.ndarray, cell: np.ndarray) -> np.ndarray:
        kept = both[leaf] & both[box]
        return np.sort((leaf * tree.n_boxes + box)[kept] * N_CELLS + cell[kept])

    row, entry = _pairs(lists.w)
    forward = coded(row, boxes.own[entry], boxes.cell[entry])
    row, entry = _pairs(lists.x)
    backward = coded(boxes.own[entry], row, 26 - boxes.cell[entry])  # seen from the other side
    assert np.array_equal(forward, backward), (
        f"X is not the dual of W: {forward.size} against {backward.size} pairs"
    )


def _check_coverage(tree: Octree, lists: Lists, weights: np.ndarray, of_cells: np.ndarray) -> None:
    """weights : of the sources; of_cells : int64 [27], what those of the images in a cell are multiplied by"""
    before = np.concatenate(([0], np.cumsum(weights)))
    multipole = before[tree.source_ptr[:, 1]] - before[tree.source_ptr[:, 0]]
    boxes = _Boxes.of(tree, lists.images)
    carried = multipole[boxes.own] * of_cells[boxes.cell]

    def received(csr: Csr) -> np.ndarray:
        running = np.concatenate(([0], np.cumsum(carried[csr.idx])))
        return running[csr.ptr[1:]] - running[csr.ptr[:-1]]

    local = received(lists.v) + received(lists.x)
    expected = np.full(tree.n_boxes, before[-1])
    if tree.domain.cell is not None:
        expected = _around_cubes(tree, tree.domain.cell, multipole, of_cells)
    for level in range(1, tree.n_levels):
        here = _level_boxes(tree, level)
        local[here] += local[tree.parent[here]]
        if level > _top(tree):
            expected[here] = expected[tree.parent[here]]
    total = local + received(lists.w) + received(lists.u)
    asked = tree.is_leaf & (np.diff(tree.target_ptr)[:, 0] > 0)
    _require(~asked | (total == expected), "targets of a leaf do not meet every source exactly once")


def _around_cubes(tree: Octree, cell: Cell, multipole: np.ndarray, of_cells: np.ndarray) -> np.ndarray:
    """Of the cubes of a cell, what targets in them are to receive, int64 [n_boxes]; 0 for other boxes."""
    here, found = _level_boxes(tree, cell.level), np.zeros(tree.n_boxes, np.int64)
    for away in _slots():
        at = tree.anchor[here] + away
        cells = np.where(cell.periodic, np.floor_divide(at, cell.cubes), 0)
        box = _lookup(tree.anchor[here], at - cells * cell.cubes)
        number = (cells + 1) @ np.array([9, 3, 1])
        found[here] += np.where(box >= 0, multipole[here][box] * of_cells[number], 0)
    return found
