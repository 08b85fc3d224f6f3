"""One plan in many hands: threads at once, forked and spawned processes, pickles, and hundreds of evaluations."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from functools import partial

import dask
import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import taskfmm
from taskfmm.testing import DISTRIBUTIONS

OUTPUTS = ("potential", "gradient")
PATIENCE = 120
"""Seconds after which a test has failed, not merely been slow."""


def in_a_process(code: str, *arguments: str, environment: dict | None = None) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    variables = dict(os.environ) | (environment or {})
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    ) as running:
        try:
            out, err = running.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)  # children that hang, too
            raise
    assert running.returncode == 0, f"{running.returncode}: {err}"
    return out


# --- threads


def at_once(function, n: int) -> list:
    """What a function of a number gives in so many threads that start together."""
    together, found = threading.Barrier(n), [None] * n

    def run(i):
        together.wait(PATIENCE)
        try:
            found[i] = function(i)
        except BaseException as error:
            found[i] = error

    running = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(n)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


def blas_threads() -> list[int]:
    return [info["num_threads"] for info in ThreadpoolController().info() if info["user_api"] == "blas"]


WAYS = (
    lambda fmm, q, output: fmm.evaluate(q, output)[output].compute(),
    lambda fmm, q, output: fmm.evaluate(q, output)[output].compute(scheduler="synchronous"),
    lambda fmm, q, output: fmm.evaluate(q, output)[output].compute(scheduler="threads", num_workers=3),
    lambda fmm, q, output: fmm.serial(q, output),
)


def in_some_way(fmm, charges, output, i):
    return WAYS[i % len(WAYS)](fmm, charges[i], output)


@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.nightly)])
def test_eight_threads_on_one_plan(rounds):
    """A new plan each time, so that what it makes lazily is made by all at once; BLAS gets its setting back."""
    for seed in range(rounds):
        rng = np.random.default_rng(48210011 + seed)
        x, q = DISTRIBUTIONS["plummer"](1500, rng), rng.uniform(-1, 1, (8, 1500))
        known, shared = (taskfmm.Fmm(x, order=3, leaf_size=15) for _ in range(2))
        expected = {output: [known.serial(row, output) for row in q] for output in OUTPUTS}
        before = blas_threads()
        for output in OUTPUTS:
            found = at_once(partial(in_some_way, shared, q, output), 8)
            for one, other in zip(found, expected[output], strict=True):
                np.testing.assert_array_equal(one, other)
        assert blas_threads() == before


def test_eight_threads_plan_at_once():
    rng = np.random.default_rng(70411903)
    x, q = rng.random((1500, 3)), rng.uniform(-1, 1, 1500)
    expected = taskfmm.Fmm(x, order=3, leaf_size=15).serial(q)
    for found in at_once(lambda _: taskfmm.Fmm(x, order=3, leaf_size=15).potential(q).compute(), 8):
        np.testing.assert_array_equal(found, expected)


# --- forks


FORK = """
import multiprocessing, os, signal, sys
import dask, numpy as np, taskfmm
rng = np.random.default_rng(39207011)
x, q = rng.random((1200, 3)), rng.uniform(-1, 1, 1200)
fmm = taskfmm.Fmm(x, order=3, leaf_size=15)
expected = fmm.serial(q)

def used_in_parent():
    # every kind of thread there may be before: OpenMP, BLAS, both of Dask's pools
    with dask.config.set({"taskfmm.numba-threads": 2, "taskfmm.oversubscribe": True}):
        fmm.potential(q).compute(scheduler="synchronous")
        fmm.potential(q).compute(scheduler="threads", num_workers=2)
    fmm.potential(q).compute()
    np.linalg.norm(rng.random((300, 300)) @ rng.random((300, 300)))

def child():
    for lazy in (fmm.potential(q), taskfmm.Fmm(x, order=3, leaf_size=15).potential(q)):
        for how in ({}, {"scheduler": "synchronous"}, {"scheduler": "threads", "num_workers": 3}):
            for asked in (None, 2):
                with dask.config.set({"taskfmm.numba-threads": asked, "taskfmm.oversubscribe": True}):
                    np.testing.assert_array_equal(lazy.compute(**how), expected)
    np.testing.assert_array_equal(fmm.serial(q), expected)

def by_fork():
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def by_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode

def potential(charges):
    return fmm.potential(charges).compute()

def by_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(potential, [q] * 4):
            np.testing.assert_array_equal(found, expected)

import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads, since Python 3.12
if sys.argv[1] == "after use":
    used_in_parent()
by_fork(), by_multiprocessing(), by_pool()
if sys.argv[1] == "after use":
    used_in_parent()
