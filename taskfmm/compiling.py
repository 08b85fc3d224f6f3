"""The process that `taskfmm.compile_ahead` starts: calls operators of a small plan, so that they are compiled."""

from __future__ import annotations

import pickle
import sys
from itertools import zip_longest
from typing import Any

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.passes.drive import Place, drive
from taskfmm.passes.operators import OPERATORS, How
from taskfmm.passes.scaled import with_lengths
from taskfmm.plan.planned import Planned
from taskfmm.planning import from_points

ORDER = ("M2L", "P2P", "L2P")
"""The longest first. What begins an evaluation is left to the process that evaluates."""

POINTS, LEAF_SIZE = 600, 20
"""Enough for a level with V lists."""


def main() -> None:
    """Read from standard input what `taskfmm.compile_ahead.start` was given."""
    compile_for(**pickle.load(sys.stdin.buffer))


def compile_for(kernel: Kernel, separate: bool, **options: Any) -> None:
    """Compile the operators in `ORDER` for plans of a kernel; options : as for `taskfmm.planning.from_points`."""
    points = np.random.default_rng(1).random((POINTS, 3))
    targets = points.copy() if separate else None
    planned = from_points(points, targets, kernel, leaf_size=LEAF_SIZE, memory_limit=None, **options)
    for name in ORDER:
        _call(planned, name)


def _call(planned: Planned, wanted: str) -> None:
    """Call one operator wherever the first output has it, with zeros for charges and for what all others give."""
    plan, output = planned.plan, planned.asked.first
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
