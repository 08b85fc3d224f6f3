"""The profile: every task of ours once, under every scheduler; numbers by hand; files, picture and command."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from operator import add as plus

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import TWO_CLOCKS
from click.testing import CliRunner
from conftest import tasks_cut_small
from distributed import Client, get_task_stream

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.graph.spec import add
from taskfmm.runtime import analysis, profile, recording, remote
from taskfmm.runtime.names import name_of, operator_of
from taskfmm.runtime.recording import Record


def operators(keys) -> Counter:
    """Tasks of ours by operator."""
    return Counter(operator_of(key) for key in keys if operator_of(key) is not None)


def recorded(found) -> Counter:
    return Counter({row["operator"]: row["tasks"] for row in found.table(by="operator")})


@pytest.fixture(scope="module")
def fmm():
    """Some eighty tasks: all eight operators, several chunks."""
    rng = np.random.default_rng(6604123)
    points = np.concatenate([rng.normal(size=(900, 3)) / 50, rng.random((900, 3))])
    with tasks_cut_small():
        return taskfmm.Fmm(points, order=2, leaf_size=20)


@pytest.fixture
def phi(fmm):
    charges = np.random.default_rng(6604127).uniform(-1, 1, len(fmm.sources))
    return fmm.potential(charges)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, not the default: a test that wants it says so."""
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=":0", set_as_default=False)
    with Client(**options) as client:
        yield client


@pytest.fixture
def current(cluster):
    """The same, as the current client."""
    with cluster.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield cluster


@pytest.fixture(autouse=True)
def nobody_listens_afterwards():
    yield
    assert recording.listeners == ()
    assert not remote._open


@pytest.mark.parametrize("fuse", [None, False])
@pytest.mark.parametrize(
    "how", [{"scheduler": "synchronous"}, {"scheduler": "threads", "num_workers": 2}], ids=["one", "two"]
)
def test_every_task_of_ours_is_there_once(phi, how, fuse):
    """Built before the profile was opened, in the middle of other work."""
    before = operators(phi.__dask_graph__())
    with dask.config.set({"optimization.fuse.active": fuse}), taskfmm.profile() as found:
        (2.0 * phi + da.ones(len(phi), chunks=700)).sum().compute(**how)
    assert recorded(found) == before
    totals = found.totals()
    assert totals["tasks"] == sum(before.values()) == len(found.tasks) == len({r.key for r in found.tasks})
    assert totals["evaluations"] == 1
    assert 0 < totals["critical_seconds"] <= totals["seconds"]
    assert totals["seconds"] <= totals["threads"] * totals["elapsed_seconds"] * (1 + TWO_CLOCKS)
    assert {row["thread"] for row in found.threads()} == {record.thread for record in found.tasks}
    by_key = {record.key: record for record in found.tasks}
    for record in found.tasks:
        assert record.bytes_read == sum(by_key[needed].bytes_written for needed in record.needs)
        assert record.bytes_written > 0


def test_levels_are_those_of_the_keys(phi):
    with taskfmm.profile() as found:
        phi.compute()
    want = Counter(name_of(key)[:2] for key in phi.__dask_graph__() if name_of(key))
    rows = found.table()
    assert {(row["operator"], row["level"]): row["tasks"] for row in rows} == want
    assert {row["level"] for row in rows if row["operator"] in ("charges", "potential")} == {None}
    assert sum(row["critical_share"] for row in rows) == pytest.approx(1.0)
    assert sum(row["tasks"] for row in found.table(by="level")) == len(found.tasks)


def test_workers_in_this_process_are_recorded_once(phi):
    with (
        Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"),
        taskfmm.profile() as found,
    ):
        phi.compute()
    assert recorded(found) == operators(phi.__dask_graph__())
    assert all(record.worker.startswith("inproc://") for record in found.tasks)
    assert len({record.key for record in found.tasks}) == len(found.tasks)


def test_it_agrees_with_the_task_stream_of_a_cluster(phi, current):
    with get_task_stream(client=current) as stream, taskfmm.profile() as found:
        phi.compute()
    theirs = {str(message["key"]): message for message in stream.data if operator_of(message["key"])}
    ours = {record.key: record for record in found.tasks}
    assert recorded(found) == operators(phi.__dask_graph__())
    assert set(ours) == set(theirs)
    for key, record in ours.items():
        (computed,) = [s for s in theirs[key]["startstops"] if s["action"] == "compute"]
        assert computed["stop"] - computed["start"] >= record.seconds - TWO_CLOCKS
        assert (record.worker, record.thread) == (theirs[key]["worker"], theirs[key]["thread"])
    assert {row["worker"] for row in found.threads()} == set(current.scheduler_info()["workers"])


