"""The thread budget: Dask threads x Numba threads x BLAS threads stay within the cores.

Whoever runs a task asks for its share. Under T Dask threads a task gets cores // T Numba threads: one each under
the default threaded scheduler (the serial form of every loop runs), all of them under the synchronous one. BLAS
gets one thread while any task runs.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba
from dask import threaded
from dask.system import CPU_COUNT
from threadpoolctl import OpenBLASController, ThreadpoolController


def n_cores() -> int:
    """Cores this process may use, by affinity, control group and NUMBA_NUM_THREADS."""
    return max(1, min(CPU_COUNT, numba.config.NUMBA_NUM_THREADS))


def _worker_threads() -> int | None:
    """Threads of the distributed worker whose task this is, if it is one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker().state.nthreads
    except ValueError:
        return None


def _pool_threads() -> int | None:
    """Threads of Dask's own pool that the current thread belongs to, if it does."""
    current = threading.current_thread()
    pools = [threaded.default_pool, *(p for by_size in threaded.pools.values() for p in by_size.values())]
    for pool in pools:
        if pool is not None and current in getattr(pool, "_threads", ()):
            return int(pool._max_workers)  # type: ignore[attr-defined]
    return None


@cache
def concurrent_calls_are_safe() -> bool:
    """Whether two threads may run parallel Numba loops at once: not on the workqueue layer, which aborts."""
    if numba.config.THREADING_LAYER in ("omp", "tbb"):
        return True
    if numba.config.THREADING_LAYER == "workqueue":
        return False
    return importlib.util.find_spec("numba.np.ufunc.omppool") is not None


def concurrent_tasks() -> int:
    """How many tasks may run beside this one, itself included; the cores if that cannot be known."""
    if multiprocessing.parent_process() is not None and _worker_threads() is None:
        return n_cores()
    known = _worker_threads() or _pool_threads()
    if known is not None:
        return known
    return 1 if threading.current_thread() is threading.main_thread() else n_cores()


def numba_threads() -> int:
    """Numba threads that a loop called here may use."""
    tasks = concurrent_tasks()
    if tasks > 1 and not concurrent_calls_are_safe():
        return 1
    return max(1, n_cores() // tasks)


class _Blas:
    """BLAS pinned to one thread while at least one task runs; the caller's setting comes back afterwards.

    OpenBLAS keeps one number for the whole process, so the first task in saves it and the last one out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        with self._lock:
            if self._running == 0:
                _free_openblas()
                self._limit = _controller().limit(limits=1, user_api="blas")
                self._limit.__enter__()
                _free_openblas()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    _free_openblas()
                    self._limit.__exit__(None, None, None)
                    _free_openblas()


def _free_openblas() -> None:
    """threadpoolctl lets only the thread that set a limit first change it; in a pool any thread may be the last."""
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that compiled loops call must be loaded to be found

    return ThreadpoolController()


_blas = _Blas()


@contextmanager
def budget() -> Iterator[int]:
    """Within it BLAS runs one thread; gives the number of Numba threads for the loops of one task."""
    with _blas.single_threaded():
        yield numba_threads()
