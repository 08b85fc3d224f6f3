"""Workers that die, join and leave while points that never meet are planned and summed: no bit changes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from workers import mortal_workers

import taskfmm
from taskfmm.errors import LostWorkersError
from taskfmm.graph import reference
from taskfmm.testing import DISTRIBUTIONS

distributed = pytest.importorskip("distributed")
from distributed.diagnostics.plugin import WorkerPlugin  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 10_000
PATIENCE = 90
"""Seconds after which a test has failed, not merely been slow."""

STAGES = ("look", "pick", "choose", "sort", "count", "deal", "gather", "balance", "settle", "survey", "works")
X = np.ascontiguousarray(DISTRIBUTIONS["plummer"](N, np.random.default_rng(91)))
Q = np.random.default_rng(92).uniform(-1, 1, N)


class Deadly(WorkerPlugin):
    """Kills the worker that has a task of some name.

    name : what the first part of its key begins with
    state : in which the task is: "executing" or "memory", when it is done and nobody has been told
    delay : seconds after it has come into that state
    directory : where a file is made by each death; most : how many there are, by the first task alone if several
    """

    def __init__(self, name: str, state: str, delay: float, directory: Path, most: int = 1) -> None:
        self.task, self.state, self.delay, self.directory, self.most = name, state, delay, directory, most

    def transition(self, key, start, finish, **_) -> None:
        name = key[0] if isinstance(key, tuple) else key
        if finish != self.state or not str(name).startswith(f"{self.task}-"):
            return
        if self.most > 1 and key[1] != 0:
            return
        for number in range(self.most):
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.directory / f"death-{number}", os.O_CREAT | os.O_EXCL))
                if self.delay:
                    threading.Timer(self.delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
                return


@pytest.fixture(scope="module")
def mortal():
    with mortal_workers() as client:
        yield client


@pytest.fixture
def directory(tmp_path):
    """Where plans go in this test; in the end there are none."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path
        until = time.monotonic() + PATIENCE
        while (left := list(tmp_path.glob("taskfmm-*"))) and time.monotonic() < until:
            gc.collect()
            reference.release()
            time.sleep(0.05)
        assert left == []


@contextlib.contextmanager
def deaths(client, directory: Path, name: str, state: str, delay: float, most: int = 1):
    """While a task of this name kills its worker; at the end, some has, and all workers are back."""
    for made in directory.glob("death-*"):
        made.unlink()
    client.register_plugin(Deadly(name, state, delay, directory, most), name="deadly")
    try:
        yield
        assert len(list(directory.glob("death-*"))) == most, f"nobody died of {name}"
    finally:
        for number in range(most):
            (directory / f"death-{number}").touch()
        settle(client)
        client.unregister_worker_plugin("deadly")


def settle(client) -> None:
    """Wait until those who died were replaced: a nanny whose worker dies while it starts does not try again."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        nannies = list(client.cluster.workers.values())
        if all(n.pid is not None and n.process.status.name == "running" for n in nannies):
            break
        time.sleep(0.05)
    client.wait_for_workers(2, timeout=PATIENCE)


def on(client):
    """Dask's default is the client that is active; given as ``scheduler``, nannies would have to pickle it."""
    return contextlib.nullcontext() if client else dask.config.set(scheduler="synchronous")


def points() -> da.Array:
    return da.from_array(X, chunks=(1900, 3))


def plan(client=None) -> taskfmm.spread.Spread:
    """On several regions, with boxes above them; leaves are chosen, and so all stages run."""
    with on(client):
        return taskfmm.Fmm.from_dask(points(), eps=1e-3, region=N // 8)


def evaluated(found, client=None) -> np.ndarray:
    with on(client):
        return found.potential(da.from_array(Q, chunks=2300)).compute()


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return evaluated(plan())


def assert_a_death_changes_nothing(client, directory, expected, stage, state, delay) -> None:
    with deaths(client, directory, stage, state, delay):
        found = plan(client)
    np.testing.assert_array_equal(evaluated(found, client), expected)


def test_a_worker_killed_while_planning_changes_no_bit(mortal, directory, expected):
    assert plan().n_regions >= 3
    assert_a_death_changes_nothing(mortal, directory, expected, "works", "executing", 0.004)


@pytest.mark.nightly
@pytest.mark.parametrize("state, delay", [("executing", 0), ("executing", 0.003), ("memory", 0)])
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_in_any_stage_changes_no_bit(mortal, directory, expected, stage, state, delay):
    assert_a_death_changes_nothing(mortal, directory, expected, stage, state, delay)


def assert_a_death_in_an_evaluation_changes_nothing(client, directory, expected, operator, state) -> None:
    found = plan(client)
    with deaths(client, directory, operator, state, 0):
        np.testing.assert_array_equal(evaluated(found, client), expected)
    np.testing.assert_array_equal(evaluated(found, client), expected)


def test_a_worker_killed_in_an_evaluation_changes_no_bit(mortal, directory, expected):
    assert_a_death_in_an_evaluation_changes_nothing(mortal, directory, expected, "M2L", "memory")


@pytest.mark.nightly
@pytest.mark.parametrize("state", ["executing", "memory"])
@pytest.mark.parametrize(
    "operator", ["given", "charges", "P2M", "M2M", "L2L", "L2P", "P2P", "potential", "written"]
)
def test_a_worker_killed_in_any_operator_changes_no_bit(mortal, directory, expected, operator, state):
    assert_a_death_in_an_evaluation_changes_nothing(mortal, directory, expected, operator, state)


@pytest.mark.nightly
def test_all_workers_killed_between_plan_and_evaluation_change_no_bit(mortal, directory, expected):
    """What is planned lies in files alone."""
    found = plan(mortal)
    for pid in mortal.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        settle(mortal)
    np.testing.assert_array_equal(evaluated(found, mortal), expected)


def test_a_task_that_kills_every_worker_is_named(mortal, directory, monkeypatch):
    """Dask also gives up one that was waiting where they died."""
    monkeypatch.setattr(mortal.cluster.scheduler, "allowed_failures", 1)
    says = r"ended in its stage 'survey', as 2 workers died that had, among others, region \d of 1,\d+ points: give"
    with (
        deaths(mortal, directory, "survey", "executing", 0, most=2),
        pytest.raises(LostWorkersError, match=says),
    ):
        plan(mortal)
    assert list(directory.glob("taskfmm-*")) == []


@pytest.mark.nightly
def test_workers_that_join_and_retire_change_no_bit(directory, expected):
    """Between evaluations and during them."""
    options = dict(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0")
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found = plan(client)
        for number, n_workers in enumerate((3, 1, 2, 4, 1)):
            waiting = [
                client.compute(found.potential(da.from_array(2.0**k * Q, chunks=2300))) for k in range(3)
            ]
            cluster.scale(n_workers)  # while they run
            for k, future in enumerate(waiting):
                np.testing.assert_array_equal(future.result(PATIENCE), 2.0**k * expected)
            del waiting, future
            client.wait_for_workers(n_workers, timeout=PATIENCE)
            np.testing.assert_array_equal(evaluated(found, client), expected, err_msg=f"{number}")
        retired = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
        cluster.scale(2)
        client.wait_for_workers(2, timeout=PATIENCE)
        client.retire_workers([retired])
        np.testing.assert_array_equal(evaluated(found, client), expected)
        del found
