"""Sources in the units of the passes: divided by a power of two, in scaled coordinates, a row for each number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from taskfmm.kernels import Kernel, Source


def exponents(arrays: Sequence[np.ndarray], kernel: Kernel, scale: float) -> tuple[int, ...]:
    """Of each vector the power of two just above its largest magnitude; 0 if there is none, or one not finite.

    Passes get charges divided by it, see `ranked`. What they form on the way then stays within float64, and
    within float32 where M2L runs in that, whether charges are 1e-300 or 1e300.

    arrays : for each of the kernel's ``kinds``, in the caller's units
    scale : of the domain
    """
    return largest(
        [power(array, kind, scale) for kind, array in zip(kernel.kinds, arrays, strict=True)], kernel
    )


def power(array: np.ndarray, kind: Source, scale: float) -> int | None:
    """What `exponents` are for some numbers of one kind; None if they are all zero or not finite."""
    array = kind.numbers(array) if array.dtype.kind == "c" else array
    size = max(array.max(initial=0.0), -array.min(initial=0.0))
    if not (size and np.isfinite(size)):
        return None
    return int(np.frexp(size)[1]) + kind.derivative * _power_of_two(scale)


def largest(powers: Sequence[int | None], kernel: Kernel) -> tuple[int, ...]:
    """Of each vector from those of its kinds, which are given as often as each is cut into pieces."""
    of_array = len(powers) // kernel.vectors
    return tuple(
        max((each for each in powers[first : first + of_array] if each is not None), default=0)
        for first in range(0, len(powers), of_array)
    )


def ranked(
    arrays: Sequence[np.ndarray], rows: np.ndarray, kernel: Kernel, scale: float, of_vectors: Sequence[int]
) -> np.ndarray:
    """The numbers of a shard of charges in the units of the passes, of all kinds and vectors: float64 [n_numbers, n].

    arrays, of_vectors : as for `exponents`, and those
    rows : int64 [n], of the sources of the shard
    """
    return in_units([np.asarray(array)[rows] for array in arrays], kernel, scale, of_vectors)


def in_units(
    arrays: Sequence[np.ndarray], kernel: Kernel, scale: float, of_vectors: Sequence[int]
) -> np.ndarray:
    """The numbers of some sources in the units of the passes, of all kinds and vectors: float64 [n_numbers, n].

    Exact, but for what is 1e-308 of the largest. A kind that is a derivative carries a length for each.

    arrays : of each of the kernel's ``kinds``, [n, *kind.of_one]; of_vectors : as `exponents`
    """
    rows, of_arrays = [], np.repeat(of_vectors, len(kernel.sources))
    for kind, array, exponent in zip(kernel.kinds, arrays, of_arrays.tolist(), strict=True):
        powers, numbers = kind.derivative * _power_of_two(scale) - exponent, kind.numbers(array)
        rows.append((np.ldexp(numbers, powers) if powers else numbers).T)
    return np.ascontiguousarray(rows[0] if len(rows) == 1 else np.concatenate(rows))


def with_lengths(numbers: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The numbers of some sources and, in a further row, their lengths, where they are softened."""
    return numbers if lengths is None else np.vstack([numbers, lengths])


def targets_with_lengths(points: Any) -> np.ndarray:
    """The targets of a tree, or of some points, with their lengths in a further row, where sources are softened.

    Targets that are no sources have lengths of 0.
    """
    same = points.lengths is None or points.targets is points.sources
    return with_lengths(points.targets, points.lengths if same else np.zeros(points.targets.shape[1]))


def _power_of_two(scale: float) -> int:
    return math.frexp(scale)[1] - 1
