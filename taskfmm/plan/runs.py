"""Compiled helpers of the planner: runs of points, halos, and entries sorted by block and code.

Callers have bounds and codes in several dtypes and layouts. A loop would be compiled anew for each, so they are made
alike first.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit


def take_runs(points: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate runs of columns: float64 [3, n], and int64 [n_runs + 1], where each run starts.

    Where each run follows the one before it, the columns are a view of the points, for a copy would take memory.
    """
    begin, end = _bounds(begin, end)
    ptr = np.concatenate([[0], np.cumsum(end - begin)])
    if np.array_equal(begin[1:], end[:-1]):
        return points[:, begin[0] : end[-1]] if begin.size else points[:, :0], ptr
    return _taken(points, begin, end, ptr), ptr


def list_runs(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The members of runs of integers, concatenated, int64."""
    return _listed(*_bounds(begin, end))


def _bounds(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(begin, np.int64), np.ascontiguousarray(end, np.int64)


@jit
def _taken(points, begin, end, ptr):
    out = np.empty((3, ptr[-1]))
    for i in range(begin.size):
        for axis in range(3):
            # not by slices, whose assignment takes more than a second to compile, see `passes/translations.py`
            for j in range(end[i] - begin[i]):
                out[axis, ptr[i] + j] = points[axis, begin[i] + j]
    return out


@jit
def _listed(begin, end):
    n = 0
    for i in range(begin.size):
        n += end[i] - begin[i]
    out = np.empty(n, np.int64)
    at = 0
    for i in range(begin.size):
        for j in range(begin[i], end[i]):
            out[at] = j
            at += 1
    return out


@jit
def distinct(values, low, high):
    """The distinct values, ascending, and the place of each value among them.

    values : int32 [n], all of them in low <= value < high
    """
    place = np.full(high - low, -1, np.int32)
    for i in range(values.size):
        place[values[i] - low] = 0
    n = 0
    for i in range(place.size):
        if place[i] == 0:
            place[i] = n
            n += 1
    found = np.empty(n, np.int32)
    for i in range(place.size):
        if place[i] >= 0:
            found[place[i]] = i + low
    where = np.empty(values.size, np.int32)
    for i in range(values.size):
        where[i] = place[values[i] - low]
    return found, where


def sort_by_code(
    row: np.ndarray, source: np.ndarray, code: np.ndarray, n_codes: int, n_rows: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counting sort of entries by (block of rows, code), stable.

    code : less than 128

    Returns
    -------
    code_ptr : int64 [n_blocks, n_codes + 1]; target, source : int32 [n_entries]
    """
    return _sorted(row, source, np.ascontiguousarray(code, np.int8), n_codes, n_rows, block)


@jit
def _sorted(row, source, code, n_codes, n_rows, block):
    n_blocks = max(1, (n_rows + block - 1) // block)
    count = np.zeros(n_blocks * n_codes + 1, np.int64)
    for e in range(row.size):
        count[(row[e] // block) * n_codes + code[e] + 1] += 1
    for i in range(count.size - 1):
        count[i + 1] += count[i]
    code_ptr = np.empty((n_blocks, n_codes + 1), np.int64)
    for b in range(n_blocks):
        for c in range(n_codes + 1):
            code_ptr[b, c] = count[b * n_codes + c]
    target = np.empty(row.size, np.int32)
    sorted_source = np.empty(row.size, np.int32)
    for e in range(row.size):
        slot = (row[e] // block) * n_codes + code[e]
        at = count[slot]
        count[slot] += 1
        target[at] = row[e]
        sorted_source[at] = source[e]
    return code_ptr, target, sorted_source


@jit
def split_pairs(leaves, ptr, entries, block):
    """Take out of U lists the pairs of leaves that lie in one block.

    leaves : int64 [n], ascending; ptr, entries : their U lists; block : leaves in a block

    Returns
    -------
    ptr, entries : what stays one-sided
    pair_ptr : int64 [n + 1]; pair : int32, for each leaf the places of the later leaves that it pairs with
    """
    n = leaves.size
    place = np.full(leaves[-1] - leaves[0] + 1, -1, np.int32)
    for i in range(n):
        place[leaves[i] - leaves[0]] = i
    rest_ptr = np.zeros(n + 1, np.int64)
    pair_ptr = np.zeros(n + 1, np.int64)
    rest = np.empty(entries.size, np.int32)
    pair = np.empty(entries.size, np.int32)
    n_rest, n_pair = 0, 0
    for i in range(n):
        for e in range(ptr[i], ptr[i + 1]):
            at = entries[e] - leaves[0]
            other = place[at] if 0 <= at < place.size else -1
            if other < 0 or other == i or other // block != i // block:
                rest[n_rest] = entries[e]
                n_rest += 1
            elif other > i:
                pair[n_pair] = other
                n_pair += 1
        rest_ptr[i + 1] = n_rest
        pair_ptr[i + 1] = n_pair
    return rest_ptr, rest[:n_rest].copy(), pair_ptr, pair[:n_pair].copy()


def joined(ptr: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of runs, where a run that begins at the end of the one before it in its row is part of that one.

    Points are copied by the run, and neighbours of a box are often neighbours of each other.
    """
    first = np.append(True, begin[1:] != end[:-1])[: begin.size]
    first[ptr[:-1][ptr[:-1] < begin.size]] = True
    kept = np.flatnonzero(first)
    last = np.append(kept[1:], begin.size) - 1
    return np.searchsorted(kept, ptr).astype(np.int64), begin[kept], end[last] if kept.size else end
