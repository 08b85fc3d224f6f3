"""Which boxes meet: colleagues, and the U, V, W and X lists.

In a balanced tree everything that a box meets is a colleague, a child of a colleague, a colleague of its
parent, or a child of one of those. So the lists follow from the parent's colleagues by small tables, with no
search for keys. Neighbourhood slot ``(dx + 1) * 9 + (dy + 1) * 3 + (dz + 1)`` names the colleague towards
(dx, dy, dz); octant ``4 * x + 2 * y + z`` names a child.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.cell import AWAY, Cell
from taskfmm.jit import jit, loop
from taskfmm.tree.images import Images, number, of_cells
from taskfmm.tree.octree import Octree

SELF = 13
"""The neighbourhood slot of the box itself."""

TOP_LEVEL = 2
"""The first level at which two boxes can be far from each other; expansions start there."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Colleagues and interaction lists, one row for every box.

    Rows hold box numbers, ascending; from ``n_boxes`` on they are those of ``images``. A box without sources is in no
    row; the row of a box without targets is empty. The rows of inner boxes in ``u`` and ``w`` are empty.

    colleagues : int32 [n_boxes, 27]
        The box of the same level in every neighbourhood slot, -1 where there is none; slot 13 is itself.
        Boxes without sources or targets are not left out here. Of an image its box.
    u : Csr
        Of a leaf: itself and every leaf adjacent to it.
    v : Csr
        Of any box: children of its parent's colleagues that are not adjacent to it.
    w : Csr
        Of a leaf: children of its colleagues, leaf or inner, that are not adjacent to it.
    x : Csr
        Of any box: leaves that are colleagues of its parent and not adjacent to it. The dual of ``w``.
    images : Images
        Boxes of the neighbouring cells, where the box is periodic.
    """

    colleagues: np.ndarray
    u: Csr
    v: Csr
    w: Csr
    x: Csr
    images: Images


def _relations() -> tuple[np.ndarray, np.ndarray]:
    """The two tables of who touches whom.

    Returns
    -------
    slot_of : int8 [8, 216]
        For the child in octant ``o`` of a box, and that in octant ``c`` of the box's colleague in slot ``s``:
        the slot of the second child around the first at ``[o, 8 * s + c]``, or -1 if they are not adjacent.
    touches : bool [8, 27]
        Whether a child in octant ``o`` of a box is adjacent to the box's colleague in slot ``s``.
    """
    bits = np.array([(o // 4, o // 2 % 2, o % 2) for o in range(8)])
    direction = np.array([(s // 9 - 1, s // 3 % 3 - 1, s % 3 - 1) for s in range(27)])
    offset = 2 * direction[None, :, None] + bits[None, None, :] - bits[:, None, None]
    slot = (offset + 1) @ np.array([9, 3, 1])
    slot_of = np.where(np.abs(offset).max(axis=-1) <= 1, slot, -1)
    outward = 2 * bits - 1
    touches = ((direction == 0) | (direction == outward[:, None, :])).all(axis=-1)
    return slot_of.reshape(8, 216).astype(np.int8), touches


SLOT_OF, TOUCHES = _relations()

TOUCHING, APART = np.bool_(True), np.bool_(False)
"""What loops over neighbours look for. Literals would have them compiled once for each."""


def build(
    tree: Octree, threads: int = 1, only_count_v: bool = False, some: np.ndarray | None = None
) -> Lists:
    """Find the colleagues and the U, V, W and X lists of every box.

    Parameters
    ----------
    tree : Octree
    threads : int
    only_count_v : bool
        Leave the entries of V out, which are most of all: of the list there is ``ptr`` alone.
    some : bool [n_boxes], optional
        Boxes whose lists are wanted; those of others stay empty.

    Returns
    -------
    Lists
        The same for any number of threads.
    """
    n_boxes = tree.n_boxes
    octant = (tree.anchor % 2 @ np.array([4, 2, 1])).astype(np.int8)
    has_sources = tree.source_ptr[:, 1] > tree.source_ptr[:, 0]
    has_targets = tree.target_ptr[:, 1] > tree.target_ptr[:, 0]
    divided = ~tree.is_leaf
    if some is not None:
        has_targets &= some
        divided &= _above(tree, some)
    colleagues = np.full((n_boxes, 27), -1, np.int32)
    ranked = np.full((n_boxes, 27), -1, np.int8)
    cells = np.zeros((0 if tree.domain.cell is None else n_boxes, 27), np.int32)
    top = _begin(tree, colleagues, ranked, cells)
    n_v = np.zeros(n_boxes, np.int64)
    boxes = (tree.child_ptr, octant, has_sources, has_targets, colleagues, ranked, cells)
    for first, last in zip(tree.level_ptr[top:-2], tree.level_ptr[top + 1 : -1], strict=True):
        _colleagues(int(first), int(last), divided, *boxes, n_v, threads=threads)
    v = _allocate(n_v)
    if only_count_v:
        v = Csr(v.ptr, np.empty(0, np.int32))
    else:
        _fill_v(0, n_boxes, *boxes, v.ptr, v.idx, threads=threads)

    n_u, n_w, n_x = (np.zeros(n_boxes, np.int64) for _ in range(3))
    _count_uwx(0, n_boxes, tree.parent, *boxes, n_u, n_w, n_x, threads=threads)
    u, w, x = _allocate(n_u), _allocate(n_w), _allocate(n_x)
    _fill_uwx(0, n_boxes, tree.parent, *boxes, u.ptr, w.ptr, x.ptr, u.idx, w.idx, x.idx, threads=threads)
    images = Images.none() if tree.domain.cell is None else number(n_boxes, u, v, w, x)
    return Lists(colleagues, u, v, w, x, images)


def _above(tree: Octree, some: np.ndarray) -> np.ndarray:
    """The boxes that have any of some within them, bool [n_boxes]."""
    found = np.zeros(tree.n_boxes, bool)
    for first, last in zip(tree.level_ptr[-2:0:-1], tree.level_ptr[:1:-1], strict=True):
        found[tree.parent[first:last][some[first:last] | found[first:last]]] = True
    return found


def _begin(tree: Octree, colleagues: np.ndarray, ranked: np.ndarray, cells: np.ndarray) -> int:
    """Fill in the colleagues of the boxes from which those of all others follow; returns their level.

    Of a periodic box these are the cubes of its cell.
    """
    cell = tree.domain.cell
    if cell is None:
        colleagues[0, SELF] = 0
        ranked[0, 0] = SELF
        return 0
    first, last = tree.level_ptr[cell.level : cell.level + 2]
    found, away = around_cubes(tree, cell)
    colleagues[first:last] = found
    order = np.argsort(found < 0, axis=1, kind="stable")
    ranked[first:last] = np.where(np.take_along_axis(found, order, axis=1) < 0, -1, order)
    cells[first:last] = of_cells(tree.n_boxes, away)
    return cell.level


def around_cubes(tree: Octree, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """What lies in every neighbourhood slot of the cubes of a periodic box.

    Returns
    -------
    box : int64 [n_cubes, 27], -1 for none
    away : int64 [n_cubes, 27, 3], how many cells away its image is that lies there
    """
    first, last = tree.level_ptr[cell.level : cell.level + 2]
    number = np.full(cell.cubes, -1)
    number[tuple(tree.anchor[first:last].T)] = np.arange(first, last)
    at: np.ndarray = tree.anchor[first:last, None, :] + AWAY.T
    away = np.where(cell.periodic, np.floor_divide(at, cell.cubes), 0)
    at = at - away * cell.cubes
    outside = ((at < 0) | (at >= cell.cubes)).any(axis=2)
    at[outside] = 0
    return np.where(outside, -1, number[tuple(np.moveaxis(at, 2, 0))]), away


def _allocate(count: np.ndarray) -> Csr:
    ptr = np.zeros(count.size + 1, np.int64)
    np.cumsum(count, out=ptr[1:])
    return Csr(ptr, np.empty(ptr[-1], np.int32))


@jit
def _entry(box, cells, other, slot):
    """What a list holds of a box that lies in a slot of another one: its number, or that of an image."""
    return box + cells[other, slot] if cells.shape[0] else box


@jit
def _cousins(parent, child_ptr, octant, colleagues, ranked, box, relation):
    """Children of the parent's colleagues, and their columns in `SLOT_OF`; returns how many.

    Where nothing is repeated they ascend.
    """
    n = 0
    for k in range(27):
        slot = ranked[parent, k]
        if slot < 0:
            break
        colleague = colleagues[parent, slot]
        for child in range(child_ptr[colleague], child_ptr[colleague + 1]):
            box[n] = child
            relation[n] = 8 * np.int64(slot) + octant[child]
            n += 1
    return n


@loop
def _colleagues(
    first, last, divided, child_ptr, octant, has_sources, has_targets, colleagues, ranked, cells, n_v
):
    """From the colleagues of the boxes ``first:last`` of one level, those of their children; and count V.

    divided : bool [n_boxes], those that have children, of which anything is wanted
    ``ranked[b]`` are the slots of the colleagues of ``b`` in order of box number, then -1; ``cells[b]`` by slot what
    their numbers grow by where they are images, see `taskfmm.tree.images`; without rows where there are none.
    """
    for parent in range(first, last):
        if not divided[parent]:
            continue
        box, relation = np.empty(216, np.int32), np.empty(216, np.int16)
        n = _cousins(parent, child_ptr, octant, colleagues, ranked, box, relation)
        for b in range(child_ptr[parent], child_ptr[parent + 1]):
            slot_of = SLOT_OF[octant[b]]
            n_near = 0
            n_far = 0
            for k in range(n):
                slot = slot_of[relation[k]]
                if slot >= 0:
                    colleagues[b, slot] = box[k]
                    if cells.shape[0]:
                        cells[b, slot] = cells[parent, relation[k] // 8]
                    ranked[b, n_near] = slot
                    n_near += 1
                else:
                    n_far += has_sources[box[k]]
            if has_targets[b]:
                n_v[b] = n_far


@loop
def _fill_v(first, last, child_ptr, octant, has_sources, has_targets, colleagues, ranked, cells, ptr, idx):
    for parent in range(first, last):
        begin, end = child_ptr[parent], child_ptr[parent + 1]
        if ptr[begin] == ptr[end]:
            continue
        box, relation = np.empty(216, np.int32), np.empty(216, np.int16)
        n = 0
        for k in range(_cousins(parent, child_ptr, octant, colleagues, ranked, box, relation)):
            box[n], relation[n] = box[k], relation[k]
            n += has_sources[box[k]]
        for b in range(begin, end):
            if not has_targets[b]:
                continue
            slot_of = SLOT_OF[octant[b]]
            at = ptr[b]
            for k in range(n):
                if slot_of[relation[k]] < 0:
                    idx[at] = _entry(box[k], cells, parent, relation[k] // 8)
                    at += 1


@jit
def _coarser(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, adjacent, out):
    """Put into ``out`` the leaves with sources among the parent's colleagues that (do not) touch ``b``."""
    n = 0
    p = parent[b]
    if p < 0:
        return n
    touches = TOUCHES[octant[b]]
    for k in range(27):
        slot = ranked[p, k]
        if slot < 0:
            break
        leaf = colleagues[p, slot]
        if child_ptr[leaf] == child_ptr[leaf + 1] and has_sources[leaf] and touches[slot] == adjacent:
            out[n] = _entry(leaf, cells, p, slot)
            n += 1
    return n


