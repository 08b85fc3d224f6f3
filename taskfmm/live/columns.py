"""What the page and the picture show, as columns of plain values: functions of the table alone."""

from __future__ import annotations

from typing import Any

from dask.utils import format_bytes

from taskfmm.live.table import Cell, Table
from taskfmm.profiling.names import colour, rank

Columns = dict[str, list[Any]]
"""Lists of one length by name."""

MOST_WORKERS = 32
"""Workers that are shown one by one, those with most seconds; all others are one row."""

LABELS = {
    "seconds": "measured, in the colour of the operator",
    "forecast": "forecast of the same tasks",
    "at_best": "at best",
}
"""What the legends of page and picture call the columns of a row."""

FORECAST_FILL, FORECAST_EDGE = "#fdf6d8", "#777777"
"""Colours of the bars of the forecast."""

HERE = "this process"
"""What the worker of a profile without workers is called."""

NO_FORECAST = (
    "No forecast of {n:,} of these: of plans that are gone, or made before the page or by Fmm.from_dask"
)

AGAIN = "Not counted, as the result was lost and computed again: {n}, {seconds:.3g} s"

FAULTS = "Not counted, for a reason that the scheduler's log says: {n}"

FIRST_TASKS = (
    "The first tasks of a worker, of a kernel or of an accuracy take longer, as they read or compile loops and read "
    "operators: press Begin anew after them"
)

NOTHING = "No task of taskfmm has ended yet."


def shown(table: Table) -> dict[str, Columns]:
    """Everything: "levels", "operators" and "rates", "workers" with their "parts", and "sent"."""
    names = _names(table)
    of_operators = operators(table)
    return {
        "levels": levels(table),
        "operators": of_operators,
        "rates": rates(of_operators),
        "workers": workers(table, names),
        "parts": parts(table, names),
        "sent": sent(table, names),
    }


def levels(table: Table) -> Columns:
    """A row for each operator and level, in the order of the method."""
    found = table.by("operator", "level")
    order = sorted(found, key=lambda at: (rank(at[0]), -1 if at[1] is None else at[1]))
    rows = [
        {"row": label(*at), "operator": at[0], "level": at[1], **_numbers(at[0], found[at])} for at in order
    ]
    return _columns(rows, ("row", "operator", "level", *NUMBERS))


def operators(table: Table) -> Columns:
    """A row for each operator, in the order of the method, with the bytes of its results that went elsewhere."""
    found = table.by("operator")
    rows = []
    for at in sorted(found, key=lambda at: rank(at[0])):
        moved = sum(n for (_, _, operator), n in table.sent.items() if operator == at[0])
        rows.append(
            {"operator": at[0], **_numbers(at[0], found[at]), "sent": moved, "moved": format_bytes(moved)}
        )
    return _columns(rows, ("operator", *NUMBERS, "sent", "moved"))


def rates(found: Columns) -> Columns:
    """Those rows of operators that have a rate; others only copy."""
    some = [i for i, text in enumerate(found["rate"]) if text]
    return {name: [values[i] for i in some] for name, values in found.items()}


def workers(table: Table, names: dict[str, str]) -> Columns:
    """A row for each worker."""
    found: dict[str, Cell] = {name: Cell() for name in names.values()}
    for (worker,), cell in table.by("worker").items():
        found[names[worker]].add(cell)
    rows = [
        {"worker": name, "tasks": cell.tasks, "seconds": cell.seconds, "forecast": cell.forecast}
        for name, cell in found.items()
    ]
    return _columns(rows, ("worker", "tasks", "seconds", "forecast"))


def parts(table: Table, names: dict[str, str]) -> Columns:
    """The seconds of each worker by operator, as pieces of a bar from ``left`` to ``right``."""
    found: dict[tuple[str, str], Cell] = {}
    for (worker, operator), cell in table.by("worker", "operator").items():
        found.setdefault((names[worker], operator), Cell()).add(cell)
    rows, ends = [], dict.fromkeys(names.values(), 0.0)
    for worker, operator in sorted(found, key=lambda at: rank(at[1])):
        cell, left = found[worker, operator], ends[worker]
        ends[worker] = left + cell.seconds
        row = {"worker": worker, "operator": operator, "colour": colour(operator), "tasks": cell.tasks}
        rows.append({**row, "seconds": cell.seconds, "left": left, "right": ends[worker]})
    return _columns(rows, ("worker", "operator", "colour", "tasks", "seconds", "left", "right"))


