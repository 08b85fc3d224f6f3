"""The thread budget: whoever runs a task, Dask x Numba x BLAS threads stay within the cores."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import dask
import numba
import numpy as np
import pytest
from cases import each
from threadpoolctl import ThreadpoolController

import taskfmm
from taskfmm.runtime import threads


def share(_=None):
    return threads.concurrent_tasks(), threads.numba_threads()


def blas_threads() -> list[int]:
    return [info["num_threads"] for info in ThreadpoolController().info() if info["user_api"] == "blas"]


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "most_numba_threads", lambda: 4)


@pytest.fixture
def layer(monkeypatch):
    """Configures a threading layer, as if Numba had loaded none yet; what was pinned comes back."""
    pinned = threads.threading_layer()

    def configure(name, loadable=("omp", "workqueue"), running=None):
        def of_numba():
            if running is None:
                raise ValueError("not initialized")
            return running

        monkeypatch.setattr(numba.config, "THREADING_LAYER", name)
        monkeypatch.setattr(numba, "threading_layer", of_numba)
        monkeypatch.setattr(threads, "_loads", lambda layer: layer in loadable)
        threads.threading_layer.cache_clear()

    yield configure
    monkeypatch.undo()
    threads.threading_layer.cache_clear()
    assert threads.threading_layer() == pinned


def test_cores_are_bounded_by_numba_and_the_machine():
    assert 1 <= threads.n_cores() <= min(threads.cores(), numba.config.NUMBA_NUM_THREADS)


def test_alone_in_the_main_thread_a_loop_gets_every_core(four_cores):
    assert share() == (1, 4)
    assert dask.delayed(share)().compute(scheduler="synchronous") == (1, 4)


@pytest.mark.parametrize("workers, numba_threads", [(1, 4), (2, 2), (3, 1), (4, 1), (9, 1)])
def test_the_threaded_scheduler_shares_the_cores(four_cores, workers, numba_threads):
    how = dict(scheduler="threads", num_workers=workers)
    everyone = threading.Barrier(workers)  # a pool starts its threads one by one
    dask.compute(*(dask.delayed(lambda _: everyone.wait(30))(i) for i in range(workers)), **how)
    found = dask.compute(*(dask.delayed(share)(i) for i in range(8)), **how)
    expected = numba_threads if workers == 1 or threads.concurrent_calls_are_safe() else 1
    assert set(found) == {(workers, expected)}
    assert threads.foretold(workers) == expected


def test_an_own_pool_of_the_caller_counts(four_cores):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        found = dask.compute(*(dask.delayed(share)(i) for i in range(4)), scheduler="threads", pool=pool)
    assert all(tasks >= 2 and 1 <= each <= 4 // tasks for tasks, each in found)


def test_an_unknown_thread_takes_one_core(four_cores):
    found = []
    thread = threading.Thread(target=lambda: found.append(share()))
    thread.start()
    thread.join()
    assert found == [(4, 1)]


def test_a_configured_pool_counts(four_cores):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool, scheduler="threads"):
        assert set(dask.compute(*(dask.delayed(share)(i) for i in range(4)))) == {(2, 2)}


def test_on_workqueue_concurrent_tasks_run_serial_loops_and_say_so_once(four_cores, layer, says):
    layer("workqueue")
    assert share() == (1, 4)
    for _ in range(2):
        found = dask.compute(*(dask.delayed(share)(i) for i in range(4)), scheduler="threads", num_workers=2)
        assert {each for _, each in found} == {1}
    (line,) = says()
    assert "workqueue" in line


@pytest.mark.parametrize(
    "asked, loadable, found",
    [
        ("default", ("tbb", "omp", "workqueue"), "tbb"),
        ("default", ("omp", "workqueue"), "omp"),
        ("default", ("workqueue",), "workqueue"),
        ("threadsafe", ("omp", "workqueue"), "omp"),
        ("forksafe", ("omp", "workqueue"), "workqueue"),
        ("OMP", ("tbb", "omp"), "omp"),
    ],
)
def test_the_layer_is_what_numba_would_load_and_stays(layer, asked, loadable, found):
    layer(asked, loadable)
    assert threads.threading_layer() == found
    assert found == numba.config.THREADING_LAYER
    assert threads.concurrent_calls_are_safe() is (found != "workqueue")


def test_a_layer_that_runs_already_is_the_one(layer):
    layer("default", running="workqueue")
    assert threads.threading_layer() == "workqueue"


@pytest.mark.parametrize(
    "asked, running, says",
    [
        ("tbb", None, "tbb cannot be loaded"),
        ("safe", None, "tbb cannot be loaded"),
        ("pthreads", None, "expected one of default"),
        ("tbb", "omp", "Numba runs on omp already"),
    ],
)
def test_a_layer_that_cannot_be_had_is_an_error_when_planning(layer, asked, running, says):
    layer(asked, running=running)
    with pytest.raises(taskfmm.InputError, match=says):
        taskfmm.Fmm(np.random.default_rng(5).random((100, 3)), eps=1e-3)


TBB = """
import numpy as np, taskfmm
try:
    taskfmm.Fmm(np.eye(3), eps=1e-3)
