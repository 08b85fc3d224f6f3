"""The symmetry of the cube: what reflections and exchanges of axes do to surfaces and to positions of boxes.

The 316 relative positions of two boxes of a V list are 56 up to reflections, and 16 up to exchanges of axes besides.
A reflection is a number of three bits, 4 for x, 2 for y and 1 for z, as octants are numbered: reflected by m, octant
o becomes octant o ^ m.
"""

from __future__ import annotations

import itertools

import numpy as np

from taskfmm.kernels import Kernel

REACH = 3
"""A box of the V list is at most this many boxes away along each axis, and more than one along some axis."""

N_CODES = (REACH + 1) ** 3
"""Codes of relative positions without negative components, 64; the 8 of adjacent boxes stay unused."""

BITS = np.array([4, 2, 1])
"""Of the axes."""


def offsets() -> np.ndarray:
    """All relative positions of boxes of a V list (target minus source, in boxes), int64 [316, 3]."""
    line = range(-REACH, REACH + 1)
    return np.array([v for v in itertools.product(line, repeat=3) if max(map(abs, v)) > 1])


def folded_offsets() -> np.ndarray:
    """Those without negative components, and adjacent ones, by code: int64 [64, 3], code 16 x + 4 y + z."""
    return np.array(list(itertools.product(range(REACH + 1), repeat=3)))


def is_far() -> np.ndarray:
    """Whether a code belongs to two boxes that are not adjacent, bool [64]; true for 56."""
    return folded_offsets().max(axis=1) > 1


def fold(offset: np.ndarray) -> tuple[int, int]:
    """The code of a relative position, and the reflection that takes the position of that code to it."""
    return int(np.abs(offset) @ [16, 4, 1]), int((np.asarray(offset) < 0) @ BITS)


def reflections() -> np.ndarray:
    """What each of the eight reflections does to the axes: signs, int64 [8, 3]."""
    return np.where(np.arange(8)[:, None] & BITS, -1, 1)


def exchanges() -> np.ndarray:
    """The six permutations of axes as matrices, int64 [6, 3, 3]."""
    return np.array([np.eye(3, dtype=np.int64)[list(axes)] for axes in itertools.permutations(range(3))])


def representatives() -> tuple[np.ndarray, np.ndarray]:
    """For every code the code of its class, and an exchange of axes that takes the class to it.

    Returns
    -------
    code : int64 [64], the code whose offset is sorted, x >= y >= z
    exchange : int64 [64], index into `exchanges`: offset = exchange @ offset[code]
    """
    offset = folded_offsets()
    sorted_offset = -np.sort(-offset, axis=1)
    turned = np.einsum("gij,nj->ngi", exchanges(), sorted_offset)
    exchange = np.argmax((turned == offset[:, None, :]).all(axis=2), axis=1)
    return sorted_offset @ [16, 4, 1], exchange


def permutation(points: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The points that the inverse of a turn lands on: ``points[:, perm] == turn.T @ points``.

    points : float64 [3, n], a set that the turn maps onto itself. Returns int64 [n].
    """
    turned = turn.T @ points
    scale = 1e9 / np.abs(points).max(initial=1e-200)
    keys = [np.round(p * scale).astype(np.int64) for p in (points, turned)]
    order = [np.lexsort(k) for k in keys]
    perm = np.empty(points.shape[1], np.int64)
    perm[order[1]] = order[0]
    return perm


def charge_axes(kernel: Kernel) -> np.ndarray:
    """The axis of each number of an equivalent density, -1 for a scalar: int64 [n_charge]."""
    kind = kernel.sources[0]
    return np.arange(3) if kind.vector else np.full(kind.n_numbers, -1)


def potential_axes(kernel: Kernel) -> np.ndarray:
    """The axis of each number that a check surface receives, -1 for a scalar: int64 [n_potential]."""
    received = [output for output in kernel.outputs if not output.derivative]
    return np.concatenate(
        [np.arange(3) if output.shape == (3,) else np.full(output.n_rows, -1) for output in received]
    )
