"""What each task tells of itself while somebody listens; the one way of clocking tasks in this project.

The clocks stand inside the task, in the thread that runs it, so waiting for a scheduler is not counted. While
nobody listens a task pays for looking at one empty tuple.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dask.sizeof import sizeof

from taskfmm.profiling.names import name_of
from taskfmm.runtime.threads import concurrent_tasks, numba_threads

HERE = ""
"""Stands for this process where a record names its distributed worker."""


class Record(NamedTuple):
    """One task that ran to its end.

    key, needs : names of the task and of those whose results it took
    operator, level, evaluation : what the key says; the tasks of one evaluation share the last
    worker, thread : address of the distributed worker, "" for none, and the identity of the thread
    begin : seconds since the epoch, by the clock of that machine
    seconds, cpu_seconds : by a steady clock, and of CPU time (see `cpu_clock`)
    bytes_read, bytes_written : sizes of the results it took, and of its own
    """

    key: str
    needs: tuple[str, ...]
    operator: str
    level: int | None
    evaluation: str
    worker: str
    thread: int
    begin: float
    seconds: float
    cpu_seconds: float
    bytes_read: int
    bytes_written: int

    @property
    def end(self) -> float:
        """When it ended, as `begin`."""
        return self.begin + self.seconds


Listener = Callable[[Record], None]

listeners: tuple[Listener, ...] = ()
"""Who is told of every task that ends in this process; replaced as a whole, never changed in place."""

_changing = threading.Lock()


def listen(listener: Listener) -> None:
    """From now on call it with the record of every task that ends, in the thread of the task."""
    global listeners
    with _changing:
        listeners = (*listeners, listener)


def forget(listener: Listener) -> None:
    """Call it no more."""
    global listeners
    with _changing:
        listeners = tuple(known for known in listeners if known != listener)


def publish(record: Record) -> None:
    """Tell all who listen in this process."""
    for listener in listeners:
        listener(record)


def cpu_clock() -> Callable[[], float]:
    """The clock of the CPU time of a task that starts here.

    A task whose loops run serially is all in its thread. One that runs alone with several Numba threads is the
    whole process. Of several tasks with several Numba threads each, only the thread that called can be told apart,
    and is all that is counted.
    """
    alone = concurrent_tasks() == 1 and numba_threads() > 1
    return time.process_time if alone else time.thread_time


def clocked(key: Any, dependencies: Any, values: Mapping[Any, Any], run: Callable[..., Any]) -> Any:
    """``run(values)``, and its record to all who listen if it returns and the key is one of ours."""
    name = name_of(key)
    if name is None:
        return run(values)
    cpu_now = cpu_clock()
    begin, cpu, wall = time.time(), cpu_now(), time.perf_counter()
    result = run(values)
    wall, cpu = time.perf_counter() - wall, cpu_now() - cpu
    publish(
        Record(
            str(key),
            tuple(map(str, dependencies)),
            *name,
            _worker(),
            threading.get_ident(),
            begin,
            wall,
            cpu,
            sum(sizeof(values[needed]) for needed in dependencies),
            sizeof(result),
        )
    )
    return result


def _worker() -> str:
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return HERE
    try:
        return str(distributed.get_worker().address)
    except ValueError:
        return HERE


_token = uuid.uuid4().hex[:12]


def process() -> str:
    """A name that no other process has, not even a fork of this one."""
    return f"{_token}-{os.getpid()}"
