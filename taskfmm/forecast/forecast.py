"""What an evaluation will take, before it runs: its graph, the seconds and the memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from dask.order import order

from taskfmm.cost import rates
from taskfmm.cost.rates import Rates
from taskfmm.forecast.effort import DOUBLE, Effort, Key, efforts, n_bytes, of_base_key
from taskfmm.forecast.schedule import Schedule, Tasks, critical_path, simulate
from taskfmm.graph.spec import Graph
from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.plan.plan import Plan
from taskfmm.profiling.names import operator_of, rank, without_charges
from taskfmm.runtime import memory
from taskfmm.runtime.layout import Layout

REMOTE_TASK = 1.5e-3
"""Seconds of the distributed scheduler for a task; it handles one at a time."""

REMOTE_START = 0.06
"""Seconds that a graph takes to the distributed scheduler, and the results from there, whatever their size."""

REMOTE_BYTE = 1.0 / 1.5e9
"""Seconds for a byte from one worker to another on the same machine, or on a fast network."""

HEAP = 1.12
"""What C's heap keeps beyond the live arrays: pieces that were freed and do not fit what is asked for next."""


@dataclass(frozen=True, repr=False)
class Forecast:
    """What one evaluation of a plan is expected to take.

    keys : of the tasks, without the token; efforts : what each does; tasks : the graph by the same numbers
    names : of the same tasks, by `taskfmm.profiling.names.without_charges`
    path : the tasks of the critical path; prologue : seconds before the first task
    operator_peak : bytes that a worker takes while it reads or builds its operators
    """

    layout: Layout
    outputs: tuple[str, ...]
    keys: tuple[Key, ...]
    names: tuple[Any, ...]
    efforts: tuple[Effort, ...]
    tasks: Tasks
    schedule: Schedule
    path: tuple[int, ...]
    prologue: float
    epilogue: float
    plan_bytes: int
    operator_bytes: int
    operator_peak: int
    charge_bytes: int
    result_bytes: int
    n_chunks: int
    compiled: bool
    base: int = field(default_factory=memory.resident)

    def __repr__(self) -> str:
        return f"<Forecast of {', '.join(self.outputs)}: {len(self.keys):,} tasks, {self.seconds:.3g} s>"

    @property
    def refreshed(self) -> Forecast:
        """The same in a process that has grown or shrunk meanwhile."""
        return replace(self, base=memory.resident())

    @property
    def seconds(self) -> float:
        """From charges to results."""
        return self.prologue + self.schedule.seconds + self.epilogue

    @property
    def task_seconds(self) -> float:
        """Seconds of all tasks, one after the other."""
        return float(self.tasks.seconds.sum())

    @property
    def critical_seconds(self) -> float:
        """No number of threads makes it faster than the longest chain of tasks."""
        return float(self.tasks.seconds[list(self.path)].sum())

    @property
    def edges(self) -> int:
        """Results that are read, counted once for each reader."""
        return sum(map(len, self.tasks.inputs))

    @property
    def edge_bytes(self) -> int:
        """Bytes of results along the edges; a result that two tasks read counts twice."""
        return int(sum(self.tasks.result[list(inputs)].sum() for inputs in self.tasks.inputs if inputs))

    @cached_property
    def by_operator(self) -> dict[str, dict[str, float]]:
        """Tasks, seconds and bytes of results of each operator, in the order of the method."""
        found: dict[str, dict[str, float]] = {}
        for name in sorted({key[0] for key in self.keys}, key=rank):
            of_it = [i for i, key in enumerate(self.keys) if key[0] == name]
            if of_it:
                found[name] = {
                    "tasks": len(of_it),
                    "seconds": float(self.tasks.seconds[of_it].sum()),
                    "result_bytes": int(self.tasks.result[of_it].sum()),
                }
        return found

    @cached_property
    def largest_task(self) -> dict[str, Any]:
        """The task that needs most memory while it runs: its part of the plan, inputs, result and scratch."""
        inputs = np.array([self.tasks.result[list(found)].sum() for found in self.tasks.inputs])
        total = inputs + self.tasks.result + self.tasks.scratch
        total += np.array([effort.plan_bytes for effort in self.efforts])
        at = int(total.argmax())
        operator, level, shard = self.keys[at]
        return {"operator": operator, "level": level, "shard": shard, "bytes": int(total[at])}

    @cached_property
    def memory(self) -> dict[str, int]:
        """Peak of the process, or of the worker that needs most, and what it is made of."""
        live = int(HEAP * self.schedule.peak.max(initial=0.0))
        if self.layout.in_this_process:
            # chunks are put together when all are there
            joined = self.result_bytes if self.n_chunks > 1 else 0
            live = max(live, int(2 * joined))
            parts = {
                "process": max(0, self.base - self.plan_bytes - self.operator_bytes),
                "plan": min(self.base, self.plan_bytes),
                "operators": min(max(0, self.base - self.plan_bytes), self.operator_bytes),
                "compiled loops": 0 if self.compiled else memory.COMPILED,
                "charges": self.charge_bytes,
                "live": live,
            }
        else:
            parts = {
                "process": memory.WORKER,
                "plan": self._plan_on_a_worker(),
                "operators": self.operator_bytes,
                # a worker makes its operators before it does anything else
                "live": max(live, self.operator_peak - self.operator_bytes),
            }
        return parts | {"peak": sum(parts.values())}

    def _plan_on_a_worker(self) -> int:
        """The largest share of the plan, as tasks carry it to a worker."""
        share = np.zeros(self.layout.workers)
        np.add.at(share, self.schedule.worker, [effort.plan_bytes for effort in self.efforts])
        return int(share.max())

    def facts(self) -> dict[str, Any]:
        """All of it as data."""
        return {
            "scheduler": str(self.layout),
            "outputs": list(self.outputs),
            "tasks": len(self.keys),
            "edges": self.edges,
            "edge_bytes": self.edge_bytes,
            "sent_bytes": int(self.schedule.sent),
            "result_bytes": self.result_bytes,
            "operators": self.by_operator,
            "task_seconds": self.task_seconds,
            "critical_path_seconds": self.critical_seconds,
            "critical_path": dict(Counter(self.keys[i][0] for i in self.path)),
            "parallelism": self.task_seconds / self.critical_seconds,
            "seconds": self.seconds,
            "largest_task": self.largest_task,
            "memory": self.memory,
        }


