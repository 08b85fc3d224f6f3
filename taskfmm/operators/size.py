"""How large operators are and what making them takes, known from their accuracy before there are any."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.operators.basis import NULL
from taskfmm.operators.box import BoxOperators, to_child
from taskfmm.operators.directional import DirectionalM2L, octants
from taskfmm.operators.mixed import MixedM2L

READING = 2.2
"""Peak over size while operators are read: a file, which has half of what M2L takes in memory, is there whole until
its arrays have been taken out and those of M2L completed."""

BUILDING = 2.5
"""The same while they are built and kept. All is float64 until it is done, though most of M2L is float32 then, and a
file is put together in memory: 2.1 to 2.3 times were measured of orders 8 to 16."""

SPANNED = (3.0, 2.25, 1.6)
"""Dimensions of the space that the cores of a direction span, over those that a core keeps, by the number of axes
along which the parents are not level: from sets of order 8 to 17."""


def least_bytes(kernel: Kernel, accuracy: Accuracy) -> int:
    """Bytes of one set of operators, at least; it is 5 to 40 % more."""
    n_check, n_equivalent = (kernel.expands.n_charge * n for n in _points(kernel, accuracy))
    rank = _ranks(kernel, accuracy)[0]
    m2l = sum(part.size * part.dtype.itemsize for part in _form(kernel, accuracy).parts)
    dense = ((n_check + n_equivalent) * rank + 8 * rank**2) * np.dtype(float).itemsize
    return int(m2l + dense)


def outline(kernel: Kernel, accuracy: Accuracy) -> BoxOperators:
    """Operators of the expected shapes, all of whose numbers are zero: they take no memory, and tell what is counted.

    Numbers of coefficients are within a tenth or two of those of the operators that will be made.
    """
    n_check, n_equivalent = _points(kernel, accuracy)
    kernel = kernel.expands
    rank = max(1, round(_ranks(kernel, accuracy)[0]))

    def zeros(*shape: int) -> np.ndarray:
        return _zeros(*shape, dtype=accuracy.dtype)

    outer, inner = kernel.n_potential * n_check, kernel.n_potential * n_equivalent
    return BoxOperators(
        accuracy,
        1.0,
        to_child(kernel),
        zeros(3, n_check),
        zeros(3, n_equivalent),
        zeros(outer, rank),
        zeros(inner, rank),
        zeros(8, rank, rank),
        _form(kernel, accuracy),
    )


def _zeros(*shape: int, dtype: str) -> np.ndarray:
    """They take no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _form(kernel: Kernel, accuracy: Accuracy) -> DirectionalM2L | MixedM2L:
    rank, of_core = _ranks(kernel, accuracy)
    if accuracy.m2l_dtype != MIXED:
        return _directional(round(rank), of_core, accuracy.m2l_dtype)
    large = _directional(round(rank), accuracy.in_double * of_core, "float64")
    return MixedM2L(large, _directional(round(rank), of_core, "float32"))


def _directional(rank: int, of_core: float, dtype: str) -> DirectionalM2L:
    ranks = np.zeros((8, 8), np.int64)
    for direction, octant in np.argwhere(octants()):
        spanned = SPANNED[int(direction).bit_count() - 1] * of_core
        ranks[direction, octant] = min(rank, round(spanned))
    width = np.array([ranks[d, np.arange(8) & d].sum() for d in range(8)])
    spaces, parity = _zeros(rank * int(ranks.sum()), dtype=dtype), _zeros(3, rank, dtype="int8")
    return DirectionalM2L(
        ranks, ranks, spaces, spaces, _zeros(int(width @ width), dtype=dtype), parity, parity
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
