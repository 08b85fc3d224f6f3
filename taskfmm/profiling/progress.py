"""What is happening: a bar of tasks by operator, and one line when kernels compile.

Both keep quiet when standard error is not a terminal.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Hashable
from typing import Any

from dask.callbacks import Callback
from numba.core import event
from tqdm import tqdm

from taskfmm.profiling.names import operator_of

logger = logging.getLogger("taskfmm")

DELAY = 1.0
"""Seconds before the bar appears: a shorter wait needs no explaining."""

COMPILING = "taskfmm: compiling kernels for this machine, once (about 20 s)"


class progress(Callback):
    """Show the tasks done and the operator at work while Dask computes in this process.

    ``with taskfmm.progress(): phi.compute()``. Other Dask work, and schedulers in other processes (which have
    a dashboard), show nothing. Computations running at once in several threads share the bar.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._bar: Any = None

    def _start_state(self, dsk: Any, state: dict[str, Any]) -> None:
        pending = [*state["waiting"], *state["ready"]]
        n_tasks = sum(operator_of(key) is not None for key in pending)
        if not n_tasks:
            return
        with self._lock:
            self._running.add(id(state))
            if self._bar is None:
                self._bar = tqdm(total=0, unit="task", delay=DELAY, disable=not _is_seen(), leave=False)
            self._bar.total += n_tasks

    def _pretask(self, key: Hashable, dsk: Any, state: dict[str, Any]) -> None:
        operator = operator_of(key)
        with self._lock:
            if operator is not None and self._bar is not None:
                self._bar.set_postfix_str(operator, refresh=False)

    def _posttask(self, key: Hashable, result: Any, dsk: Any, state: dict[str, Any], worker: Any) -> None:
        with self._lock:
            if operator_of(key) is not None and self._bar is not None:
                self._bar.update()

    def _finish(self, dsk: Any, state: dict[str, Any], failed: bool) -> None:
        with self._lock:
            self._running.discard(id(state))
            if not self._running and self._bar is not None:
                self._bar.close()
                self._bar = None


def _is_seen() -> bool:
    """Whether standard error is a terminal; a process may have none at all."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Announcement(event.Listener):
    """Says once that kernels of ours compile; Numba tells it of real compilation, not of cache hits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = False

    def on_start(self, event: Any) -> None:
        module = getattr(getattr(event.data["dispatcher"], "py_func", None), "__module__", None) or ""
        if module != "taskfmm" and not module.startswith("taskfmm."):
            return
        with self._lock:
            if self._said:
                return
            self._said = True
        logger.info(COMPILING)
        if _is_seen():
            tqdm.write(COMPILING, file=sys.stderr)

    def on_end(self, event: Any) -> None:
        pass


_announcement: _Announcement | None = None
_registering = threading.Lock()


def announce_compilation() -> None:
    """Say one line, once in this process, when a kernel of ours is compiled; more calls change nothing.

    The line goes to the ``taskfmm`` logger and, when standard error is a terminal, there too.
    """
    global _announcement
    with _registering:
        if _announcement is None:
            _announcement = _Announcement()
            event.register("numba:compile", _announcement)
