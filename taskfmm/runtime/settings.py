"""Our section of Dask's configuration: its defaults, and the values that every task asks for.

A lookup costs microseconds and checks what it finds: the value may come from a file, the environment or
``dask.config.set``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.config
import yaml

from taskfmm.errors import InputError

HERE = Path(__file__).parent

DEFAULTS: dict[str, Any] = yaml.safe_load((HERE / "taskfmm.yaml").read_text("utf-8"))

dask.config.update_defaults(DEFAULTS)


def numba_threads() -> int | None:
    """Numba threads that a task was configured to use; None: the budget decides."""
    found = dask.config.get("taskfmm.numba-threads")
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and found >= 1):
        return found
    raise InputError(
        f"taskfmm.numba-threads is {found!r} in Dask's configuration, expected a whole number above 0, or null"
    )


def oversubscribe() -> bool:
    """Whether more threads than cores are meant."""
    return _switch("oversubscribe")


def compile_ahead() -> bool:
    """Whether a second process may compile."""
    return _switch("compile-ahead")


def _switch(name: str) -> bool:
    found = dask.config.get(f"taskfmm.{name}")
    if isinstance(found, bool):
        return found
    raise InputError(f"taskfmm.{name} is {found!r} in Dask's configuration, expected true or false")
