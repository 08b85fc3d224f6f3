"""The M2L loop: families of siblings, reflected so that few matrices serve all directions.

A box meets in its V list children of its parent's colleagues, so M2L is a sum over pairs of neighbouring parents.
Reflections take the 26 directions between them to the seven without negative components, and in the basis with
parities a reflection is a sign for each coefficient. Along axes on which the parents are level, children are
reflected once more, to the lower side; so an octant of a direction has the bits of the direction at most.

A batch of reflected pairs gathers the expansions of its sources for each of the eight octants, and takes them to the
few numbers that targets in this direction see of them. The cores are small matrices between such numbers. What
arrives in an octant is taken back to coefficients once for all sources. All products are small enough for the cache.

Where the last column is a first moment (see `taskfmm.operators.moment`), it is referred to the centre of the target's
parent when it has been gathered, and to that of the target before it is scattered.
"""

from __future__ import annotations

import numpy as np

from taskfmm.blas import product
from taskfmm.jit import jit, loop
from taskfmm.operators import rows

BATCH = 128
"""Rows of reflected pairs of parents taken at a time: enough for BLAS, few enough for the cache."""

MEETING = 0.9
"""Of the pairs of children of neighbouring parents, those that do not touch: 58 of 64."""

PRODUCT = 10_000
"""Multiply-adds that take as long as a small product does besides its own."""


@jit
def _children(child, parents, mirrors, octant, found):
    """The children in one octant of reflected parents, -1 for none; returns how many exist."""
    n = 0
    for i in range(parents.size):
        found[i] = child[parents[i], octant ^ mirrors[i]]
        n += found[i] >= 0
    return n


@jit
def _widths(direction, ranks):
    """Of all octants together."""
    total = 0
    for octant in range(8):
        total += ranks[direction, octant & direction]
    return total


@jit
def _largest(ranks):
    """Of all directions and octants; NumPy's function takes half a second to compile."""
    found = 0
    for direction in range(ranks.shape[0]):
        for octant in range(ranks.shape[1]):
            found = max(found, ranks[direction, octant])
    return found


@jit
def _are_far(direction, target, source):
    """Whether children of neighbouring parents do not touch: the distance is 2 along some axis."""
    return direction & (target | ~source) & 7 != 0


@jit
def _send(source_rows, mirrors, expansions, direction, ranks, start, down, signs, moment, work, seen):
    """What targets in a direction see of the sources in each octant: seen, [rows, sum of the ranks]."""
    buffer, packed, _, place, boxes, flips, _, replacing = work
    n, columns, k = mirrors.size, expansions.shape[1], expansions.shape[2]
    first = 0
    for o in range(8):
        m = rows.places(source_rows[o, :n], place)
        lower = o & direction
        r = ranks[direction, lower]
        found = seen[:, first : first + r]
        first += r
        if m == 0:
            found[:] = 0.0
            continue
        rows.existing(source_rows[o, :n], mirrors, o & ~direction, boxes, flips)
        gathered = buffer[: m * columns]
        rows.gather(boxes[:m], flips[:m], expansions, signs, gathered)
        if moment:
            x, y, z = rows.from_parent(lower)
            x, y, z = x - 4 * (direction >> 2 & 1), y - 4 * (direction >> 1 & 1), z - 4 * (direction & 1)
            rows.move(flips[:m], columns, gathered, x, y, z)
        matrix = rows.matrix(down, start[direction, lower], k, r)
        if m == n:
            product(gathered, matrix, found, replacing)
        else:
            some = rows.matrix(packed, 0, m * columns, r)
            product(gathered, matrix, some, replacing)
            found[:] = 0.0
            rows.add_some(place[:m], columns, some, found)


@jit
def _cross(source_rows, target_rows, n, columns, direction, ranks, core, work, seen, arrived):
    """What the sources do to the targets, octant by octant: arrived, [rows, sum of the ranks]."""
    _, packed, result, place, _, _, adding, replacing = work
    source_ranks, target_ranks = ranks
    arrived[:] = 0.0
    column = 0
    for t in range(8):
        r = target_ranks[direction, t & direction]
        to = arrived[:, column : column + r]
        row = 0
        for o in range(8):
            s = source_ranks[direction, o & direction]
            of, matrix = seen[:, row : row + s], core[row : row + s, column : column + r]
            row += s
            m = (
                rows.meeting(target_rows[t, :n], source_rows[o, :n], place)
                if _are_far(direction, t, o)
                else 0
            )
            if m == n:
                product(of, matrix, to, adding)
            elif m > 0:
                some, sums = rows.matrix(packed, 0, m * columns, s), rows.matrix(result, 0, m * columns, r)
                rows.some(place[:m], columns, of, some)
                product(some, matrix, sums, replacing)
                rows.add_some(place[:m], columns, sums, to)
        column += r


