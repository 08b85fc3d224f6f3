"""Evaluations of a plan of points that never meet: the graph of any plan, and a task for each chunk of the result."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from taskfmm import choices, foreign, validate
from taskfmm.errors import InputError
from taskfmm.evaluation import chunked_as
from taskfmm.graph import reference
from taskfmm.graph.spec import lazy
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.known import Known
from taskfmm.operators.levels import Operators
from taskfmm.passes.given import AT_ONCE, Given, all_together, whole
from taskfmm.plan.planned import Asked
from taskfmm.profiling.names import MARK
from taskfmm.spread.bringing import in_chunks
from taskfmm.spread.build import build_arrays
from taskfmm.spread.choosing import Chooser
from taskfmm.spread.chunks import Piece
from taskfmm.spread.described import DescribedSpread
from taskfmm.spread.estimate import sampled_error
from taskfmm.spread.plan import SpreadPlan

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class Spread(DescribedSpread):
    """A plan of points that no process holds all of, made by `taskfmm.Fmm.from_dask`."""

    def __init__(
        self,
        kernel: Kernel,
        asked: Asked,
        leaf_size: int | None,
        plan: SpreadPlan | None,
        pieces: Sequence[Piece],
        like: Known | None = None,
    ) -> None:
        self.kernel, self.eps, self.order, self.dtype = kernel, asked.eps, asked.order, asked.dtype
        self.leaf_size, self.plan = leaf_size, plan
        self.separate = any(piece.name == "targets" for piece in pieces)
        self.n_sources = sum(piece.n for piece in pieces if piece.name == "sources")
        self.n_targets = sum(piece.n for piece in pieces if piece.name == "targets" or not self.separate)
        self._chunks = tuple(piece.n for piece in pieces if piece.name == "targets" or not self.separate)
        self._asked, self._chooser = asked, Chooser(asked, plan, like)
        self._digest = uuid.uuid4().hex

    def __repr__(self) -> str:
        points = f"{self.n_sources:,} points"
        if self.separate:
            points = f"{self.n_sources:,} sources and {self.n_targets:,} targets"
        return (
            f"<taskfmm.spread.Spread: {points} in {self.n_regions} regions, kernel "
            f"{self.kernel.name}, eps {self.eps:g}, leaf size {self.leaf_size}, {self.dtype}>"
        )

    @property
    def n_regions(self) -> int:
        """Parts of the points that one task holds."""
        return 0 if self.plan is None else self.plan.facts.units.n_regions

    def potential(self, charges: Any = None, **others: Any) -> da.Array:
        """As `taskfmm.Fmm.potential`, in the chunks of the targets."""
        return self.evaluate(charges, ("potential",), **others)["potential"]

    def evaluate(
        self, charges: Any = None, outputs: Sequence[str] | str | None = None, **others: Any
    ) -> dict[str, da.Array]:
        """As `taskfmm.Fmm.evaluate`, in the chunks of the targets."""
        wanted = choices.outputs(self.kernel.usual if outputs is None else outputs, self.kernel.names)
        given = self._given(charges, others)
        parts = [self._of_vectors(part, wanted) for part in given.parts]
        found = {output: whole([part[output] for part in parts]) for output in wanted}
        return {output: chunked_as(given, each, False) for output, each in found.items()}

    def _of_vectors(self, given: Given, wanted: tuple[str, ...]) -> dict[str, da.Array]:
        last, alone = given.kernel.last(wanted), len(wanted) == 1
        if given.vectors is None:
            return self._arrays(given, wanted, self._chooser.accuracy(last, given, alone))
        groups = {
            tuple(numbers): self._arrays(group, wanted, accuracy)
            for numbers, group, accuracy in given.in_groups_of(
                lambda each: self._chooser.accuracy(last, each, alone)
            )
        }
        return all_together(groups, given, wanted)

    def _arrays(self, given: Given, wanted: tuple[str, ...], accuracy: Accuracy) -> dict[str, da.Array]:
        shapes, dtype = {}, self._asked.dtype
        for name in wanted:
            of_vectors = (given.kernel.vectors,) if given.kernel.vectors > 1 else ()
            shapes[name] = (*given.kernel.output(name).shape, *of_vectors)
        chunks = {name: (self._chunks, *((n,) for n in shape)) for name, shape in shapes.items()}
        dtypes = {name: given.kernel.output(name).dtype(dtype) for name in wanted}
        if self.plan is None:
            sizes = {name: (self.n_targets, *shape) for name, shape in shapes.items()}
            return {name: da.zeros(sizes[name], dtypes[name], chunks=chunks[name]) for name in wanted}
        reference.release()
        given = in_chunks(self.plan, given)
        facts = given.kernel, wanted, accuracy, [array.name for array in given.arrays]
        token = MARK + dask.base.tokenize(self._digest, *map(str, facts))[:20]
        operators = Operators(self._asked.kernel, accuracy, self.plan.half_width)
        graph, names = build_arrays(self.plan, operators, given, wanted, dtype, token)
        return {name: lazy(graph, names[name], chunks[name], dtypes[name]) for name in wanted}

    def accuracy(self, output: str, charges: Any = None, **others: Any) -> Accuracy:
        """As `taskfmm.Fmm.accuracy`; charges that are left out count as lazy ones.

        The first gradient of Laplace's kernel looks at how equal charges cancel, in all regions, once for a plan.
        """
        (wanted,) = choices.outputs((output,), self.kernel.names)
        given = None
        if charges is not None or others:
            given = self._given(charges, others).parts[0].columns[0]
        return self._chooser.accuracy(wanted, given, alone=True)

    def as_linear_operator(
        self, output: str | None = None, source: str | None = None, like: Any = None
    ) -> LinearOperator:
        """As `taskfmm.Fmm.as_linear_operator`, of vectors that this process holds.

        Where targets are apart from the sources there is no adjoint.
        """
        from taskfmm.linear_operator import PlanOperator, Side

        def run(given: Given, output: str, accuracy: Accuracy) -> np.ndarray:
            return np.asarray(self._arrays(given, (output,), accuracy)[output].compute())

        def exchange() -> Side:
            raise InputError(
                "the transpose exchanges sources and targets, which a plan of points that no process holds does not "
                "do by itself: plan Fmm.from_dask(targets, sources) as well"
            )

        def choose(output: str, given: Given) -> Accuracy:
            return self._chooser.accuracy(output, given, alone=True)

        def at_once(*_: Any) -> int:
            return AT_ONCE

        facts = self._asked.summed, self._asked.dtype, self.n_sources, self.n_targets, False
        side = Side(*facts, choose, run, at_once, exchange if self.separate else None)
        return PlanOperator(side, output, source, like)

    def error_estimate(
        self,
        charges: Any,
        values: Any,
        n_samples: int = 1000,
        seed: int | None = None,
        output: str | None = None,
        **others: Any,
    ) -> float:
        """As `taskfmm.Fmm.error_estimate`; what is lazy is computed, and the sources are summed in their regions."""
        of = self.kernel.names[0] if output is None else choices.output(output, self.kernel.names)
        n, most, rng = self.n_targets, choices.n_samples(n_samples), choices.generator(seed)
        given, out = self._given(charges, others), self.kernel.output(of)
        rows = np.sort(rng.choice(n, min(most, n), replace=False))
        lazily = foreign.dask_array("values", values)
        if lazily is not None and lazily.shape[:1] == (n,):
            values, n = lazily[rows].compute(), rows.size
        dtype = np.dtype(np.complex128 if out.complex or len(given.parts) > 1 else np.float64)
        found = validate.values(values, n, of, out.shape, dtype, given.vectors)
        if self.plan is None:
            return 0.0
        return sampled_error(self.plan, given, found if n == rows.size else found[rows], of, rows)

    def _given(self, charges: Any, others: dict[str, Any]) -> Given:
        return Given.checked(self._asked.summed, charges, others, self.n_sources, True)
