"""The loop of M2M and L2L: expansions to expansions by dense matrices.

Entries come sorted by block of target rows and by code, so that one small matrix meets many rows at once. Blocks are
independent: a block is what one thread adds into, and what stays in its cache. Rows are arrays of one dimension, or
there would be no vector instructions. They are copied number by number: the first assignment of slices in a process
takes more than a second to compile, since it can fail, and has to write why.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit, loop

BATCH = 128
"""Rows gathered for one matrix product: enough for BLAS, few enough for the cache."""


@jit
def _move(rows, weights):
    """Give the last of every four rows, a first moment, another centre."""
    x, y, z, own = weights
    for i in range(3, len(rows), 4):
        for c in range(rows.shape[1]):
            rows[i, c] = own * rows[i, c] + x * rows[i - 3, c] + y * rows[i - 2, c] + z * rows[i - 1, c]


@loop
def translate_dense(
    first, last, code_ptr, target, source, expansions, matrices, transposed, factor, moments, out
):
    """out[target] += factor * expansions[source] @ matrices[code], for every entry.

    first, last : the blocks, a part of them or all
    expansions : [n_halo, columns, j]; matrices : [n_codes, j, k], or transposed; out : [n_rows, columns, k]
    moments : float64 [n_codes, 4], by code what columns are multiplied by to give the last, see
        `taskfmm.operators.moment`; [0, 4] where it is one like the others
    """
    columns, times = out.shape[1], out.dtype.type(factor)
    entries = max(1, BATCH // columns)
    rows = np.empty((entries * columns, expansions.shape[2]), expansions.dtype)
    sums = np.empty((entries * columns, out.shape[2]), expansions.dtype)
    for block in range(first, last):
        for code in range(code_ptr.shape[1] - 1):
            for at in range(code_ptr[block, code], code_ptr[block, code + 1], entries):
                n = min(entries, code_ptr[block, code + 1] - at)
                for i in range(n):
                    for c in range(columns):
                        row, expansion = rows[i * columns + c], expansions[source[at + i], c]
                        for k in range(row.size):
                            row[k] = expansion[k]
                if transposed:
                    np.dot(rows[: n * columns], matrices[code].T, sums[: n * columns])
                else:
                    np.dot(rows[: n * columns], matrices[code], sums[: n * columns])
                if moments.size:
                    _move(sums[: n * columns], moments[code])
                for i in range(n):
                    for c in range(columns):
                        row, total = sums[i * columns + c], out[target[at + i], c]
                        for k in range(row.size):
                            total[k] += times * row[k]