@jit
def _finer(b, child_ptr, octant, has_sources, colleagues, ranked, cells, adjacent, out):
    """Put into ``out`` the children with sources of the colleagues that (do not) touch box ``b``."""
    n = 0
    for k in range(27):
        slot = ranked[b, k]
        if slot < 0:
            break
        colleague = colleagues[b, slot]
        for child in range(child_ptr[colleague], child_ptr[colleague + 1]):
            # Seen from the child, the leaf lies in the opposite slot.
            if has_sources[child] and TOUCHES[octant[child], 26 - slot] == adjacent:
                out[n] = _entry(child, cells, b, slot)
                n += 1
    return n


@jit
def _same(b, child_ptr, has_sources, colleagues, ranked, cells, out):
    """Put into ``out`` the leaves with sources among the colleagues of ``b``, itself included."""
    n = 0
    for k in range(27):
        slot = ranked[b, k]
        if slot < 0:
            break
        leaf = colleagues[b, slot]
        if child_ptr[leaf] == child_ptr[leaf + 1] and has_sources[leaf]:
            out[n] = _entry(leaf, cells, b, slot)
            n += 1
    return n


@jit
def _u_row(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, out):
    """The U list of leaf ``b`` into ``out``, coarse to fine and therefore ascending; returns its length."""
    n = _coarser(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, TOUCHING, out)
    n += _same(b, child_ptr, has_sources, colleagues, ranked, cells, out[n:])
    return n + _finer(b, child_ptr, octant, has_sources, colleagues, ranked, cells, TOUCHING, out[n:])


