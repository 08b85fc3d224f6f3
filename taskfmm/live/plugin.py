"""What the dashboard adds to the scheduler: a plugin that fills the table, and functions that are run there."""

from __future__ import annotations

import logging
from typing import Any

from dask.typing import Key
from distributed import Scheduler, SchedulerPlugin

from taskfmm.live.table import Table, TaskForecasts
from taskfmm.profiling.names import operator_of

logger = logging.getLogger("taskfmm")

NAME = "taskfmm-dashboard"
"""Of the plugin: a scheduler has one, whoever asks for it."""


class Dashboard(SchedulerPlugin):
    """Adds every task of ours that ends to the table, which the page shows.

    Whatever goes wrong here is counted and logged, and never stands in the way of a computation.
    """

    idempotent = True

    def __init__(self) -> None:
        self.table = Table()

    async def start(self, scheduler: Scheduler) -> None:
        """Called by the scheduler when the plugin comes, before it counts as one of its plugins."""
        from taskfmm.live import page

        self.scheduler = scheduler
        page.serve(scheduler, self.table)

    def transition(self, key: Key, start: str, finish: str, *args: Any, **told: Any) -> None:
        """Called by the scheduler when a task, ours or another one, has changed its state."""
        try:
            if finish == "forgotten":
                self.table.forget(key)
            elif (start, finish) == ("processing", "memory") and operator_of(key) is not None:
                self._ended(key, **told)
        except Exception:
            self.table.faults += 1
            self.table.version += 1
            logger.warning("the dashboard could not count the task %s", key, exc_info=True)

    def _ended(self, key: Key, worker: str, nbytes: int, startstops: list[dict[str, Any]], **_: Any) -> None:
        # of a task that failed and was tried again, the last one
        compute = [each for each in startstops if each["action"] == "compute"][-1]
        needs = [each.key for each in self.scheduler.tasks[key].dependencies]
        self.table.add(key, worker, compute["stop"] - compute["start"], nbytes, needs)

    def restart(self, scheduler: Scheduler) -> None:
        """Called by the scheduler when a client restarts it: all tasks are gone."""
        self.table.clear()


def has_dashboard(dask_scheduler: Any = None) -> bool:
    """Run on the scheduler: whether a page can be added; without Bokeh there is no dashboard."""
    try:
        from taskfmm.live import page
    except ModuleNotFoundError:
        return False
    return page.dashboard_of(dask_scheduler) is not None


def keep_forecasts(evaluation: str, forecasts: TaskForecasts, dask_scheduler: Any = None) -> None:
    """Run on the scheduler: keep the forecasts of the tasks of an evaluation."""
    dask_scheduler.plugins[NAME].table.keep_forecasts(evaluation, forecasts)


def keep_best(rates: dict[str, float], dask_scheduler: Any = None) -> None:
    """Run on the scheduler: keep the best rates of a core."""
    table = dask_scheduler.plugins[NAME].table
    table.best = rates
    table.version += 1
