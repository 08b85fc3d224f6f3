"""The cores of M2L: made, factored and cut.

A core C_t = B_local^T K_t B_multipole is cut where singular values fall below ``tol`` times the largest of all cores.
The 56 of positions without negative components are 16 up to exchanges of axes, so 16 are computed and factored:
C_{g t} = G C_t G^T with G = B^T P_g B, where P_g permutes the points of the surface, and the components of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from taskfmm.kernels import Kernel
from taskfmm.operators import m2l, symmetry
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.operators.m2l import LowRankM2L
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.operators.mixed import MixedM2L


def compress(
    kernel: Kernel,
    accuracy: Accuracy,
    points: np.ndarray,
    width: float,
    multipole: tuple[np.ndarray, np.ndarray],
    local: tuple[np.ndarray, np.ndarray],
) -> LowRankM2L | MixedM2L:
    """Build the cores.

    points : float64 [3, n], the surface around a box at the origin on which multipoles have their densities, and
        locals their check potentials
    width : of a box, in the unit of the points
    multipole, local : orthonormal columns, float64 [n_charge * n, k] and [n_potential * n, k], and their parities,
        int8 [3, k]: density = columns @ coefficients, and coefficients = columns.T @ check potentials
    """
    tol = accuracy.m2l_tol
    code, offset = symmetry.representatives()[0], symmetry.coded_offsets()
    factors, largest = {}, 0.0
    for c in np.unique(code[_FOLDED]):
        full = kernel_matrix(kernel, points + width * offset[c][:, None], points)
        u, s, vt = scipy.linalg.svd(local[0].T @ full @ multipole[0], lapack_driver="gesdd")
        largest = max(largest, s[0])
        r = _kept(s, tol * largest)  # no fewer than are left when the cut of all cores is known
        factors[c] = u[:, :r].copy(order="F"), s, vt[:r].copy(order="F")

    axes = symmetry.charge_axes(kernel), symmetry.potential_axes(kernel)
    turns = [
        tuple(
            _turn(columns[0], points, turn, of) for columns, of in zip((multipole, local), axes, strict=True)
        )
        for turn in symmetry.exchanges()
    ]
    found = _Factored(factors, turns, (multipole[1], local[1]))
    none, kept = (np.zeros(symmetry.N_CODES, np.int64) for _ in range(2))
    for c in np.flatnonzero(symmetry.is_far()):
        kept[c] = _kept(factors[code[c]][1], tol * largest)
    if accuracy.m2l_dtype != MIXED:
        return found.form(none, kept, accuracy.m2l_dtype)
    large = none.copy()
    for c in np.flatnonzero(symmetry.is_far()):
        large[c] = (factors[code[c]][1][: kept[c]] > accuracy.in_single_below * largest).sum()
    return MixedM2L(found.form(none, large, "float64"), found.form(large, kept, "float32"))


_FOLDED = symmetry.is_far() & symmetry.is_folded()


@dataclass(frozen=True, slots=True)
class _Factored:
    """The singular value decompositions of 16 cores, and what makes 56 of them.

    factors : by code, u, s and vt
    turns : of each exchange of axes, what it does to coefficients of multipoles and of locals, each [k, k]
    parities : of both
    """

    factors: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    turns: list[tuple[Any, ...]]
    parities: tuple[np.ndarray, np.ndarray]

    def form(self, first: np.ndarray, last: np.ndarray, dtype: str) -> LowRankM2L:
        """M2L by some of the singular values of each code, int64 [125] each."""
        code, exchange = symmetry.representatives()
        rank, k = last - first, self.parities[0].shape[1]
        start = m2l.start(rank)
        right, left = np.empty(rank.sum() * k, dtype), np.empty(rank.sum() * k, dtype)
        for c in np.flatnonzero(_FOLDED):
            u, s, vt = self.factors[code[c]]
            of_source, of_target = self.turns[exchange[c]]
            these, here = slice(first[c], last[c]), slice(start[c] * k, (start[c] + rank[c]) * k)
            left[here] = (of_target @ (u[:, these] * s[these])).T.ravel()
            right[here] = (of_source @ vt[these].T).ravel()
        return m2l.mirrored(LowRankM2L(rank, start, right, left, *self.parities))


def _turn(columns: np.ndarray, points: np.ndarray, turn: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """What an exchange of axes does to coefficients, [k, k]; axes : of the components, -1 for a scalar."""
    component = np.arange(axes.size)
    component = np.where(axes < 0, component, component - axes + turn.argmax(axis=1)[axes])
    turned = columns.reshape(axes.size, points.shape[1], -1)[component][:, symmetry.permutation(points, turn)]
    return columns.T @ turned.reshape(columns.shape)


def _kept(values: np.ndarray, cut: float) -> int:
    """How many singular values are kept, at least one."""
    return max(1, int((values > cut).sum()))
