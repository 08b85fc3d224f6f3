"""The tasks: pure and picklable functions that ask for their threads and run a pass.

Arguments are the shard's work or a `Reference` to it, results of other tasks, and small names. Operators are loaded
where the task runs, so that neither matrices nor works travel in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from taskfmm import validate
from taskfmm.graph.reference import fetch
from taskfmm.graph.spec import Declared
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.passes import given, result
from taskfmm.passes.operators import OPERATORS, How
from taskfmm.plan.works import Chunk
from taskfmm.runtime.threads import budget

Arrays = Sequence[np.ndarray]


def exponent(pieces: Arrays, declared: Sequence[Declared | None], kernel: Kernel, scale: float) -> int:
    """The exponent of charges that are known only now."""
    return given.exponent(_whole(pieces, declared), kernel, scale)


def charges(
    order: np.ndarray,
    pieces: Arrays,
    declared: Sequence[Declared | None],
    kernel: Kernel,
    scale: float,
    exponent: int,
) -> np.ndarray:
    """The caller's charges, sorted and in the units of the passes: [n_numbers, n]."""
    return given.ranked(_whole(pieces, declared), fetch(order), kernel, scale, exponent)


def _whole(pieces: Arrays, declared: Sequence[Declared | None]) -> list[np.ndarray]:
    """For each kind one array that was checked when it was given, or chunks, which are checked now."""
    found, left = [], iter(pieces)
    for of in declared:
        some = list(islice(left, 1 if of is None else len(of[0])))
        found.append(fetch(some[0]) if of is None else validate.chunks(some, *of, np.float64))
    return found


def operate(
    name: str, level: int, work: Any, kernel: Kernel, operators: Operators, output: str, *inputs: Any
) -> np.ndarray:
    """Run one operator on the work of one shard."""
    with budget() as threads:
        how = How(kernel, fetch(operators), output, level, threads)
        found: np.ndarray = OPERATORS[name](fetch(work), *inputs, how=how)
    return found


def collect(
    chunk: Chunk, values: Arrays, kernel: Kernel, output: str, scale: float, exponent: int, dtype: np.dtype
) -> np.ndarray:
    return result.collect(fetch(chunk), values, kernel, output, scale, exponent, dtype)
