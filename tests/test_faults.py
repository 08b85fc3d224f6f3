"""Faults: killed workers change no bit, dead clusters are an error and not a wait, Ctrl-C ends everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from workers import mortal_workers

import taskfmm
from taskfmm.graph.spec import OperatorTask

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PATIENCE = 90
"""Seconds after which a test has failed, not merely been slow."""


@pytest.fixture(scope="module")
def many():
    """A plan of many tasks and its result."""
    from tests.conftest import tasks_cut_small

    rng = np.random.default_rng(402211)
    with tasks_cut_small():
        fmm = taskfmm.Fmm(rng.random((6000, 3)), order=3, leaf_size=20)
    q = rng.uniform(-1, 1, 6000)
    return fmm, q, fmm.serial(q)


def pids(client) -> list[int]:
    return list(client.run(os.getpid).values())


@pytest.fixture
def mortal():
    with mortal_workers() as client:
        yield client


def settle(client, gone: int) -> None:
    """Wait until that process was replaced: a nanny whose worker dies while it starts does not try again."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        nannies = list(client.cluster.workers.values())
        if all(n.pid not in (None, gone) and n.process.status.name == "running" for n in nannies):
            break
        time.sleep(0.05)
    client.wait_for_workers(2, timeout=PATIENCE)


def killed_at(client, fmm, q, share: float) -> np.ndarray:
    """The potential, with one worker killed once that share of the tasks has been done."""
    victim = pids(client)[0]
    phi = fmm.potential(q)
    n_tasks = sum(isinstance(task, OperatorTask) for task in phi.__dask_graph__().values())
    scheduler = client.cluster.scheduler
    seen = set()
    future = client.compute(phi)
    until = time.monotonic() + PATIENCE
    while len(seen) < share * n_tasks and time.monotonic() < until and not future.done():
        seen |= {key for key, state in list(scheduler.tasks.items()) if state.state in ("memory", "released")}
        time.sleep(0.002)
    os.kill(victim, signal.SIGKILL)
    found = future.result(PATIENCE)
    settle(client, victim)
    return found


def test_a_killed_worker_changes_no_bit(mortal, many, by_reference):
    fmm, q, expected = many
    for i, share in enumerate((0.1, 0.6)):
        found = killed_at(mortal, fmm, q * 2**i, share)
        np.testing.assert_array_equal(found, expected * 2**i)


@pytest.mark.nightly
def test_workers_killed_at_any_moment_change_no_bit(mortal, many, by_reference):
    fmm, q, expected = many
    for i, share in enumerate(np.random.default_rng(90217).uniform(0, 1, 10)):
        found = killed_at(mortal, fmm, q * 2**i, share)
        np.testing.assert_array_equal(found, expected * 2**i)


@pytest.mark.nightly
def test_chaos(mortal, many, by_reference):
    """Workers that kill themselves after a random time, again and again."""
    from distributed.chaos import KillWorker

    fmm, q, expected = many
    mortal.register_plugin(KillWorker(delay="20 s", mode="sys.exit"))
    for i in range(5):
        found = mortal.compute(fmm.potential(q * 2**i)).result(300)
        np.testing.assert_array_equal(found, expected * 2**i)


def lose_all_workers(fmm, q, limit: float) -> None:
    """An evaluation whose only worker dies, with nobody to replace it."""
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard"]
        with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as worker:
            client.wait_for_workers(1, timeout=PATIENCE)
            phi = fmm.potential(q)  # sets the limit
            future = client.compute(phi)
            worker.kill()
        with pytest.raises(distributed.scheduler.NoWorkerError, match="without any running workers"):
            future.result(limit)


def test_all_workers_dead_is_an_error(many, by_reference, monkeypatch):
    from taskfmm.runtime import cluster

    monkeypatch.setattr(cluster, "NO_WORKERS_TIMEOUT", 1.0)
    lose_all_workers(*many[:2], limit=30)


@pytest.mark.nightly
def test_all_workers_dead_is_an_error_within_a_minute(many, by_reference):
    lose_all_workers(*many[:2], limit=60)


COMPUTING = """
import signal, sys, time
import dask, numpy as np, taskfmm
from taskfmm.graph import reference

def main():
    reference.SMALL = 0
    dask.config.set({"temporary-directory": sys.argv[2]})
    rng = np.random.default_rng(11527)
    fmm = taskfmm.Fmm(rng.random((100_000, 3)), eps=1e-4)
    def endless():
        sys.stdout.write("computing\\n")
        sys.stdout.flush()
        while True:
            fmm.potential(rng.uniform(-1, 1, 100_000)).compute()
    if sys.argv[1] == "threads":
        endless()
    from distributed import Client, LocalCluster
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        endless()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
    main()
"""


def assert_ctrl_c_ends_everything(how, tmp_path, seconds):
    """Out soon, with no process and no file left behind."""
    script, files = tmp_path / "script.py", tmp_path / "files"
    script.write_text(COMPUTING)
    files.mkdir()
    # a group of its own, which gets the signal as from a terminal
    with subprocess.Popen(
        [sys.executable, script, how, files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            assert running.stdout.readline() == "computing\n", running.stderr.read()
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(seconds)
            family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            os.killpg(running.pid, signal.SIGINT)
            _, alive = psutil.wait_procs(family, timeout=20)
            assert alive == []
            assert "KeyboardInterrupt" in running.stderr.read()
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert list(files.glob("*.h5")) == []


@pytest.mark.parametrize("how", ["threads", "cluster"])
def test_ctrl_c_ends_everything(how, tmp_path):
    assert_ctrl_c_ends_everything(how, tmp_path, 0.7)


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", np.random.default_rng(3340219).uniform(0.02, 2.5, 15).round(3))
def test_ctrl_c_at_any_time(seconds, tmp_path):
    assert_ctrl_c_ends_everything("threads", tmp_path, seconds)


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", np.random.default_rng(3340223).uniform(0.02, 4.0, 4).round(3))
def test_ctrl_c_at_any_time_on_a_cluster(seconds, tmp_path):
    assert_ctrl_c_ends_everything("cluster", tmp_path, seconds)
