"""M2L in a compressed form: a low-rank core for each relative position, in the basis of the expansions.

The core of relative position t is C_t = B_local^T K_t B_multipole, k by k. It is kept as two factors of rank
r_t, cut where the singular values fall below ``tol`` times the largest of all cores. For a radial kernel the
316 cores are rotations of 16, so 16 are computed and factored:
C_{g t} = G C_t G^T with G = B^T P_g B, where P_g permutes the points of the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.matrix import kernel_matrix


@dataclass(frozen=True, slots=True)
class LowRankM2L:
    """Cores that act on rows: local += multipole @ right[t] @ left[t].

    rank : int64 [343], 0 for adjacent boxes
    start : int64 [344], where the factors of a code begin, in rows of length k
    right : [start[-1] * k], for each code a C-order (k, rank) block
    left : [start[-1] * k], for each code a C-order (rank, k) block
    """

    rank: np.ndarray
    start: np.ndarray
    right: np.ndarray
    left: np.ndarray

    def factors(self, code: int) -> tuple[np.ndarray, np.ndarray]:
        """Right and left factor of a code, [k, rank] and [rank, k]."""
        first, last = self.start[code : code + 2]
        k = self.right.size // self.start[-1]
        return (
            self.right[first * k : last * k].reshape(k, last - first),
            self.left[first * k : last * k].reshape(last - first, k),
        )

    @property
    def mean_rank(self) -> float:
        return float(self.rank[symmetry.is_far()].mean())


def compress(
    kernel: Kernel, accuracy: Accuracy, half_width: float, multipole: np.ndarray, local: np.ndarray
) -> LowRankM2L:
    """Build the cores for boxes of a half-width.

    multipole, local : float64 [n_s, k], orthonormal columns: density = multipole @ coefficients, and
    coefficients = local.T @ check potentials.
    """
    tol, dtype = accuracy.m2l_tol, accuracy.m2l_dtype
    inner = half_width * surface.cube(accuracy.order, surface.INNER)
    code, rotation = symmetry.representatives()
    far = symmetry.is_far()
    offset = symmetry.offsets()
    cores, cut = {}, 0.0
    for c in np.unique(code[far]):
        full = kernel_matrix(kernel, inner + 2.0 * half_width * offset[c][:, None], inner)
        u, s, vt = scipy.linalg.svd(local.T @ full @ multipole, lapack_driver="gesdd")
        cut = max(cut, tol * s[0])
        r = _kept(s, cut)  # no fewer than are left when the cut of all cores is known
        cores[c] = u[:, :r].copy(order="F"), s, vt[:r].copy(order="F")

    rank = np.zeros(symmetry.N_OFFSETS, np.int64)
    for c in np.flatnonzero(far):
        rank[c] = _kept(cores[code[c]][1], cut)
    start = np.concatenate([[0], np.cumsum(rank)])
    k = multipole.shape[1]
    right, left = np.empty(start[-1] * k, dtype), np.empty(start[-1] * k, dtype)
    for g, turn in enumerate(symmetry.rotations()):
        perm = symmetry.permutation(inner, turn)
        turn_source = multipole.T @ multipole[perm]
        turn_target = turn_source if local is multipole else local.T @ local[perm]
        for c in np.flatnonzero(far & (rotation == g)):
            (u, s, vt), r = cores[code[c]], rank[c]
            here = slice(start[c] * k, start[c + 1] * k)
            left[here] = (turn_target @ (u[:, :r] * s[:r])).T.ravel()
            right[here] = (turn_source @ vt[:r].T).ravel()
    return LowRankM2L(rank, start, right, left)


def _kept(values: np.ndarray, cut: float) -> int:
    """How many singular values are kept, at least one."""
    return max(1, int((values > cut).sum()))
