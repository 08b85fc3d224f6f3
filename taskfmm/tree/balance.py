"""Which boxes to split: those with too many points, and those that 2:1 balance asks for.

After sorting, a cell of a level is known by the index of its first point, so a set of cells is a sorted array
of indices, a cell is looked up by binary search of its key, and empty cells never appear.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taskfmm.geometry import morton
from taskfmm.geometry.cell import Cell
from taskfmm.jit import jit, loop


def balance(
    hi: np.ndarray,
    lo: np.ndarray,
    source_count: np.ndarray,
    target_count: np.ndarray,
    most: tuple[int, int],
    threads: int = 1,
    deepest: np.ndarray | None = None,
    cell: Cell | None = None,
) -> list[np.ndarray]:
    """The boxes to split at every level.

    A leaf may not be adjacent (face, edge or corner) to an inner box one level finer. This is the usual 2:1
    balance, and the form of it on which the lists rest: what touches a leaf is at most one level away.

    Parameters
    ----------
    hi, lo : uint64 [n]
        Sorted Morton keys of sources and targets together.
    source_count, target_count : int64 [n + 1]
        How many sources (targets) come before each sorted point.
    most : sources, and targets, of a box that is not split
    threads : int
    deepest : int8 [n], optional
        The level of the smallest box in which each sorted point may be.
    cell : Cell, optional
        Of a periodic box: boxes at opposite sides are adjacent, and no cube of the cell has leaves above it.

    Returns
    -------
    list of int64 arrays
        For each level from the root: the first point of every cell to split, ascending.
    """
    top = 0 if cell is None else cell.level
    crowded = _crowded(hi, lo, source_count, target_count, most, threads, deepest, top)
    return closed(hi, lo, crowded, cell)


def closed(hi: np.ndarray, lo: np.ndarray, crowded: list[np.ndarray], cell: Cell | None) -> list[np.ndarray]:
    """Cells of every level and those that have to be split as well, for the sake of balance.

    crowded : by level, the first points of cells, ascending; others as for `balance`, and what it returns
    """
    period = np.zeros(3, np.int64) if cell is None else cell.boxes(morton.MAX_LEVEL)
    stamp = np.full(hi.size, -1, np.int8)
    split = []
    below = np.empty(0, np.int64)
    for level in reversed(range(len(crowded))):
        below = np.sort(_close(hi, lo, level, crowded[level], below, stamp, period))
        split.append(below)
    return split[::-1]


def children(
    hi: np.ndarray, lo: np.ndarray, level: int, begin: np.ndarray, end: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The non-empty children of cells of one level, each cell given by its run of sorted points.

    Returns
    -------
    begin, end : int64 [n_children]
    owner : int64 [n_children]
        Which of the given cells each child belongs to.
    count : int64 [n_cells]
    """
    bound = np.empty((begin.size, 9), np.int64)
    _child_bounds(0, begin.size, hi, lo, level, begin, end, bound, threads=threads)
    present = bound[:, 1:] > bound[:, :-1]
    return (
        bound[:, :-1][present],
        bound[:, 1:][present],
        np.nonzero(present)[0],
        np.count_nonzero(present, axis=1),
    )


def descended(
    hi: np.ndarray,
    lo: np.ndarray,
    is_split: Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    threads: int,
) -> list[np.ndarray]:
    """By level from the root on, the first point of every cell that is split.

    is_split : which cells of a level are, bool [n_cells]: of the level, their runs of sorted points (begin, end), and
        whether the first and the last point of each can be told apart
    """
    found: list[np.ndarray] = []
    begin, end = np.zeros(1, np.int64), np.array([hi.size])
    while True:
        distinct = (hi[begin] != hi[end - 1]) | (lo[begin] != lo[end - 1])
        chosen = is_split(len(found), begin, end, distinct)
        begin, end = begin[chosen], end[chosen]
        if begin.size == 0:
            return found
        found.append(begin)
        begin, end, _, _ = children(hi, lo, len(found) - 1, begin, end, threads)


def _crowded(
    hi: np.ndarray,
    lo: np.ndarray,
    source_count: np.ndarray,
    target_count: np.ndarray,
    most: tuple[int, int],
    threads: int,
    deepest: np.ndarray | None,
    top: int,
) -> list[np.ndarray]:
    """For each level, the first point of every cell with too many points that can be told apart; all above ``top``.

    Of those that may be split: where a point wants a large cell, that cell stays whole, and so do the cells one level
    finer that touch it, since balance would split it for theirs.
    """
    whole, kept = np.empty(0, np.int64), np.full(hi.size, morton.MAX_LEVEL + 1, np.int8)

    def is_split(level: int, begin: np.ndarray, end: np.ndarray, distinct: np.ndarray) -> np.ndarray:
        nonlocal whole
        counts = source_count, target_count
        crowded = [count[end] - count[begin] > at_most for count, at_most in zip(counts, most, strict=True)]
        chosen = (crowded[0] | crowded[1]) & distinct | (level < top)
        if deepest is not None:
            whole = _whole(hi, lo, level, deepest, whole, kept)
            chosen &= kept[begin] > level
        return chosen

    return descended(hi, lo, is_split, threads)


