"""Out: sums in the caller's order and units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taskfmm.jit import jit
from taskfmm.kernels import Kernel
from taskfmm.passes.drive import Values
from taskfmm.plan.plan import Plan
from taskfmm.plan.works import Chunk, Part


@jit
def _scatter(columns, rows, values, out):
    for c in range(out.shape[0]):
        for i in range(columns.size):
            out[c, rows[i]] += values[c, columns[i]]


def in_units(rows: np.ndarray, kernel: Kernel, output: str, scale: float, exponent: int = 0) -> np.ndarray:
    """Scaled rows [n_rows, n] of one output in the caller's units, [n, *shape of the output]."""
    # all powers of two at once, as one alone may be 1e300
    powers = exponent if scale == 1.0 else exponent - kernel.power(output) * (math.frexp(scale)[1] - 1)
    return kernel.output(output).shaped(np.ldexp(rows * kernel.constant(output), powers))


def in_units_of_vectors(
    rows: np.ndarray, kernel: Kernel, output: str, scale: float, exponents: Sequence[int]
) -> np.ndarray:
    """The same of each vector, [vectors, n_rows, n], as the last axis if there are several."""
    found = [
        in_units(each, kernel, output, scale, exponent)
        for each, exponent in zip(rows, exponents, strict=True)
    ]
    return found[0] if len(found) == 1 else _side_by_side(found)


def _side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays as a last axis, so few points at a time that what is written stays in the cache."""
    first = arrays[0]
    out = np.empty((*first.shape, len(arrays)), first.dtype)
    for begin in range(0, len(first), SOME):
        for number, array in enumerate(arrays):
            out[begin : begin + SOME, ..., number] = array[begin : begin + SOME]
    return out


SOME = 1024
"""Points of which results are put side by side at a time."""


def collect(
    chunk: Chunk,
    values: Sequence[np.ndarray],
    kernel: Kernel,
    output: str,
    scale: float,
    exponents: Sequence[int],
    dtype: np.dtype,
) -> np.ndarray:
    """The rows of a chunk of one output, in the caller's order and units.

    values : results of L2P and near field, in the order of ``parts(chunk)``
    scale : of the domain
    exponents : of the vectors of charges

    Returns
    -------
    [n, *shape of the output], of several vectors [n, *shape of the output, vectors]
    """
    shape = kernel.vectors, kernel.output(output).n_rows
    out = np.zeros((*shape, chunk.end - chunk.begin))
    for part, array in zip(parts(chunk), values, strict=True):
        of_vector = array.reshape(kernel.vectors, -1, array.shape[1])[:, kernel.rows(output)]
        for rows, sums in zip(of_vector, out, strict=True):
            _scatter(part.columns, part.rows, rows, sums)
    found = in_units_of_vectors(out, kernel, output, scale, exponents)
    return found.astype(kernel.output(output).dtype(dtype), copy=False)


def parts(chunk: Chunk) -> list[Part]:
    """The parts of a chunk: far field by level and shard, then near field."""
    return [*chunk.far.values(), *chunk.near.values()]


def gather(
    plan: Plan, values: Values, kernel: Kernel, output: str, dtype: np.dtype, exponents: Sequence[int] = (0,)
) -> np.ndarray:
    """The whole of one output from the values of `taskfmm.passes.serial`, and the exponents of its charges."""
    scale = plan.tree.domain.scale
    pieces = [
        collect(chunk, values.of(chunk), kernel, output, scale, exponents, dtype) for chunk in plan.chunks
    ]
    return np.concatenate(pieces)
