"""The last step: add up what reached each target, in the caller's order and units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.jit import jit
from taskfmm.kernels import Kernel
from taskfmm.plan.plan import Plan
from taskfmm.plan.work import Chunk, Part


@jit
def _scatter(columns, rows, values, out):
    for c in range(out.shape[0]):
        for i in range(columns.size):
            out[c, rows[i]] += values[c, columns[i]]


def components(kernel: Kernel, output: str) -> slice:
    """Which components of a value belong to an output."""
    return slice(kernel.n_potential, None) if output == "gradient" else slice(kernel.n_potential)


def in_units(rows: np.ndarray, kernel: Kernel, output: str, scale: float) -> np.ndarray:
    """Scaled components [n_components, n] of one output in the caller's units: [n], or [n, 3] for a gradient."""
    # degree of the kernel, one less for its derivative; step by step, as scale may be 1e150
    found = rows * kernel.factor
    for _ in range((output == "gradient") - (kernel.degree or 0)):
        found *= scale
    return found.T.copy() if len(rows) > 1 else found[0]


def collect(
    chunk: Chunk,
    values: Sequence[np.ndarray],
    kernel: Kernel,
    output: str,
    scale: float,
    dtype: np.dtype,
) -> np.ndarray:
    """The rows of a chunk of one output, in the caller's order and units.

    values : results of L2P and near field, in the order of ``parts(chunk)``
    scale : of the domain

    Returns
    -------
    [n] for a scalar potential, [n, 3] for its gradient
    """
    wanted = components(kernel, output)
    n_rows = kernel.n_potential * (3 if output == "gradient" else 1)
    out = np.zeros((n_rows, chunk.end - chunk.begin))
    for part, array in zip(parts(chunk), values, strict=True):
        _scatter(part.columns, part.rows, array[wanted], out)
    return in_units(out, kernel, output, scale).astype(dtype, copy=False)


def parts(chunk: Chunk) -> list[Part]:
    """The parts of a chunk: far field by level and shard, then near field."""
    return [*chunk.far.values(), *chunk.near.values()]


def gather(
    plan: Plan, values: Sequence[np.ndarray], kernel: Kernel, output: str, dtype: np.dtype
) -> np.ndarray:
    """The whole of one output from the values of `taskfmm.passes.serial`."""
    works = [(s.level, s.number) for shards in plan.far for s in shards if s.l2p]
    at = dict(zip([*works, *range(len(plan.near))], values, strict=True))
    pieces = []
    for chunk in plan.chunks:
        pulled = [at[key] for key in (*chunk.far, *chunk.near)]
        pieces.append(collect(chunk, pulled, kernel, output, plan.tree.domain.scale, dtype))
    return np.concatenate(pieces)
