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
    found = dask.config.get("taskfmm.oversubscribe")
    if isinstance(found, bool):
        return found
    raise InputError(f"taskfmm.oversubscribe is {found!r} in Dask's configuration, expected true or false")
