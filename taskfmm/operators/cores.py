"""The matrices of M2L are made: cores, the row and column spaces that some share, and what is left between these.

A core C_t = B_local^T K_t B_multipole belongs to each relative position t of two boxes. The 56 of positions without
negative components are 16 up to exchanges of axes, so 16 are computed and factored: C_{g t} = G C_t G^T with G = B^T
P_g B, where P_g permutes the points of the surface, and the components of vectors. The same G take the row space of
a direction and an octant to those of others. Spaces are cut where singular values fall below ``tol`` times the
largest of all cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.operators.basis import signs
from taskfmm.operators.directional import DirectionalM2L, octants, positions
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.operators.mixed import MixedM2L

FINER = 0.1
"""Cores are factored with a cut so much finer than that of the spaces which they span together."""


def compress(
    kernel: Kernel,
    accuracy: Accuracy,
    points: np.ndarray,
    width: float,
    multipole: tuple[np.ndarray, np.ndarray],
    local: tuple[np.ndarray, np.ndarray],
) -> DirectionalM2L | MixedM2L:
    """Build the matrices of M2L.

    points : float64 [3, n], the surface around a box at the origin on which multipoles have their densities, and
        locals their check potentials
    width : of a box, in the unit of the points
    multipole, local : orthonormal columns, float64 [n_charge * n, k] and [n_potential * n, k], and their parities,
        int8 [3, k]: density = columns @ coefficients, and coefficients = columns.T @ check potentials
    """
    code, offset = symmetry.representatives()[0], symmetry.coded_offsets()
    factors, largest = {}, 0.0
    for c in np.unique(code[symmetry.is_far() & symmetry.is_folded()]):
        full = kernel_matrix(kernel, points + width * offset[c][:, None], points)
        u, s, vt = scipy.linalg.svd(local[0].T @ full @ multipole[0], lapack_driver="gesdd")
        largest = max(largest, s[0])
        r = _kept(s, FINER * accuracy.m2l_tol * largest)
        factors[c] = (vt[:r].T.copy(order="F"), s[:r], u[:, :r].copy(order="F"))
    of_source, of_target = (
        np.array([_turn(columns, points, turn, axes) for turn in symmetry.exchanges()])
        for columns, axes in (
            (multipole[0], symmetry.charge_axes(kernel)),
            (local[0], symmetry.potential_axes(kernel)),
        )
    )
    cores = _Cores(factors, of_source, of_target, multipole[1], local[1])
    cut = accuracy.m2l_tol * largest
    v, u = cores.spaces(cut, of_targets=False), cores.spaces(cut, of_targets=True)
    between = cores.between(v, u)
    if accuracy.m2l_dtype != MIXED:
        return _form(v, u, between, cores, accuracy.m2l_dtype)
    # the spaces of several cores may have singular values above the largest of one
    wide = accuracy.in_single_below * largest if accuracy.in_single_below < 1.0 else np.inf
    large_v, large_u = ({key: each.above(wide) for key, each in spaces.items()} for spaces in (v, u))
    large = {}
    for (d, t, o), core in between.items():
        both = (slice(large_v[d, o & d].values.size), slice(large_u[d, t].values.size))
        large[d, t, o] = core[both].copy()
        core[both] = 0.0
    return MixedM2L(_form(large_v, large_u, large, cores, "float64"), _form(v, u, between, cores, "float32"))


@dataclass(frozen=True, slots=True)
class _Space:
    """Orthonormal columns [k, r], and the singular values that they belong to, falling."""

    columns: np.ndarray
    values: np.ndarray

    def above(self, cut: float) -> _Space:
        """What belongs to the larger singular values."""
        r = int((self.values > cut).sum())
        return _Space(self.columns[:, :r], self.values[:r])


_Spaces = dict[tuple[int, int], _Space]


@dataclass(frozen=True, slots=True)
class _Cores:
    """All cores, from the singular value decompositions of 16.

    factors : by code, V [k, r], S [r] and U [k, r]
    of_source, of_target : what exchanges of axes do to coefficients of multipoles and of locals, [6, k, k]
    """

    factors: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    of_source: np.ndarray
    of_target: np.ndarray
    source_parity: np.ndarray
    target_parity: np.ndarray

    def core(self, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """V, S and U of a relative position."""
        folded, mirror = symmetry.fold(offset)
        code, exchange = (each[folded] for each in symmetry.representatives())
        v, s, u = self.factors[code]
        flipped = signs(self.source_parity)[mirror], signs(self.target_parity)[mirror]
        return (
            flipped[0][:, None] * (self.of_source[exchange] @ v),
            s,
            flipped[1][:, None] * (self.of_target[exchange] @ u),
        )

    def spaces(self, cut: float, of_targets: bool) -> _Spaces:
        """The row spaces of sources, or the column spaces of targets, by direction and octant."""
        found: _Spaces = {}
        turns = self.of_target if of_targets else self.of_source
        for d, octant in np.argwhere(octants()).tolist():
            # the one among those that exchanges of axes take to each other that has the lowest numbers
            images = [(_turned(d, g), _turned(octant, g)) for g in symmetry.exchanges()]
            first = min(images)
            if first not in found:
                found[first] = self._space(*first, cut, of_targets)
            back = symmetry.exchanges()[images.index(first)].T
            g = next(i for i, each in enumerate(symmetry.exchanges()) if (each == back).all())
            if (d, octant) != first:
                found[d, octant] = _Space(turns[g] @ found[first].columns, found[first].values)
        return found

    def _space(self, d: int, octant: int, cut: float, of_targets: bool) -> _Space:
        rows = []
        for other in range(8):
            bits = [(each & symmetry.BITS) > 0 for each in (d, octant, other)]
            offset = 2 * bits[0] + (1 if of_targets else -1) * (bits[1].astype(int) - bits[2])
            if np.abs(offset).max() > 1:
                v, s, u = self.core(offset)
                rows.append((s * (u if of_targets else v)).T)
        _, values, columns = scipy.linalg.svd(
            np.concatenate(rows), full_matrices=False, lapack_driver="gesdd"
        )
        r = _kept(values, cut)
        return _Space(columns[:r].T.copy(), values[:r])

    def between(self, v: _Spaces, u: _Spaces) -> dict[tuple[int, int, int], np.ndarray]:
        """What is left of the cores between the spaces, [source rank, target rank], by the numbers of `positions`."""
        offset, meets = positions()
        found = {}
        for d, t, o in np.argwhere(meets).tolist():
            right, s, left = self.core(offset[d, t, o])
            flipped = signs(self.target_parity)[o & ~d][:, None]
            to = flipped * u[d, t].columns
            found[d, t, o] = (v[d, o & d].columns.T @ right * s) @ (left.T @ to)
        return found


def _form(
    v: _Spaces, u: _Spaces, between: dict[tuple[int, int, int], np.ndarray], cores: _Cores, dtype: str
) -> DirectionalM2L:
    """The matrices in the order in which they are kept."""
    source_rank, target_rank = (np.zeros((8, 8), np.int64) for _ in range(2))
    for rank, spaces in ((source_rank, v), (target_rank, u)):
        for key, each in spaces.items():
            rank[key] = each.values.size

    def flat(matrices: Iterable[np.ndarray], size: int) -> np.ndarray:
        found, at = np.empty(size, dtype), 0
        for matrix in matrices:
            found[at : at + matrix.size] = matrix.ravel()
            at += matrix.size
        return found

    k = cores.source_parity.shape[1]
    down = flat((v[key].columns for key in sorted(v)), k * int(source_rank.sum()))
    up = flat((u[key].columns.T for key in sorted(u)), k * int(target_rank.sum()))
    core = flat((between[key] for key in sorted(between)), sum(each.size for each in between.values()))
    return DirectionalM2L.of(
        source_rank, target_rank, down, up, core, cores.source_parity, cores.target_parity
    )


def _turned(octant: int, turn: np.ndarray) -> int:
    """Where an exchange of axes takes an octant, or a direction."""
    return int(turn @ ((octant & symmetry.BITS) > 0) @ symmetry.BITS)


def _turn(columns: np.ndarray, points: np.ndarray, turn: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """What an exchange of axes does to coefficients, [k, k]; axes : of the components, -1 for a scalar."""
    component = np.arange(axes.size)
    component = np.where(axes < 0, component, component - axes + turn.argmax(axis=1)[axes])
    turned = columns.reshape(axes.size, points.shape[1], -1)[component][:, symmetry.permutation(points, turn)]
    return columns.T @ turned.reshape(columns.shape)


def _kept(values: np.ndarray, cut: float) -> int:
    """How many singular values are kept, at least one."""
    return max(1, int((values > cut).sum()))