@loop
def _count_uwx(
    first, last, parent, child_ptr, octant, has_sources, has_targets, colleagues, ranked, cells, n_u, n_w, n_x
):
    for b in range(first, last):
        if has_targets[b]:
            row = np.empty(243, np.int32)
            n_x[b] = _coarser(
                b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, APART, row
            )
            if child_ptr[b] == child_ptr[b + 1]:
                n_u[b] = _u_row(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, row)
                n_w[b] = _finer(b, child_ptr, octant, has_sources, colleagues, ranked, cells, APART, row)


@loop
def _fill_uwx(
    first,
    last,
    parent,
    child_ptr,
    octant,
    has_sources,
    has_targets,
    colleagues,
    ranked,
    cells,
    u_ptr,
    w_ptr,
    x_ptr,
    u_idx,
    w_idx,
    x_idx,
):
    for b in range(first, last):
        u, w, x = (
            u_idx[u_ptr[b] : u_ptr[b + 1]],
            w_idx[w_ptr[b] : w_ptr[b + 1]],
            x_idx[x_ptr[b] : x_ptr[b + 1]],
        )
        if x.size:
            _coarser(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, APART, x)
        if u.size:
            _u_row(b, parent, child_ptr, octant, has_sources, colleagues, ranked, cells, u)
        if w.size:
            _finer(b, child_ptr, octant, has_sources, colleagues, ranked, cells, APART, w)
