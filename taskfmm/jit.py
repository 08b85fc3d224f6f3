"""How every numerical loop is compiled: one set of options, one body for one thread and for many.

Numba's disk cache tells two dispatchers apart by module, qualified name and line, not by ``parallel``.
The parallel form therefore gets a qualified name of its own.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numba

OPTIONS: dict[str, Any] = dict(cache=True, nogil=True, fastmath=True, error_model="numpy")

jit = numba.njit(**OPTIONS)
"""Decorator for a function that other compiled functions call, or that one thread runs."""


class Loop:
    """A compiled loop in two forms made from the same body.

    The body iterates with ``numba.prange``. With one thread the serial form runs: no thread team is made, so
    it may be called from any number of threads at once and a later ``fork`` is safe. With more, the parallel
    form runs on that many Numba threads.
    """

    __slots__ = ("parallel", "serial")

    def __init__(self, body: Callable[..., Any]) -> None:
        self.serial = numba.njit(**OPTIONS)(body)
        twin = types.FunctionType(body.__code__, body.__globals__, body.__name__, body.__defaults__)
        twin.__qualname__ = f"{body.__qualname__}_parallel"
        self.parallel = numba.njit(parallel=True, **OPTIONS)(twin)

    def __call__(self, *args: Any, threads: int = 1) -> Any:
        if threads == 1:
            return self.serial(*args)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        return self.parallel(*args)


loop = Loop
"""Decorator for a loop over boxes or points that a task calls from Python."""
