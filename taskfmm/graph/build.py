"""From a plan to a Dask graph: one task for each operator, level and shard, which pulls what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
from dask.task_spec import TaskRef

from taskfmm.graph import tasks
from taskfmm.graph.charges import enter
from taskfmm.graph.reference import Reference, Shelf
from taskfmm.graph.spec import Graph, add, persisted, sequence
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes import drive
from taskfmm.passes.drive import Place, Sent
from taskfmm.passes.given import Given
from taskfmm.passes.operators import FAR, giving
from taskfmm.plan.base import Base
from taskfmm.plan.plan import Plan
from taskfmm.plan.works import FarShard

SENDING = ("charges", *giving("multipole"), *giving("moments"))
"""Names of tasks up to the multipoles."""


def works(plan: Plan, operators: Mapping[str, tuple[Matrices, Operators]] | None = None) -> Shelf:
    """All that tasks need of a plan, by name: what ``far/<level>/<shard>/<operator>`` and the like refer to.

    operators : those that a plan brings, by name; they are sent in the file only, else the second ones, which are
        made where they are needed, stand for them
    """
    values: dict[str, Any] = {}
    if plan.base is None or plan.base.up:  # else charges enter as those of the other plan
        values |= {f"sources/{number}": rows for number, rows in enumerate(plan.charges)}
        values |= {f"lengths/{number}": lengths for number, lengths in enumerate(plan.lengths)}
    for shard in chain.from_iterable(plan.far):
        for name in FAR:
            values[_far(shard, name)] = getattr(shard, name.lower())
    values |= {f"moments/{number}": work for number, work in enumerate(plan.moments)}
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


def _far(shard: FarShard, name: str) -> str:
    return f"far/{shard.level}/{shard.number}/{name}"


class Shards(drive.Shards, Protocol):
    """What there is to do, and what its results are made of."""

    @property
    def charges(self) -> Sequence[Any]: ...

    @property
    def lengths(self) -> Sequence[Any]: ...

    @property
    def chunks(self) -> Sequence[Any]: ...

    @property
    def scale(self) -> float: ...


class Library(Protocol):
    """Where tasks find works."""

    def reference(self, name: str) -> Reference: ...


@dataclass(frozen=True)
class Sending:
    """What stands for charges in a graph.

    charges : of each shard; exponents : of the charges, or a task that finds them
    sent : what boxes send
    results : what is known already, by the keys of the tasks that would find it
    """

    charges: list[TaskRef]
    exponents: Any
    sent: Sent
    results: Graph = field(default_factory=dict)

    @property
    def keys(self) -> list[Any]:
        """Of all tasks whose results these are."""
        found = [*self.charges, self.exponents, *self.sent.multipoles.values(), *self.sent.moments]
        return [each.key for each in found if isinstance(each, TaskRef)]


class GraphBuilder:
    """Builds the graph of one evaluation.

    shelf : the `works` of the plan
    kernel : with the kinds of sources that are given
    operators : or a reference to them where the plan brings them
    output : the last of those that are wanted
    dtype : of results
    token : names kernel, accuracy, geometry and charges; a key is ("<operator>-<token>", level, shard)
    sending : the same of tasks up to the multipoles, which hang on no output
    base : builds the tasks of a plan whose multipoles this one reads, and what they have in common
    known : what charges and multipoles are already
    """

    def __init__(
        self,
        plan: Shards,
        shelf: Library,
        kernel: Kernel,
        operators: Operators | Reference,
        output: str,
        dtype: np.dtype,
        token: str,
        sending: str = "",
        base: tuple[GraphBuilder, Base] | None = None,
        known: Sending | None = None,
    ) -> None:
        self.plan = plan
        self.shelf = shelf
        self.how = kernel, operators, output
        self.kernel = kernel
        self.scale = plan.scale
        self.dtype = dtype
        self.token, self.sending = token, sending or token
        # whoever sends the same has the same tasks, whatever he asks for
        self.how_sent = kernel.sending, operators, kernel.names[0]
        self.base, self.known = base, known
        self.graph: Graph = {} if base is None else base[0].graph

    def name(self, operator: str) -> str:
        """The first part of an operator's keys; Dask's tools group by what stands before the dash."""
        return f"{operator}-{self.sending if operator in SENDING else self.token}"

    def evaluate(self, charges: Given) -> None:
        """Tasks from the charges to the values of each shard."""
        found = self.send(charges)
        self.exponents = found.exponents
        # the order of insertion is the order of the passes
        self.values = drive.downward(self.plan, found.charges, self._call, found.sent)

    def send(self, charges: Given) -> Sending:
        """Tasks from the charges to the multipoles."""
        if self.known is not None:
            self.graph.update(self.known.results)
            return self.known
        if self.base is None:
            entered, exponents = self.enter(charges)
            return Sending(entered, exponents, drive.upward(self.plan, entered, self._call))
        builder, base = self.base
        found = builder.send(charges)
        entered, exponents = found.charges, found.exponents
        if base.up:
            entered, _ = self.enter(charges, exponents)
        before = found.sent.called(partial(base.place, self.plan.far))
        return Sending(entered, exponents, drive.upward(self.plan, entered, self._call, before))

    def computed(self, charges: Given) -> Sending:
        """The same, computed by the scheduler in use, and kept where that has results of ``persist``."""
        found = self.send(charges)
        return replace(found, results=persisted(self.graph, found.keys))

    def enter(self, charges: Given, exponents: Any = None) -> tuple[list[TaskRef], Any]:
        """Tasks that give each shard its charges; these, and the exponents of the charges, if not known yet."""
        rows = self.plan.charges
        references = [self.shelf.reference(f"sources/{number}") for number in range(len(rows))]
        lengths = [self.shelf.reference(f"lengths/{number}") for number in range(len(self.plan.lengths))]
        return enter(self.graph, charges, rows, references, self.scale, self.sending, lengths, exponents)

    def _call(self, name: str, at: Place, work: Any, *inputs: Any) -> TaskRef:
        """A task for an operator; its work is on the shelf."""
        level, number = at
        place = {"P2P": f"near/{number}", "P2I": f"moments/{number}"}.get(
            name, f"far/{level}/{number}/{name}"
        )
        own = None if work is None else self.shelf.reference(place)
        read = (sequence(each) if isinstance(each, list) else each for each in inputs)
        how = self.how_sent if name in SENDING else self.how
        return add(self.graph, (self.name(name), *at), tasks.operate, name, level, own, *how, *read)

    def collect(self, output: str) -> tuple[str, tuple[int, ...]]:
        """Tasks that put one output into the caller's order; returns its name and its chunk sizes."""
        name = self.name(output)
        for i, chunk in enumerate(self.plan.chunks):
            axes = len(self.kernel.output(output).shape) + (self.kernel.vectors > 1)
            key = (name, i, *(0,) * axes)
            self.collected(key, i, output, sequence(self.values.of(chunk)))
        return name, tuple(chunk.end - chunk.begin for chunk in self.plan.chunks)

    def collected(self, key: tuple, number: int, output: str, values: Any) -> TaskRef:
        """A task that puts the values of one chunk into the caller's order."""
        how = (self.kernel, output, self.scale, self.exponents, self.dtype)
        return add(self.graph, key, tasks.collect, self.shelf.reference(f"chunk/{number}"), values, *how)


def build(
    builder: GraphBuilder, charges: Given, outputs: Sequence[str]
) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
    """The graph of an evaluation, and for each output its name and chunk sizes."""
    builder.evaluate(charges)
    return builder.graph, {output: builder.collect(output) for output in outputs}
