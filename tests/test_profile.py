"""The profile: every task of ours once, under every scheduler, and by the right clock."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections import Counter
from operator import add as plus

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import TWO_CLOCKS
from cases import each
from conftest import tasks_cut_small
from distributed import Client, get_task_stream

import taskfmm
from taskfmm.errors import InputError
from taskfmm.graph.spec import add
from taskfmm.profiling import profile, recording, remote
from taskfmm.profiling.names import name_of, operator_of
from taskfmm.profiling.recording import Record


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
    key = add(graph, ("P2P-fmm0single", 2, 0), plus, 1, 2).key
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
    record = Record("p2m0", (), "P2M", 3, "e", "tcp://two", 1, 0.0, 1.0, 0.5, 100, 10)
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
    key = add(graph, ("P2P-fmm0there", 2, 0), plus, 1, 2).key
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
    good = add(graph, ("P2P-fmm0partly", 2, 0), plus, 1, 2)
    bad = add(graph, ("P2P-fmm0partly", 2, 1), plus, good, "text")
    found = taskfmm.profile()
    with pytest.raises(TypeError), found:
        dask.get(graph, bad.key)
    assert [record.key for record in found.tasks] == [str(good.key)]


def test_a_client_that_cannot_wait_is_refused():
    class Asynchronous:
        asynchronous = True

    with pytest.raises(InputError, match="asynchronous"), taskfmm.profile(Asynchronous()):
        pass


@each(
    "tasks_at_once, loop_threads, clock",
    [(1, 1, time.thread_time), (1, 4, time.process_time), (2, 1, time.thread_time), (2, 2, time.thread_time)],
)
def test_the_cpu_clock_counts_what_the_task_uses(monkeypatch, tasks_at_once, loop_threads, clock):
    monkeypatch.setattr(recording, "concurrent_tasks", lambda: tasks_at_once)
    monkeypatch.setattr(recording, "numba_threads", lambda: loop_threads)
    assert recording.cpu_clock() is clock


def test_cpu_time_is_not_waiting():
    graph = {}
    busy = add(graph, ("P2M-fmm0clocks", 2, 0), lambda: sum(range(2_000_000)))
    idle = add(graph, ("P2P-fmm0clocks", 2, 0), time.sleep, 0.2)
    with taskfmm.profile() as found:
        dask.threaded.get(graph, [busy.key, idle.key], num_workers=2)
    rows = {row["operator"]: row for row in found.table(by="operator")}
    assert rows["P2P"]["seconds"] >= 0.2
    assert rows["P2P"]["cpu_per_wall"] < 0.5
    assert rows["P2M"]["cpu_seconds"] > 0
