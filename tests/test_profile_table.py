"""What a profile tells: numbers by hand; text, files, picture and command."""

from __future__ import annotations

import csv
import json
import os
import sys

import dask.array as da
import numpy as np
import pytest
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.profiling import analysis, profile
from taskfmm.profiling.recording import Record


@pytest.fixture
def phi(clustered):
    charges = np.random.default_rng(6604127).uniform(-1, 1, len(clustered.sources))
    return clustered.potential(charges)


def task(operator, shard, begin=0.0, seconds=1.0, needs=(), level=3, thread=1, worker="", evaluation="e"):
    return Record(
        f"{operator}{shard}", tuple(needs), operator, level, evaluation, worker, thread, begin, seconds,
        seconds / 2, 100, 10,
    )  # fmt: skip


CHAIN = [
    task("charges", 0, 0.0, 1.0, ["a chunk of somebody else's"], level=None),
    task("P2M", 0, 1.0, 2.0, ["charges0"], level=4),
    task("P2M", 1, 1.0, 1.0, ["charges0"], level=4, thread=2),
    task("M2L", 0, 3.0, 2.0, ["P2M0", "P2M1"]),
    task("P2P", 0, 2.0, 3.5, ["charges0"], thread=2),
    task("potential", 0, 6.0, 0.5, ["M2L0", "P2P0"], level=None),
]


def test_the_critical_path_by_hand():
    path = analysis.critical_path(CHAIN)
    assert [record.key for record in path] == ["charges0", "P2M0", "M2L0", "potential0"]
    assert analysis.critical_path([]) == []
    again = [*CHAIN, task("P2M", 0, 10.0, 0.1, ["charges0"], level=4)]
    assert [record.key for record in analysis.critical_path(again)] == ["charges0", "P2P0", "potential0"]


def test_the_table_by_hand():
    rows = analysis.rows(CHAIN, ("operator", "level"))
    assert [(row["operator"], row["level"]) for row in rows] == [
        ("charges", None),
        ("P2M", 4),
        ("M2L", 3),
        ("P2P", 3),
        ("potential", None),
    ]
    assert rows[1] == {
        "operator": "P2M",
        "level": 4,
        "tasks": 2,
        "seconds": 3.0,
        "cpu_seconds": 1.5,
        "cpu_per_wall": 0.5,
        "bytes_read": 200,
        "bytes_written": 20,
        "critical_seconds": 2.0,
        "critical_share": 2.0 / 5.5,
    }
    assert rows[3]["critical_share"] == 0.0


def test_threads_and_totals_by_hand():
    first, second, third = analysis.threads(CHAIN, {"": 3})
    assert (first["label"], first["tasks"], first["busy_seconds"], first["idle_seconds"]) == (
        "thread 1",
        4,
        5.5,
        1.0,
    )
    assert (second["busy_seconds"], second["idle_seconds"]) == (4.5, 2.0)
    assert (third["label"], third["tasks"], third["idle_seconds"]) == ("thread 3", 0, 6.5)
    assert analysis.totals(CHAIN, {}) == {
        "tasks": 6,
        "threads": 2,
        "evaluations": 1,
        "elapsed_seconds": 6.5,
        "seconds": 10.0,
        "cpu_seconds": 5.0,
        "critical_seconds": 5.5,
        "parallelism": 10.0 / 5.5,
        "bytes_read": 600,
        "bytes_written": 60,
    }


def test_nobody_is_idle_between_evaluations():
    later = [
        task("P2P", 1, 100.0, 2.0, evaluation="f"),
        task("P2P", 2, 101.0, 3.0, evaluation="g", thread=2),
    ]
    assert analysis.spans([*CHAIN, *later]) == [(0.0, 6.5), (100.0, 104.0)]
    assert analysis.elapsed([*CHAIN, *later]) == 10.5


def test_files_hold_the_table(phi, tmp_path):
    with taskfmm.profile() as found:
        phi.compute()
    found.to_csv(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = found.table()
    assert [line["operator"] for line in lines] == [row["operator"] for row in rows]
    assert [float(line["seconds"]) for line in lines] == [row["seconds"] for row in rows]
    assert lines[0]["level"] == ""

    found.to_json(tmp_path / "all.json")
    everything = json.loads((tmp_path / "all.json").read_text())
    assert everything["table"] == rows
    assert everything["totals"] == found.totals()
    assert everything["threads"] == found.threads()
    assert everything["critical_path"] == [record.key for record in found.critical_path()]
    assert [Record(**one)._replace(needs=tuple(one["needs"])) for one in everything["tasks"]] == [
        *found.tasks
    ]
    assert everything["versions"]["taskfmm"] == taskfmm.__version__


def test_text(phi):
    with taskfmm.profile() as found:
        phi.compute()
    for word in (f"{len(found.tasks)} tasks", "M2L", "P2P", "CPU/wall", "critical path", "thread 1"):
        assert word in str(found)
    assert len(found.text(("operator", "level")).splitlines()) > len(str(found).splitlines())
    assert found._repr_html_() == f"<pre>{found}</pre>"
    assert repr(found).startswith(f"<taskfmm.profile: {len(found.tasks)} tasks")
    for wrong in ("thread", (), ("operator", "shard")):
        with pytest.raises(InputError, match="by is"):
            found.table(by=wrong)


def test_the_profile_of_nothing(tmp_path):
    with taskfmm.profile() as found:
        da.ones(10, chunks=5).sum().compute()
    assert str(found) == profile.NOTHING
    assert found.table() == found.threads() == found.critical_path() == []
    assert found.totals()["elapsed_seconds"] == 0.0
    found.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text().startswith("operator,level,tasks,seconds")
    found.to_json(tmp_path / "all.json")
    assert "0 tasks" in repr(found)


@pytest.mark.parametrize("records", [CHAIN, []], ids=["tasks", "nothing"])
def test_the_picture(records, tmp_path):
    pytest.importorskip("matplotlib")
    found = taskfmm.profile()
    found._records += records
    figure = found.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    if not records:
        assert "no task" in figure.axes[0].texts[0].get_text()
        return
    assert "6 tasks on 2 threads" in figure.get_suptitle()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["thread 1\n15.4% idle", "thread 2\n30.8% idle"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["charges 10.0%", "P2M 30.0%", "M2L 20.0%", "P2P 35.0%", "potential 5.0%", "idle"]


def test_no_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"taskfmm\[viz\]"):
        taskfmm.profile().plot()


def test_command(tmp_path):
    cloud, table, picture = (str(tmp_path / name) for name in ("in.h5", "table.csv", "picture.png"))
    runner = CliRunner()
    assert runner.invoke(main, ["generate", "cube", "-n", "6000", "-o", cloud]).exit_code == 0
    arguments = ["profile", cloud, "--eps", "1e-3"]
    shown = runner.invoke(main, [*arguments, "--csv", table, "--levels"])
    assert shown.exit_code == 0, shown.output
    assert "level" in shown.output and "CPU/wall" in shown.output
    with open(table, newline="") as file:
        assert {"P2P", "M2L"} <= {line["operator"] for line in csv.DictReader(file)}
    found = json.loads(runner.invoke(main, [*arguments, "--json", "--gradient"]).output)
    assert found["totals"]["evaluations"] == 1
    assert {"potential", "gradient"} <= {row["operator"] for row in found["table"]}
    pytest.importorskip("matplotlib")
    assert runner.invoke(main, [*arguments, "--plot", picture]).exit_code == 0
    assert os.path.getsize(picture) > 1000
