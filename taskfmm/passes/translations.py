"""The loop of M2M and L2L: expansions to expansions by dense matrices.

Entries come sorted by block of target rows and by code, so that one small matrix meets many rows at once.
Blocks are independent: a block is what one thread adds into, and what stays in its cache.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from taskfmm.jit import loop

BATCH = 128
"""Rows gathered for one matrix product: enough for BLAS, few enough for the cache."""


@loop
def translate_dense(code_ptr, target, source, expansions, matrices, out):
    """out[target] += expansions[source] @ matrices[code], for every entry.

    expansions : [n_halo, j]; matrices : [n_codes, j, k]; out : [n_rows, k]
    """
    for block in prange(code_ptr.shape[0]):
        rows = np.empty((BATCH, expansions.shape[1]), expansions.dtype)
        sums = np.empty((BATCH, out.shape[1]), expansions.dtype)
        for code in range(code_ptr.shape[1] - 1):
            for first in range(code_ptr[block, code], code_ptr[block, code + 1], BATCH):
                n = min(BATCH, code_ptr[block, code + 1] - first)
                for i in range(n):
                    rows[i] = expansions[source[first + i]]
                np.dot(rows[:n], matrices[code], sums[:n])
                for i in range(n):
                    out[target[first + i]] += sums[i]
