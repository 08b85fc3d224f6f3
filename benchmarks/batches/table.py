"""One table from the records of a folder: as JSON with everything, as CSV with a row a case, as text to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.batches.run import Record, load, save
from benchmarks.batches.scheduling import kind_of

COLUMNS = (
    "name",
    "state",
    "distribution",
    "n",
    "eps",
    "kernel",
    "outputs",
    "scheduler",
    "dask_threads",
    "numba_threads",
    "workers",
    "seed",
    "repeats",
    "plan_seconds",
    "first_evaluation_seconds",
    "evaluation_seconds",
    "evaluation_cpu_seconds",
    "error",
    "peak_bytes",
    "bytes_a_point",
    "tasks",
    "order",
    "leaf_size",
    "pairs_a_point",
    "flops_a_point",
    "pair_rate",
    "gemm_rate",
    "gemm_rate_single",
    "copy_rate",
    "operator_seconds",
    "process_seconds",
    "started",
    "host",
    "cores",
    "load",
    "reason",
)
"""Of the CSV; a case that failed leaves what was not measured empty."""

HEAD = (
    f"{'distribution':<12} {'N':>9} {'eps':>7} {'W x T x K':>9} {'plan s':>8} {'first s':>8} {'eval s':>8} "
    f"{'CPU s':>8} {'error':>8} {'B/point':>8} {'pairs':>8} {'tasks':>6}"
)


def gather(folder: Path) -> list[Record]:
    """The records of a folder, in order of size, cloud, eps and cores."""
    found = [record for path in (folder / "cases").glob("[!.]*.json") if (record := load(path))]
    return sorted(found, key=_order)


def _order(record: Record) -> tuple[Any, ...]:
    splits = (record[key] for key in ("workers", "dask_threads", "numba_threads"))
    return record["n"], record["distribution"], -record["eps"], *splits, record["name"]


def scheduler_of(record: Record) -> str:
    """The scheduler that a record's configuration asks for, in a word."""
    return kind_of(record["config"]) or record["config"].get("scheduler") or "threads"


def write(folder: Path) -> list[Record]:
    """Gather the records of a folder into results.json and results.csv there."""
    records = gather(folder)
    save(folder / "results.json", json.dumps(records, indent=1))
    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for record in records:
        machine = record.get("machine", {})
        facts = {
            "scheduler": scheduler_of(record),
            "cores": machine.get("cores"),
            "load": machine.get("load"),
        }
        rows.writerow(record | facts)
    save(folder / "results.csv", text.getvalue())
    return records


def row(record: Record) -> str:
    """A line under `HEAD`."""
    split = f"{record['workers']}x{record['dask_threads']}x{record['numba_threads']}"
    head = f"{record['distribution']:<12} {record['n']:>9.3g} {record['eps']:>7.0e} {split:>9}"
    if record["state"] == "failed":
        return f"{head} failed: {record['reason'][:90]}"
    return (
        f"{head} {record['plan_seconds']:>8.3f} {record['first_evaluation_seconds']:>8.3f} "
        f"{record['evaluation_seconds']:>8.3f} {record['evaluation_cpu_seconds']:>8.3f} "
        f"{record['error']:>8.1e} {record['bytes_a_point']:>8.0f} "
        f"{record['pairs_a_point']:>8.0f} {record['tasks']:>6}"
    )


def summary(records: Iterable[Record], missing: int) -> str:
    """How many are done, failed and missing."""
    states = [record["state"] for record in records]
    parts = [f"{states.count('done')} done", f"{states.count('failed')} failed"]
    return ", ".join(parts + ([f"{missing} not run yet"] if missing else []))
