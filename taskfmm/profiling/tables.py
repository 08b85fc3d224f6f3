"""A profile as text."""

from __future__ import annotations

from typing import Any

from dask.utils import format_bytes

from taskfmm.profiling.analysis import FIELDS


def summary(totals: dict[str, Any]) -> str:
    """The totals in two lines."""
    threads, evaluations = totals["threads"], totals["evaluations"]
    available = totals["elapsed_seconds"] * threads
    return (
        f"{evaluations} evaluation{'s' * (evaluations > 1)}, {totals['tasks']:,} tasks on {threads} "
        f"thread{'s' * (threads > 1)}: {totals['elapsed_seconds']:.3f} s, "
        f"threads busy {totals['seconds'] / available if available else 0.0:.1%}\n"
        f"critical path {totals['critical_seconds']:.3f} s, parallelism {totals['parallelism']:.1f}"
    )


def operators(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each row of a profile's table, under a head."""
    fields = [field for field in FIELDS if field in rows[0]]
    whole = sum(row["seconds"] for row in rows) or 1.0
    head = (
        f"{'tasks':>6} {'wall s':>9} {'share':>7} {'CPU s':>9} {'CPU/wall':>9} {'moved':>11} {'critical':>9}"
    )
    lines = ["".join(f"{field:<11}" for field in fields) + head]
    for row in rows:
        names = "".join(f"{'-' if row[field] is None else row[field]!s:<11}" for field in fields)
        moved = format_bytes(row["bytes_read"] + row["bytes_written"])
        lines.append(
            f"{names}{row['tasks']:>6} {row['seconds']:>9.4f} {row['seconds'] / whole:>7.1%} "
            f"{row['cpu_seconds']:>9.4f} {row['cpu_per_wall']:>9.1%} {moved:>11} {row['critical_share']:>9.1%}"
        )
    return lines


def threads(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each thread, under a head."""
    lines = [f"{'':<22}{'tasks':>6} {'busy s':>9} {'idle s':>9} {'idle':>7}"]
    for row in rows:
        busy = f"{row['busy_seconds']:>9.4f} {row['idle_seconds']:>9.4f} {idle_share(row):>7.1%}"
        lines.append(f"{row['label']:<22}{row['tasks']:>6} {busy}")
    return lines


def idle_share(row: dict[str, Any]) -> float:
    """Of a thread's time while evaluations ran."""
    whole = row["busy_seconds"] + row["idle_seconds"]
    return float(row["idle_seconds"] / whole) if whole else 0.0