np.testing.assert_array_equal(fmm.potential(q).compute(), expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("when", ["before use", "after use"])
def test_forked_children_evaluate_to_the_same_bits(when):
    in_a_process(FORK, when)


# --- pickles


def test_a_pickled_plan_is_the_same_and_little_more_than_its_arrays(clustered):
    from taskfmm.forecast.effort import n_bytes

    q = np.random.default_rng(6680113).uniform(-1, 1, len(clustered.sources))
    new = pickle.dumps(clustered, pickle.HIGHEST_PROTOCOL)
    expected = {output: clustered.evaluate(q, output)[output].compute() for output in OUTPUTS}
    clustered.explain()
    used = pickle.dumps(clustered, pickle.HIGHEST_PROTOCOL)
    arrays = n_bytes(clustered.plan) + clustered.sources.nbytes
    assert len(new) <= 1.5 * arrays
    assert len(used) <= 1.5 * arrays
    for data in (new, used):
        again = pickle.loads(data)
        assert repr(again) == repr(clustered)
        assert again.targets is again.sources
        for output in OUTPUTS:
            lazy = again.evaluate(q, output)[output]
            assert lazy.name == clustered.evaluate(q, output)[output].name
            np.testing.assert_array_equal(lazy.compute(), expected[output])
            np.testing.assert_array_equal(again.serial(q, output), expected[output])


def test_a_pickled_plan_of_other_targets(separate):
    q = np.random.default_rng(6680117).uniform(-1, 1, len(separate.sources))
    again = pickle.loads(pickle.dumps(separate))
    np.testing.assert_array_equal(again.potential(q).compute(), separate.serial(q))


@pytest.mark.parametrize("n", [0, 1])
def test_a_pickled_plan_of_few_points(n):
    again = pickle.loads(pickle.dumps(taskfmm.Fmm(np.ones((n, 3)))))
    np.testing.assert_array_equal(again.potential(np.ones(n)).compute(), np.zeros(n))


def test_lazy_results_can_be_pickled(clustered, tmp_path):
    """By themselves, with all they need: in a process that knows nothing else."""
    import cloudpickle

    q = np.random.default_rng(6680123).uniform(-1, 1, len(clustered.sources))
    lazy, file = clustered.potential(q), tmp_path / "phi.npy"
    (tmp_path / "lazy").write_bytes(pickle.dumps([pickle.dumps(lazy), cloudpickle.dumps(lazy)]))
    code = (
        "import sys, pickle, numpy as np\n"
        "both = pickle.load(open(sys.argv[1], 'rb'))\n"
        "np.save(sys.argv[2], [pickle.loads(each).compute() for each in both])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lazy"), str(file)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    np.testing.assert_array_equal(np.load(file), [clustered.serial(q)] * 2)


# --- leaks

LEAK = """
import gc, os, sys, threading
import dask, numpy as np, psutil, taskfmm

def main(how, n, rounds):
    rng = np.random.default_rng(50021179)
    x, q = rng.random((n, 3)), rng.uniform(-1, 1, (rounds, n))
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=128)
    process = psutil.Process()

    def evaluate(i):
        if how == "profile":
            with taskfmm.profile() as prof:
                dask.compute(fmm.evaluate(q[i]))
            prof.totals()
        elif how == "plans":
            dask.compute(taskfmm.Fmm(x + i, eps=1e-3, leaf_size=128).evaluate(q[i]))
        else:
            dask.compute(fmm.evaluate(q[i]))

    def state():
        gc.collect()
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    for i in range(rounds):
        evaluate(i)
    # allocators settle late: what grows in every one of three goes is a leak
    states = [state()]
    for _ in range(3):
        for i in range(100):
            evaluate(i % rounds)
        states.append(state())
    print([[b - a for a, b in zip(*pair)] for pair in zip(states, states[1:])])

if __name__ == "__main__":
    how, n, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if how in ("cluster", "files"):
        from distributed import Client, scheduler, worker
        from taskfmm.graph import reference

        # What Dask remembers of any tasks is not ours. Most of it has a length, here one that is reached at once.
        # Spans have none: statistics of each computation, which the scheduler keeps, 30 kB for ten tasks.
        names = ("log-length", "low-level-log-length", "events-log-length", "system-monitor.log-length")
        dask.config.set({f"distributed.admin.{name}": 50 for name in names})
        dask.config.set({"distributed.diagnostics.computations.max-history": 5})
        dask.config.set({"distributed.worker.profile.enabled": False})
        for there in (scheduler, worker):
            del there.DEFAULT_EXTENSIONS["spans"]
        if how == "files":
            reference.SMALL = 1000
        with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None):
            main(how, n, rounds)
    else:
        with dask.config.set(scheduler="synchronous" if how == "synchronous" else "threads"):
            main(how, n, rounds)
"""


@pytest.mark.parametrize(
    "how, n",
    [
        ("threads", 2000),
        *(pytest.param(how, 2000, marks=pytest.mark.nightly) for how in ("synchronous", "profile", "plans")),
        *(pytest.param(how, 30_000, marks=pytest.mark.nightly) for how in ("threads", "profile")),
        *(pytest.param("cluster", n, marks=pytest.mark.nightly) for n in (2000, 30_000)),
        pytest.param("files", 2000, marks=pytest.mark.nightly),
    ],
)
def test_a_hundred_evaluations_leak_nothing(how, n):
    """Less than a megabyte, no file descriptor and no thread, in the best of three hundreds after a warm-up."""
    steps = json.loads(in_a_process(LEAK, how, str(n), "40", environment={"MALLOC_ARENA_MAX": "2"}))
    memory, descriptors, threads = (min(step[i] for step in steps) for i in range(3))
    assert memory < 2**20, steps
    assert descriptors <= 0, steps
    assert threads <= 0, steps


def test_a_few_evaluations_keep_no_objects(clustered):
    """What Python itself allocates does not grow either."""
    import gc
    import tracemalloc

    q = np.random.default_rng(7719041).uniform(-1, 1, len(clustered.sources))
    lazy = clustered.potential(q)
    tracemalloc.start()
    try:
        for i in range(6):
            dask.compute(clustered.potential(q * (i + 1)), lazy)
            if i == 1:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 2**17
    finally:
        tracemalloc.stop()
