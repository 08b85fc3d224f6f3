"""The thread budget: Dask threads x Numba threads x BLAS threads stay within the cores.

Whoever runs a task asks for its share. Under T Dask threads a task gets cores // T Numba threads: one each under
the default threaded scheduler (no loop starts threads of its own), all of them under the synchronous one. A
distributed worker was given its share of the cores as ``nthreads``, so its tasks get one each. The configuration
``taskfmm.numba-threads`` asks for another number, and gets what fits. BLAS gets one thread while any task runs.
A forked process runs one Numba thread in each task, whatever is asked for.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import ModuleType

import dask.config
import numba
from dask import threaded
from dask.system import CPU_COUNT
from threadpoolctl import OpenBLASController, ThreadpoolController

from taskfmm.errors import InputError
from taskfmm.runtime import settings
from taskfmm.runtime.once import say_once

SIBLINGS_KEPT = 10.0
"""Seconds for which a worker believes its count of the worker processes beside it."""


def cores() -> int:
    """Cores this process may use, by affinity and control group."""
    return CPU_COUNT


def n_cores() -> int:
    """Threads that a loop alone on this machine may use: the cores, bounded by NUMBA_NUM_THREADS."""
    return max(1, min(cores(), most_numba_threads()))


def most_numba_threads() -> int:
    """What this process's Numba was started with; it cannot grow."""
    return numba.config.NUMBA_NUM_THREADS


def _distributed() -> ModuleType | None:
    return sys.modules.get("distributed.worker")


def _worker_threads() -> int | None:
    """Threads of the distributed workers of this process, if this is a task of one of them."""
    module = _distributed()
    if module is None:
        return None
    try:
        own = module.get_worker()
    except ValueError:
        return None
    beside = sum(w.state.nthreads for w in list(module.Worker._instances) if w.status.name == "running")
    return max(beside, own.state.nthreads)


def _pool_threads() -> int | None:
    """Threads of the pool that the current thread belongs to: one of Dask's own, or a configured one."""
    current = threading.current_thread()
    pools = [threaded.default_pool, dask.config.get("pool", None)]
    pools += [pool for by_size in list(threaded.pools.values()) for pool in list(by_size.values())]
    # By name: a pool lists a thread only after starting it, and its first task may be quicker.
    owner = current.name.rpartition("_")[0]
    for pool in pools:
        if owner and owner == getattr(pool, "_thread_name_prefix", None):
            return int(pool._max_workers)
    return None


