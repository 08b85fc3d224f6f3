"""The symmetry of the cube: what reflections and exchanges of axes do to surfaces and to positions of boxes.

The 316 relative positions of two boxes of a V list are 56 up to reflections, and 16 up to exchanges of axes besides.
Codes number those with components from -1 to 3, of which 98 belong to V lists: all that reflected parents have.
A reflection is a number of three bits, 4 for x, 2 for y and 1 for z, as octants are numbered: reflected by m, octant
o becomes octant o ^ m.
"""

from __future__ import annotations

import itertools

import numpy as np

from taskfmm.kernels import Kernel

REACH = 3
"""A box of the V list is at most this many boxes away along each axis, and more than one along some axis."""

N_CODES = (REACH + 2) ** 3
"""Codes, 125; the 27 of adjacent boxes stay unused."""

BITS = np.array([4, 2, 1])
"""Of the axes."""


def offsets() -> np.ndarray:
    """All relative positions of boxes of a V list (target minus source, in boxes), int64 [316, 3]."""
    line = range(-REACH, REACH + 1)
    return np.array([v for v in itertools.product(line, repeat=3) if max(map(abs, v)) > 1])


def coded_offsets() -> np.ndarray:
    """The relative position of every code, int64 [125, 3]."""
    return np.array(list(itertools.product(range(-1, REACH + 1), repeat=3)))


def is_far() -> np.ndarray:
    """Whether a code belongs to two boxes that are not adjacent, bool [125]; true for 98."""
    return np.abs(coded_offsets()).max(axis=1) > 1


def is_folded() -> np.ndarray:
    """Whether a code belongs to a position without negative components, bool [125]; true for 56 that are far."""
    return coded_offsets().min(axis=1) >= 0


def fold(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes of positions with their components made positive, and the reflections that take these to them.

    offset : int64 [..., 3]. Returns int64 [...] each.
    """
    return (np.abs(offset) + 1) @ [25, 5, 1], (np.asarray(offset) < 0) @ BITS


def reflections() -> np.ndarray:
    """What each of the eight reflections does to the axes: signs, int64 [8, 3]."""
    return np.where(np.arange(8)[:, None] & BITS, -1, 1)


def exchanges() -> np.ndarray:
    """The six permutations of axes as matrices, int64 [6, 3, 3]."""
    return np.array([np.eye(3, dtype=np.int64)[list(axes)] for axes in itertools.permutations(range(3))])


def representatives() -> tuple[np.ndarray, np.ndarray]:
    """For every folded code the code of its class, and an exchange of axes that takes the class to it.

    Returns
    -------
    code : int64 [125], the code whose offset is sorted, x >= y >= z
    exchange : int64 [125], index into `exchanges`: offset = exchange @ offset[code]
    """
    offset = np.abs(coded_offsets())
    sorted_offset = -np.sort(-offset, axis=1)
    turned = np.einsum("gij,nj->ngi", exchanges(), sorted_offset)
    exchange = np.argmax((turned == offset[:, None, :]).all(axis=2), axis=1)
    return fold(sorted_offset)[0], exchange


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
    """The axis of each number that a check surface receives, -1 for a scalar: int64 [n_potential].

    As many as a density has turn as these do, which declarations are checked for; of others three are a vector.
    """
    if kernel.n_potential == kernel.n_charge:
        return charge_axes(kernel)
    received = [output for output in kernel.outputs if not output.derivative]
    return np.concatenate(
        [np.arange(3) if output.shape == (3,) else np.full(output.n_rows, -1) for output in received]
    )
