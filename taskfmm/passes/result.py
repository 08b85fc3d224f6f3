"""The last step: add up what reached each target, in the caller's order and units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.jit import jit
from taskfmm.kernels import Kernel
from taskfmm.plan.work import Chunk, Part


@jit
def _scatter(columns, rows, values, first, out):
    for i in range(columns.size):
        for c in range(out.shape[1]):
            out[rows[i], c] += values[first + c, columns[i]]


def collect(
    chunk: Chunk,
    values: Sequence[np.ndarray],
    kernel: Kernel,
    output: str,
    scale: float,
    dtype: np.dtype,
) -> np.ndarray:
    """The rows of a chunk of one output.

    values : results of L2P and near field, in the order of ``parts(chunk)``
    scale : of the domain; a gradient carries one more power of it than a potential

    Returns
    -------
    [n] for a scalar potential, [n, 3] for its gradient
    """
    gradient = output == "gradient"
    first = kernel.n_potential if gradient else 0
    n_columns = (3 if gradient else 1) * kernel.n_potential
    out = np.zeros((chunk.end - chunk.begin, n_columns))
    for part, array in zip(parts(chunk), values, strict=True):
        _scatter(part.columns, part.rows, array, first, out)
    out *= kernel.factor
    for _ in range(gradient - (kernel.degree or 0)):
        out *= scale
    return (out if n_columns > 1 else out[:, 0]).astype(dtype)


def parts(chunk: Chunk) -> list[Part]:
    """The parts of a chunk: far field by level and shard, then near field."""
    return [*chunk.far.values(), *chunk.near.values()]