@loop
def _child_bounds(first, last, hi, lo, level, begin, end, bound):
    for cell in range(first, last):
        bound[cell, 0] = begin[cell]
        bound[cell, 8] = end[cell]
        for o in range(1, 8):
            lower, upper = bound[cell, o - 1], end[cell]
            while lower < upper:
                middle = (lower + upper) // 2
                if morton.octant(hi[middle], lo[middle], level + 1) < o:
                    lower = middle + 1
                else:
                    upper = middle
            bound[cell, o] = lower


@jit
def _touched(x, y, z):
    """Bit set of the parent's 27 neighbourhood slots, its own included, that this child's anchor touches."""
    step_x, step_y, step_z = 2 * (x % 2) - 1, 2 * (y % 2) - 1, 2 * (z % 2) - 1
    bits = 0
    for corner in range(8):
        dx = step_x * (corner // 4)
        dy = step_y * (corner // 2 % 2)
        dz = step_z * (corner % 2)
        bits |= 2 ** ((dx + 1) * 9 + (dy + 1) * 3 + dz + 1)
    return bits


@jit
def _close(hi, lo, level, crowded, below, stamp, period):
    """The cells to split at ``level``: crowded ones, and those that touch a cell split one level below.

    period : as for `_find_neighbour`
    ``stamp[i] == level`` marks the cell that starts at point ``i`` as taken.
    """
    taken = np.empty(min(hi.size, crowded.size + 27 * below.size), np.int64)
    n_taken = 0
    for i in range(crowded.size):
        taken[n_taken] = crowded[i]
        stamp[crowded[i]] = level
        n_taken += 1
    i = 0
    while i < below.size:
        first = below[i]
        x, y, z = morton.anchor(hi[first], lo[first], level)
        bits = 0
        while i < below.size and morton.same_cell(hi[first], lo[first], hi[below[i]], lo[below[i]], level):
            cx, cy, cz = morton.anchor(hi[below[i]], lo[below[i]], level + 1)
            bits |= _touched(cx, cy, cz)
            i += 1
        for slot in range(27):
            if bits // 2**slot % 2:
                at = _find_neighbour(hi, lo, x, y, z, level, slot, period)
                if at >= 0 and stamp[at] != level:
                    stamp[at] = level
                    taken[n_taken] = at
                    n_taken += 1
    return taken[:n_taken]


@jit
def _whole(hi, lo, level, deepest, above, kept):
    """The cells of a level that stay whole: of points that may be no deeper, and those that touch one ``above``.

    ``kept[i]`` is the level of the largest cell that starts at point ``i`` and stays whole, or more than any level.
    A cell within another one that stays whole may be among them: there is no such box.
    """
    n = 27 * 8 * above.size
    for i in range(hi.size):
        n += deepest[i] == level
    found = np.empty(min(n, hi.size), np.int64)
    n, last, period = 0, -1, np.zeros(3, np.int64)
    for i in range(hi.size):
        if deepest[i] != level or (last >= 0 and morton.same_cell(hi[last], lo[last], hi[i], lo[i], level)):
            continue
        last = i
        x, y, z = morton.anchor(hi[i], lo[i], level)
        at = morton.find(hi, lo, x, y, z, level)
        if kept[at] > level:
            kept[at], found[n] = level, at
            n += 1
    for cell in above:
        x, y, z = morton.anchor(hi[cell], lo[cell], level - 1)
        for side in range(27):
            near = _find_neighbour(hi, lo, x, y, z, level - 1, side, period)
            if near < 0 or kept[near] < level:
                continue
            nx, ny, nz = morton.anchor(hi[near], lo[near], level - 1)
            for octant in range(8):
                cx, cy, cz = 2 * nx + octant // 4, 2 * ny + octant // 2 % 2, 2 * nz + octant % 2
                if not (
                    2 * x - 1 <= cx <= 2 * x + 2
                    and 2 * y - 1 <= cy <= 2 * y + 2
                    and 2 * z - 1 <= cz <= 2 * z + 2
                ):
                    continue
                at = morton.find(hi, lo, cx, cy, cz, level)
                if at >= 0 and kept[at] > level:
                    kept[at], found[n] = level, at
                    n += 1
    return found[:n]


@jit
def _along(at, period, level):
    """A coordinate of a cell as one of a cell within the root, or -1 if it is outside of what is not repeated."""
    n = period >> (morton.MAX_LEVEL - level)
    if n > 0:
        return at % n
    return at if 0 <= at < 2**level else -1


@jit
def _find_neighbour(hi, lo, x, y, z, level, slot, period):
    """First point of the cell in this slot around (x, y, z), or -1 if it is empty or outside the root.

    period : int64 [3], cells of the deepest level after which space is repeated along each axis, or 0
    """
    nx = _along(x + slot // 9 - 1, period[0], level)
    ny = _along(y + slot // 3 % 3 - 1, period[1], level)
    nz = _along(z + slot % 3 - 1, period[2], level)
    if min(nx, ny, nz) < 0:
        return -1
    return morton.find(hi, lo, nx, ny, nz, level)
