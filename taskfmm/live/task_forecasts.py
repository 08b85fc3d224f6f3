"""From the forecast of an evaluation to those of its tasks, in plain numbers."""

from __future__ import annotations

from taskfmm.bounds import Best
from taskfmm.cost import rates
from taskfmm.cost.rates import Rates
from taskfmm.forecast.effort import Effort
from taskfmm.forecast.forecast import Forecast
from taskfmm.live.table import TaskForecast, TaskForecasts

PAIRS = {
    "near_one": 1.0,
    "near_two": 2.0,
    "near_one_gradient": 1.0,
    "near_two_gradient": 2.0,
    "surface_pair": 1.0,
    "surface_pair_gradient": 1.0,
}
"""Pairs of points by what `taskfmm.cost.rates` is paid for: one distance may serve both."""

OPERATIONS = {"multiply_add": 2.0, "m2l_multiply_add_64": 2.0, "m2l_multiply_add_32": 2.0}
"""Floating-point operations, in the same way."""


def task_forecasts(found: Forecast, best: Best | None, threads: int = 0) -> TaskForecasts:
    """Of every task, without the scheduler's share, as tasks are clocked without it.

    threads : Numba threads of a task; those of the forecast, if left out
    """
    rate, at_once = rates.current(), threads or found.layout.loop_threads
    return {
        name: _of_task(effort, rate, None if best is None else best.rates, at_once)
        for name, effort in zip(found.names, found.efforts, strict=True)
    }


def _of_task(effort: Effort, rate: Rates, best: Rates | None, threads: int) -> TaskForecast:
    of_both = (effort.counts.shared, effort.counts.alone)
    pairs, operations = (
        sum(float(times * counts.get(name, 0.0)) for counts in of_both for name, times in each.items())
        for each in (PAIRS, OPERATIONS)
    )
    at_best = 0.0 if best is None else float(effort.seconds(best, threads))
    return TaskForecast(float(effort.seconds(rate, threads)), at_best, pairs, operations)
