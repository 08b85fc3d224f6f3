"""How large operators are and what making them takes, known from their accuracy before there are any."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.operators.basis import NULL
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.m2l import LowRankM2L
from taskfmm.operators.mixed import MixedM2L
from taskfmm.operators.symmetry import N_CODES, is_far

READING = 2.2
"""Peak over size while operators are read: a file, which has half of what M2L takes in memory, is there whole until
its arrays have been taken out and those of M2L completed."""

BUILDING = 2.5
"""The same while they are built and kept: their file is put together in memory, and factorizations leave gaps in the
heap; 2.35 times 446 MiB and 2.5 times 156 MiB were measured."""


def least_bytes(kernel: Kernel, accuracy: Accuracy) -> int:
    """Bytes of one set of operators, at least; it is 5 to 40 % more."""
    n_check, n_equivalent = (kernel.expands.n_charge * n for n in _points(kernel, accuracy))
    rank, m2l_rank = _ranks(kernel, accuracy)
    itemsize = 4.0 + 4.0 * accuracy.in_double
    m2l = 2 * int(is_far().sum()) * rank * m2l_rank * itemsize
    dense = (2 * (n_check + n_equivalent) * rank + 16 * rank**2) * np.dtype(float).itemsize
    return int(m2l + dense)


def outline(kernel: Kernel, accuracy: Accuracy) -> BoxOperators:
    """Operators of the expected shapes, all of whose numbers are zero: they take no memory, and tell what is counted.

    Numbers of coefficients are within a tenth or two of those of the operators that will be made.
    """
    n_check, n_equivalent = _points(kernel, accuracy)
    kernel = kernel.expands
    rank, m2l_rank = (max(1, round(found)) for found in _ranks(kernel, accuracy))

    def zeros(*shape: int, dtype: str = accuracy.dtype) -> np.ndarray:
        return np.broadcast_to(np.zeros((), dtype), shape)

    def form(m2l_rank: int, dtype: str) -> LowRankM2L:
        ranks = np.where(is_far(), m2l_rank, 0)
        core, parity = zeros(int(ranks.sum()) * rank, dtype=dtype), zeros(3, rank, dtype="int8")
        return LowRankM2L(ranks, np.zeros(N_CODES, np.int64), core, core, parity, parity)

    m2l: LowRankM2L | MixedM2L
    if accuracy.m2l_dtype == MIXED:
        large = round(accuracy.in_double * m2l_rank)
        m2l = MixedM2L(form(large, "float64"), form(m2l_rank - large, "float32"))
    else:
        m2l = form(m2l_rank, accuracy.m2l_dtype)
    outer, inner = kernel.n_potential * n_check, kernel.n_potential * n_equivalent
    return BoxOperators(
        accuracy,
        1.0,
        zeros(3, n_check),
        zeros(3, n_equivalent),
        zeros(outer, rank),
        zeros(rank, kernel.n_charge * n_equivalent),
        zeros(inner, rank),
        zeros(rank, kernel.n_charge * n_check),
        zeros(8, rank, rank),
        zeros(8, rank, rank),
        m2l,
    )


def _points(kernel: Kernel, accuracy: Accuracy) -> tuple[int, int]:
    """Check points and equivalent points around a box."""
    surfaces = kernel.expands.surfaces
    found = (points(surfaces, accuracy.order).shape[1] for points in (surface.check, surface.equivalent))
    n_check, n_equivalent = found
    return n_check, n_equivalent


def _ranks(kernel: Kernel, accuracy: Accuracy) -> tuple[float, float]:
    """Coefficients of an expansion, and those that a core of M2L keeps on average.

    The numbers of singular values above the cuts follow from how fast harmonics decay between the surfaces, the
    constants from sets of order 3 to 16.
    """
    digits, m2l_digits = (-math.log10(max(tol, NULL)) for tol in (accuracy.basis_tol, accuracy.m2l_tol))
    n_charge, fewest = kernel.expands.n_charge, min(_points(kernel, accuracy))
    rank = min(n_charge * (2.08 * digits - 1.0) ** 2, 0.55 * n_charge * fewest)
    return rank, min(0.5 * n_charge * m2l_digits**2, rank)
