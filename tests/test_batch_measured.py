"""What a batch measures: in real cases, in its table, and in pictures."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import asdict, replace

import dask
import pytest
import yaml

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from batches import CASE, MEASURED, ROOT, SMALL, THREADS, records

from benchmarks.batches import plots, run, scheduling, table


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two cases that work and one that cannot, for real."""
    folder = tmp_path_factory.mktemp("batch")
    content = SMALL | {"n": [600], "cases": [{"n": 2000, "distribution": "sphere", "eps": "1e-30"}]}
    content["cases"].append({"n": 2000, "distribution": "plummer", "eps": "1e-4", "threads": "2x1"})
    (folder / "matrix.yaml").write_text(yaml.safe_dump(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(THREADS))
    command = [
        sys.executable,
        "-m",
        "benchmarks.batch",
        "matrix.yaml",
        "--config",
        "config.yaml",
        "-o",
        "out",
    ]
    command[3], command[5] = str(folder / "matrix.yaml"), str(folder / "config.yaml")
    command[7] = str(folder / "out")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    return folder / "out", done.stdout


def test_a_real_batch(measured):
    folder, shown = measured
    small, failed, plummer = sorted(records(folder), key=lambda record: (record["n"], record["eps"]))
    assert "2 done, 1 failed" in shown
    assert failed["state"] == "failed"
    assert failed["reason"].startswith("AccuracyError: ")
    for record in (small, plummer):
        assert record["state"] == "done", record
        assert record["error"] <= record["eps"]
        for name in (
            "plan_seconds",
            "first_evaluation_seconds",
            "evaluation_seconds",
            "evaluation_cpu_seconds",
        ):
            assert record[name] > 0
        assert record["tasks"] > 2
        assert record["peak_bytes"] > 0
        assert record["pair_rate"] > 0 and record["gemm_rate"] > 0
        assert record["pairs_a_point"] > 0
        assert record["machine"]["versions"]["taskfmm"]
        assert record["machine"]["cores"] == (
            os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
        )
    assert (plummer["dask_threads"], plummer["config"]["num_workers"]) == (2, 2)


def test_the_table_has_every_case(measured):
    folder, _ = measured
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == table.COLUMNS
    by_name = {record["name"]: record for record in records(folder)}
    assert {row["name"] for row in rows} == set(by_name)
    for row in rows:
        record = by_name[row["name"]]
        assert int(row["n"]) == record["n"]
        assert (row["state"] == "done") == bool(row["error"])
        assert row["scheduler"] == "threads"
        if row["state"] == "done":
            empty = {name for name, value in row.items() if not value}
            # a direct sum, as 500 points take, has no leaves
            assert empty <= {"reason", "leaf_size"}
            assert float(row["evaluation_seconds"]) == record["evaluation_seconds"]


def test_evaluation_runs_where_it_is_configured(monkeypatch):
    """Every evaluation of the case goes to the configured scheduler, none to a pool of its own."""
    from benchmarks.batches import case as one

    asked = []
    real = dask.base.named_schedulers["synchronous"]
    monkeypatch.setitem(
        dask.base.named_schedulers,
        "synchronous",
        lambda *args, **kwargs: asked.append(1) or real(*args, **kwargs),
    )
    case = replace(CASE, repeats=2)
    found = one.measure(case, scheduling.for_case({"scheduler": "synchronous"}, case))
    assert len(asked) == 3, "the first and two repeats"
    assert len(found["evaluations"]) == 2


def test_workers_of_a_cluster_are_measured_too(tmp_path):
    """A process that computes beside the one that asks: CPU seconds and memory are those of both."""
    config = {"taskfmm": {"cluster": {"kind": "local", "dashboard-address": None}}}
    record = run.once(replace(CASE, n=2000), config, 120, tmp_path)
    assert record["state"] == "done", record
    assert record["error"] <= record["eps"]
    assert record["evaluation_cpu_seconds"] > 0
    assert table.scheduler_of(record) == "local"


# --- pictures


def pretended(**change) -> dict:
    case = replace(CASE, **change)
    return asdict(case) | MEASURED | {"name": case.name(THREADS), "state": "done", "config": THREADS}


def test_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "DPI", 30)
    cases = [
        pretended(n=n, eps=eps, distribution=shape, dask_threads=threads)
        for n in (1000, 10000)
        for eps in (1e-3, 1e-6)
        for shape in ("cube", "plummer")
        for threads in (1, 2)
    ]
    failed = pretended(n=7) | {"state": "failed"}
    drawn = plots.draw([*cases, {key: failed[key] for key in failed if key not in MEASURED}], tmp_path)
    assert [path.name for path in drawn] == ["time.png", "error.png", "memory.png", "speedup.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    alone = plots.draw([case for case in cases if case["dask_threads"] == 1], tmp_path)
    assert "speedup.png" not in [path.name for path in alone]
    assert plots.draw([], tmp_path) == []


def test_unlike_cases_are_not_drawn_into_one_picture(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = plots.draw([pretended(), pretended(outputs="gradient")], tmp_path)
    names = {path.name for path in drawn}
    assert {"time-laplace-potential-threads.png", "time-laplace-gradient-threads.png"} <= names
