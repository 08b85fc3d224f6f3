"""On a cluster: what travels, where the files are and how long, and what is said once."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import time
import warnings

import dask
import dask.array as da
import numpy as np
import pytest

import taskfmm
from taskfmm.errors import StorageError
from taskfmm.forecast.forecast import Forecast
from taskfmm.graph import reference
from taskfmm.graph.reference import Reference, Shelf
from taskfmm.runtime import cluster as runtime

distributed = pytest.importorskip("distributed")


def new_fmm(seed: int, n: int = 900) -> tuple[taskfmm.Fmm, np.ndarray]:
    """A plan that no other test has, so that no result of another test answers."""
    rng = np.random.default_rng(seed)
    return taskfmm.Fmm(rng.random((n, 3)), order=3, leaf_size=20), rng.uniform(-1, 1, n)


@pytest.fixture
def directory(tmp_path):
    """Where files go in this test."""
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        yield tmp_path


def eventually(condition, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    return bool(found)


@pytest.mark.parametrize("small", [True, False])
def test_worker_processes_give_the_serial_bits(client, directory, monkeypatch, small):
    """Two evaluations of one plan, by value and by reference; the second writes no second file."""
    monkeypatch.setattr(reference, "SMALL", 10**9 if small else 0)
    fmm, q = new_fmm(71001 + small)
    for charges in (q, 2 * q):
        for output in ("potential", "gradient"):
            with dask.config.set({"optimization.fuse.active": small}):
                found = fmm.evaluate(charges, output)[output].compute()
            np.testing.assert_array_equal(found, fmm.serial(charges, output))
    written = [path.stat().st_size for path in directory.iterdir()]
    assert sum(size > fmm._evaluator.works.n_bytes for size in written) == (not small)


@pytest.fixture(scope="module")
def large():
    """Large enough to travel by reference, and the charges, too."""
    rng = np.random.default_rng(8820117)
    return taskfmm.Fmm(rng.random((150_000, 3)), order=3), rng.uniform(-1, 1, 150_000)


def test_the_graph_is_small_and_nothing_warns(client, directory, large, monkeypatch):
    """Dask warns of graphs above ten megabytes; ours has points and charges for more."""
    fmm, q = large
    monkeypatch.setattr(reference, "SMALL", q.nbytes - 1)
    phi = fmm.potential(q)
    assert fmm._evaluator.works.n_bytes > 1.2e7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        future = client.compute(phi[:10])
        size = len(pickle.dumps(phi.__dask_graph__()))
        assert size < 300_000
        future.cancel()
    assert {path.suffix for path in directory.iterdir()} == {".h5"}


def test_under_threads_there_is_no_file(directory, by_reference):
    fmm, q = new_fmm(71003)
    fmm.potential(q).compute(scheduler="threads")
    fmm.potential(q).compute(scheduler="synchronous")
    assert list(directory.iterdir()) == []


def test_references_lead_to_the_values_themselves():
    array = np.arange(3.0)
    shelf = Shelf({"a": array})
    assert shelf.reference("a").value is array
    assert pickle.loads(pickle.dumps(shelf)).values["a"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(shelf.reference("a"))), array)  # small: by value


def test_a_reference_travels_on_without_being_read(directory, by_reference):
    """As through a scheduler in another process."""
    shelf = Shelf({"a": np.arange(5), "b": None})
    first = pickle.dumps(shelf.reference("a"))
    (path,) = directory.iterdir()
    script = (
        "import pickle, sys; from taskfmm.graph import reference;"
        "sys.stdout.buffer.write(pickle.dumps(pickle.loads(sys.stdin.buffer.read()))); assert not reference._open"
    )
    done = subprocess.run([sys.executable, "-c", script], input=first, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    again = pickle.loads(done.stdout)
    assert isinstance(again, Reference)
    assert again.value.tolist() == [0, 1, 2, 3, 4]
    del shelf, again
    gc.collect()
    assert not path.exists()


def slow(client, q, seconds: float) -> da.Array:
    """Charges that the cluster takes a while to make."""
    held = client.submit(time.sleep, seconds, pure=False)
    return da.from_delayed(dask.delayed(lambda _: q)(held), q.shape, q.dtype)


def tidied(directory) -> bool:
    reference.release()
    return not list(directory.iterdir())


@pytest.mark.parametrize("wanted", [True, False])
def test_a_file_lives_as_long_as_it_may_be_needed(client, directory, tmp_path_factory, by_reference, wanted):
    """The plan is gone before anything has run, and perhaps the future, too, where nobody waits for the result."""
    fmm, q = new_fmm(71004 + wanted)
    expected = fmm.serial(q)
    result = tmp_path_factory.mktemp("result") / "phi.npy"
    (chunk,) = fmm.potential(slow(client, q, 1.0)).to_delayed()
    future = client.compute(dask.delayed(np.save)(result, chunk))
    del fmm, chunk
    if wanted:
        assert not tidied(directory)
        future.result(60)
    else:
        distributed.fire_and_forget(future)
        assert eventually(lambda: future.key in client.cluster.scheduler.tasks)
        del future
        assert eventually(lambda: not client.futures)
        assert not tidied(directory)
        assert eventually(result.exists)
    future = None
    assert eventually(lambda: tidied(directory))
    np.testing.assert_array_equal(np.load(result), expected)


REMOTE = """
import gc, os, sys, time
import dask, numpy as np, taskfmm
from distributed import Client
from pathlib import Path
from taskfmm.graph import reference
from taskfmm.forecast.forecast import Forecast
reference.SMALL = 0
directory = Path(sys.argv[2])
dask.config.set({"temporary-directory": str(directory)})
rng = np.random.default_rng(8261)
x, q = rng.random((900, 3)), rng.uniform(-1, 1, 900)
with Client(sys.argv[1]) as client:
    fmm = taskfmm.Fmm(x, order=3, leaf_size=20)
    expected = fmm.serial(q)
    future = client.compute(fmm.potential(q))
    del fmm
    gc.collect()
    assert len(list(directory.iterdir())) == 2, "nobody can ask the scheduler"
    np.testing.assert_array_equal(future.result(), expected)
    del future
    for step in range(4):  # a new plan in each step of a simulation must not fill the disk
        fmm = taskfmm.Fmm(x + step, order=3, leaf_size=20)
        fmm.potential(q).compute()
        gc.collect()
        assert len(list(directory.iterdir())) <= 4, list(directory.iterdir())