def forecast(
    plan: Plan,
    graph: Graph,
    operators: Matrices,
    kernel: Kernel,
    outputs: Sequence[str],
    dtype: np.dtype,
    layout: Layout,
    of_base: str = "",
) -> Forecast:
    """Foretell one evaluation.

    graph : of the evaluation, for any charges; its keys and dependencies count, its tasks are not looked into
    of_base : the token of the tasks of the plan's base, if it has one
    """
    rate, own_bytes = rates.current(), n_bytes(operators)
    found = efforts(plan, operators, kernel, tuple(outputs), dtype.itemsize)
    names = {key: bare for key in graph if (bare := _bare(key, plan, of_base)) in found}
    place = {key: i for i, key in enumerate(names)}
    inputs = [sorted(place[d] for d in graph[key].dependencies if d in place) for key in names]
    listed = tuple(found[bare] for bare in names.values())
    first = order(graph)
    tasks = Tasks(
        inputs,
        [first[key] for key in names],
        np.array([_seconds(e, len(i), rate, layout) for e, i in zip(listed, inputs, strict=True)]),
        np.array([e.result for e in listed], np.float64),
        np.array([e.scratch for e in listed], np.float64),
    )
    n_numbers = kernel.vectors * kernel.n_numbers * plan.tree.source_order.size
    result_bytes = sum(e.result for name, e in found.items() if name[0] in outputs)
    joined = 2 * result_bytes / DOUBLE * rate.copied if len(plan.chunks) > 1 else 0.0
    return Forecast(
        layout,
        tuple(outputs),
        tuple(names.values()),
        tuple(map(without_charges, names)),
        listed,
        tasks,
        simulate(tasks, layout, REMOTE_BYTE),
        tuple(critical_path(tasks)),
        prologue=rate.start + n_numbers * rate.charge + (0.0 if layout.in_this_process else REMOTE_START),
        epilogue=joined,
        plan_bytes=n_bytes(plan),
        operator_bytes=own_bytes,
        operator_peak=_peak(kernel, operators),
        charge_bytes=n_numbers * DOUBLE,
        result_bytes=result_bytes,
        n_chunks=len(plan.chunks),
        compiled=_is_compiled(kernel.computing(outputs), kernel.last(outputs), operators),
    )


def _peak(kernel: Kernel, operators: Matrices) -> int:
    """Bytes while operators are read or built, one level after the other; a direct sum has none."""
    held, peak, made = 0, 0.0, []
    for found in operators.by_level.values():
        made.append(found)
        times = Operators(kernel, found.accuracy).peak_over_size(found.half_width)
        peak = max(peak, held + times * (n_bytes(made) - held))
        held = n_bytes(made)
    return int(peak)


def _is_compiled(kernel: Kernel, output: str, operators: Matrices) -> bool:
    """Whether an evaluation ran in this process before."""
    dtype = operators.accuracy.dtype if operators.by_level else "float64"
    return gather_loops(kernel.of_densities, output, dtype).surfaces_to_points.compiled


def _bare(key: Any, plan: Plan | None = None, of_base: str = "") -> Key | None:
    """The key of an effort: of ours, without its token."""
    operator = operator_of(key)
    if operator is None:
        return None
    numbers = (*key[1:], 0)
    found = operator, int(numbers[0]), int(numbers[1])
    return of_base_key(plan, found) if plan and of_base and key[0] == f"{operator}-{of_base}" else found


def _seconds(effort: Effort, n_inputs: int, rate: Rates, layout: Layout) -> float:
    own = effort.seconds(rate, layout.loop_threads)
    if layout.in_this_process:
        return own + rate.task + n_inputs * rate.edge
    # one scheduler serves all workers, so that each waits for its turn
    return own + REMOTE_TASK * layout.workers * layout.threads / 2
