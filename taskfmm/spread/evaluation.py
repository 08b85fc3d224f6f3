"""Evaluations of a plan of points that never meet: the graph of any plan, and a task for each chunk of the result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import dask
import dask.array as da
import numpy as np

from taskfmm import choices
from taskfmm.evaluation import chunked_as
from taskfmm.graph import reference
from taskfmm.graph.spec import lazy
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy, Known
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import Given, together, whole
from taskfmm.plan.planned import Asked
from taskfmm.profiling.names import MARK
from taskfmm.spread.build import build_arrays
from taskfmm.spread.looking import look
from taskfmm.spread.plan import SpreadPlan


class Spread:
    """A plan of points that no process holds all of, made by `taskfmm.Fmm.from_dask`."""

    def __init__(self, asked: Asked, leaf_size: int, plan: SpreadPlan) -> None:
        self.kernel, self.eps, self.order, self.dtype = asked.kernel, asked.eps, asked.order, asked.dtype
        self.leaf_size, self.plan = leaf_size, plan
        units = plan.facts.units
        self.n_sources, self.n_targets = int(units.n_sources.sum()), int(units.n_targets.sum())
        self.separate = units.sources is not None
        self._asked = asked
        self._digest = uuid.uuid4().hex

    def __repr__(self) -> str:
        points = f"{self.n_sources:,} points"
        if self.separate:
            points = f"{self.n_sources:,} sources and {self.n_targets:,} targets"
        return (
            f"<taskfmm.spread.Spread: {points} in {self.plan.facts.units.n_regions} regions, kernel "
            f"{self.kernel.name}, eps {self.eps:g}, leaf size {self.leaf_size}, {self.dtype}>"
        )

    def potential(self, charges: Any = None, **others: Any) -> da.Array:
        """As `taskfmm.Fmm.potential`, in the chunks of the points."""
        return self.evaluate(charges, ("potential",), **others)["potential"]

    def evaluate(
        self, charges: Any = None, outputs: Sequence[str] | str | None = None, **others: Any
    ) -> dict[str, da.Array]:
        """As `taskfmm.Fmm.evaluate`, in the chunks of the points; if no outputs are named, the kernel's first."""
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
        operators, dtype = Operators(self._asked.kernel, accuracy), self._asked.dtype
        graph, names = build_arrays(self.plan, operators, given, wanted, dtype, token)
        sizes = tuple(piece.n for piece in self.plan.of_targets)
        found = {}
        for name in wanted:
            output = given.kernel.output(name)
            shape = (*output.shape, *((given.kernel.vectors,) if given.kernel.vectors > 1 else ()))
            found[name] = lazy(graph, names[name], (sizes, *((n,) for n in shape)), output.dtype(dtype))
        return found

    def accuracy(self, output: str, kernel: Kernel | None = None) -> Accuracy:
        """What reaches eps for an output, as `taskfmm.Fmm` has it for lazy charges: these are not looked at.

        For a gradient of Laplace's kernel regions look at how equal charges cancel, once for a plan.
        kernel : with the kinds of sources that are given
        """
        kernel, asked = kernel or self.kernel.of_first, self._asked
        if asked.chosen or self.plan.is_direct:
            return asked.any_accuracy()
        if not kernel.output(output).derivative or not asked.calibrated(output, kernel):
            return asked.accuracy(output, None, kernel=kernel)
        # what rounds where near pairs are in float32 is not looked at
        return replace(asked, dtype=np.dtype(np.float64)).accuracy(
            output, None, *self._gradients, kernel=kernel
        )

    @cached_property
    def _gradients(self) -> tuple[Known, Known]:
        return look(self.plan.facts, self.kernel.of_first, self.plan.depot.path)

    def _given(self, charges: Any, others: dict[str, Any]) -> Given:
        return Given.checked(self._asked.kernel, charges, others, self.n_sources, True)

    def _as_dask(self, given: Given) -> Given:
        """The same in the chunks of the sources: which charges a region has is known to tasks alone."""
        sizes = tuple(piece.n for piece in self.plan.of_sources)

        def in_chunks(array: Any) -> da.Array:
            chunks = (sizes, *((n,) for n in array.shape[1:]))
            return (
                array.rechunk(chunks) if isinstance(array, da.Array) else da.from_array(array.copy(), chunks)
            )

        return replace(given, arrays=tuple(map(in_chunks, given.arrays)))
