"""The tasks: pure and picklable functions that ask for their threads and run a pass.

Arguments are the shard's work or a `Reference` to it, results of other tasks, and small names. Operators are loaded
where the task runs, so that neither matrices nor works travel in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from taskfmm.graph.reference import fetch
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.passes import result, scaled
from taskfmm.passes.operators import OPERATORS, How
from taskfmm.plan.works import Chunk
from taskfmm.runtime.threads import budget

Arrays = Sequence[np.ndarray]


def piece(charges: np.ndarray, rows: Any, begin: int) -> np.ndarray:
    """Of a shard, those charges that are among some, the first of which is row ``begin`` of all."""
    places = fetch(rows) - begin
    return charges[places[(places >= 0) & (places < len(charges))]]


def taken(rows: Any, starts: np.ndarray, pieces: Arrays) -> np.ndarray:
    """The charges of a shard from such pieces; ``starts`` are the rows at which what they were taken from begins."""
    own = fetch(rows)
    found = np.empty((own.size, *pieces[0].shape[1:]), pieces[0].dtype)
    for (begin, end), some in zip(pairwise(starts), pieces, strict=True):
        found[(own >= begin) & (own < end)] = some
    return found


def charges(
    kinds: Sequence[Any], kernel: Kernel, scale: float, exponents: Sequence[int], lengths: Any = None
) -> np.ndarray:
    """The charges of a shard in the units of the passes: [n_numbers, n], with a row more where there are lengths."""
    numbers = scaled.in_units([fetch(each) for each in kinds], kernel, scale, exponents)
    return scaled.with_lengths(numbers, fetch(lengths))


def operate(
    name: str, level: int, work: Any, kernel: Kernel, operators: Operators, output: str, *inputs: Any
) -> np.ndarray:
    """Run one operator on the work of one shard."""
    with budget() as threads:
        how = How(kernel, fetch(operators), output, level, threads)
        return OPERATORS[name].run(fetch(work), *inputs, how=how)


def collect(
    chunk: Chunk,
    values: Arrays,
    kernel: Kernel,
    output: str,
    scale: float,
    exponents: Sequence[int],
    dtype: np.dtype,
) -> np.ndarray:
    return result.collect(fetch(chunk), values, kernel, output, scale, exponents, dtype)
