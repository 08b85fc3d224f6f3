"""The whole FMM by plain calls. No Dask: the graph runs the same functions and gives the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes import result
from taskfmm.passes.drive import Place, Values, drive
from taskfmm.passes.operators import OPERATORS, How
from taskfmm.passes.scaled import exponents, ranked, with_lengths
from taskfmm.plan.plan import Plan


def evaluate(
    plan: Plan,
    operators: Operators | Matrices,
    kernel: Kernel,
    charges: Sequence[np.ndarray],
    output: str,
    threads: int = 1,
) -> Values:
    """Values at every target, float64 [n_components, n_targets of the task] each, before they are put in order.

    charges : float64 [n_numbers, n] of each shard
    output : the last of those that are wanted
    """

    def call(name: str, at: Place, work: Any, *inputs: Any) -> np.ndarray:
        how = How(kernel, operators, output, at[0], threads)
        return OPERATORS[name].run(work, *inputs, how=how)

    return drive(plan, charges, call)


def run(
    plan: Plan,
    operators: Operators | Matrices,
    kernel: Kernel,
    charges: Sequence[np.ndarray],
    output: str,
    dtype: np.dtype,
    threads: int = 1,
) -> np.ndarray:
    """One output at every target, in the caller's order and units, as the charges of each kind are."""
    kernel, scale = kernel.computing([output]), plan.tree.domain.scale
    powers = exponents(charges, kernel, scale)
    numbers = [
        with_lengths(ranked(charges, rows, kernel, scale, powers), lengths)
        for rows, lengths in zip_longest(plan.charges, plan.lengths)
    ]
    values = evaluate(plan, operators, kernel, numbers, output, threads)
    return result.gather(plan, values, kernel, output, dtype, powers)