if os.fork() == 0:
    sys.exit()  # a child must not tidy up for its parent
os.wait()
assert list(directory.iterdir())
"""


def run(script: str, *args: object, **more: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **more},
    )
    assert done.returncode == 0, done.stderr


def test_a_scheduler_in_another_process(cluster, tmp_path):
    """The client keeps files while it has futures; at the end of its process nothing is left."""
    run(REMOTE, cluster.scheduler_address, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_workers_elsewhere_get_the_plan_by_value(client, directory, by_reference, says, monkeypatch):
    monkeypatch.setattr(runtime, "workers_are_here", lambda client: False)
    fmm, q = new_fmm(71005)
    for charges in (q, 2 * q):
        np.testing.assert_array_equal(fmm.potential(charges).compute(), fmm.serial(charges))
    assert list(directory.iterdir()) == []
    assert sum("taskfmm.shared-directory" in said for said in says()) == 1


def test_workers_elsewhere_read_a_shared_directory(client, tmp_path, by_reference, monkeypatch):
    monkeypatch.setattr(runtime, "workers_are_here", lambda client: False)
    shared = tmp_path / "made" / "when needed"
    fmm, q = new_fmm(71006)
    with dask.config.set({"taskfmm.shared-directory": str(shared)}):
        np.testing.assert_array_equal(fmm.potential(q).compute(), fmm.serial(q))
        assert list(shared.iterdir())


def test_an_unwritable_directory_is_said_once(client, tmp_path, by_reference, says):
    (tmp_path / "file").write_text("in the way")
    fmm, q = new_fmm(71007)
    with dask.config.set({"taskfmm.shared-directory": str(tmp_path / "file")}):
        for charges in (q, 2 * q):
            np.testing.assert_array_equal(fmm.potential(charges).compute(), fmm.serial(charges))
    assert sum("could not be written" in said and "shared-directory" in said for said in says()) == 1


def test_a_worker_that_cannot_read_says_what_to_set(client, directory, by_reference):
    fmm, q = new_fmm(71008)
    phi = fmm.potential(q)
    text = pickle.dumps(phi.__dask_graph__())
    assert text
    for path in directory.iterdir():
        path.unlink()
    with pytest.raises(StorageError, match=rf"{directory}.* set taskfmm.shared-directory"):
        phi.compute()


def test_each_client_has_its_directory(directory, tmp_path, by_reference):
    """A plan that was written for local processes is written again where others see it."""
    shelf = Shelf({"a": np.arange(3)})
    kept = pickle.loads(pickle.dumps(shelf.reference("a")))
    with dask.config.set({"taskfmm.shared-directory": str(tmp_path / "other")}):
        other = pickle.loads(pickle.dumps(shelf.reference("a")))
    assert kept.path.parent == directory
    assert other.path.parent == tmp_path / "other"


def test_results_are_as_large_as_the_scheduler_is_told(client, tiny):
    fmm, q = tiny
    both = client.persist(list(fmm.evaluate(q * 3).values()))
    distributed.wait(both)
    sizes = client.cluster.scheduler.tasks
    for array in both:
        for key in dask.core.flatten(array.__dask_keys__()):
            assert array.nbytes <= sizes[key].nbytes <= array.nbytes + 500


def test_identical_questions_are_answered_again(client, tiny):
    """The same keys while a future lives, and after it has gone."""
    fmm, q = tiny
    charges = q * 5
    first = client.compute(fmm.potential(charges))
    np.testing.assert_array_equal(first.result(), fmm.potential(charges).compute())
    del first
    np.testing.assert_array_equal(fmm.potential(charges).compute(), fmm.serial(charges))


def test_too_small_a_job_is_said_once(client, tiny, says):
    fmm, q = tiny
    fmm.potential(q)
    fmm.potential(2 * q)
    (said,) = says()
    assert 'phi.compute(scheduler="threads")' in said


def test_large_jobs_and_threads_are_not_warned(client, tiny, says, monkeypatch):
    monkeypatch.setattr(Forecast, "task_seconds", property(lambda self: 0.6))
    tiny[0].potential(tiny[1])
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "active_client", lambda: None)
        patch.setattr(Forecast, "task_seconds", property(lambda self: 0.01))
        tiny[0].potential(tiny[1])
    assert says() == []


def test_a_local_scheduler_gives_up_without_workers(client, tiny, monkeypatch):
    monkeypatch.setattr(runtime, "_arranged", set())
    scheduler = client.cluster.scheduler
    monkeypatch.setattr(scheduler, "no_workers_timeout", None)
    tiny[0].potential(tiny[1])
    assert scheduler.no_workers_timeout == runtime.NO_WORKERS_TIMEOUT
    runtime._arranged.clear()
    scheduler.no_workers_timeout = 77.0
    tiny[0].potential(tiny[1])
    assert scheduler.no_workers_timeout == 77.0


def test_preparing_never_fails(tiny, caplog):
    class Broken:
        status = "running"

        def __getattr__(self, name):
            raise RuntimeError(name)

    runtime.prepare(Broken(), lambda: 1 / 0)


async def _asynchronously(fmm, q):
    options = dict(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0")
    async with (
        distributed.LocalCluster(**options, asynchronous=True) as cluster,
        distributed.Client(cluster.scheduler_address, asynchronous=True) as client,
    ):
        return await client.compute(fmm.potential(q))


def test_under_an_asynchronous_client(tiny, by_reference):
    import asyncio

    found = asyncio.run(asyncio.wait_for(_asynchronously(*tiny), 60))
    np.testing.assert_array_equal(found, tiny[0].serial(tiny[1]))


def test_inside_a_task(client, tiny):
    """A plan travels, and is evaluated in a task that lets its thread go meanwhile."""
    fmm, q = tiny

    def inner(fmm, q):
        from distributed import worker_client

        with worker_client():
            return fmm.potential(q * 7).compute()

    np.testing.assert_array_equal(client.submit(inner, fmm, q).result(60), fmm.serial(q * 7))