@jit
def _receive(target_rows, mirrors, direction, ranks, start, up, signs, moment, work, arrived, out):
    """Locals from what has arrived in each octant."""
    buffer, packed, _, place, boxes, flips, _, replacing = work
    n, columns, k = mirrors.size, out.shape[1], out.shape[2]
    first = 0
    for t in range(8):
        m = rows.places(target_rows[t, :n], place)
        lower = t & direction
        r = ranks[direction, lower]
        found = arrived[:, first : first + r]
        first += r
        if m == 0:
            continue
        total, matrix = buffer[: m * columns], rows.matrix(up, start[direction, lower], r, k)
        if m == n:
            product(found, matrix, total, replacing)
        else:
            some = rows.matrix(packed, 0, m * columns, r)
            rows.some(place[:m], columns, found, some)
            product(some, matrix, total, replacing)
        rows.existing(target_rows[t, :n], mirrors, t & ~direction, boxes, flips)
        if moment:
            x, y, z = rows.from_parent(lower)
            rows.move(flips[:m], columns, total, -x, -y, -z)
        rows.scatter(boxes[:m], flips[:m], total, signs, out)


@loop
def translate_siblings(
    first, last, code_ptr, target, source, mirror, target_child, source_child, expansions,
    source_ranks, target_ranks, down_start, up_start, core_start, down, up, core, source_signs, target_signs,
    moment, out,
):  # fmt: skip
    """Add what source children do to target children, for every pair of parents.

    Parameters
    ----------
    first, last : the blocks, a part of them or all
    code_ptr : int64 [n_blocks, 8], pairs of a block of target parents by direction, 1 to 7, as reflected
    target, source : int32 [n_pairs], rows of target_child and source_child
    mirror : int8 [n_pairs], the reflection that leaves the direction without negative components
    target_child, source_child : int32 [n_parents, 8], row of out (of expansions) by octant, -1 where there is none
    expansions : [n_halo, columns, k]
    source_ranks, ..., core : of `taskfmm.operators.directional.DirectionalM2L`, with where its matrices begin
    source_signs, target_signs : [8, k], what a reflection does to expansions and to rows of out
    moment : whether the last of four columns is a first moment
    out : [n_rows, columns, k]
    """
    columns, k = out.shape[1], out.shape[2]
    pairs = max(1, BATCH // columns)
    most, rank = pairs * columns, max(_largest(source_ranks), _largest(target_ranks))
    buffer = np.empty((most, k), out.dtype)
    packed, result = np.empty(most * rank, out.dtype), np.empty(most * rank, out.dtype)
    seen, arrived = np.empty(most * 8 * rank, out.dtype), np.empty(most * 8 * rank, out.dtype)
    place, boxes, flips = np.empty(pairs, np.int64), np.empty(pairs, np.int32), np.empty(pairs, np.int8)
    source_rows, target_rows = np.empty((8, pairs), np.int32), np.empty((8, pairs), np.int32)
    adding, replacing = np.ones(2, out.dtype), np.ones(2, out.dtype)
    replacing[1] = 0.0
    work = (buffer, packed, result, place, boxes, flips, adding, replacing)
    for block in range(first, last):
        for d in range(1, 8):
            of_sources, of_targets = _widths(d, source_ranks), _widths(d, target_ranks)
            matrix = rows.matrix(core, core_start[d], of_sources, of_targets)
            begin, end = code_ptr[block, d - 1], code_ptr[block, d]
            batches = -(
                -(end - begin) // pairs
            )  # of equal size, since a small one takes all matrices as well
            for i in range(batches):
                here = slice(begin + i * (end - begin) // batches, begin + (i + 1) * (end - begin) // batches)
                mirrors = mirror[here]
                n = mirrors.size
                n_sources, n_targets = 0, 0
                for o in range(8):
                    n_sources += _children(source_child, source[here], mirrors, o, source_rows[o])
                    n_targets += _children(target_child, target[here], mirrors, o, target_rows[o])
                if n_sources == 0 or n_targets == 0:
                    continue
                saw = rows.matrix(seen, 0, n * columns, of_sources)
                came = rows.matrix(arrived, 0, n * columns, of_targets)
                _send(
                    source_rows,
                    mirrors,
                    expansions,
                    d,
                    source_ranks,
                    down_start,
                    down,
                    source_signs,
                    moment,
                    work,
                    saw,
                )
                # one product of all octants multiplies zeros as well, for missing children and boxes that touch
                zeros = 1.0 - MEETING * n_sources * n_targets / (64.0 * n * n)
                if zeros * n * columns * of_sources * of_targets < 64 * PRODUCT:
                    product(saw, matrix, came, replacing)
                else:
                    _cross(
                        source_rows,
                        target_rows,
                        n,
                        columns,
                        d,
                        (source_ranks, target_ranks),
                        matrix,
                        work,
                        saw,
                        came,
                    )
                _receive(
                    target_rows, mirrors, d, target_ranks, up_start, up, target_signs, moment, work, came, out
                )
