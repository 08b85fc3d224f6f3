"""The M2L loop of low-rank cores: families of siblings, reflected so that few cores serve all directions.

A box meets in its V list children of its parent's colleagues, so M2L is a sum over pairs of neighbouring parents.
Reflections take the 26 directions between them to the seven without negative components, and in the basis with
parities a reflection is a sign for each coefficient. So pairs of many directions meet the same cores: those of
transfer vectors with components from -1, between children of parents that are level along an axis, to 3.

A batch of reflected pairs gathers the expansions of its sources once for the eight target octants, and scatters what
arrives in an octant once for all sources; in between run small matrix products that stay in the cache.

Where the last column is a first moment (see `taskfmm.operators.moment`), it is referred to the centre of the target's
parent when it has been gathered, and to that of the target before it is scattered.
"""

from __future__ import annotations

import numpy as np

from taskfmm.blas import add_product
from taskfmm.jit import jit, loop

BATCH = 128
"""Rows of reflected pairs of parents taken at a time: enough for BLAS, few enough for the cache."""


@jit
def _code(direction, target, source):
    """Code of the transfer vector (see `taskfmm.operators.symmetry`) between children of neighbouring parents.

    direction : target parent minus source parent, 4 x + 2 y + z; target, source : octants, as reflected
    """
    x = 2 * (direction >> 2 & 1) + (target >> 2 & 1) - (source >> 2 & 1) + 1
    y = 2 * (direction >> 1 & 1) + (target >> 1 & 1) - (source >> 1 & 1) + 1
    z = 2 * (direction & 1) + (target & 1) - (source & 1) + 1
    return 25 * x + 5 * y + z


@jit
def _children(child, parents, mirrors, octant, rows):
    """The children in one octant of reflected parents, -1 for none; returns how many exist."""
    n = 0
    for i in range(parents.size):
        rows[i] = child[parents[i], octant ^ mirrors[i]]
        n += rows[i] >= 0
    return n


@jit
def _gather(found, mirrors, expansions, signs, rows):
    """The expansions of children, reflected, a row for each column."""
    columns = expansions.shape[1]
    for i in range(found.size):
        box, mirror = found[i], mirrors[i]
        if box >= 0:
            for column in range(columns):
                for c in range(rows.shape[1]):
                    rows[i * columns + column, c] = expansions[box, column, c] * signs[mirror, c]


@jit
def _scatter(found, mirrors, rows, signs, out):
    """Add rows, reflected back, to children."""
    columns = out.shape[1]
    for i in range(found.size):
        box, mirror = found[i], mirrors[i]
        if box >= 0:
            for column in range(columns):
                for c in range(rows.shape[1]):
                    out[box, column, c] += rows[i * columns + column, c] * signs[mirror, c]


@jit
def _from_parent(octant):
    """The centre of a child less that of its parent, in half-widths of the child."""
    return 2 * (octant >> 2 & 1) - 1, 2 * (octant >> 1 & 1) - 1, 2 * (octant & 1) - 1


@jit
def _move(found, mirrors, columns, rows, x, y, z):
    """Refer the last of every four rows, a first moment, to another centre.

    x, y, z : the old centre less the new one, as reflected, in half-widths of the children
    """
    for i in range(found.size):
        mirror = mirrors[i]
        along_x, along_y, along_z = -x if mirror & 4 else x, -y if mirror & 2 else y, -z if mirror & 1 else z
        if found[i] >= 0:
            for j in range(i * columns, (i + 1) * columns, 4):
                for c in range(rows.shape[1]):
                    rows[j + 3, c] += (
                        along_x * rows[j, c] + along_y * rows[j + 1, c] + along_z * rows[j + 2, c]
                    )


@jit
def _meeting(targets, sources, place):
    """The pairs that have both a target and a source."""
    n = 0
    for i in range(targets.size):
        if targets[i] >= 0 and sources[i] >= 0:
            place[n] = i
            n += 1
    return n


