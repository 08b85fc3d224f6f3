"""The thread budget: whoever runs a task, Dask x Numba x BLAS threads stay within the cores."""

from __future__ import annotations

import subprocess
import sys
import threading

import dask
import numba
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from taskfmm.runtime import threads


def share(_=None):
    return threads.concurrent_tasks(), threads.numba_threads()


def blas_threads() -> list[int]:
    return [info["num_threads"] for info in ThreadpoolController().info() if info["user_api"] == "blas"]


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(threads, "n_cores", lambda: 4)


def test_cores_are_bounded_by_numba_and_the_machine():
    assert 1 <= threads.n_cores() <= numba.config.NUMBA_NUM_THREADS


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


def test_without_a_safe_layer_concurrent_tasks_run_serial_loops(four_cores, monkeypatch):
    monkeypatch.setattr(threads, "concurrent_calls_are_safe", lambda: False)
    assert share() == (1, 4)
    found = dask.compute(*(dask.delayed(share)(i) for i in range(4)), scheduler="threads", num_workers=2)
    assert {each for _, each in found} == {1}


@pytest.mark.parametrize("layer, safe", [("omp", True), ("tbb", True), ("workqueue", False)])
def test_layers_that_may_be_called_twice(monkeypatch, layer, safe):
    threads.concurrent_calls_are_safe.cache_clear()
    monkeypatch.setattr(numba.config, "THREADING_LAYER", layer)
    assert threads.concurrent_calls_are_safe() is safe
    threads.concurrent_calls_are_safe.cache_clear()


def test_a_distributed_worker_divides_by_its_threads(four_cores):
    distributed = pytest.importorskip("distributed")
    options = dict(n_workers=1, processes=False, dashboard_address=None)
    for workers, expected in ((1, 4), (2, 2 if threads.concurrent_calls_are_safe() else 1)):
        with (
            distributed.LocalCluster(threads_per_worker=workers, **options) as cluster,
            distributed.Client(cluster) as client,
        ):
            assert client.submit(share, pure=False).result() == (workers, expected)


def test_child_processes_run_serial_loops(four_cores):
    """The processes scheduler starts as many as it likes."""
    tasks, each = dask.delayed(share)().compute(scheduler="processes", num_workers=2)
    assert tasks == threads.CPU_COUNT or tasks == min(threads.CPU_COUNT, numba.config.NUMBA_NUM_THREADS)
    assert each == 1


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
