"""Stages run as tasks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import dask
from dask.delayed import delayed


def run(stage: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """What a stage returns for each of some arguments; a task for each, on the scheduler in use."""
    name = f"{stage.__name__}-{uuid.uuid4().hex}"
    tasks = [delayed(stage)(*args, dask_key_name=(name, number)) for number, args in enumerate(calls)]
    return list(dask.compute(*tasks))
