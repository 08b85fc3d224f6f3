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

SELF, SOURCE, TARGET = 160, 50, 60
"""Bytes that a plan and one potential take at least, for a point that is source and target, or only one of them:
coordinates sorted, and those of sources once more for the near field, places, charges, values. Boxes and expansions
come on top; few sources, or few targets, have none."""

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


def refuse_hopeless(
    limit: int | None,
    sources: Any,
    targets: Any,
    operators: tuple[int, int],
    worker: tuple[int, int, int] | None = None,
) -> None:
    """Before anything is copied or planned: refuse what cannot fit by number of points and accuracy alone.

    limit : of this process
    operators : bytes that they will add to this process at least, and while they are made
    worker : how many workers there are, the limit of the smallest, bytes of operators there; None without workers

    Raises
    ------
    MemoryLimitError
    """
    n, copied = _rows(sources)
    m, more = _rows(targets)
    plan = SELF * n if targets is None else SOURCE * n + TARGET * m
    count = f"{n:,} points" if targets is None else f"{n:,} sources and {m:,} targets"
    if not plan:
        return
    if limit is not None:
        size, peak = operators
        refuse_making(limit, "potential", peak, "give a larger eps, a lower order or a higher memory_limit")
        parts = {
            "process": resident(),
            "copies of the points": COORDINATES * (copied + more),
            "plan and one evaluation, at least": plan,
            "operators": size,
        }
        _refuse_at_least(parts, limit, count, "memory_limit", "give fewer points or a higher memory_limit")
    if worker is not None:
        workers, its_limit, size = worker
        # it reads its operators, which takes twice their size, before anything else is there
        parts = {
            "process": WORKER,
            "operators": size,
            "plan and evaluation, at least": max(plan // workers, size),
        }
        whose = "the limit of the smallest worker"
        _refuse_at_least(parts, its_limit, count, whose, "use more workers, or give them more memory")


def refuse_making(limit: int, output: str, peak: int, advice: str) -> None:
    """Before operators are made: refuse what does not fit; ``peak`` is what they add while they are made, or 0."""
    if peak:
        parts = {"process": resident(), "making operators": peak}
        _refuse_at_least(parts, limit, f"operators of the {output}", "memory_limit", advice)


def _refuse_at_least(parts: dict[str, int], limit: int, what: str, whose: str, advice: str) -> None:
    needed = sum(parts.values())
    if needed > limit:
        raise MemoryLimitError(
            f"{what} need {format_bytes(needed)} or more ({_listed(parts)}), {whose} is "
            f"{format_bytes(limit)}: {advice}"
        )


def n_rows(array: Any) -> int:
    """Rows of points, 0 where that is not known."""
    return _rows(array)[0]


def _rows(array: Any) -> tuple[int, int]:
    """Rows of points, and how many of them have to be copied before they can be used."""
    if isinstance(array, np.ndarray):
        ready = array.dtype == np.float64 and array.flags.c_contiguous and array.flags.aligned
        return (len(array), 0 if ready else len(array)) if array.ndim == 2 else (0, 0)
    try:
        n = len(array)
    except (TypeError, ValueError):  # no array, or a lazy one of unknown length
        n = 0
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