def test_workers_record_only_while_a_profile_is_open(phi, current):
    """Nested profiles share one plugin; the outer one still gets what runs when the inner one has closed."""

    def listening():
        return sum(current.run(lambda: len(recording.listeners)).values())

    assert listening() == 0
    with taskfmm.profile() as outer:
        assert listening() == 2
        with taskfmm.profile(current) as inner:
            assert listening() == 2
            phi.compute()
        assert listening() == 2
        phi.compute()
    assert listening() == 0
    assert len(outer.tasks) == 2 * len(inner.tasks) == 2 * sum(operators(phi.__dask_graph__()).values())


def test_a_worker_that_never_had_a_task_is_idle(current):
    graph = {}
    key = add(graph, ("near-single", 2, 0), plus, 1, 2).key
    with taskfmm.profile() as found:
        current.get(graph, key)
    busy, idle = sorted(found.threads(), key=lambda row: -row["tasks"])
    assert (busy["tasks"], idle["tasks"], idle["thread"], idle["busy_seconds"]) == (1, 0, None, 0.0)
    assert idle["idle_seconds"] == pytest.approx(found.totals()["elapsed_seconds"])
    assert "worker 2, thread 1" in str(found)


def test_a_killed_worker_leaves_its_tasks_and_a_new_one_reports(phi, current):
    n_tasks = sum(operators(phi.__dask_graph__()).values())
    with taskfmm.profile() as found:
        phi.compute()
        assert len(found.tasks) == n_tasks
        pids = current.run(os.getpid)
        address, pid = next(iter(pids.items()))
        of_killed = sum(record.worker == address for record in found.tasks)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while address in current.nthreads() or len(current.nthreads()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        phi.compute()
    assert len(found.tasks) >= 2 * n_tasks
    assert sum(record.worker == address for record in found.tasks) == of_killed > 0
    new = set(current.nthreads()) - set(pids)
    assert {record.worker for record in found.tasks} & new


def test_a_process_of_several_workers_reports_each_task_once():
    class Worker:
        def __init__(self, address):
            self.address = address
            self.events = []

        def log_event(self, topic, message):
            self.events.append((topic, message))

    workers = [Worker("tcp://one"), Worker("tcp://two")]
    reporters = [remote.Reporter("a topic", "another process") for _ in workers]
    for worker, reporter in zip(workers, reporters, strict=True):
        reporter.setup(worker)
    record = task("p2m", 0, worker="tcp://two")
    recording.publish(record)
    for worker, reporter in zip(workers, reporters, strict=True):
        reporter.teardown(worker)
    assert workers[0].events == []
    ((topic, message),) = workers[1].events
    assert topic == "a topic"
    heard = []
    recording.listen(heard.append)
    remote._receive((0.0, json.loads(json.dumps(message))))
    recording.forget(heard.append)
    assert heard == [record]


def test_processes_of_dask_are_not_passed_over_in_silence(caplog):
    graph = {}
    key = add(graph, ("near-there", 2, 0), plus, 1, 2).key
    with caplog.at_level(logging.WARNING, logger="taskfmm"), taskfmm.profile() as found:
        assert dask.multiprocessing.get(graph, key, num_workers=1) == 3
    assert [record.getMessage() for record in caplog.records] == [profile.UNSEEN % 1]
    assert "distributed.Client" in str(found)
    assert found.to_dict()["unseen_tasks"] == 1


def test_profiles_at_once_in_several_threads_get_every_task(fmm):
    counts = []
    everybody = threading.Barrier(3)

    def work(seed):
        charges = np.random.default_rng(seed).uniform(-1, 1, len(fmm.sources))
        with taskfmm.profile() as found:
            everybody.wait()
            fmm.potential(charges).compute(num_workers=2)
            everybody.wait()
        counts.append((len(found.tasks), found.totals()["evaluations"]))

    threads = [threading.Thread(target=work, args=(8181 + i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    n_tasks = sum(operators(fmm.potential(np.ones(len(fmm.sources))).__dask_graph__()).values())
    assert counts == [(3 * n_tasks, 3)] * 3


def test_a_profile_may_be_opened_again_but_not_twice(phi):
    found = taskfmm.profile()
    for _ in range(2):
        with found:
            phi.compute()
            with pytest.raises(InputError, match="open already"):
                found.__enter__()
    assert len(found.tasks) == 2 * len({record.key for record in found.tasks})


def test_failed_tasks_are_left_out_and_the_rest_kept():
    graph = {}
    good = add(graph, ("near-partly", 2, 0), plus, 1, 2)
    bad = add(graph, ("near-partly", 2, 1), plus, good, "text")
    found = taskfmm.profile()
    with pytest.raises(TypeError), found:
        dask.get(graph, bad.key)
    assert [record.key for record in found.tasks] == [str(good.key)]


def test_a_client_that_cannot_wait_is_refused():
    class Asynchronous:
        asynchronous = True

    with pytest.raises(InputError, match="asynchronous"), taskfmm.profile(Asynchronous()):
        pass


@pytest.mark.parametrize(
    "tasks_at_once, loop_threads, clock",
    [(1, 1, time.thread_time), (1, 4, time.process_time), (2, 1, time.thread_time), (2, 2, time.thread_time)],
)
def test_the_cpu_clock_counts_what_the_task_uses(monkeypatch, tasks_at_once, loop_threads, clock):
    monkeypatch.setattr(recording, "concurrent_tasks", lambda: tasks_at_once)
    monkeypatch.setattr(recording, "numba_threads", lambda: loop_threads)
    assert recording.cpu_clock() is clock


def test_cpu_time_is_not_waiting():
    graph = {}
    busy = add(graph, ("p2m-clocks", 2, 0), lambda: sum(range(2_000_000)))
    idle = add(graph, ("near-clocks", 2, 0), time.sleep, 0.2)
    with taskfmm.profile() as found:
        dask.threaded.get(graph, [busy.key, idle.key], num_workers=2)
    rows = {row["operator"]: row for row in found.table(by="operator")}
    assert rows["near"]["seconds"] >= 0.2
    assert rows["near"]["cpu_per_wall"] < 0.5
    assert rows["p2m"]["cpu_seconds"] > 0


def task(operator, shard, begin=0.0, seconds=1.0, needs=(), level=3, thread=1, worker="", evaluation="e"):
    return Record(
        f"{operator}{shard}", tuple(needs), operator, level, evaluation, worker, thread, begin, seconds,
        seconds / 2, 100, 10,
    )  # fmt: skip


CHAIN = [
    task("charges", 0, 0.0, 1.0, ["a chunk of somebody else's"], level=None),
    task("p2m", 0, 1.0, 2.0, ["charges0"], level=4),
    task("p2m", 1, 1.0, 1.0, ["charges0"], level=4, thread=2),
    task("m2l", 0, 3.0, 2.0, ["p2m0", "p2m1"]),
    task("near", 0, 2.0, 3.5, ["charges0"], thread=2),
    task("potential", 0, 6.0, 0.5, ["m2l0", "near0"], level=None),
]


def test_the_critical_path_by_hand():
    path = analysis.critical_path(CHAIN)
    assert [record.key for record in path] == ["charges0", "p2m0", "m2l0", "potential0"]
    assert analysis.critical_path([]) == []
    again = [*CHAIN, task("p2m", 0, 10.0, 0.1, ["charges0"], level=4)]
    assert [record.key for record in analysis.critical_path(again)] == ["charges0", "near0", "potential0"]


def test_the_table_by_hand():
    rows = analysis.rows(CHAIN, ("operator", "level"))
    assert [(row["operator"], row["level"]) for row in rows] == [
        ("charges", None),
        ("p2m", 4),
        ("m2l", 3),
        ("near", 3),
        ("potential", None),
    ]
    assert rows[1] == {
        "operator": "p2m",
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
        task("near", 1, 100.0, 2.0, evaluation="f"),
        task("near", 2, 101.0, 3.0, evaluation="g", thread=2),
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
    for word in (f"{len(found.tasks)} tasks", "m2l", "near", "CPU/wall", "critical path", "thread 1"):
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
    assert legend == ["charges 10.0%", "p2m 30.0%", "m2l 20.0%", "near 35.0%", "potential 5.0%", "idle"]


def test_no_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"taskfmm\[viz\]"):
        taskfmm.profile().plot()


QUERY_PLANNING = """
import dask.array as da, numpy as np, taskfmm
assert da.array_expr_enabled()
x = np.random.default_rng(7719029).random((900, 3))
phi = taskfmm.Fmm(x, order=3, leaf_size=20).potential(da.from_array(np.ones(900), chunks=300))
with taskfmm.profile() as found:
    (phi + 1.0).compute(scheduler="synchronous")
names = {row["operator"] for row in found.table(by="operator")}
assert names >= {"charges", "p2m", "m2m", "m2l", "l2l", "l2p", "near", "potential"}, names
assert "CPU/wall" in str(found)
"""


def test_it_works_under_array_expressions():
    environment = dict(os.environ, DASK_ARRAY__QUERY_PLANNING="True")
    command = [sys.executable, "-c", QUERY_PLANNING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_command(tmp_path):
    cloud, table, picture = (str(tmp_path / name) for name in ("in.h5", "table.csv", "picture.png"))
    runner = CliRunner()
    assert runner.invoke(main, ["generate", "cube", "-n", "2000", "-o", cloud]).exit_code == 0
    arguments = ["profile", cloud, "--eps", "1e-3"]
    shown = runner.invoke(main, [*arguments, "--csv", table, "--levels"])
    assert shown.exit_code == 0, shown.output
    assert "level" in shown.output and "CPU/wall" in shown.output
    with open(table, newline="") as file:
        assert "near" in {line["operator"] for line in csv.DictReader(file)}
    found = json.loads(runner.invoke(main, [*arguments, "--json", "--gradient"]).output)
    assert found["totals"]["evaluations"] == 1
    assert {"potential", "gradient"} <= {row["operator"] for row in found["table"]}
    pytest.importorskip("matplotlib")
    assert runner.invoke(main, [*arguments, "--plot", picture]).exit_code == 0
    assert os.path.getsize(picture) > 1000
