"""From what a caller gives to what was planned: look at all of it, cheapest first, then plan within the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from taskfmm import choices, foreign, kernels, validate
from taskfmm.geometry import morton
from taskfmm.geometry.cell import Box
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.operators.size import least_bytes
from taskfmm.passes.given import AT_ONCE, Given, of_kind
from taskfmm.passes.share import look
from taskfmm.plan import cost
from taskfmm.plan.make import make
from taskfmm.plan.planned import Asked, Planned
from taskfmm.profiling.progress import announce_compilation
from taskfmm.runtime import layout, memory
from taskfmm.runtime.once import say_once
from taskfmm.runtime.threads import budget

CROWDED_TEXT = (
    "%d points share a leaf, and leaf_size is %d: they coincide, or lie too close together for boxes of the deepest "
    "level, %d. Unless all of them coincide, the near field among them takes time as the square of their number"
)


def from_points(
    sources: Any,
    targets: Any,
    kernel: str | Kernel,
    eps: float,
    order: int | None,
    leaf_size: int | None,
    dtype: Any,
    memory_limit: int | None,
    like: Any = None,
    columns: int = 1,
    box: Box | None = None,
) -> Planned:
    """Plan; parameters and errors are those of `taskfmm.Fmm`."""
    given = kernels.find(kernel)
    asked = Asked(
        given.without_lengths,
        choices.dtype(dtype),
        choices.eps(eps),
        choices.order(order),
        box,
    )
    if box is not None:
        kernels.refuse_without_sum(given, box.periodic)
    accuracy = asked.any_accuracy()
    if asked.calibrated(asked.first) and targets is not None:
        accuracy = asked.accuracy(asked.first, None)
    made = Operators(asked.kernel, accuracy)
    at, none = (
        layout.current(),
        leaf_size is None
        and box is None
        and _needs_no_operators(sources, targets, asked.kernel, accuracy.order),
    )
    least = 0 if none else least_bytes(asked.kernel, accuracy)
    worker = (at.workers, at.memory_limit, least) if at.memory_limit else None
    operators = (0, 0) if none else made.least_to_load()
    memory.refuse_hopeless(memory_limit, sources, targets, operators, worker)
    at_sources = validate.points("sources", sources)
    at_targets = None if targets is None else validate.points("targets", targets)
    foreign.same_unit(sources, targets)
    lengths = given.lengths(len(at_sources))
    most = choices.leaf_size(leaf_size)
    at_once = min(AT_ONCE, choices.columns(columns))
    shown = None
    if like is not None:
        kind = asked.kernel.sources[0]
        shown = of_kind(kind, like, len(at_sources), "like")
        validate.of_numbers("like", shown.dtype, np.dtype(complex if kind.complex else float))
        if box is not None:
            Given(asked.kernel.of_first, (shown,)).refuse_charged("like")
    announce_compilation()
    with budget() as threads:
        planned = make(asked, accuracy, at_sources, at_targets, most, threads, lengths, at_once)
    plan = planned.plan
    if shown is not None and plan is not None:
        known = look(plan, asked.kernel.of_first, [shown], asked.kernel.usual[-1], close=asked.close)
        planned = replace(planned, like=known)
        if not (asked.chosen or plan.is_direct):
            planned.accuracy(asked.first, planned.like)  # an eps below its floor is told now
    if planned.crowded:
        say_once(CROWDED_TEXT, planned.crowded, planned.leaf_size, morton.MAX_LEVEL)
    return planned


def _needs_no_operators(sources: Any, targets: Any, kernel: Kernel, order: int) -> bool:
    n = memory.n_rows(sources)
    m = n if targets is None else memory.n_rows(targets)
    return bool(n and m) and cost.is_surely_direct(n, m, targets is None, kernel, order)
