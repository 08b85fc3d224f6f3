"""Bytes: what this process holds, what it may hold, and saying no before it is too late."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from typing import Any

import numpy as np
import psutil
from dask.utils import format_bytes, parse_bytes

from taskfmm.errors import InputError, MemoryLimitError

MIB = 2**20

WORKER = 220 * MIB
"""A worker process after the first task of each operator: the interpreter, the libraries, the compiled loops."""

COMPILED = 40 * MIB
"""What the first evaluation in a process adds: compiled loops, 5 MiB from Numba's cache and 100 to make them."""

SELF, SOURCE, TARGET = 180, 75, 75
"""Bytes that a plan and one potential take at least, for a point that is source and target, or only one of them:
coordinates sorted and by shard, places, charges, values. Boxes and expansions come on top; few sources, or few
targets, have none."""

COORDINATES = 24


def resident() -> int:
    """Bytes that this process holds now, less what was freed and can be given back."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def parse_limit(value: Any) -> int | None:
    """Check a memory limit: bytes, a text such as "8GiB", or None for no limit."""
    if value is None:
        return None
    try:
        blank = isinstance(value, bool) or (isinstance(value, str) and not value.strip())
        found = math.nan if blank else float(parse_bytes(value))
    except (TypeError, ValueError, AttributeError, OverflowError):
        found = math.nan
    if not 0 < found < math.inf:
        raise InputError(f"memory_limit is {value!r}, expected bytes or a text such as '8GiB', or None")
    return int(found)


def refuse_hopeless(limit: int | None, sources: Any, targets: Any) -> None:
    """Before anything is copied or planned: refuse what cannot fit by its number of points alone.

    Raises
    ------
    MemoryLimitError
    """
    if limit is None:
        return
    n, copied = _rows(sources)
    m, more = _rows(targets)
    plan = SELF * n if targets is None else SOURCE * n + TARGET * m
    copies = COORDINATES * (copied + more)
    parts = {"process": resident(), "copies of the points": copies, "plan and one evaluation, at least": plan}
    if sum(parts.values()) > limit:
        count = f"{n:,} points" if targets is None else f"{n:,} sources and {m:,} targets"
        raise MemoryLimitError(
            f"{count} need {format_bytes(sum(parts.values()))} or more ({_listed(parts)}), memory_limit is "
            f"{format_bytes(limit)}: give fewer points or a higher memory_limit"
        )


def _rows(array: Any) -> tuple[int, int]:
    """Rows of points, and how many of them have to be copied before they can be used."""
    if isinstance(array, np.ndarray):
        ready = array.dtype == np.float64 and array.flags.c_contiguous and array.flags.aligned
        return (len(array), 0 if ready else len(array)) if array.ndim == 2 else (0, 0)
    n = len(array) if hasattr(array, "__len__") else 0
    return n, n


def refuse(parts: dict[str, int], limit: int, whose: str, advice: str) -> None:
    """Refuse an evaluation whose expected peak, the last of the parts, exceeds a limit.

    Raises
    ------
    MemoryLimitError
    """
    peak = parts["peak"]
    if peak > limit:
        listed = _listed({name: size for name, size in parts.items() if name != "peak" and size})
        raise MemoryLimitError(
            f"an evaluation needs about {format_bytes(peak)} ({listed}), {whose} is {format_bytes(limit)}: {advice}"
        )


def _listed(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items() if size)
