"""The evaluations of a plan: lazy arrays, agreed with the scheduler in use, and what they will take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np

from taskfmm.errors import AccuracyError, InputError
from taskfmm.graph import build, reference
from taskfmm.graph.forecast import Forecast, forecast
from taskfmm.graph.spec import Graph, lazy
from taskfmm.operators.accuracy import Accuracy, Known
from taskfmm.passes import serial
from taskfmm.passes.share import Places, look
from taskfmm.plan.planned import Planned
from taskfmm.runtime import cluster, layout, memory
from taskfmm.runtime.threads import budget
from taskfmm.version import __version__


class Evaluator:
    """Evaluates what was planned; outputs and charges have been validated."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._digest = _identify(planned)
        self._forecasts: dict[tuple[tuple[str, ...], Accuracy, layout.Layout], Forecast] = {}
        self._usual_known: dict[str, Known] = {}

    def arrays(
        self, charges: Any, outputs: tuple[str, ...], memory_limit: int | None = None
    ) -> dict[str, da.Array]:
        """The outputs as lazy arrays that share their tasks; raises MemoryLimitError."""
        dtype = self._planned.asked.dtype
        if self._planned.plan is None:
            return {output: da.zeros(self._shape(output), dtype=dtype) for output in outputs}
        accuracy = self.accuracy(_mode(outputs), charges)
        self._prepare(outputs, accuracy, memory_limit)
        graph, chunks = self.graph(charges, outputs, accuracy)
        return {
            output: lazy(graph, name, (sizes, (3,)) if output == "gradient" else (sizes,), dtype)
            for output, (name, sizes) in chunks.items()
        }

    def serial(self, charges: np.ndarray, output: str) -> np.ndarray:
        """One output by plain function calls in this thread, without a graph."""
        planned, asked = self._planned, self._planned.asked
        if planned.plan is None:
            return np.zeros(self._shape(output), asked.dtype)
        operators = planned.operators(self.accuracy(output, charges))
        with budget() as threads:
            return serial.run(planned.plan, operators, asked.kernel, charges, output, asked.dtype, threads)

    def accuracy(self, output: str, charges: Any = None) -> Accuracy:
        """What reaches eps for an output of these charges, which may be lazy, or of the usual ones.

        Lazy charges may be anything: a single one at the worst place of a box, or far from small leaves, or equal
        ones, whose gradients may cancel. The usual charges are those that the caller has shown, else equal ones.
        Raises AccuracyError.
        """
        planned, asked = self._planned, self._planned.asked
        if asked.chosen or planned.plan is None or planned.plan.is_direct:
            # nothing hangs on it, or it is the same for all charges and outputs
            return asked.accuracy("potential", Known(many=True))
        if charges is None:
            return asked.accuracy(output, self._usual(output))
        if not isinstance(charges, da.Array):
            return asked.accuracy(output, self._look(charges, output))
        if planned.like is not None:
            return asked.accuracy(output, planned.like)
        alone = Known(many=False, gradient=self._places.lone_charge) if output == "gradient" else None
        return asked.accuracy(output, None, alone, self._usual(output))

    def reachable(self) -> dict[str, Accuracy]:
        """Accuracy by output, for the usual charges, of those outputs whose floor is not above eps."""
        found = {}
        for output in ("potential", "gradient"):
            with suppress(AccuracyError):
                found[output] = self.accuracy(output)
        return found

    def _usual(self, output: str) -> Known:
        planned = self._planned
        if planned.like is not None:
            return planned.like
        if output not in self._usual_known:
            self._usual_known[output] = self._look(np.ones(planned.n_sources), output)
        return self._usual_known[output]

    def _look(self, charges: np.ndarray, output: str) -> Known:
        assert self._planned.plan is not None
        return look(self._planned.plan, self._planned.asked.kernel, charges, output, self._places)

    @cached_property
    def _places(self) -> Places:
        assert self._planned.plan is not None
        return Places(self._planned.plan.tree)

    def graph(
        self, charges: Any, outputs: Sequence[str], accuracy: Accuracy | None = None
    ) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
        """The graph of an evaluation, and for each output its name and chunk sizes."""
        plan, asked = self._planned.plan, self._planned.asked
        assert plan is not None
        accuracy = accuracy or self.accuracy(_mode(outputs), charges)
        own = self._planned.name_brought(accuracy)
        return build.build(
            plan,
            self.works,
            asked.kernel,
            accuracy if own is None else self.works.reference(build.operators_name(own)),
            charges,
            outputs,
            plan.tree.domain.scale,
            asked.dtype,
            self._token(charges, accuracy, _mode(outputs)),
        )

    @cached_property
    def works(self) -> reference.Shelf:
        """What tasks refer to; shared by all evaluations, so that other processes read it once."""
        planned = self._planned
        assert planned.plan is not None
        return build.works(planned.plan, planned.brought)

    def _token(self, charges: Any, accuracy: Accuracy, mode: str) -> str:
        digest = hashlib.sha256(f"{self._digest} {mode} {accuracy}".encode())
        digest.update(charges.name.encode() if isinstance(charges, da.Array) else charges.data)
        return digest.hexdigest()[:24]

    def forecast(self, outputs: tuple[str, ...], accuracy: Accuracy | None = None) -> Forecast:
        """What one evaluation would take on the scheduler in use; raises InputError where there are no points.

        accuracy : that of the usual charges, if left out
        """
        planned, asked = self._planned, self._planned.asked
        if planned.plan is None:
            raise InputError("there are no sources or no targets: every output is zero, without any task")
        accuracy = accuracy or self.accuracy(_mode(outputs))
        case = (outputs, accuracy, layout.current())
        if case not in self._forecasts:
            graph, _ = self.graph(np.zeros(planned.n_sources), outputs, accuracy)
            self._forecasts[case] = forecast(
                planned.plan, graph, planned.operators(accuracy), asked.kernel, outputs, asked.dtype, case[-1]
            )
        return self._forecasts[case].refreshed

    def _shape(self, output: str) -> tuple[int, ...]:
        n_targets = self._planned.n_targets
        return (n_targets, 3) if output == "gradient" else (n_targets,)

    def _prepare(self, outputs: tuple[str, ...], accuracy: Accuracy, memory_limit: int | None) -> None:
        """Arrange with the scheduler in use what an evaluation needs, or refuse what does not fit there."""
        client = cluster.active_client()
        if client is not None:
            reference.release()
            cluster.prepare(client, lambda: self.forecast(outputs, accuracy).work)
        at = layout.current()
        if memory_limit is not None:
            advice = "ask for fewer outputs, give a larger eps or a higher memory_limit"
            peak = self._planned.least_to_load(accuracy)[1]
            memory.refuse_making(memory_limit, _mode(outputs), peak, advice)
            found = self.forecast(outputs, accuracy).memory
            advice = "ask for fewer outputs, give fewer points or a higher memory_limit"
            memory.refuse(found, memory_limit, "memory_limit", advice)
        if at.memory_limit:
            found = self.forecast(outputs, accuracy).memory
            advice = "use more workers, or give them more memory"
            memory.refuse(found, at.memory_limit, "the limit of the smallest worker", advice)


def _mode(outputs: Sequence[str]) -> str:
    """What the passes compute: "potential", or "gradient" for both."""
    return "gradient" if "gradient" in outputs else "potential"


def _identify(planned: Planned) -> str:
    """Names the plan: what decides its results, the chosen leaves and cube among it."""
    digest = hashlib.sha256()
    tree = planned.plan and planned.plan.tree
    facts = (
        __version__,
        planned.asked.kernel,
        planned.asked.dtype.str,
        planned.leaf_size,
        tree and (tree.domain.half_width, tree.domain.scale),
    )
    digest.update(repr(facts).encode())
    if tree:
        for array in (
            tree.sources,
            tree.source_order,
            *(() if planned.same else (tree.targets, tree.target_order)),
        ):
            digest.update(array.data)
    return digest.hexdigest()[:24]
