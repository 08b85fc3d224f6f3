"""How large operators are and what making them takes, known from their accuracy before there are any."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.basis import NULL
from taskfmm.operators.symmetry import is_far

READING = 2.2
"""Peak over size while operators are read: a file, which has half of what M2L takes in memory, is there whole until
its arrays have been taken out and those of M2L completed."""

BUILDING = 2.5
"""The same while they are built and kept: their file is put together in memory, and factorizations leave gaps in the
heap; 2.35 times 446 MiB and 2.5 times 156 MiB were measured."""


def least_bytes(kernel: Kernel, accuracy: Accuracy) -> int:
    """Bytes of one set of operators, at least; it is 5 to 40 % more.

    The numbers of singular values above the cuts follow from how fast harmonics decay between the surfaces, the
    constants from sets of order 3 to 16.
    """
    digits, m2l_digits = (-math.log10(max(tol, NULL)) for tol in (accuracy.basis_tol, accuracy.m2l_tol))
    kernel = kernel.expands
    n_check, n_equivalent = (
        kernel.n_charge * points(kernel.surfaces, accuracy.order).shape[1]
        for points in (surface.check, surface.equivalent)
    )
    rank = min(kernel.n_charge * (2.08 * digits - 1.0) ** 2, 0.55 * min(n_check, n_equivalent))
    m2l_rank = min(0.5 * kernel.n_charge * m2l_digits**2, rank)
    m2l = 2 * int(is_far().sum()) * rank * m2l_rank * np.dtype(accuracy.m2l_dtype).itemsize
    dense = (2 * (n_check + n_equivalent) * rank + 16 * rank**2) * np.dtype(float).itemsize
    return int(m2l + dense)