def sent(table: Table, names: dict[str, str]) -> Columns:
    """Bytes from worker to worker, and by the operators whose results they are."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for (source, target, operator), n in table.sent.items():
        of_both = found.setdefault((names.get(source, source), names.get(target, target)), {})
        of_both[operator] = of_both.get(operator, 0) + n
    rows = []
    for (source, target), by_operator in sorted(found.items()):
        each = [f"{name} {format_bytes(by_operator[name])}" for name in sorted(by_operator, key=rank)]
        n = sum(by_operator.values())
        rows.append(
            {
                "source": source,
                "target": target,
                "bytes": n,
                "text": format_bytes(n),
                "parts": ", ".join(each),
            }
        )
    return _columns(rows, ("source", "target", "bytes", "text", "parts"))


def label(operator: str, level: int | None) -> str:
    """Of a row."""
    return operator if level is None else f"{operator}, level {level}"


def _names(table: Table) -> dict[str, str]:
    """How each worker is called: by its address without the protocol, or as one of the others if there are many."""
    found = table.by("worker")
    seen = {at[0] for at in found} | {
        worker for source, target, _ in table.sent for worker in (source, target)
    }
    order = sorted(seen, key=lambda worker: -found.get((worker,), Cell()).seconds)
    own = order if len(order) <= MOST_WORKERS else order[:MOST_WORKERS]
    others = f"{len(order) - len(own):,} others"
    return {worker: worker.split("://")[-1] or HERE for worker in sorted(own)} | dict.fromkeys(
        order[len(own) :], others
    )


NUMBERS = (
    "colour",
    "tasks",
    "seconds",
    "forecast",
    "over_forecast",
    "at_best",
    "of_best",
    "gpairs",
    "gflops",
    "rate",
)
"""Of a row: seconds that its tasks took, their forecast, and what they would take at best; the first over the second,
and the last over the first; rates of one task, as numbers and as text. What is not known is NaN."""


def _numbers(operator: str, cell: Cell) -> dict[str, Any]:
    unknown = float("nan")
    known = cell.with_forecast and cell.seconds_with_forecast > 0.0
    pairs, operations = (
        1e-9 * n / cell.seconds_with_forecast if known and n else unknown
        for n in (cell.pairs, cell.operations)
    )
    found = {
        "colour": colour(operator),
        "tasks": cell.tasks,
        "seconds": cell.seconds,
        "forecast": cell.forecast if cell.with_forecast else unknown,
        "over_forecast": cell.seconds_with_forecast / cell.forecast if cell.forecast else unknown,
        "at_best": cell.at_best or unknown,
        "of_best": cell.at_best / cell.seconds_with_forecast if known and cell.at_best else unknown,
        "gpairs": pairs,
        "gflops": operations,
    }
    return {**found, "rate": rate(pairs, operations)}


def rate(gpairs: float, gflops: float) -> str:
    """Of one task; nothing where it does neither, as those that copy."""
    each = [
        f"{value:.2g} {unit}" for value, unit in ((gpairs, "Gpairs/s"), (gflops, "GFLOP/s")) if value > 0.0
    ]
    return ", ".join(each)


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> Columns:
    return {name: [row[name] for row in rows] for name in names}


def _some(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def summary(table: Table) -> list[str]:
    """What ran and what must be known to read it, a sentence each."""
    total = table.total()
    if not total.tasks:
        return [NOTHING]
    workers = table.by("worker")
    where = "in this process" if [*workers] == [("",)] else f"on {_some(len(workers), 'worker')}"
    took = f"{_some(table.evaluations, 'evaluation')}, {_some(total.tasks, 'task')} {where}: "
    took += f"{total.seconds:.3g} s in tasks by the clock on the wall"
    if total.forecast:
        times = total.seconds_with_forecast / total.forecast
        took += f", {times:.2f} times the {total.forecast:.3g} s of the forecast"
    found = [took]
    if missing := total.tasks - total.with_forecast:
        found.append(NO_FORECAST.format(n=missing))
    if total.again:
        found.append(AGAIN.format(n=_some(total.again, "run"), seconds=total.again_seconds))
    if table.faults:
        found.append(FAULTS.format(n=_some(table.faults, "task")))
    return found


def best_rates(table: Table) -> str:
    """The best rates of a core, or nothing if they were not measured."""
    if not table.best:
        return ""
    pairs, products, single, copies = (
        f"{table.best[name]:.3g}" for name in ("pair_rate", "gemm_rate", "gemm_rate_single", "copy_rate")
    )
    return (
        f"a core at best: {pairs} Gpairs/s, {products} GFLOP/s ({single} in float32), {copies} GB/s of copies"
    )
