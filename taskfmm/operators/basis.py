"""The singular value decomposition of a matrix between two surfaces, in a basis with parities.

A surface and a kernel stay the same under the reflections x -> -x, y -> -y and z -> -z. So the matrix takes what
is even or odd along each axis to what is even or odd in the same way, and splits into eight blocks, one for each
triple of parities. The unknowns of a block are orbits, each a point with its mirror images: an eighth of the points,
and an SVD of a block takes a hundredth of the time. In the basis that comes of it a reflection is a sign for each
coefficient.

A point with a coordinate zero is its own mirror image. Its orbit is smaller, and takes no part where the parity along
that axis is odd. The component of a vector along the axis of a reflection has another sign besides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.matrix import kernel_matrix

NULL = 4.0 * float(np.finfo(np.float64).eps)
"""Singular values below this multiple of the largest are rounding."""

EQUAL = 1e-4
"""Singular values that differ by less than this are one value of the cube's symmetry, and stay together."""


def factor(
    kernel: Kernel, targets: np.ndarray, sources: np.ndarray, tol: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """U, s, V of the kernel's matrix, and the parities of their columns.

    Singular values above ``tol`` times the largest are kept, equal ones together.

    targets, sources : float64 [3, n_t], [3, n_s], each the same under reflections

    Returns
    -------
    u : float64 [n_potential * n_t, k]; s : float64 [k]; v : float64 [n_charge * n_s, k]
        Components of vectors slowest; columns by parities, those of one block with s descending.
    parity : int8 [3, k]
        The sign that a reflection of each axis gives a column.
    """
    rows = _Orbits.of(targets, symmetry.potential_axes(kernel))
    columns = _Orbits.of(sources, symmetry.charge_axes(kernel))
    matrix = kernel_matrix(kernel, targets[:, rows.points], sources)
    blocks = [_svd(block) for block in _blocks(matrix, rows, columns)]

    values = np.sort(np.concatenate([s for _, s, _ in blocks]))[::-1]
    k = max(1, int((values > max(tol, NULL) * values[0]).sum()))
    while k < values.size and values[k] > (1.0 - EQUAL) * values[k - 1] and values[k] > NULL * values[0]:
        k += 1
    kept = [int((s >= values[k - 1]).sum()) for _, s, _ in blocks]
    if not values[0]:  # a kernel that has died away within a box: one coefficient, which stays zero
        kept = [1, *(0 for _ in blocks[1:])]
    u = [rows.unfold(p, found[:, :n]) for p, ((found, _, _), n) in enumerate(zip(blocks, kept, strict=True))]
    v = [
        columns.unfold(p, found[:n].T) for p, ((_, _, found), n) in enumerate(zip(blocks, kept, strict=True))
    ]
    s = [np.where(found[:n] > 0.0, found[:n], 1.0) for (_, found, _), n in zip(blocks, kept, strict=True)]
    parity = np.repeat(symmetry.reflections().T.astype(np.int8), kept, axis=1)
    return np.hstack(u), np.concatenate(s), np.hstack(v), parity


def signs(parity: np.ndarray) -> np.ndarray:
    """What each of the eight reflections multiplies coefficients by, int8 [8, k]; parity : int8 [3, k]."""
    flipped = (symmetry.reflections() < 0)[:, :, None]
    return np.where(flipped, parity, 1).prod(axis=1, dtype=np.int8)


def mirrored(matrix: np.ndarray, source_parity: np.ndarray, target_parity: np.ndarray) -> np.ndarray:
    """The matrices of all octants from that of the last, which act on rows: [8, k, k]."""
    reflection = 7 - np.arange(8)
    source, target = signs(source_parity)[reflection], signs(target_parity)[reflection]
    return np.ascontiguousarray(source[:, :, None] * matrix * target[:, None, :])


@dataclass(frozen=True, slots=True)
class _Orbits:
    """A surface's numbers, [components * n], as orbits: numbers of one point of each orbit, with their images.

    points : int64 [n_orbits], one point of each orbit
    image : int64 [8, m], the place of the image of each number under each reflection; m = components * n_orbits
    weight : float64 [8, 8, m], by parities and reflection the sign of that image
    norm : float64 [8, m], by parities how many reflections leave a number where it is, 0 if it has other parities
    size : of the surface's numbers
    """

    points: np.ndarray
    image: np.ndarray
    weight: np.ndarray
    norm: np.ndarray
    size: int

    @classmethod
    def of(cls, points: np.ndarray, axes: np.ndarray) -> _Orbits:
        """axes : of the components, -1 for a scalar"""
        n, turns = points.shape[1], symmetry.reflections()
        of_point = np.array([symmetry.permutation(points, np.diag(turn)) for turn in turns])
        first = np.unique(of_point.min(axis=0))
        image = (of_point[:, None, first] + n * np.arange(axes.size)[:, None]).reshape(8, -1)
        component = np.where(axes < 0, 1, turns[:, axes])  # [8, components]
        character = np.where(_is_odd(np.arange(8)[:, None] & np.arange(8)), -1.0, 1.0)
        weight = character[:, :, None] * np.repeat(component, first.size, axis=1)
        norm = (weight * (image == image[0])).sum(axis=1)
        return cls(first, image, weight, norm, axes.size * n)

    def unfold(self, parities: int, block: np.ndarray) -> np.ndarray:
        """Columns on orbits of these parities as columns on all numbers, float64 [size, k]."""
        there = self.norm[parities] > 0
        out = np.zeros((self.size, block.shape[1]))
        scaled = block * np.sqrt(self.norm[parities, there] / 8.0)[:, None]
        for image, weight in zip(self.image, self.weight[parities], strict=True):
            out[image[there]] = weight[there, None] * scaled
        return out


def _is_odd(bits: np.ndarray) -> np.ndarray:
    """Whether a number of three bits has an odd number of them."""
    return (bits ^ bits >> 1 ^ bits >> 2) & 1 == 1


def _blocks(matrix: np.ndarray, rows: _Orbits, columns: _Orbits) -> list[np.ndarray]:
    """The eight blocks of a matrix of which the rows of one point of each orbit are given."""
    images = matrix[:, columns.image]  # [rows, 8, columns]
    found = []
    for parities in range(8):
        block = np.einsum("rgc,gc->rc", images, columns.weight[parities])
        to, of = rows.norm[parities] > 0, columns.norm[parities] > 0
        scale = np.sqrt(rows.norm[parities, to][:, None] * columns.norm[parities, of])
        found.append(block[np.ix_(to, of)] / scale)
    return found


def _svd(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not block.size:  # no orbit has these parities; LAPACK takes no empty matrix
        return np.zeros((block.shape[0], 0)), np.zeros(0), np.zeros((0, block.shape[1]))
    return scipy.linalg.svd(block, full_matrices=False, lapack_driver="gesdd")
