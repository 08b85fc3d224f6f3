"""Evaluations of a plan of points that never meet: the graph of any plan, and a task for each chunk of the result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da

from taskfmm import choices
from taskfmm.evaluation import chunked_as
from taskfmm.graph import reference
from taskfmm.graph.spec import lazy
from taskfmm.operators.accuracy import Accuracy, Known
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import Given, together, whole
from taskfmm.plan.planned import Asked
from taskfmm.profiling.names import MARK
from taskfmm.spread.bringing import in_chunks
from taskfmm.spread.build import build_arrays
from taskfmm.spread.choosing import Chooser
from taskfmm.spread.plan import SpreadPlan


class Spread:
    """A plan of points that no process holds all of, made by `taskfmm.Fmm.from_dask`."""

    def __init__(self, asked: Asked, leaf_size: int, plan: SpreadPlan, like: Known | None = None) -> None:
        self.kernel, self.eps, self.order, self.dtype = asked.kernel, asked.eps, asked.order, asked.dtype
        self.leaf_size, self.plan = leaf_size, plan
        units = plan.facts.units
        self.n_sources, self.n_targets = int(units.n_sources.sum()), int(units.n_targets.sum())
        self.separate = units.sources is not None
        self._asked, self._chooser = asked, Chooser(asked, plan, like)
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
        last, columns = given.kernel.last(wanted), given.columns
        if given.vectors is None:
            return self._arrays(given, wanted, self._chooser.accuracy(last, given))
        chosen = [self._chooser.accuracy(last, each) for each in (columns[:1] if given.are_lazy else columns)]
        chosen *= len(columns) // len(chosen)
        groups = {
            tuple(numbers): self._arrays(group, wanted, chosen[numbers[0]])
            for numbers, group in given.in_groups(chosen)
        }
        return {
            output: together(
                {numbers: group[output] for numbers, group in groups.items()},
                self.kernel.output(output),
                given.vectors,
            )
            for output in wanted
        }

    def _arrays(self, given: Given, wanted: tuple[str, ...], accuracy: Accuracy) -> dict[str, da.Array]:
        reference.release()
        given = in_chunks(self.plan, given)
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

    def accuracy(self, output: str, charges: Any = None, **others: Any) -> Accuracy:
        """As `taskfmm.Fmm.accuracy`; charges that are left out count as lazy ones.

        The first gradient of Laplace's kernel looks at how equal charges cancel, in all regions, once for a plan.
        """
        (wanted,) = choices.outputs((output,), self.kernel.names)
        given = None
        if charges is not None or others:
            given = self._given(charges, others).parts[0].columns[0]
        return self._chooser.accuracy(wanted, given)

    def _given(self, charges: Any, others: dict[str, Any]) -> Given:
        return Given.checked(self._asked.kernel, charges, others, self.n_sources, True)
