"""The evaluations of a plan: lazy arrays, agreed with the scheduler in use, and what they will take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import dask.array as da
import numpy as np

from taskfmm.choosing import Chooser, shapes
from taskfmm.errors import InputError
from taskfmm.forecast import evaluations
from taskfmm.forecast.effort import DOUBLE
from taskfmm.forecast.forecast import Forecast, forecast
from taskfmm.graph import build, reference
from taskfmm.graph.spec import Graph, lazy
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.passes import serial
from taskfmm.passes.given import AT_ONCE, Given, all_together, together
from taskfmm.plan.identity import identify, identify_targets
from taskfmm.plan.planned import Planned
from taskfmm.profiling.names import MARK, SHARED
from taskfmm.runtime import cluster, layout, memory
from taskfmm.runtime.threads import budget, one_blas_thread


@dataclass(frozen=True, slots=True)
class Kept:
    """Multipoles of some charges.

    accuracy : of all of them; known : by `Evaluator.shared_token`
    """

    accuracy: Accuracy
    known: Mapping[str, build.Sending]

    @property
    def is_lost(self) -> bool:
        """Whether they were on workers of a client that was closed or restarted."""
        results = chain.from_iterable(sent.results.values() for sent in self.known.values())
        return any(getattr(each, "status", None) == "cancelled" for each in results)


class Evaluator:
    """Evaluates what was planned; outputs and charges have been validated."""

    def __init__(self, planned: Planned, root: Evaluator | None = None) -> None:
        """root : of the plan from which this one was made for other targets, if it was"""
        self.planned, self.chooser = planned, Chooser(planned)
        self.root = root or self
        self.base = None if planned.plan is None or planned.plan.base is None else root
        self._digest: str = (
            identify(planned) if self.base is None else identify_targets(planned, self.base._digest)
        )
        self._forecasts: dict[tuple[tuple[str, ...], Accuracy, layout.Layout, Kernel, str], Forecast] = {}

    def of_vectors(
        self,
        charges: Given,
        outputs: tuple[str, ...],
        memory_limit: int | None = None,
        kept: Kept | None = None,
    ) -> dict[str, da.Array]:
        """As `arrays`, of charges that may have an axis of vectors, which outputs then have as well."""
        if charges.vectors is None:
            accuracy = self.with_kept(kept, charges.kernel.last(outputs), charges, len(outputs) == 1)
            return self.arrays(charges, outputs, memory_limit, accuracy, kept=kept)
        most = self.at_once(charges.kernel, outputs, charges.vectors or 1, memory_limit)
        beside = self._beside(charges.kernel, outputs, (charges.vectors or 1) - most)
        found = {
            tuple(numbers): self.arrays(group, outputs, memory_limit, accuracy, beside, kept)
            for numbers, group, accuracy in self._groups(charges, outputs, most, kept)
        }
        return all_together(found, charges, outputs)

    def serial_of_vectors(self, charges: Given, output: str, kept: Kept | None = None) -> np.ndarray:
        """As `serial`, of charges that may have an axis of vectors."""
        if charges.vectors is None:
            return self.serial(charges, output, self.with_kept(kept, output, charges, True))
        found = {
            tuple(numbers): self.serial(group, output, accuracy)
            for numbers, group, accuracy in self._groups(charges, (output,), kept=kept)
        }
        return np.asarray(together(found, charges.kernel.output(output), charges.vectors))

    def _beside(self, kernel: Kernel, outputs: tuple[str, ...], others: int) -> int:
        """Bytes of charges and results of so many other vectors."""
        of_one = sum(kind.n_numbers for kind in kernel.sources) * self.planned.n_sources
        of_one += sum(kernel.output(output).n_rows for output in outputs) * self.planned.n_targets
        return max(0, others) * of_one * DOUBLE

    def at_once(
        self, kernel: Kernel, outputs: tuple[str, ...], vectors: int, memory_limit: int | None = None
    ) -> int:
        """How many of so many vectors are evaluated at once; fewer where these need too much memory."""
        size = min(AT_ONCE, vectors)
        limit = memory_limit or layout.current().memory_limit
        if self.planned.plan is None or not limit:
            return size
        needed = {}
        while size:
            needed[size] = self.forecast(outputs, kernel=kernel.with_vectors(size)).memory["peak"]
            needed[size] += self._beside(kernel, outputs, vectors - size) if memory_limit else 0
            if needed[size] <= limit:
                return size
            size //= 2
        return min(needed, key=needed.__getitem__)

    def _groups(
        self, charges: Given, outputs: tuple[str, ...], most: int = AT_ONCE, kept: Kept | None = None
    ) -> Iterator[tuple[list[int], Given, Accuracy]]:
        """Vectors in groups of one accuracy: what stands beside a vector changes nothing but its last digits."""
        last, alone = charges.kernel.last(outputs), len(outputs) == 1
        return charges.in_groups_of(lambda each: self.with_kept(kept, last, each, alone), most)

    def with_kept(self, kept: Kept | None, output: str, charges: Given, alone: bool) -> Accuracy:
        """As `accuracy`, or that of multipoles that are kept, if these are as good."""
        found = self.chooser.accuracy(output, charges, alone)
        return kept.accuracy if kept is not None and kept.accuracy.covers(found) else found

    def keep(self, parts: Sequence[Given], outputs: tuple[str, ...], memory_limit: int | None = None) -> Kept:
        """Compute the multipoles of charges, with the scheduler in use, for outputs at any targets."""
        base, known = self.root, {}
        accuracy = self.chooser.of_field([each for part in parts for each in part.columns], outputs)
        for part in parts:
            most = base.at_once(part.kernel, outputs, part.vectors or 1, memory_limit)
            for _, group in [(None, part)] if part.vectors is None else part.in_groups(most=most):
                base._prepare(group.kernel, outputs, accuracy, memory_limit, 0)
                token = base.shared_token(group, accuracy)
                known[token] = base._builder(group.kernel, outputs, accuracy, token).computed(group)
        return Kept(accuracy, known)

    def arrays(
        self,
        charges: Given,
        outputs: tuple[str, ...],
        memory_limit: int | None = None,
        accuracy: Accuracy | None = None,
        beside: int = 0,
        kept: Kept | None = None,
    ) -> dict[str, da.Array]:
        """The outputs as lazy arrays that share their tasks; raises MemoryLimitError.

        beside : bytes of charges and results of other evaluations, which are held meanwhile
        """
        kernel = charges.kernel
        of_vectors = ((kernel.vectors,),) if kernel.vectors > 1 else ()
        if self.planned.plan is None:
            shapes = {output: (*self._shape(output), *chain.from_iterable(of_vectors)) for output in outputs}
            return {output: da.zeros(shape, dtype=self.dtype(output)) for output, shape in shapes.items()}
        accuracy = accuracy or self.chooser.accuracy(kernel.last(outputs), charges, alone=len(outputs) == 1)
        self._prepare(kernel, outputs, accuracy, memory_limit, beside)
        graph, chunks = self.graph(charges, outputs, accuracy, kept)
        evaluations.remember(chunks[outputs[0]][0], self, outputs, accuracy, kernel)
        return {
            output: lazy(
                graph,
                name,
                (sizes, *((n,) for n in kernel.output(output).shape), *of_vectors),
                self.dtype(output),
            )
            for output, (name, sizes) in chunks.items()
        }

    def serial(self, charges: Given, output: str, accuracy: Accuracy | None = None) -> np.ndarray:
        """One output by plain function calls in this thread, without a graph."""
        planned, dtype = self.planned, self.planned.asked.dtype
        if planned.plan is None:
            n = (charges.kernel.vectors,) if charges.kernel.vectors > 1 else ()
            return np.zeros((*self._shape(output), *n), self.dtype(output))
        operators = planned.operators(accuracy or self.chooser.accuracy(output, charges, alone=True))
        with budget() as threads:
            of_base = None if self.base is None else self.base.planned.operators(operators.accuracy)
            how = charges.kernel, charges.arrays, output, dtype, threads, of_base
            return serial.run(planned.plan, operators, *how)

    def graph(
        self,
        charges: Given,
        outputs: Sequence[str],
        accuracy: Accuracy | None = None,
        kept: Kept | None = None,
    ) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
        """The graph of an evaluation, and for each output its name and chunk sizes."""
        last = charges.kernel.last(outputs)
        accuracy = accuracy or self.chooser.accuracy(last, charges, alone=len(outputs) == 1)
        shared = self.shared_token(charges, accuracy)
        known = None if kept is None or kept.is_lost else kept.known.get(shared)
        return build.build(self._builder(charges.kernel, outputs, accuracy, shared, known), charges, outputs)

    def _builder(
        self,
        kernel: Kernel,
        outputs: Sequence[str],
        accuracy: Accuracy,
        shared: str,
        known: build.Sending | None = None,
    ) -> build.GraphBuilder:
        """shared : see `shared_token`; known : what its tasks would find"""
        planned, kernel = self.planned, kernel.computing(outputs)
        assert planned.plan is not None
        own = planned.name_brought(accuracy)
        operators = planned.made(accuracy) if own is None else self.works.reference(build.operators_name(own))
        base = None
        if self.base is not None and planned.plan.base is not None:
            base = self.base._builder(kernel, outputs, accuracy, shared, known), planned.plan.base
        last = kernel.last(outputs)
        sending = shared if base is None else f"{shared}{self._digest[:8]}"
        token = shared + hashlib.sha256(f"{self._digest} {kernel} {last}".encode()).hexdigest()[:12]
        how = kernel, operators, last, planned.asked.dtype, token, sending, base
        return build.GraphBuilder(planned.plan, self.works, *how, known if base is None else None)

    @cached_property
    def works(self) -> reference.Shelf:
        """What tasks refer to; shared by all evaluations, so that other processes read it once."""
        planned = self.planned
        assert planned.plan is not None
        brought = {name: (found, planned.made(found.accuracy)) for name, found in planned.brought.items()}
        return build.works(planned.plan, brought)

    def shared_token(self, charges: Given, accuracy: Accuracy) -> str:
        """Names the multipoles of charges: whoever reads these shares tasks with others that do."""
        digest = (self.base or self)._digest
        found = hashlib.sha256(f"{digest} {charges.kernel} {accuracy}".encode())
        for array in charges.arrays:
            found.update(array.name.encode() if isinstance(array, da.Array) else array.data)
        return (MARK + found.hexdigest())[:SHARED]

    @one_blas_thread()
    def forecast(
        self, outputs: tuple[str, ...], accuracy: Accuracy | None = None, kernel: Kernel | None = None
    ) -> Forecast:
        """What one evaluation would take on the scheduler in use; raises InputError where there are no points.

        accuracy : that of the usual charges, if left out
        kernel : with the kinds of sources that are given; the first one, if left out
        """
        planned, asked = self.planned, self.planned.asked
        if planned.plan is None:
            raise InputError("there are no sources or no targets: every output is zero, without any task")
        accuracy = accuracy or self.chooser.accuracy(asked.kernel.last(outputs))
        kernel = kernel or asked.kernel.of_first
        # kernels that differ in roots alone are equal, but the names of their tasks are not
        case = (outputs, accuracy, layout.current(), kernel, kernel.roots)
        if case not in self._forecasts:
            nothing = _zeros(kernel, planned.n_sources)
            graph, _ = self.graph(nothing, outputs, accuracy)
            of_base = self.shared_token(nothing, accuracy) if self.base else ""
            how = planned.matrices(accuracy), kernel, outputs, asked.dtype, case[2], of_base
            self._forecasts[case] = forecast(planned.plan, graph, *how)
        return self._forecasts[case].refreshed

    def dtype(self, output: str) -> np.dtype:
        """Of the results of an output."""
        return self.planned.asked.kernel.output(output).dtype(self.planned.asked.dtype)

    def _shape(self, output: str) -> tuple[int, ...]:
        return (self.planned.n_targets, *self.planned.asked.kernel.output(output).shape)

    def _prepare(
        self,
        kernel: Kernel,
        outputs: tuple[str, ...],
        accuracy: Accuracy,
        memory_limit: int | None,
        beside: int,
    ) -> None:
        """Arrange with the scheduler in use what an evaluation needs, or refuse what does not fit there."""
        client = cluster.active_client()
        if client is not None:
            reference.release()
            cluster.prepare(client, lambda: self.forecast(outputs, accuracy, kernel).task_seconds)
        at = layout.current()
        if memory_limit is not None:
            advice = "ask for fewer outputs, give a larger eps or a higher memory_limit"
            peak = self.planned.least_to_load(accuracy)[1]
            memory.refuse_making(memory_limit, kernel.last(outputs), peak, advice)
            found = self.forecast(outputs, accuracy, kernel).memory
            found = found | {"other vectors": beside, "peak": found["peak"] + beside}
            advice = "ask for fewer outputs, give fewer points or a higher memory_limit"
            memory.refuse(found, memory_limit, "memory_limit", advice)
        if at.memory_limit:
            found = self.forecast(outputs, accuracy, kernel).memory
            advice = "use more workers, or give them more memory"
            memory.refuse(found, at.memory_limit, "the limit of the smallest worker", advice)


def _zeros(kernel: Kernel, n_sources: int) -> Given:
    """Of all kinds, for what hangs on no charge."""
    return Given(kernel, tuple(np.zeros(shape) for shape in shapes(kernel, n_sources)))


def chunked_as(charges: Given, found: da.Array, same: bool) -> da.Array:
    """A result in the chunks of its charges, where these are lazy: along the points, if ``same`` are the targets, and
    along the vectors."""
    lazy = next((array for array in charges.arrays if isinstance(array, da.Array)), None)
    if lazy is None:
        return found
    wanted = {0: lazy.chunks[0]} if same else {}
    if charges.vectors is not None:
        wanted[found.ndim - 1] = lazy.chunks[-1]
    known = {axis: sizes for axis, sizes in wanted.items() if not np.isnan(sizes).any()}
    return found.rechunk(known) if known else found
