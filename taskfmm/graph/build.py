"""From a plan to a Dask graph: one task for each operator, level and shard, which pulls what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from dask.task_spec import TaskRef

from taskfmm.graph import tasks
from taskfmm.graph.reference import Reference, Shelf
from taskfmm.graph.spec import Graph, add, add_aside, pieces, sequence
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes.given import Given, exponent
from taskfmm.plan.plan import Plan
from taskfmm.plan.work import FarShard, Halo

FAR_OPERATORS = ("p2m", "m2m", "m2l", "p2l", "l2l", "m2p", "l2p")


def works(plan: Plan, operators: Mapping[str, tuple[Matrices, Operators]] | None = None) -> Shelf:
    """All that tasks need of a plan, by name: what ``far/<level>/<shard>/<operator>`` and the like refer to.

    operators : those that a plan brings, by name; they are sent in the file only, else the second ones, which are
        made where they are needed, stand for them
    """
    values: dict[str, Any] = {"source_order": plan.tree.source_order}
    for shard in chain.from_iterable(plan.far):
        for operator in FAR_OPERATORS:
            values[_far(shard, operator)] = getattr(shard, operator)
    values |= {f"near/{number}": work for number, work in enumerate(plan.near)}
    values |= {f"chunk/{i}": chunk for i, chunk in enumerate(plan.chunks)}
    instead = {}
    for name, (brought, made) in (operators or {}).items():
        values[operators_name(name)] = brought
        instead[operators_name(name)] = made
    return Shelf({name: value for name, value in values.items() if value is not None}, instead)


def operators_name(brought: str) -> str:
    """The name in `works` of operators that a plan brings."""
    return f"operators/{brought}"


def _far(shard: FarShard, operator: str) -> str:
    return f"far/{shard.level}/{shard.number}/{operator}"


class GraphBuilder:
    """Builds the graph of one evaluation.

    shelf : the `works` of the plan
    kernel : with the kinds of sources that are given
    operators : or a reference to them where the plan brings them
    output : the last of those that are wanted
    dtype : of results
    token : names kernel, accuracy, geometry and charges; a key is ("<operator>-<token>", level, shard)
    """

    def __init__(
        self,
        plan: Plan,
        shelf: Shelf,
        kernel: Kernel,
        operators: Operators | Reference,
        output: str,
        dtype: np.dtype,
        token: str,
    ) -> None:
        self.plan = plan
        self.shelf = shelf
        self.kernel = kernel
        self.operators = operators
        self.scale = plan.tree.domain.scale
        self.with_kernel = kernel, operators
        self.output = output
        self.dtype = dtype
        self.token = token
        self.graph: Graph = {}
        self.multipoles: dict[tuple[int, int], TaskRef] = {}
        self.locals: dict[tuple[int, int], TaskRef] = {}
        self.far: dict[tuple[int, int], TaskRef] = {}
        self.near: list[TaskRef] = []

    def name(self, operator: str) -> str:
        """The first part of an operator's keys; Dask's tools group by what stands before the dash."""
        return f"{operator}-{self.token}"

    def evaluate(self, charges: Given) -> Graph:
        """Tasks from the charges to the values of each shard."""
        order = self.shelf.reference("source_order")
        parts, declared = zip(*(pieces(array, self.graph) for array in charges.arrays), strict=True)
        given = (sequence(chain.from_iterable(parts)), declared, self.kernel, self.scale)
        self.exponent: Any  # an integer, or the reference to a task that finds it
        if charges.are_lazy:
            self.exponent = add_aside(self.graph, (self.name("exponent"), 0, 0), tasks.exponent, *given)
        else:
            self.exponent = exponent(charges.arrays, self.kernel, self.scale)
        self.charges = self._add("charges", 0, 0, tasks.charges, order, *given, self.exponent)
        # The order of insertion is the order of the passes; the near field depends on the charges alone.
        for shards in reversed(self.plan.far):
            for shard in shards:
                self._upward(shard)
        for shards in self.plan.far:
            for shard in shards:
                self._downward(shard)
        for number, work in enumerate(self.plan.near):
            at = (work.level, number)
            own = self.shelf.reference(f"near/{number}")
            self.near.append(self._add("near", *at, tasks.near, own, self.charges, self.kernel, self.output))
        return self.graph

    def collect(self, output: str) -> tuple[str, tuple[int, ...]]:
        """Tasks that put one output into the caller's order; returns its name and its chunk sizes."""
        name = self.name(output)
        for i, chunk in enumerate(self.plan.chunks):
            values = sequence([*(self.far[key] for key in chunk.far), *(self.near[n] for n in chunk.near)])
            key = (name, i, *(0 for _ in self.kernel.output(output).shape))
            own = self.shelf.reference(f"chunk/{i}")
            how = (self.kernel, output, self.scale, self.exponent, self.dtype)
            add(self.graph, key, tasks.collect, own, values, *how)
        return name, tuple(chunk.end - chunk.begin for chunk in self.plan.chunks)

    def _add(self, operator: str, level: int, shard: int, function: Any, *args: Any) -> TaskRef:
        return add(self.graph, (self.name(operator), level, shard), function, *args)

    def _work(self, shard: FarShard, operator: str) -> Reference:
        return self.shelf.reference(_far(shard, operator))

    def _far_task(self, operator: str, shard: FarShard, *args: Any) -> TaskRef:
        function, work = getattr(tasks, operator), self._work(shard, operator)
        return self._add(operator, shard.level, shard.number, function, shard.level, work, *args)

    def _multipoles(self, halo: Halo) -> Any:
        return sequence([self.multipoles[halo.level, s] for s in halo.shards])

    def _local(self, level: int, number: int) -> TaskRef:
        """Locals of a shard: zero if nothing has reached it, as when all its boxes are near all others."""
        at = (level, number)
        if at not in self.locals:
            n_boxes, none = self.plan.far[level][number].n_boxes, sequence([])
            self.locals[at] = self._add(
                "l2l", *at, tasks.l2l, level, None, n_boxes, none, none, self.operators
            )
        return self.locals[at]

    def _upward(self, shard: FarShard) -> None:
        own: TaskRef | None = None
        if shard.p2m:
            own = self._far_task("p2m", shard, self.charges, *self.with_kernel)
        if shard.m2m:
            children = self._multipoles(shard.m2m.halo)
            own = self._far_task("m2m", shard, own, children, self.operators)
        if own is not None:
            self.multipoles[shard.level, shard.number] = own

    def _downward(self, shard: FarShard) -> None:
        at = (shard.level, shard.number)
        parts = []
        if shard.m2l:
            halo = self._multipoles(shard.m2l.halo)
            parts.append(self._far_task("m2l", shard, halo, self.operators))
        if shard.p2l:
            parts.append(self._far_task("p2l", shard, self.charges, *self.with_kernel))
        if parts or shard.l2l:
            work = self._work(shard, "l2l") if shard.l2l else None
            above = shard.l2l.halo if shard.l2l else None
            parents = sequence([self._local(above.level, s) for s in above.shards] if above else [])
            args = (shard.level, work, shard.n_boxes, parents, sequence(parts), self.operators)
            self.locals[at] = self._add("l2l", *at, tasks.l2l, *args)
        if shard.l2p:
            self._leaves(shard, at)

    def _leaves(self, shard: FarShard, at: tuple[int, int]) -> None:
        from_m2p: TaskRef | None = None
        if shard.m2p:
            halo = self._multipoles(shard.m2p.halo)
            from_m2p = self._far_task("m2p", shard, halo, *self.with_kernel, self.output)
        args = (self._local(*at), from_m2p, *self.with_kernel, self.output)
        self.far[at] = self._far_task("l2p", shard, *args)


def build(
    plan: Plan,
    shelf: Shelf,
    operators: Operators | Reference,
    charges: Given,
    outputs: Sequence[str],
    dtype: np.dtype,
    token: str,
) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
    """The graph of an evaluation, and for each output its name and chunk sizes."""
    kernel = charges.kernel
    builder = GraphBuilder(plan, shelf, kernel, operators, kernel.last(outputs), dtype, token)
    builder.evaluate(charges)
    return builder.graph, {output: builder.collect(output) for output in outputs}