except taskfmm.InputError as error:
    print(error)
"""


@pytest.mark.skipif(threads._loads("tbb"), reason="TBB is installed")
def test_the_environment_asks_for_a_layer_that_is_not_there():
    environment = dict(os.environ, NUMBA_THREADING_LAYER="tbb")
    command = [sys.executable, "-c", TBB]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("NUMBA_THREADING_LAYER is 'tbb', and tbb cannot be loaded here"), (
        done.stderr
    )


def test_a_configured_number_is_taken_where_it_fits(four_cores, says):
    with dask.config.set({"taskfmm.numba-threads": 2}):
        assert share() == (1, 2)
        how = dict(scheduler="threads", num_workers=2)
        assert set(dask.compute(*(dask.delayed(share)(i) for i in range(8)), **how)) == {(2, 2)}
    assert says() == []


@pytest.mark.parametrize("workers, asked, each", [(2, 3, 2), (3, 2, 1), (8, 2, 1), (1, 9, 4)])
def test_too_many_threads_fall_back_and_it_is_said_once(four_cores, says, workers, asked, each):
    how = dict(scheduler="threads", num_workers=workers)
    with dask.config.set({"taskfmm.numba-threads": asked}):
        for _ in range(3):
            assert dask.delayed(share)().compute(**how)[1] == each
        (line,) = says()
        assert f"{workers} tasks at once x {asked} Numba threads are more than 4 cores" in line
        with dask.config.set({"taskfmm.oversubscribe": True}):
            assert dask.delayed(share)().compute(**how)[1] == min(asked, 4)


@each(
    "key, value",
    [("numba-threads", v) for v in (0, -1, 1.5, "two", True)]
    + [("oversubscribe", v) for v in (None, 1, "no")],
)
def test_settings_that_cannot_be_meant(four_cores, key, value):
    asked = {"taskfmm.numba-threads": 8} | {f"taskfmm.{key}": value}
    with dask.config.set(asked), pytest.raises(taskfmm.InputError, match=rf"taskfmm\.{key} is {value!r}"):
        share()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_distributed_worker_has_its_share_already(four_cores, says, workers):
    """One Numba thread each, unless the configuration says otherwise and it fits beside the other workers."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(share, pure=False).result() == (workers, 1)
        with dask.config.set({"taskfmm.numba-threads": 4}):
            assert client.submit(share, pure=False).result() == (workers, 4 // workers)
    assert len(says()) == workers - 1


def test_sibling_worker_processes_share_the_cores(monkeypatch, four_cores, says):
    monkeypatch.setattr(threads, "_worker_threads", lambda: 1)
    monkeypatch.setattr(threads, "_siblings", lambda now: 2)
    assert share() == (1, 1)
    with dask.config.set({"taskfmm.numba-threads": 4}):
        assert share() == (1, 2)
    (line,) = says()
    assert line.startswith("2 worker processes x 1 tasks at once x 4 Numba threads are more than 4 cores")


def siblings(_=None):
    return threads._siblings(0)


def test_worker_processes_see_each_other(client):
    beside = len(multiprocessing.active_children())  # the workers of this cluster, and of others in this run
    assert beside >= 2
    assert client.gather([client.submit(siblings, i, pure=False) for i in range(4)]) == [beside] * 4
    assert threads._siblings(0) == 1


def test_the_budget_is_asked_for_in_microseconds(four_cores):
    """A task asks once or twice; a generous limit on the fastest of many goes."""
    import timeit

    assert min(timeit.repeat(threads.numba_threads, number=100, repeat=20)) / 100 < 1e-3


def test_child_processes_run_serial_loops(four_cores):
    """The processes scheduler starts as many as it likes."""
    tasks, each = dask.delayed(share)().compute(scheduler="processes", num_workers=2)
    assert tasks == threads.CPU_COUNT
    assert each == 1


@pytest.fixture(scope="module")
def known(clustered):
    charges = np.random.default_rng(414677).uniform(-1, 1, len(clustered.sources))
    return clustered.evaluate(charges)["gradient"], clustered.serial(charges, "gradient")


@each("numba_threads", [1, 2])
@each("dask_threads", [1, 2, 3])
def test_every_split_gives_the_same_bits(known, dask_threads, numba_threads):
    lazy, expected = known
    how = {"taskfmm.numba-threads": numba_threads, "taskfmm.oversubscribe": True}
    with dask.config.set(how):
        np.testing.assert_array_equal(lazy.compute(scheduler="threads", num_workers=dask_threads), expected)


@pytest.mark.parametrize("workers, nthreads", [(1, 1), (1, 3), (3, 1), (2, 2)])
def test_every_assignment_to_workers_gives_the_same_bits(known, workers, nthreads):
    """Each task is pinned to a worker drawn at random."""
    import distributed

    lazy, expected = known
    rng = np.random.default_rng(1000 * workers + nthreads)
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=nthreads, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        addresses = list(client.scheduler_info(n_workers=-1)["workers"])
        places = {key: addresses[rng.integers(workers)] for key in lazy.__dask_graph__()}
        with dask.config.set({"optimization.fuse.active": False}), dask.annotate(workers=places.get):
            found = client.persist(lazy)
        distributed.wait(found)
        where = client.who_has(found)
        assert where
        assert {key: list(held) for key, held in where.items()} == {key: [places[key]] for key in where}
        np.testing.assert_array_equal(found.compute(), expected)


def test_worker_processes_give_the_same_bits(known, client):
    lazy, expected = known
    np.testing.assert_array_equal(client.compute(lazy).result(), expected)


@pytest.fixture
def two_blas_threads():
    """BLAS with a setting that is not one and not the default by accident."""
    import scipy.linalg.cython_blas  # noqa: F401

    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS cannot be given two threads")
        yield


def test_blas_runs_one_thread_inside_and_gets_its_setting_back(two_blas_threads):
    with threads.budget() as n:
        assert n >= 1
        assert set(blas_threads()) == {1}
        with threads.budget():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


def test_blas_gets_its_setting_back_after_an_error(two_blas_threads):
    with pytest.raises(ZeroDivisionError), threads.budget():
        raise ZeroDivisionError
    assert set(blas_threads()) == {2}


def test_blas_setting_survives_overlapping_tasks(two_blas_threads):
    """The first in leaves before the last: one thread until the last is out."""
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    seen = {}

    def first():
        with threads.budget():
            first_in.set()
            second_in.wait(30)
            seen["both"] = set(blas_threads())
        seen["one left"] = set(blas_threads())
        first_out.set()

    def second():
        first_in.wait(30)
        with threads.budget():
            second_in.set()
            first_out.wait(30)
            seen["last"] = set(blas_threads())

    running = [threading.Thread(target=f) for f in (first, second)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert seen == {"both": {1}, "one left": {1}, "last": {1}}
    assert set(blas_threads()) == {2}


def test_blas_setting_survives_many_threads_at_once(two_blas_threads):
    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            with threads.budget():
                rng.random((20, 20)) @ rng.random((20, 20))
        return True

    assert all(dask.compute(*(dask.delayed(work)(7001 + i) for i in range(8)), num_workers=4))
    assert set(blas_threads()) == {2}


SPAWN = """
import multiprocessing
import numpy as np, taskfmm

def child(pipe, fmm, q):
    pipe.send(fmm.potential(q).compute(scheduler="synchronous"))

if __name__ == "__main__":
    rng = np.random.default_rng(88172645)
    fmm = taskfmm.Fmm(rng.random((500, 3)), order=3, leaf_size=20)
    q = rng.random(500)
    expected = fmm.potential(q).compute(scheduler="synchronous")
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(theirs, fmm, q))
    process.start()
    np.testing.assert_array_equal(ours.recv(), expected)
    process.join()
"""


def test_a_spawned_process_gives_the_same_bits(tmp_path):
    """A whole Fmm pickles."""
    script = tmp_path / "script.py"
    script.write_text(SPAWN)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


BITS = """
import numpy as np, taskfmm
points = np.random.default_rng(3).random((1500, 3))
fmm = taskfmm.Fmm(points, kernel=taskfmm.kernels.Laplace(), eps=1e-5, leaf_size=60)
print(fmm.serial(output="hessian", dipoles=points).tobytes().hex())
"""


def test_operators_do_not_hang_on_the_threads_of_blas(tmp_path):
    """A process that finds none on the disk makes its own, also where they are only looked at."""
    found = [
        subprocess.run(
            [sys.executable, "-c", BITS],
            env={**os.environ, "OPENBLAS_NUM_THREADS": n, "TASKFMM_CACHE_DIR": str(tmp_path / n)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n in ("1", "2")
    ]
    assert found[0] == found[1]
