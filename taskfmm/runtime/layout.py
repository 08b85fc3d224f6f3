"""Where tasks will run: the scheduler in use, its processes and threads, and what each process may hold."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import dask
from dask import local, multiprocessing, threaded
from dask.base import get_scheduler
from dask.system import CPU_COUNT

from taskfmm.runtime import cluster, settings
from taskfmm.runtime.threads import foretold, n_cores


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
    return Layout("threads", 1, threads, foretold(threads))


def current(client: Any = None) -> Layout:
    """What ``compute()`` would use if it were called here, or what a distributed client has.

    Never waits for an asynchronous client.
    """
    get = client.get if client is not None else _get()
    if hasattr(getattr(get, "__self__", None), "scheduler_info"):
        return _of_client(get.__self__)
    if get is local.get_sync:
        return Layout("synchronous", 1, 1, foretold(1))
    pool = dask.config.get("pool", None)
    wanted = dask.config.get("num_workers", None)
    if get is multiprocessing.get:
        wanted = wanted or CPU_COUNT
        return Layout("processes", wanted, 1, foretold())
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
    identity = getattr(client, "_scheduler_identity", None) or {}
    if workers := cluster.workers(client):
        threads = max(int(worker["nthreads"]) for worker in workers)
        limits = [int(worker["memory_limit"] or 0) for worker in workers]
        n, limit = len(workers), min(filter(None, limits), default=0)
    else:  # all that an asynchronous client is told
        n = int(identity.get("n_workers") or 1)
        threads = max(1, int(identity.get("total_threads") or 1) // n)
        limit = int(identity.get("total_memory") or 0) // n
    return Layout("distributed", n, threads, settings.numba_threads() or 1, limit)
