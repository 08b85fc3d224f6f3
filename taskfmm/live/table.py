"""What tasks took, and the forecast of the same tasks, by operator, level and worker.

The scheduler fills such a table task by task for the dashboard, and a profile fills one afterwards. It needs nothing
but names and numbers, so that a scheduler imports neither Numba nor plans.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple

from taskfmm.profiling.names import MARK, name_of, without_charges

if TYPE_CHECKING:
    from taskfmm.profiling.recording import Record

KEPT = 1000
"""Evaluations whose forecasts are kept; the oldest are forgotten first."""


class TaskForecast(NamedTuple):
    """The forecast of one task.

    seconds : that it is expected to take; at_best : what it would take at the best rates of a core, 0 if not measured
    pairs : of points, for kernels other than Laplace's as many pairs of 1 / r as take as long
    operations : floating-point operations of its matrix products
    """

    seconds: float
    at_best: float
    pairs: float
    operations: float


TaskForecasts = Mapping[tuple, TaskForecast]
"""Those of the tasks of an evaluation, by `taskfmm.profiling.names.without_charges`."""


@dataclass(slots=True)
class Cell:
    """Sums over tasks that ended; of a task that ran again, over its last run.

    tasks, seconds : of all of them
    with_forecast, seconds_with_forecast : the same of those that have a forecast
    forecast, at_best, pairs, operations : of these, see `TaskForecast`
    again, again_seconds : earlier runs of tasks that ran again, as their results were lost
    """

    tasks: int = 0
    seconds: float = 0.0
    with_forecast: int = 0
    seconds_with_forecast: float = 0.0
    forecast: float = 0.0
    at_best: float = 0.0
    pairs: float = 0.0
    operations: float = 0.0
    again: int = 0
    again_seconds: float = 0.0

    def add(self, other: Cell, times: int = 1) -> None:
        """Add another one, or with -1 take it away."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + times * getattr(other, each.name))


@dataclass(slots=True)
class Run:
    """The last run of a task. copies : workers that took its result from the worker where it ran"""

    place: tuple[str, int | None, str]
    of: Cell
    n_bytes: int
    copies: set[str] = field(default_factory=set)

    @property
    def worker(self) -> str:
        return self.place[2]


class Table:
    """Sums of what is told of tasks.

    cells : by operator, level and worker
    sent : bytes by the worker where a result was computed, the worker that read it, and the operator that made it
    best : rates of a core at best, by `taskfmm.bounds.Best.as_rates`; empty where these were not measured
    evaluations : whose tasks ended; faults : tasks that ended and could not be added
    version : grows with every change
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self.faults = 0
        self.version = 0
        self._forecasts: dict[str, TaskForecasts] = {}
        self.clear()

    def clear(self) -> None:
        """Begin anew; the forecasts of tasks, and the best rates, stay."""
        self.cells: dict[tuple[str, int | None, str], Cell] = defaultdict(Cell)
        self.sent: Counter[tuple[str, str, str]] = Counter()
        self.evaluations = 0
        self._runs: dict[Hashable, Run] = {}
        self._of_evaluation: Counter[str] = Counter()
        self.version += 1

    def keep_forecasts(self, evaluation: str, forecasts: TaskForecasts) -> None:
        """Keep those of the tasks with this token; adds to what others told of it."""
        known = self._forecasts.pop(evaluation, {})
        found: TaskForecasts = {**known, **forecasts}
        # evaluations of one plan, one after the other, have one mapping
        last = next(reversed(self._forecasts.values()), None)
        self._forecasts[evaluation] = last if last is not None and last == found else found
        while len(self._forecasts) > KEPT:
            del self._forecasts[next(iter(self._forecasts))]

    def add(
        self, key: Hashable, worker: str, seconds: float, n_bytes: int, needs: Iterable[Hashable]
    ) -> None:
        """A task ended: its key, where, seconds, bytes of its result, and the keys of those whose results it read.

        If it ended before and was not forgotten meanwhile, its earlier run counts as lost. Tasks of others are
        left out.
        """
        name = name_of(key)
        if name is None:
            return
        before = self._runs.pop(key, None)
        if before is not None:
            cell = self.cells[before.place]
            cell.add(before.of, -1)
            cell.again += before.of.tasks
            cell.again_seconds += before.of.seconds
        else:
            self.evaluations += not self._of_evaluation[name.evaluation]
            self._of_evaluation[name.evaluation] += 1
        run = Run((name.operator, name.level, worker), self._of_one(key, name.evaluation, seconds), n_bytes)
        self._runs[key] = run
        self.cells[run.place].add(run.of)
        for needed in needs:
            self._read(self._runs.get(needed), worker)
        self.version += 1

    def _of_one(self, key: Hashable, evaluation: str, seconds: float) -> Cell:
        forecast = self._forecasts.get(evaluation, {}).get(without_charges(key) or ())
        if forecast is None:
            return Cell(1, seconds)
        return Cell(1, seconds, 1, seconds, *forecast)

    def _read(self, run: Run | None, worker: str) -> None:
        """A worker keeps what it took from another one, until the result is no longer needed."""
        if run is not None and run.worker != worker and worker not in run.copies:
            run.copies.add(worker)
            self.sent[run.worker, worker, run.place[0]] += run.n_bytes

    def forget(self, key: Hashable) -> None:
        """A task is no longer needed: if it runs once more, that is another evaluation."""
        if self._runs.pop(key, None) is not None:
            evaluation = name_of(key).evaluation  # type: ignore[union-attr]
            self._of_evaluation[evaluation] -= 1
            if not self._of_evaluation[evaluation]:
                del self._of_evaluation[evaluation]

    def total(self) -> Cell:
        """Of all tasks."""
        return self.by()[()] if self.cells else Cell()

    def by(self, *names: str) -> dict[tuple, Cell]:
        """Sums by some of "operator", "level" and "worker"."""
        places = [("operator", "level", "worker").index(name) for name in names]
        found: dict[tuple, Cell] = defaultdict(Cell)
        for at, cell in self.cells.items():
            if cell.tasks or cell.again:
                found[tuple(at[place] for place in places)].add(cell)
        return dict(found)


def of_records(
    records: Iterable[Record], forecasts: Mapping[str, TaskForecasts], best: dict[str, float]
) -> Table:
    """The table of a profile: every run counts, as in the profile's own."""
    table = Table()
    table.best = best
    for evaluation, found in forecasts.items():
        table.keep_forecasts(evaluation, found)
    for record in sorted(records, key=lambda record: record.end):
        key = ast.literal_eval(record.key)
        table.forget(key)
        needs = [ast.literal_eval(each) for each in record.needs if MARK in each]
        table.add(key, record.worker, record.seconds, record.bytes_written, needs)
    return table