def _place() -> tuple[int, int]:
    """How many tasks may run at once here, this one included, and the Numba threads each gets unasked."""
    of_worker = _worker_threads()
    if of_worker is not None:
        return of_worker, 1
    tasks = cores()  # if nothing is known, as in the child of a process pool
    if multiprocessing.parent_process() is None:
        alone = threading.current_thread() is threading.main_thread()
        tasks = _pool_threads() or (1 if alone else tasks)
    return tasks, max(1, cores() // tasks)


def concurrent_tasks() -> int:
    """How many tasks may run beside this one, itself included; the cores if that cannot be known."""
    return _place()[0]


def numba_threads() -> int:
    """Numba threads that a loop called here may use.

    Raises
    ------
    InputError
        The configuration asks for something that is no number of threads, or for a threading layer that cannot
        be had.
    """
    return _granted(*_place(), say_once)


def foretold(tasks: int = 0) -> int:
    """What `numba_threads` will be in each of so many tasks at once; 0: they will not know how many they are."""
    tasks = tasks or cores()
    return _granted(tasks, max(1, cores() // tasks), say=lambda _: None)


def _granted(tasks: int, each: int, say: Callable[[str], None]) -> int:
    """Numba threads for a task beside so many, which gets ``each`` unasked; ``say`` hears why it may be fewer."""
    layer = threading_layer()
    asked = settings.numba_threads()
    wanted = asked or each
    if wanted == 1 or _forked:
        return 1
    if tasks > 1 and layer == "workqueue":
        say(
            "Numba's threading layer is workqueue, which cannot run loops of several tasks at once: loops run "
            "on one thread each. OpenMP or TBB would allow more"
        )
        return 1
    if wanted > each and not settings.oversubscribe():
        wanted = _what_fits(wanted, tasks, say)
    if asked and wanted > most_numba_threads():
        say(
            f"taskfmm.numba-threads asks for {wanted}, and this process was started with {most_numba_threads()} "
            "Numba threads: set NUMBA_NUM_THREADS (for workers in distributed.nanny.environ)"
        )
    return min(wanted, most_numba_threads())


def _what_fits(wanted: int, tasks: int, say: Callable[[str], None]) -> int:
    beside = _siblings(int(time.monotonic() / SIBLINGS_KEPT)) if _distributed() else 1
    fits = max(1, cores() // (tasks * beside))
    if wanted > fits:
        processes = f"{beside} worker processes x " if beside > 1 else ""
        say(
            f"{processes}{tasks} tasks at once x {wanted} Numba threads are more than {cores()} cores: "
            f"each loop takes {fits}. Lower taskfmm.numba-threads or the number of Dask threads"
        )
    return min(wanted, fits)


@lru_cache(maxsize=1)
def _siblings(now: int) -> int:
    """Worker processes that this one's parent started, itself included: they share its cores."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return 1
    import psutil  # comes with distributed

    found = 0
    for child in psutil.Process(parent.pid).children():
        try:
            found += "multiprocessing.spawn" in " ".join(child.cmdline()) or child.pid == psutil.Process().pid
        except psutil.Error:  # it ended meanwhile
            continue
    return max(1, found)


LAYERS = {"threadsafe": ("tbb", "omp"), "forksafe": ("tbb", "workqueue"), "safe": ("tbb",)}
"""Kinds of threading layers that Numba knows, in the order it tries them (on Linux)."""


@cache
def threading_layer() -> str:
    """The layer that runs Numba's parallel loops: "omp", "tbb" or "workqueue"; from here on it stays.

    Raises
    ------
    InputError
        The configured layer cannot be loaded, is unknown, or comes too late.

    Examples
    --------
    >>> from taskfmm.runtime.threads import threading_layer
    >>> threading_layer() in ("omp", "tbb", "workqueue")
    True
    """
    asked = str(numba.config.THREADING_LAYER).lower()
    priority = tuple(numba.config.THREADING_LAYER_PRIORITY)
    allowed = priority if asked == "default" else LAYERS.get(asked, (asked,))
    if not set(allowed) <= set(priority):
        raise InputError(
            f"NUMBA_THREADING_LAYER is {asked!r}: expected one of default, {', '.join([*priority, *LAYERS])}"
        )
    try:
        running = str(numba.threading_layer())
    except ValueError:  # none yet
        running = next((layer for layer in allowed if _loads(layer)), "")
        if not running:
            raise InputError(
                f"NUMBA_THREADING_LAYER is {asked!r}, and {' or '.join(allowed)} cannot be loaded here: install it "
                "where the loader finds it, or unset NUMBA_THREADING_LAYER"
            ) from None
    if running not in allowed:
        raise InputError(
            f"NUMBA_THREADING_LAYER is {asked!r}, but Numba runs on {running} already: set it before the first "
            "parallel loop"
        )
    numba.config.THREADING_LAYER = running
    return running


def _loads(layer: str) -> bool:
    """Whether Numba could load that layer; asks what Numba asks, and starts no threads."""
    try:
        if layer == "tbb":
            importlib.import_module("numba.np.ufunc.parallel")._check_tbb_version_compatible()
        importlib.import_module(f"numba.np.ufunc.{layer if layer == 'workqueue' else layer + 'pool'}")
    except ImportError:
        return False
    return True


def concurrent_calls_are_safe() -> bool:
    """Whether two threads may run parallel Numba loops at once: not on the workqueue layer, which aborts."""
    return threading_layer() != "workqueue"


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


_forked = False
"""Whether this process was forked off one that had loaded this module."""


def _after_fork() -> None:
    """In a forked child: OpenMP would end a process that enters it again, and Dask's pools are without threads."""
    global _forked, _blas
    _forked, _blas = True, _Blas()
    threaded.default_pool = None
    threaded.pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it BLAS runs one thread: where operators are made outside of tasks, whose last bits hang on it."""
    with _blas.single_threaded():
        yield


@contextmanager
def budget() -> Iterator[int]:
    """Within it BLAS runs one thread; gives the number of Numba threads for the loops of one task."""
    with _blas.single_threaded():
        yield numba_threads()