@jit
def _some(place, columns, rows, right, left, core, packed, sums):
    """sums[place] += rows[place] @ right @ left, where a place has a row for each column."""
    n = place.size * columns
    k = rows.shape[1]
    for i in range(n):
        row = place[i // columns] * columns + i % columns
        for c in range(k):
            packed[i, c] = rows[row, c]
    np.dot(packed[:n], right, core)
    np.dot(core, left, packed[:n])
    for i in range(n):
        row = place[i // columns] * columns + i % columns
        for c in range(k):
            sums[row, c] += packed[i, c]


@jit
def _batch(
    targets, sources, mirrors, target_child, source_child, expansions, direction, factors, moment, work, out
):
    """All interactions of a batch of reflected pairs of one direction."""
    rank, start, right, left, source_signs, target_signs = factors
    gathered, source_rows, target_rows, core, packed, sums, place, one = work
    n, columns, k = targets.size, out.shape[1], out.shape[2]
    n_rows = n * columns
    for o in range(8):
        if _children(source_child, sources, mirrors, o, source_rows[o]):
            _gather(source_rows[o, :n], mirrors, expansions, source_signs, gathered[o])
            if moment:
                x, y, z = _from_parent(o)
                x, y, z = x - 4 * (direction >> 2 & 1), y - 4 * (direction >> 1 & 1), z - 4 * (direction & 1)
                _move(source_rows[o, :n], mirrors, columns, gathered[o], x, y, z)
    for t in range(8):
        if _children(target_child, targets, mirrors, t, target_rows) == 0:
            continue
        sums[:n_rows] = 0.0
        for o in range(8):
            code = _code(direction, t, o)
            r = rank[code]
            m = _meeting(target_rows[:n], source_rows[o], place) if r else 0
            if m == 0:
                continue
            down = right[start[code] * k : (start[code] + r) * k].reshape((k, r))
            up = left[start[code] * k : (start[code] + r) * k].reshape((r, k))
            product = core[: m * columns * r].reshape((m * columns, r))
            if m == n:
                np.dot(gathered[o, :n_rows], down, product)
                add_product(product, up, sums[:n_rows], one)
            else:
                _some(place[:m], columns, gathered[o], down, up, product, packed, sums)
        if moment:
            x, y, z = _from_parent(t)
            _move(target_rows[:n], mirrors, columns, sums, -x, -y, -z)
        _scatter(target_rows[:n], mirrors, sums, target_signs, out)


@loop
def translate_siblings(
    first, last, code_ptr, target, source, mirror, target_child, source_child, expansions,
    rank, start, right, left, source_signs, target_signs, moment, out,
):  # fmt: skip
    """out[target children] += expansions[source children] @ right @ left, for every pair of parents.

    Parameters
    ----------
    first, last : the blocks, a part of them or all
    code_ptr : int64 [n_blocks, 8], pairs of a block of target parents by direction, 1 to 7, as reflected
    target, source : int32 [n_pairs], rows of target_child and source_child
    mirror : int8 [n_pairs], the reflection that leaves the direction without negative components
    target_child, source_child : int32 [n_parents, 8], row of out (of expansions) by octant, -1 where there is none
    expansions : [n_halo, columns, k]
    rank, start : int64 [125], of a code, and where its blocks begin, in rows of k
    right, left : flat, for each code a (k, rank) and a (rank, k) block
    source_signs, target_signs : [8, k], what a reflection does to expansions and to rows of out
    moment : whether the last of four columns is a first moment
    out : [n_rows, columns, k]
    """
    columns, k = out.shape[1], out.shape[2]
    pairs = max(1, BATCH // columns)
    most = pairs * columns
    factors = (rank, start, right, left, source_signs, target_signs)
    gathered = np.empty((8, most, k), right.dtype)
    source_rows = np.empty((8, pairs), np.int32)
    target_rows = np.empty(pairs, np.int32)
    core = np.empty(most * rank.max(), right.dtype)
    packed = np.empty((most, k), right.dtype)
    sums = np.empty((most, k), right.dtype)
    place = np.empty(pairs, np.int64)
    one = np.ones(1, right.dtype)
    work = (gathered, source_rows, target_rows, core, packed, sums, place, one)
    for block in range(first, last):
        for d in range(1, 8):
            begin, end = code_ptr[block, d - 1], code_ptr[block, d]
            batches = -(-(end - begin) // pairs)  # of equal size, since a small one takes all cores as well
            for i in range(batches):
                here = slice(begin + i * (end - begin) // batches, begin + (i + 1) * (end - begin) // batches)
                targets, sources, mirrors = target[here], source[here], mirror[here]
                lists = (targets, sources, mirrors, target_child, source_child)
                _batch(*lists, expansions, d, factors, moment, work, out)
