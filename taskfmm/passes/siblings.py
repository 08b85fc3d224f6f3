"""The M2L loop: low-rank cores applied to families of siblings.

A box meets in its V list children of its parent's colleagues, so M2L is a sum over pairs of neighbouring
parents. For one direction between parents, the octants of source and target fix the transfer vector. A batch of
parent pairs gathers the expansions of its sources once for the eight target octants, and scatters what arrives at
its targets once for the eight source octants; in between run small matrix products that stay in the cache.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from taskfmm.blas import add_product
from taskfmm.jit import jit, loop

BATCH = 128
"""Pairs of parents taken at a time: enough for BLAS, few enough for the cache."""


@jit
def _code(direction, target, source):
    """Code of the transfer vector (see `taskfmm.operators.symmetry`) between children of neighbouring parents.

    direction : 9 (x + 1) + 3 (y + 1) + z + 1 of target parent minus source parent; target, source : octants
    """
    x = 2 * (direction // 9 - 1) + (target >> 2 & 1) - (source >> 2 & 1) + 3
    y = 2 * (direction // 3 % 3 - 1) + (target >> 1 & 1) - (source >> 1 & 1) + 3
    z = 2 * (direction % 3 - 1) + (target & 1) - (source & 1) + 3
    return 49 * x + 7 * y + z


@jit
def _gather(children, parents, octant, expansions, rows):
    """The expansions of the children in one octant, a row for each parent; returns how many exist."""
    n = 0
    for i in range(parents.size):
        child = children[parents[i], octant]
        if child >= 0:
            n += 1
            for c in range(rows.shape[1]):
                rows[i, c] = expansions[child, c]
    return n


@jit
def _scatter(children, parents, octant, rows, out):
    """Add rows to the children in one octant."""
    for i in range(parents.size):
        child = children[parents[i], octant]
        if child >= 0:
            for c in range(rows.shape[1]):
                out[child, c] += rows[i, c]


@jit
def _meeting(targets, sources, target_child, source_child, t, o, place):
    """The pairs of parents that have both a target in octant t and a source in octant o."""
    n = 0
    for i in range(targets.size):
        if target_child[targets[i], t] >= 0 and source_child[sources[i], o] >= 0:
            place[n] = i
            n += 1
    return n


@jit
def _some(place, rows, right, left, core, packed, sums):
    """sums[place] += rows[place] @ right @ left."""
    n = place.size
    k = rows.shape[1]
    for i in range(n):
        for c in range(k):
            packed[i, c] = rows[place[i], c]
    np.dot(packed[:n], right, core)
    np.dot(core, left, packed[:n])
    for i in range(n):
        for c in range(k):
            sums[place[i], c] += packed[i, c]


@jit
def _batch(targets, sources, target_child, source_child, expansions, direction, factors, work, out):
    """All interactions of a batch of parent pairs of one direction."""
    rank, start, right, left = factors
    rows, core, packed, sums, place, one = work
    n = targets.size
    k = out.shape[1]
    sums[:] = 0.0
    for o in range(8):
        if _gather(source_child, sources, o, expansions, rows) == 0:
            continue
        for t in range(8):
            code = _code(direction, t, o)
            r = rank[code]
            if r == 0:
                continue
            down = right[start[code] * k : start[code + 1] * k].reshape((k, r))
            up = left[start[code] * k : start[code + 1] * k].reshape((r, k))
            m = _meeting(targets, sources, target_child, source_child, t, o, place)
            if m == n:
                product = core[: n * r].reshape((n, r))
                np.dot(rows[:n], down, product)
                add_product(product, up, sums[t, :n], one)
            elif m > 0:
                _some(place[:m], rows, down, up, core[: m * r].reshape((m, r)), packed, sums[t])
    for t in range(8):
        _scatter(target_child, targets, t, sums[t], out)


@loop
def translate_siblings(
    code_ptr, target, source, target_child, source_child, expansions, rank, start, right, left, out
):
    """out[target children] += expansions[source children] @ right @ left, for every pair of parents.

    Parameters
    ----------
    code_ptr : int64 [n_blocks, 28], pairs of a block of target parents by direction
    target, source : int32 [n_pairs], rows of target_child and source_child
    target_child, source_child : int32 [n_parents, 8], row of out (of expansions) by octant, -1 where there is none
    expansions : [n_halo, k]
    rank : int64 [343]; start : int64 [344], in rows of k
    right, left : flat, for each code a (k, rank) and a (rank, k) block
    out : [n_rows, k]
    """
    k = out.shape[1]
    factors = (rank, start, right, left)
    for block in prange(code_ptr.shape[0]):
        rows = np.empty((BATCH, k), right.dtype)
        core = np.empty(BATCH * rank.max(), right.dtype)
        packed = np.empty((BATCH, k), right.dtype)
        sums = np.empty((8, BATCH, k), right.dtype)
        place = np.empty(BATCH, np.int64)
        one = np.ones(1, right.dtype)
        work = (rows, core, packed, sums, place, one)
        for d in range(27):
            for first in range(code_ptr[block, d], code_ptr[block, d + 1], BATCH):
                last = min(first + BATCH, code_ptr[block, d + 1])
                targets, sources = target[first:last], source[first:last]
                _batch(targets, sources, target_child, source_child, expansions, d, factors, work, out)
