"""The evaluations of a plan: lazy arrays, agreed with the scheduler in use, and what they will take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np

from taskfmm.errors import InputError
from taskfmm.graph import build, reference
from taskfmm.graph.forecast import Forecast, forecast
from taskfmm.graph.spec import Graph, lazy
from taskfmm.passes import serial
from taskfmm.plan.planned import Planned
from taskfmm.runtime import cluster, layout, memory
from taskfmm.runtime.threads import budget
from taskfmm.version import __version__


class Evaluator:
    """Evaluates what was planned; outputs and charges have been validated."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._digest = _identify(planned)
        self._forecasts: dict[tuple[tuple[str, ...], layout.Layout], Forecast] = {}

    def arrays(
        self, charges: Any, outputs: tuple[str, ...], memory_limit: int | None = None
    ) -> dict[str, da.Array]:
        """The outputs as lazy arrays that share their tasks; raises MemoryLimitError."""
        dtype = self._planned.asked.dtype
        if self._planned.plan is None:
            return {output: da.zeros(self._shape(output), dtype=dtype) for output in outputs}
        self._prepare(outputs, memory_limit)
        graph, chunks = self.graph(charges, outputs)
        return {
            output: lazy(graph, name, (sizes, (3,)) if output == "gradient" else (sizes,), dtype)
            for output, (name, sizes) in chunks.items()
        }

    def serial(self, charges: np.ndarray, output: str) -> np.ndarray:
        """One output by plain function calls in this thread, without a graph."""
        planned, asked = self._planned, self._planned.asked
        operators = planned.operators(output)
        if planned.plan is None:
            return np.zeros(self._shape(output), asked.dtype)
        with budget() as threads:
            return serial.run(planned.plan, operators, asked.kernel, charges, output, asked.dtype, threads)

    def graph(
        self, charges: Any, outputs: Sequence[str]
    ) -> tuple[Graph, dict[str, tuple[str, tuple[int, ...]]]]:
        """The graph of an evaluation, and for each output its name and chunk sizes."""
        plan, asked = self._planned.plan, self._planned.asked
        assert plan is not None
        mode = "gradient" if "gradient" in outputs else "potential"
        return build.build(
            plan,
            self.works,
            asked.kernel.name,
            self._planned.accuracy(mode),
            charges,
            outputs,
            plan.tree.domain.scale,
            asked.dtype,
            self._token(charges, mode),
        )

    @cached_property
    def works(self) -> reference.Shelf:
        """What tasks refer to; shared by all evaluations, so that other processes read it once."""
        planned = self._planned
        assert planned.plan is not None
        return build.works(planned.plan, planned.brought, planned.chosen)

    def _token(self, charges: Any, mode: str) -> str:
        accuracy = self._planned.accuracy(mode)
        digest = hashlib.sha256(f"{self._digest} {mode} {accuracy}".encode())
        digest.update(charges.name.encode() if isinstance(charges, da.Array) else charges.data)
        return digest.hexdigest()[:24]

    def forecast(self, outputs: tuple[str, ...]) -> Forecast:
        """What one evaluation would take on the scheduler in use; raises InputError where there are no points."""
        planned, asked = self._planned, self._planned.asked
        if planned.plan is None:
            raise InputError("there are no sources or no targets: every output is zero, without any task")
        at = layout.current()
        if (outputs, at) not in self._forecasts:
            operators = planned.operators("gradient" if "gradient" in outputs else "potential")
            graph, _ = self.graph(np.zeros(planned.n_sources), outputs)
            self._forecasts[outputs, at] = forecast(
                planned.plan, graph, operators, asked.kernel, outputs, asked.dtype, at
            )
        return self._forecasts[outputs, at].refreshed

    def _shape(self, output: str) -> tuple[int, ...]:
        n_targets = self._planned.n_targets
        return (n_targets, 3) if output == "gradient" else (n_targets,)

    def _prepare(self, outputs: tuple[str, ...], memory_limit: int | None) -> None:
        """Arrange with the scheduler in use what an evaluation needs, or refuse what does not fit there."""
        client = cluster.active_client()
        if client is not None:
            reference.release()
            cluster.prepare(client, lambda: self.forecast(outputs).work)
        at = layout.current()
        if memory_limit is not None:
            found = self.forecast(outputs).memory
            advice = "ask for fewer outputs, give fewer points or a higher memory_limit"
            memory.refuse(found, memory_limit, "memory_limit", advice)
        if at.memory_limit:
            found = self.forecast(outputs).memory
            advice = "use more workers, or give them more memory"
            memory.refuse(found, at.memory_limit, "the limit of the smallest worker", advice)


def _identify(planned: Planned) -> str:
    """Names the plan: what decides its results, the chosen leaves and cube among it."""
    digest = hashlib.sha256()
    tree = planned.plan and planned.plan.tree
    facts = (
        __version__,
        planned.asked.kernel.name,
        planned.asked.dtype.str,
        planned.leaf_size,
        tree and (tree.domain.half_width, tree.domain.scale),
        planned.accuracy("potential"),
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
