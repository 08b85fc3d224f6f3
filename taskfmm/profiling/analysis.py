"""Numbers from the records of tasks: rows of a table, threads, the critical path, totals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

from taskfmm.profiling import names
from taskfmm.profiling.recording import HERE, Record

FIELDS = ("operator", "level")
"""What a table can be grouped by."""

COLUMNS = (
    "tasks",
    "seconds",
    "cpu_seconds",
    "cpu_per_wall",
    "bytes_read",
    "bytes_written",
    "critical_seconds",
    "critical_share",
)
"""Of a row of the table, after what it is grouped by."""


def critical_path(records: Iterable[Record]) -> list[Record]:
    """The chain of tasks, each needing the one before, that took longest; of a task that ran again, the last run.

    With ever more threads an evaluation would take as long as this.
    """
    last = {record.key: record for record in sorted(records, key=lambda record: record.begin)}
    graph = {key: [n for n in record.needs if n in last] for key, record in last.items()}
    length: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for key in TopologicalSorter(graph).static_order():
        before[key] = max(graph[key], key=length.__getitem__, default=None)
        length[key] = last[key].seconds + length.get(before[key] or "", 0.0)
    path = []
    at = max(length, key=length.__getitem__, default=None)
    while at is not None:
        path.append(last[at])
        at = before[at]
    return path[::-1]


def rows(records: Sequence[Record], by: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each value of the fields named in ``by``, in the order of the method, then of levels."""
    critical = critical_path(records)
    whole = sum(record.seconds for record in critical) or 1.0
    groups, on_path = _grouped(records, by), _grouped(critical, by)
    found = []
    for group in sorted(groups, key=lambda group: _order(group, by)):
        members = groups[group]
        seconds = sum(record.seconds for record in members)
        cpu = sum(record.cpu_seconds for record in members)
        path = sum(record.seconds for record in on_path.get(group, ()))
        values = (
            len(members),
            seconds,
            cpu,
            cpu / seconds if seconds else 0.0,
            sum(record.bytes_read for record in members),
            sum(record.bytes_written for record in members),
            path,
            path / whole,
        )
        found.append({**dict(zip(by, group, strict=True)), **dict(zip(COLUMNS, values, strict=True))})
    return found


def _grouped(records: Iterable[Record], by: Sequence[str]) -> dict[tuple, list[Record]]:
    groups: dict[tuple, list[Record]] = defaultdict(list)
    for record in records:
        groups[tuple(getattr(record, field) for field in by)].append(record)
    return groups


def _order(group: tuple, by: Sequence[str]) -> tuple:
    rank = {"operator": names.rank, "level": lambda level: -1 if level is None else level}
    return tuple(rank[field](value) for field, value in zip(by, group, strict=True))


def spans(records: Iterable[Record]) -> list[tuple[float, float]]:
    """When evaluations ran: from the first task to the last of each, those that overlap as one, in order."""
    of: dict[str, tuple[float, float]] = {}
    for record in records:
        begin, end = of.get(record.evaluation, (record.begin, record.end))
        of[record.evaluation] = (min(begin, record.begin), max(end, record.end))
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(of.values()):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def elapsed(records: Iterable[Record]) -> float:
    """Seconds in which evaluations ran."""
    return sum(end - begin for begin, end in spans(records))


def threads(records: Sequence[Record], workers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Busy and idle seconds of each thread, by worker, in the order of their first tasks.

    workers : threads of each distributed worker, so that one which never had a task is seen to be idle
    """
    whole = elapsed(records)
    own: dict[str, dict[int | None, list[Record]]] = {}
    for record in sorted(records, key=lambda record: record.begin):
        own.setdefault(record.worker, {}).setdefault(record.thread, []).append(record)
    for worker in workers if records else ():
        own.setdefault(worker, {})
    found = []
    for number, (worker, by_thread) in enumerate(own.items(), 1):
        lanes = list(by_thread.items())
        lanes += [(None, [])] * (workers.get(worker, 0) - len(lanes))
        for thread, (ident, members) in enumerate(lanes, 1):
            busy = sum(record.seconds for record in members)
            found.append(
                {
                    "label": f"thread {thread}" if worker == HERE else f"worker {number}, thread {thread}",
                    "worker": worker,
                    "thread": ident,
                    "tasks": len(members),
                    "busy_seconds": busy,
                    "idle_seconds": max(0.0, whole - busy),
                }
            )
    return found


def totals(records: Sequence[Record], workers: Mapping[str, int]) -> dict[str, Any]:
    """Tasks, threads and evaluations; seconds by the clock on the wall, in tasks, of CPU, of the critical path."""
    busy = sum(record.seconds for record in records)
    path = sum(record.seconds for record in critical_path(records))
    return {
        "tasks": len(records),
        "threads": len(threads(records, workers)),
        "evaluations": len({record.evaluation for record in records}),
        "elapsed_seconds": elapsed(records),
        "seconds": busy,
        "cpu_seconds": sum(record.cpu_seconds for record in records),
        "critical_seconds": path,
        "parallelism": busy / path if path else 0.0,
        "bytes_read": sum(record.bytes_read for record in records),
        "bytes_written": sum(record.bytes_written for record in records),
    }
