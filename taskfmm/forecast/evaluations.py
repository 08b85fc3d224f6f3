"""The evaluations that were made in this process, so that whoever sees their tasks run finds their forecasts.

The tasks of an evaluation are known by the token in their keys. A forecast is made when it is first asked for, and
only as long as the plan exists: nothing here keeps a plan alive.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from taskfmm.forecast.forecast import Forecast
from taskfmm.profiling.names import name_of

KEPT = 4096
"""Evaluations that are remembered; the oldest are forgotten first."""

Find = Callable[[], Forecast | None]
"""Gives the forecast of an evaluation, or None if its plan is gone."""

listeners: tuple[Callable[[str, Find], None], ...] = ()
"""Told of the token of every evaluation that is made in this process; replaced as a whole, never changed in place."""

_known: dict[str, dict[tuple[Any, ...], Find]] = {}
_changing = threading.Lock()


def remember(name: str, evaluator: Any, *how: Any) -> None:
    """Remember an evaluation, and tell all who listen.

    name : of one of its outputs, as its tasks have it
    evaluator : whose ``forecast`` of these outputs, this accuracy and this kernel it is
    """
    task, plan = name_of((name, 0)), weakref.ref(evaluator)
    assert task is not None

    def find() -> Forecast | None:
        there = plan()
        return None if there is None else there.forecast(*how)

    with _changing:
        # the same charges have the same token, also for other outputs
        _known.setdefault(task.evaluation, {})[plan, *how] = find
        while len(_known) > KEPT:
            del _known[next(iter(_known))]
    for listener in listeners:
        listener(task.evaluation, find)


def listen(listener: Callable[[str, Find], None]) -> None:
    """From now on call it, once, when an evaluation is made, in the thread that makes it."""
    global listeners
    with _changing:
        listeners = (*(known for known in listeners if known != listener), listener)


def forecasts(evaluation: str) -> list[Forecast]:
    """Of the evaluations whose tasks have this token, as far as they were made here and their plans exist."""
    return [found for find in list(_known.get(evaluation, {}).values()) if (found := find()) is not None]
