"""Where tasks will run: the scheduler in use, its processes and threads, and what each process may hold."""

from __future__ import annotations

import functools
import sys
import time
import weakref
from dataclasses import dataclass
from typing import Any

import dask
from dask import local, multiprocessing, threaded
from dask.base import get_scheduler
from dask.system import CPU_COUNT

from taskfmm.runtime.threads import concurrent_calls_are_safe, n_cores

FRESH = 5.0
"""Seconds for which what a cluster said of itself is believed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Tasks at once and where.

    scheduler : "synchronous", "threads", "processes" or "distributed"
    workers : processes that run tasks; threads : tasks at once in each; loop_threads : Numba threads of a task
    memory_limit : bytes that the smallest worker may hold, 0 if it has no limit
    """

    scheduler: str
    workers: int = 1
    threads: int = 1
    loop_threads: int = 1
    memory_limit: int = 0

    @property
    def in_this_process(self) -> bool:
        return self.scheduler in ("threads", "synchronous")

    def __str__(self) -> str:
        if self.scheduler == "synchronous":
            return f"synchronous, {_plural(self.loop_threads, 'thread')} in each loop"
        inside = f", {self.loop_threads} in each loop" if self.loop_threads > 1 else ""
        if self.scheduler == "threads":
            return _plural(self.threads, "thread") + inside
        return (
            f"{self.scheduler}, {_plural(self.workers, 'worker')} x {_plural(self.threads, 'thread')}{inside}"
        )


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def local_threads(threads: int) -> Layout:
    """Dask's threads in this process."""
    safe = threads == 1 or concurrent_calls_are_safe()
    return Layout("threads", 1, threads, max(1, n_cores() // threads) if safe else 1)


def current(client: Any = None) -> Layout:
    """What ``compute()`` would use if it were called here, or what a distributed client has.

    Never waits for an asynchronous client.
    """
    get = client.get if client is not None else _get()
    if hasattr(getattr(get, "__self__", None), "scheduler_info"):
        return _of_client(get.__self__)
    if get is local.get_sync:
        return Layout("synchronous", 1, 1, n_cores())
    pool = dask.config.get("pool", None)
    wanted = dask.config.get("num_workers", None)
    if get is multiprocessing.get:
        wanted = wanted or CPU_COUNT
        return Layout("processes", wanted, 1, max(1, n_cores() // wanted))
    if isinstance(get, functools.partial):  # an executor as the scheduler
        return local_threads(int(get.args[1]))
    if get is None or get is threaded.get:
        return local_threads(int(getattr(pool, "_max_workers", 0) or wanted or CPU_COUNT))
    return local_threads(n_cores())


def _get() -> Any:
    """Dask's choice. It would import distributed to look for a client; without the import there is none."""
    if "distributed" not in sys.modules and not dask.config.get("scheduler", None):
        return None
    try:
        return get_scheduler()
    except RuntimeError:  # compute() would not wait for the asynchronous client that is active; others may
        from distributed import default_client

        return default_client().get


def _of_client(client: Any) -> Layout:
    identity = _identity(client)
    workers = list(identity.get("workers", {}).values())
    if workers:
        threads = max(int(worker["nthreads"]) for worker in workers)
        limits = [int(worker["memory_limit"] or 0) for worker in workers]
        n, limit = len(workers), min(filter(None, limits), default=0)
    else:  # all that an asynchronous client is told
        n = int(identity.get("n_workers") or 1)
        threads = max(1, int(identity.get("total_threads") or 1) // n)
        limit = int(identity.get("total_memory") or 0) // n
    return Layout("distributed", n, threads, max(1, n_cores() // (threads * n)), limit)


_told: weakref.WeakKeyDictionary[Any, tuple[float, dict[str, Any]]] = weakref.WeakKeyDictionary()
"""What each client's scheduler said of its workers, and when."""


def _identity(client: Any) -> dict[str, Any]:
    """Facts about a cluster, at most `FRESH` seconds old; never waits in an event loop or in a task."""
    when, found = _told.get(client, (-FRESH, {}))
    if time.monotonic() - when < FRESH:
        return found
    if client.asynchronous or client.status != "running" or _in_a_task():
        return dict(getattr(client, "_scheduler_identity", None) or {})
    try:
        found = dict(client.scheduler_info())
    except (OSError, TimeoutError):  # whoever computes next will hear of it
        return {}
    _told[client] = (time.monotonic(), found)
    return found


def _in_a_task() -> bool:
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True
