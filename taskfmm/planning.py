"""From what a caller gives to what was planned: look at all of it, cheapest first, then plan within the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from taskfmm import choices, compile_ahead, foreign, kernels, validate
from taskfmm.errors import InputError
from taskfmm.geometry import morton
from taskfmm.geometry.cell import Box
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.operators.size import least_bytes
from taskfmm.passes.given import AT_ONCE, Given, of_kind
from taskfmm.passes.share import look
from taskfmm.plan import cost
from taskfmm.plan.make import beside as make_beside
from taskfmm.plan.make import make
from taskfmm.plan.planned import Asked, Planned
from taskfmm.profiling.progress import announce_compilation
from taskfmm.runtime import layout, memory
from taskfmm.runtime.once import say_once
from taskfmm.runtime.threads import budget
from taskfmm.tree.octree import Octree

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
    before: Octree | None = None,
) -> Planned:
    """Plan; parameters and errors are those of `taskfmm.Fmm`. before : see `taskfmm.plan.make.make`"""
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
    shown = _shown(asked, like, len(at_sources))
    announce_compilation()
    # kernels without a table are measured first, which compiles their loops
    if not none and (asked.chosen or asked.calibrated(asked.first)):
        compile_ahead.start(asked, targets is not None)
    with budget() as threads:
        planned = make(asked, accuracy, at_sources, at_targets, most, threads, lengths, at_once, before)
    planned = _with_like(planned, shown)
    if planned.crowded:
        say_once(CROWDED_TEXT, planned.crowded, planned.leaf_size, morton.MAX_LEVEL)
    return planned


def _shown(asked: Asked, like: Any, n_sources: int) -> np.ndarray | None:
    """Charges that lazy ones will resemble, checked."""
    if like is None:
        return None
    kind = asked.kernel.sources[0]
    shown = of_kind(kind, like, n_sources, "like")
    validate.of_numbers("like", shown.dtype, np.dtype(complex if kind.complex else float))
    if asked.box is not None:
        Given(asked.kernel.of_first, (shown,)).refuse_charged("like")
    return np.asarray(shown)


def _with_like(planned: Planned, shown: np.ndarray | None) -> Planned:
    """The same, with what such charges tell."""
    asked, plan = planned.asked, planned.plan
    if shown is None or plan is None:
        return planned
    known = look(plan, asked.kernel.of_first, [shown], asked.kernel.usual[-1], close=asked.close)
    planned = replace(planned, like=known)
    if not (asked.chosen or plan.is_direct):
        planned.accuracy(asked.first, planned.like)  # an eps below its floor is told now
    return planned


def beside(planned: Planned, targets: Any, memory_limit: int | None, like: Any = None) -> Planned:
    """The same sources with other targets; parameters and errors are those of `taskfmm.Fmm.at`.

    What is planned has a base, if ``planned`` has a tree of which it can be that.
    """
    asked = planned.asked
    at_targets = validate.points("targets", targets)
    foreign.same_unit(None if foreign.unit_of(targets) is None else np.empty((0, 3)), targets)
    shown = _shown(asked, like, planned.n_sources)
    announce_compilation()
    found = None
    if len(at_targets) and planned.plan is not None and not planned.plan.is_direct:
        with budget() as threads:
            found = make_beside(planned, at_targets, threads)
    if found is None:
        size, kernel = planned.leaf_size, planned.kernel
        how = kernel, asked.eps, asked.order, size, asked.dtype, memory_limit, like
        return from_points(planned.sources, at_targets, *how, box=asked.box)
    return _with_like(found, shown)


def elsewhere(
    planned: Planned, sources: Any, targets: Any, memory_limit: int | None, like: Any = None
) -> Planned:
    """The same plan for the same points in other places; parameters and errors are those of `taskfmm.Fmm.moved`."""
    asked, given = planned.asked, {"sources": sources, "targets": targets}
    if planned.same and targets is not None:
        raise InputError("targets are given, and in this plan they are the sources: give sources alone")
    if sources is None and targets is None:
        raise InputError("no points are given: give sources, targets or both")
    for name, n in (("sources", planned.n_sources), ("targets", planned.n_targets)):
        if given[name] is not None and memory.n_rows(given[name]) != n:
            raise InputError(
                f"{name} has {memory.n_rows(given[name])} points, and the plan has {n}: give each of them a new "
                "place, or plan others with taskfmm.Fmm"
            )
    at_sources = planned.sources if sources is None else sources
    at_targets = planned.targets if targets is None and not planned.same else targets
    before = None if planned.plan is None or planned.plan.is_direct else planned.plan.tree
    how = planned.kernel, asked.eps, asked.order, planned.leaf_size, asked.dtype, memory_limit
    return from_points(at_sources, at_targets, *how, like, box=asked.box, before=before)


def _needs_no_operators(sources: Any, targets: Any, kernel: Kernel, order: int) -> bool:
    n = memory.n_rows(sources)
    m = n if targets is None else memory.n_rows(targets)
    return bool(n and m) and cost.is_surely_direct(n, m, targets is None, kernel, order)
