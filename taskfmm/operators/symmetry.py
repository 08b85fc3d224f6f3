"""The symmetry of the cube: 343 relative positions of two boxes are 16 up to rotation and reflection."""

from __future__ import annotations

import itertools

import numpy as np

REACH = 3
"""A box of the V list is at most this many boxes away along each axis, and more than one along some axis."""

N_OFFSETS = (2 * REACH + 1) ** 3
"""Codes of relative positions, 343; the 27 of adjacent boxes stay unused."""


def offsets() -> np.ndarray:
    """Relative position (target minus source, in boxes) of every code, int64 [343, 3]."""
    line = np.arange(-REACH, REACH + 1)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)


def is_far() -> np.ndarray:
    """Whether a code belongs to two boxes that are not adjacent, bool [343]; true for 316."""
    return np.abs(offsets()).max(axis=1) > 1


def rotations() -> np.ndarray:
    """The 48 signed permutation matrices, int64 [48, 3, 3]."""
    found = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3), np.int64)
            matrix[np.arange(3), axes] = signs
            found.append(matrix)
    return np.array(found)


def representatives() -> tuple[np.ndarray, np.ndarray]:
    """For every code the code of its class, and a rotation that takes the class to it.

    Returns
    -------
    code : int64 [343], the code whose offset is sorted, 3 >= x >= y >= z >= 0
    rotation : int64 [343], index into `rotations`: offset = rotation @ offset[code]
    """
    offset, turn = offsets(), rotations()
    sorted_offset = -np.sort(-np.abs(offset), axis=1)
    width = 2 * REACH + 1
    code = (sorted_offset + REACH) @ np.array([width * width, width, 1])
    turned = np.einsum("gij,nj->ngi", turn, sorted_offset)
    rotation = np.argmax((turned == offset[:, None, :]).all(axis=2), axis=1)
    return code, rotation


def permutation(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """The points that the inverse rotation lands on: ``points[:, perm] == rotation.T @ points``.

    points : float64 [3, n], a set that the rotation maps onto itself. Returns int64 [n].
    """
    turned = rotation.T @ points
    scale = 1e9 / np.abs(points).max(initial=1e-200)
    keys = [np.round(p * scale).astype(np.int64) for p in (points, turned)]
    order = [np.lexsort(k) for k in keys]
    perm = np.empty(points.shape[1], np.int64)
    perm[order[1]] = order[0]
    return perm
