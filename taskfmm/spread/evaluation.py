"""Evaluations of a plan of points that never meet: the graph of any plan, and a task for each chunk of the result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
from dask.task_spec import TaskRef

from taskfmm import choices
from taskfmm.errors import InputError
from taskfmm.evaluation import chunked_as
from taskfmm.graph import build, reference
from taskfmm.graph.spec import Graph, add_aside, lazy, sequence
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import Given, together, whole
from taskfmm.plan.planned import Asked
from taskfmm.profiling.names import ASIDE, MARK
from taskfmm.spread import stages
from taskfmm.spread.plan import SpreadPlan


class Spread:
    """A plan of points that no process holds all of, made by `taskfmm.Fmm.from_dask`."""

    def __init__(self, asked: Asked, leaf_size: int, plan: SpreadPlan, chunks: tuple[int, ...]) -> None:
        self.kernel, self.eps, self.order, self.dtype = asked.kernel, asked.eps, asked.order, asked.dtype
        self.leaf_size, self.plan = leaf_size, plan
        self.n_sources = self.n_targets = sum(chunks)
        self._asked, self._chunks = asked, chunks
        self._digest = uuid.uuid4().hex

    def __repr__(self) -> str:
        return (
            f"<taskfmm.spread.Spread: {self.n_sources:,} points in {len(self.plan.points)} regions, kernel "
            f"{self.kernel.name}, eps {self.eps:g}, leaf size {self.leaf_size}, {self.dtype}>"
        )

    def potential(self, charges: Any = None, **others: Any) -> da.Array:
        """As `taskfmm.Fmm.potential`, in the chunks of the points."""
        return self.evaluate(charges, ("potential",), **others)["potential"]

    def evaluate(
        self, charges: Any = None, outputs: Sequence[str] | str | None = None, **others: Any
    ) -> dict[str, da.Array]:
        """As `taskfmm.Fmm.evaluate`, in the chunks of the points; if no outputs are named, the kernel's first.

        Raises InputError for derivatives, unless the plan has an order: how charges cancel is not looked at.
        """
        wanted = choices.outputs(self.kernel.names[:1] if outputs is None else outputs, self.kernel.names)
        given = self._given(charges, others)
        parts = [self._of_vectors(part, wanted) for part in given.parts]
        found = {output: whole([part[output] for part in parts]) for output in wanted}
        return {output: chunked_as(given, each, False) for output, each in found.items()}

    def _of_vectors(self, given: Given, wanted: tuple[str, ...]) -> dict[str, da.Array]:
        if given.vectors is None:
            return self._arrays(given, wanted)
        groups = {tuple(numbers): self._arrays(group, wanted) for numbers, group in given.in_groups()}
        return {
            output: together(
                {numbers: group[output] for numbers, group in groups.items()},
                self.kernel.output(output),
                given.vectors,
            )
            for output in wanted
        }

    def _arrays(self, given: Given, wanted: tuple[str, ...]) -> dict[str, da.Array]:
        reference.release()
        given = self._as_dask(given)
        accuracy = self.accuracy(given.kernel.last(wanted), given.kernel.of_one)
        facts = given.kernel, wanted, accuracy, [array.name for array in given.arrays]
        token = MARK + dask.base.tokenize(self._digest, *map(str, facts))[:20]
        operators = Operators(self._asked.kernel, accuracy)
        graph, found = build.build(
            self.plan, self.plan.depot, operators, given, wanted, self._asked.dtype, token
        )
        of_vectors = (given.kernel.vectors,) if given.kernel.vectors > 1 else ()
        return {output: self._in_order(graph, output, *found[output], token, of_vectors) for output in wanted}

    def accuracy(self, output: str, kernel: Kernel | None = None) -> Accuracy:
        """What reaches eps for an output, whatever the charges are; kernel : with the kinds that are given."""
        kernel = kernel or self.kernel.of_first
        if self.order is None and kernel.output(output).derivative:
            raise InputError(
                f"an eps of the {output} is not kept for points of a dask.array yet: give an order, or ask for "
                f"{self.kernel.names[0]} alone"
            )
        return self._asked.accuracy(output, None, kernel=kernel)

    def _given(self, charges: Any, others: dict[str, Any]) -> Given:
        return Given.checked(self._asked.kernel, charges, others, self.n_sources, True)

    def _as_dask(self, given: Given) -> Given:
        """The same in chunks: which charges a shard has is known to tasks alone."""
        arrays = (
            each
            if isinstance(each, da.Array)
            else da.from_array(each.copy(), chunks=(self._chunks, *each.shape[1:]))
            for each in given.arrays
        )
        return replace(given, arrays=tuple(arrays))

    def _in_order(
        self,
        graph: Graph,
        output: str,
        name: str,
        sizes: tuple[int, ...],
        token: str,
        of_vectors: tuple[int, ...],
    ) -> da.Array:
        """The results of all regions as chunks in the order of the points; of_vectors : the last axis, if any"""
        shape = (*self.kernel.output(output).shape, *of_vectors)
        references = self.plan.depot.reference
        axes, regions = (0,) * len(shape), range(len(sizes))
        values = [TaskRef((name, region, *axes)) for region in regions]
        rows, places = ([references(f"{what}/{region}") for region in regions] for what in ("rows", "places"))
        own = f"{output}-{ASIDE}{token.removeprefix(MARK)}"
        begins = accumulate(self._chunks, initial=0)
        for number, (first, n) in enumerate(zip(begins, self._chunks, strict=False)):
            args = first, n, rows, places, sequence(values)
            add_aside(graph, (own, number, *axes), stages.rows_of, *args)
        dtype = self.kernel.output(output).dtype(self._asked.dtype)
        return lazy(graph, own, (self._chunks, *((n,) for n in shape)), dtype)
