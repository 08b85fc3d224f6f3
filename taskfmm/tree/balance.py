"""Which boxes to split: those with too many points, and those that 2:1 balance asks for.

After sorting, a cell of a level is known by the index of its first point, so a set of cells is a sorted array
of indices, a cell is looked up by binary search of its key, and empty cells never appear.
"""

from __future__ import annotations

import numpy as np

from taskfmm.geometry import morton
from taskfmm.jit import jit, loop


def balance(
    hi: np.ndarray,
    lo: np.ndarray,
    source_count: np.ndarray,
    target_count: np.ndarray,
    leaf_size: int,
    threads: int = 1,
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
    leaf_size : int
    threads : int

    Returns
    -------
    list of int64 arrays
        For each level from the root: the first point of every cell to split, ascending.
    """
    crowded = _crowded(hi, lo, source_count, target_count, leaf_size, threads)
    stamp = np.full(hi.size, -1, np.int8)
    split = []
    below = np.empty(0, np.int64)
    for level in reversed(range(len(crowded))):
        below = np.sort(_close(hi, lo, level, crowded[level], below, stamp))
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


def _crowded(
    hi: np.ndarray,
    lo: np.ndarray,
    source_count: np.ndarray,
    target_count: np.ndarray,
    leaf_size: int,
    threads: int,
) -> list[np.ndarray]:
    """For each level, the first point of every cell with too many points that can be told apart."""
    found: list[np.ndarray] = []
    begin, end = np.zeros(1, np.int64), np.array([hi.size])
    while True:
        most = np.maximum(source_count[end] - source_count[begin], target_count[end] - target_count[begin])
        distinct = (hi[begin] != hi[end - 1]) | (lo[begin] != lo[end - 1])
        chosen = (most > leaf_size) & distinct
        begin, end = begin[chosen], end[chosen]
        if begin.size == 0:
            return found
        found.append(begin)
        begin, end, _, _ = children(hi, lo, len(found) - 1, begin, end, threads)


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
def _close(hi, lo, level, crowded, below, stamp):
    """The cells to split at ``level``: crowded ones, and those that touch a cell split one level below.

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
                at = _find_neighbour(hi, lo, x, y, z, level, slot)
                if at >= 0 and stamp[at] != level:
                    stamp[at] = level
                    taken[n_taken] = at
                    n_taken += 1
    return taken[:n_taken]


@jit
def _find_neighbour(hi, lo, x, y, z, level, slot):
    """First point of the cell in this slot around (x, y, z), or -1 if it is empty or outside the root."""
    nx, ny, nz = x + slot // 9 - 1, y + slot // 3 % 3 - 1, z + slot % 3 - 1
    size = 2**level
    if min(nx, ny, nz) < 0 or max(nx, ny, nz) >= size:
        return -1
    return morton.find(hi, lo, nx, ny, nz, level)
