"""Run a graph in thought: when each task starts, where, and what lies in memory meanwhile.

The rules are those of Dask's schedulers: in one process the newest task that became ready runs first, and before
that the order of `dask.order`; distributed workers take tasks in that order. A result is dropped when the last task
that reads it has finished.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taskfmm.runtime.layout import Layout


@dataclass(frozen=True, slots=True)
class Tasks:
    """A graph by numbers; task ``i`` stands at place ``i`` of everything.

    inputs : of each task the tasks whose results it reads
    priority : place in `dask.order`
    seconds : with the scheduler's share
    result, scratch : bytes
    """

    inputs: Sequence[Sequence[int]]
    priority: Sequence[int]
    seconds: np.ndarray
    result: np.ndarray
    scratch: np.ndarray

    def readers(self) -> list[list[int]]:
        """Of each task the tasks that read its result."""
        found: list[list[int]] = [[] for _ in self.inputs]
        for task, inputs in enumerate(self.inputs):
            for source in inputs:
                found[source].append(task)
        return found


@dataclass(frozen=True, slots=True)
class Schedule:
    """What would happen.

    begin, end : float64 [n_tasks], seconds; worker : int64 [n_tasks]
    peak : float64 [n_workers], bytes of live results and scratch; sent : bytes from worker to worker
    """

    begin: np.ndarray
    end: np.ndarray
    worker: np.ndarray
    peak: np.ndarray
    sent: float

    @property
    def seconds(self) -> float:
        return float(self.end.max(initial=0.0))


class _Worker:
    """Free threads and live bytes of one process."""

    def __init__(self, threads: int) -> None:
        self.free = threads
        self.live = 0.0
        self.peak = 0.0
        self.holds: set[int] = set()

    def take(self, n_bytes: float) -> None:
        self.live += n_bytes
        self.peak = max(self.peak, self.live)


def simulate(tasks: Tasks, layout: Layout, byte_seconds: float = 0.0) -> Schedule:
    """The schedule of a graph; ``byte_seconds`` is what a byte takes from one worker to another."""
    n = len(tasks.inputs)
    readers = tasks.readers()
    waiting = [len(inputs) for inputs in tasks.inputs]
    unread = [len(found) for found in readers]
    workers = [_Worker(layout.threads) for _ in range(layout.workers)]
    begin, end, place = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    sent, now = 0.0, 0.0
    rank = [-p for p in tasks.priority]
    ready = sorted((i for i in range(n) if not waiting[i]), key=rank.__getitem__)
    running: list[tuple[float, int]] = []

    def start(task: int) -> float:
        inputs = tasks.inputs[task]
        at = _place(workers, inputs, tasks.result)
        worker = workers[at]
        missing = [source for source in inputs if source not in worker.holds]
        moved = float(sum(tasks.result[source] for source in missing))
        worker.holds.update(missing)
        worker.take(moved + tasks.scratch[task] + tasks.result[task])
        worker.free -= 1
        place[task], begin[task] = at, now
        end[task] = now + tasks.seconds[task] + moved * byte_seconds
        heapq.heappush(running, (end[task], task))
        return moved

    def finish(task: int) -> None:
        worker = workers[place[task]]
        worker.free += 1
        worker.holds.add(task)
        worker.live -= tasks.scratch[task]
        for reader in sorted(readers[task], key=rank.__getitem__):
            waiting[reader] -= 1
            if not waiting[reader]:
                if layout.scheduler == "distributed":
                    insort(ready, reader, key=rank.__getitem__)
                else:
                    ready.append(reader)
        for source in tasks.inputs[task]:
            unread[source] -= 1
            if not unread[source]:
                for holder in workers:
                    if source in holder.holds:
                        holder.holds.remove(source)
                        holder.live -= tasks.result[source]

    while ready or running:
        while ready and any(worker.free for worker in workers):
            sent += start(ready.pop())
        now, task = heapq.heappop(running)
        finish(task)
    return Schedule(begin, end, place, np.array([worker.peak for worker in workers]), sent)


def _place(workers: list[_Worker], inputs: Sequence[int], result: np.ndarray) -> int:
    """The worker with a free thread that holds most of the inputs, the emptiest of several."""
    free = [i for i, worker in enumerate(workers) if worker.free]
    if len(free) == 1:
        return free[0]
    held = {i: sum(result[source] for source in inputs if source in workers[i].holds) for i in free}
    return min(free, key=lambda i: (-held[i], workers[i].live, i))


def critical_path(tasks: Tasks) -> list[int]:
    """The chain of tasks that takes longest, first to last."""
    n = len(tasks.inputs)
    total = np.zeros(n)
    before = np.full(n, -1)
    readers = tasks.readers()
    waiting = [len(inputs) for inputs in tasks.inputs]
    ready = [i for i in range(n) if not waiting[i]]
    while ready:
        task = ready.pop()
        if tasks.inputs[task]:
            before[task] = max(tasks.inputs[task], key=total.__getitem__)
        total[task] = tasks.seconds[task] + (total[before[task]] if before[task] >= 0 else 0.0)
        for reader in readers[task]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    path = [int(total.argmax())] if n else []
    while path and before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path[::-1]
