"""The whole FMM by plain calls. No Dask: the graph runs the same functions and gives the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes import result
from taskfmm.passes.drive import Call, Place, Sent, Values, downward, upward
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
    before: Sent | None = None,
) -> Values:
    """Values at every target, float64 [n_components, n_targets of the task] each, before they are put in order.

    charges : float64 [n_numbers, n] of each shard
    output : the last of those that are wanted
    before : the multipoles of the plan's base, if it has one
    """
    call = _caller(operators, kernel, output, threads)
    return downward(plan, charges, call, upward(plan, charges, call, before))


def _caller(operators: Operators | Matrices, kernel: Kernel, output: str, threads: int) -> Call:
    def call(name: str, at: Place, work: Any, *inputs: Any) -> np.ndarray:
        how = How(kernel, operators, output, at[0], threads)
        return OPERATORS[name].run(work, *inputs, how=how)

    return call


def run(
    plan: Plan,
    operators: Operators | Matrices,
    kernel: Kernel,
    charges: Sequence[np.ndarray],
    output: str,
    dtype: np.dtype,
    threads: int = 1,
    of_base: Operators | Matrices | None = None,
) -> np.ndarray:
    """One output at every target, in the caller's order and units, as the charges of each kind are.

    of_base : the operators of the plan's base, if it has one
    """
    kernel = kernel.computing([output])
    powers = exponents(charges, kernel, (plan if plan.base is None else plan.base.plan).scale)

    def shards(of: Plan) -> list[np.ndarray]:
        return [
            with_lengths(ranked(charges, rows, kernel, of.scale, powers), lengths)
            for rows, lengths in zip_longest(of.charges, of.lengths)
        ]

    before = None
    if plan.base is not None and of_base is not None:
        call = _caller(of_base, kernel.sending, kernel.names[0], threads)
        sent = upward(plan.base.plan, shards(plan.base.plan), call)
        before = sent.called(partial(plan.base.place, plan.far))
    values = evaluate(plan, operators, kernel, shards(plan), output, threads, before)
    return result.gather(plan, values, kernel, output, dtype, powers)
