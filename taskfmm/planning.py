"""From what a caller gives to what was planned: look at all of it, cheapest first, then plan within the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskfmm import foreign, validate
from taskfmm.geometry import morton
from taskfmm.kernels import KERNELS, OFFERED
from taskfmm.operators.accuracy import Known
from taskfmm.operators.levels import least_to_load
from taskfmm.operators.size import least_bytes
from taskfmm.passes.share import look
from taskfmm.plan import cost
from taskfmm.plan.planned import Asked, Planned, make
from taskfmm.runtime import layout, memory
from taskfmm.runtime.once import say_once
from taskfmm.runtime.progress import announce_compilation
from taskfmm.runtime.threads import budget

CROWDED = (
    "%d points share a leaf, and leaf_size is %d: they coincide, or lie too close together for boxes of the deepest "
    "level, %d. Unless all of them coincide, the near field among them takes time as the square of their number"
)


def from_points(
    sources: Any,
    targets: Any,
    kernel: str,
    eps: float,
    order: int | None,
    leaf_size: int | None,
    dtype: Any,
    memory_limit: int | None,
    like: Any = None,
) -> Planned:
    """Plan; parameters and errors are those of `taskfmm.Fmm`."""
    asked = Asked(
        KERNELS[validate.kernel(kernel, KERNELS, OFFERED)],
        validate.dtype(dtype),
        validate.eps(eps),
        validate.order(order),
    )
    accuracy = asked.accuracy("potential", None if targets is not None else Known(many=True))
    at, none = layout.current(), leaf_size is None and _needs_no_operators(sources, targets, accuracy.order)
    worker = (at.workers, at.memory_limit, 0 if none else least_bytes(accuracy)) if at.memory_limit else None
    operators = (0, 0) if none else least_to_load(asked.kernel, accuracy)
    memory.refuse_hopeless(memory_limit, sources, targets, operators, worker)
    at_sources = validate.points("sources", sources)
    at_targets = None if targets is None else validate.points("targets", targets)
    foreign.same_unit(sources, targets)
    most = validate.leaf_size(leaf_size)
    shown = None if like is None else validate.charges(like, len(at_sources))
    announce_compilation()
    with budget() as threads:
        planned = make(asked, accuracy, at_sources, at_targets, most, threads)
    if shown is not None and planned.plan is not None:
        planned = replace(planned, like=look(planned.plan, asked.kernel, shown, "gradient"))
    if planned.crowded:
        say_once(CROWDED, planned.crowded, planned.leaf_size, morton.MAX_LEVEL)
    return planned


def _needs_no_operators(sources: Any, targets: Any, order: int) -> bool:
    n = memory.n_rows(sources)
    m = n if targets is None else memory.n_rows(targets)
    return bool(n and m) and cost.is_surely_direct(n, m, targets is None, order)
