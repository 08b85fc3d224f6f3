"""A process that `taskfmm.compile_ahead` starts: calls operators of a small plan, so that they are compiled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from taskfmm.passes.drive import Place, drive
from taskfmm.passes.operators import OPERATORS, How
from taskfmm.passes.scaled import with_lengths
from taskfmm.passes.share import look
from taskfmm.plan.planned import Planned
from taskfmm.planning import from_points

POINTS, LEAF_SIZE = 200, 30
"""Enough on a line for two levels with V lists, and for charges to pass for many of random sign."""

NICE = 10
"""Evaluations, which may be under way by then, take precedence over what is compiled later."""


def compile_for(
    names: Sequence[str],
    kernel: str,
    separate: bool,
    later: Sequence[str] = (),
    parent: int | None = None,
    **options: Any,
) -> None:
    """Compile for plans of a kernel.

    names : of operators for the first output, in this order; "look" for what looks at charges
    later : then those for the last of the usual outputs, as long as the parent runs
    parent : the process that asked for it; None if that does not matter
    kernel : by its name; with a table of errors, or with an order among the options
    separate : whether there are other targets than the sources
    options : as for `taskfmm.planning.from_points`
    """
    points = np.linspace([0.0] * 3, [1.0] * 3, POINTS)
    targets = points.copy() if separate else None
    planned = from_points(points, targets, kernel, leaf_size=LEAF_SIZE, memory_limit=None, **options)
    first, last = planned.asked.first, planned.kernel.usual[-1]
    for name in names:
        _compile(planned, name, first)
    if hasattr(os, "nice"):
        os.nice(NICE)
    for name in later if last != first else ():
        if parent in (None, os.getppid()):
            _compile(planned, name, last)


def _compile(planned: Planned, name: str, output: str) -> None:
    if name == "look":
        _look(planned, output)
    else:
        _call(planned, name, output)


def _look(planned: Planned, output: str) -> None:
    """Look at charges of both signs."""
    kernel, asked = planned.summed.of_first, planned.asked
    numbers = np.random.default_rng(1).uniform(-1, 1, (POINTS, *kernel.sources[0].of_one))
    assert planned.plan is not None
    if not asked.chosen:
        look(planned.plan, kernel, [numbers], output, close=asked.close)


def _call(planned: Planned, wanted: str, output: str) -> None:
    """Call one operator wherever an output has it, with zeros for charges and for what all others give."""
    plan = planned.plan
    assert plan is not None
    kernel = planned.summed.of_first.computing([output])
    numbers = sum(kind.n_numbers for kind in kernel.sources)
    shards = zip_longest(plan.charges, plan.lengths)
    charges = [with_lengths(np.zeros((numbers, rows.size)), lengths) for rows, lengths in shards]
    operators = planned.made(planned.asked.any_accuracy())

    def call(name: str, at: Place, work: Any, *inputs: Any) -> np.ndarray:
        if name == wanted:
            return OPERATORS[name].run(work, *inputs, how=How(kernel, operators, output, at[0]))
        if OPERATORS[name].gives == "values":
            return np.zeros((kernel.n_values(output), work.targets.shape[1]))
        own, n_boxes = operators.at(at[0]), inputs[0] if name == "L2L" else work.n_rows
        return np.zeros((n_boxes, kernel.columns, own.rank), own.dtype)

    drive(plan, charges, call)
