"""Products between numbers on a surface and coefficients, in a basis with parities: an eighth of the multiply-adds.

Each coefficient belongs to numbers that are even or odd along each axis (`taskfmm.operators.basis`). So the numbers
of a point and of its mirror images are first added with the eight combinations of signs, by sums and differences
along one axis after the other. Of each combination a matrix with an eighth of the rows leads to an eighth of the
coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from taskfmm.geometry import surface
from taskfmm.jit import jit
from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.box import BoxOperators


@dataclass(frozen=True, slots=True)
class _Images:
    """The numbers of one point of each orbit, with their mirror images.

    place : int64 [8, m], of each number by reflection, among those of the surface
    sign : float64 [8, m], what a reflection multiplies it by: -1 for the component of a vector along its axis
    times : float64 [m], how many reflections leave it where it is
    """

    place: np.ndarray
    sign: np.ndarray
    times: np.ndarray


@lru_cache(64)
def _images(arrangement: str, order: int, outer: bool, axes: tuple[int, ...]) -> _Images:
    points = (surface.check if outer else surface.equivalent)(arrangement, order)
    turns = symmetry.reflections()
    of_point = np.array([symmetry.permutation(points, np.diag(turn)) for turn in turns])
    first = np.unique(of_point.min(axis=0))
    components = np.array(axes)
    place = (of_point[:, None, first] + points.shape[1] * np.arange(len(axes))[:, None]).reshape(8, -1)
    sign = np.repeat(np.where(components < 0, 1, turns[:, components]), first.size, axis=1).astype(float)
    return _Images(place, sign, (place == place[0]).sum(axis=0).astype(float))


def _blocks(parity: np.ndarray) -> np.ndarray:
    """Where the coefficients of each combination of parities begin, and their number: int64 [9]."""
    combination = symmetry.BITS @ (parity < 0)
    return np.searchsorted(combination, np.arange(9))


def coefficients(operators: BoxOperators, kernel: Kernel, check: np.ndarray, local: bool) -> np.ndarray:
    """Check potentials to multipoles, or to locals: [n, p] to [n, k]."""
    matrix = operators.check_to_local if local else operators.check_to_multipole
    parity = operators.m2l.target_parity if local else operators.m2l.source_parity
    return _coefficients(check, matrix, _images_of(operators, kernel, not local, received=True), parity)


def densities(operators: BoxOperators, kernel: Kernel, expansions: np.ndarray, local: bool) -> np.ndarray:
    """Multipoles, or locals, to equivalent densities: [n, k] to [n, q]."""
    matrix = operators.local_to_density if local else operators.multipole_to_density
    parity = operators.m2l.target_parity if local else operators.m2l.source_parity
    return _numbers(expansions, matrix, _images_of(operators, kernel, local, received=False), parity)


def _images_of(operators: BoxOperators, kernel: Kernel, outer: bool, received: bool) -> _Images:
    kernel = kernel.expands
    axes = (symmetry.potential_axes if received else symmetry.charge_axes)(kernel)
    return _images(kernel.surfaces, operators.accuracy.order, outer, tuple(axes.tolist()))


def _coefficients(numbers: np.ndarray, matrix: np.ndarray, images: _Images, parity: np.ndarray) -> np.ndarray:
    """``numbers @ matrix``, [n, p] by [p, k]."""
    found = np.empty((len(numbers), matrix.shape[1]), matrix.dtype)
    parts = np.empty((8, len(numbers), images.times.size), matrix.dtype)
    _fold(numbers, images.place, images.sign.astype(matrix.dtype), parts)
    rows, bounds = matrix[images.place[0]] / images.times.astype(matrix.dtype)[:, None], _blocks(parity)
    for part, first, last in zip(parts, bounds, bounds[1:], strict=False):
        found[:, first:last] = part @ rows[:, first:last]
    return found


def _numbers(coefficients: np.ndarray, matrix: np.ndarray, images: _Images, parity: np.ndarray) -> np.ndarray:
    """``coefficients @ matrix``, [n, k] by [k, q]."""
    n, columns, bounds = len(coefficients), matrix[:, images.place[0]], _blocks(parity)
    parts = np.empty((8, n, images.times.size), matrix.dtype)
    for part, first, last in zip(parts, bounds, bounds[1:], strict=False):
        np.matmul(coefficients[:, first:last], columns[first:last], out=part)
    found = np.empty((n, matrix.shape[1]), matrix.dtype)
    _unfold(parts, images.place, images.sign.astype(matrix.dtype), found)
    return found


@jit
def _combine(parts):
    """Sums and differences along each axis, in place: [8, m] by reflection, then by combination of parities."""
    for bit in (1, 2, 4):
        for g in range(8):
            if not g & bit:
                one, other = parts[g], parts[g | bit]
                for c in range(one.size):
                    one[c], other[c] = one[c] + other[c], one[c] - other[c]


@jit
def _fold(numbers, place, sign, out):
    """Numbers of a surface by combination of parities, [n, p] to [8, n, m]."""
    parts = np.empty(sign.shape, sign.dtype)
    for row in range(numbers.shape[0]):
        of_row = numbers[row]
        for g in range(8):
            part, where, times = parts[g], place[g], sign[g]
            for c in range(part.size):
                part[c] = of_row[where[c]] * times[c]
        _combine(parts)
        for g in range(8):
            part, to = parts[g], out[g, row]
            for c in range(part.size):
                to[c] = part[c]


@jit
def _unfold(parts, place, sign, out):
    """The other way: [8, n, m] to [n, p]."""
    own = np.empty(sign.shape, sign.dtype)
    for row in range(out.shape[0]):
        for g in range(8):
            part, of = own[g], parts[g, row]
            for c in range(part.size):
                part[c] = of[c]
        _combine(own)
        to = out[row]
        for g in range(8):
            part, where, times = own[g], place[g], sign[g]
            for c in range(part.size):
                to[where[c]] = part[c] * times[c]
