"""What goes wrong while points that never meet are planned or their charges looked at, in the words of stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskfmm.errors import LostWorkersError, StorageError
from taskfmm.runtime import cluster
from taskfmm.spread.depot import where


@contextmanager
def told(stage: str, keys: str, place: Callable[[int], str], path: Path) -> Iterator[None]:
    """Errors of a stage of planning tell its name, and what it was working on.

    keys : the first part of its tasks' keys; place : says in words what a task has, by number
    """
    try:
        with lost("planning", stage, keys, place):
            yield
    except StorageError as error:
        raise StorageError(
            f"planning ended in its stage {stage!r}, and leaves nothing in {where(path)}: {error}. See that the "
            f"directory has room and is left alone, or name another as {cluster.SHARED_DIRECTORY} in Dask's "
            "configuration, and plan again"
        ) from error


@contextmanager
def lost(doing: str, stage: str, keys: str, place: Callable[[int], str]) -> Iterator[None]:
    """Workers that died with a task of a stage are an error that tells what was done; parameters as of `told`"""
    try:
        yield
    except Exception as error:
        distributed = sys.modules.get("distributed")
        if distributed is None or not isinstance(error, distributed.scheduler.KilledWorker):
            raise
        raise LostWorkersError(
            f"{doing} ended in its stage {stage!r}, as {error.allowed_failures + 1} workers died that had, "
            f"among others, {_working_on(error.task, keys, place)}: give workers more memory, "
            "fewer threads or smaller chunks, or give a smaller region, if their logs say nothing else"
        ) from error


def _working_on(key: Any, keys: str, place: Callable[[int], str]) -> str:
    if isinstance(key, tuple) and key[0] == keys:
        return place(key[1])
    return f"the task {key!r}, which it needs"
