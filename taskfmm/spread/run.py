"""Stages run as tasks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import dask
from dask.delayed import delayed

from taskfmm.spread import faults


def run(
    stage: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    within: Callable[[str], AbstractContextManager[None]] | None = None,
) -> list[Any]:
    """What a stage returns for each of some arguments; a task for each, on the scheduler in use.

    within : in which it runs, by the first part of its tasks' keys; by default a look at charges
    """
    name = stage.__name__
    keys = f"{name}-{uuid.uuid4().hex}"
    tasks = [delayed(stage)(*args, dask_key_name=(keys, number)) for number, args in enumerate(calls)]
    with within(keys) if within else faults.lost("looking at charges", name, keys, "its part {}".format):
        return list(dask.compute(*tasks))
