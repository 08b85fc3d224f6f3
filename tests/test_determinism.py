"""One plan, the same bits: whatever schedules it, however many workers there are, any Dask threads x Numba threads.

In processes of their own, since Numba fixes its largest number of threads when it starts: four here, whatever the
machine has. `test_threads.py` and `test_graph.py` have the parts that need no more than two.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taskfmm.testing import DISTRIBUTIONS

RUN = """
import hashlib, sys
import dask, numpy as np, taskfmm
from taskfmm.graph import reference
from taskfmm.plan import cost, plan
from taskfmm.testing import sources_and_targets

def digests(fmm, q, asked, **how):
    with dask.config.set({"taskfmm.numba-threads": asked, "taskfmm.oversubscribe": True}):
        out = dask.compute(fmm.evaluate(q), **how)[0]
        alone = fmm.potential(q).compute(**how)
    return [hashlib.sha256(np.ascontiguousarray(a)).hexdigest() for a in (*out.values(), alone)]

def ways(name, most):
    for k in range(1, most + 1):
        yield dict(scheduler="synchronous"), k
        for t in range(1, most + 1):
            yield dict(scheduler="threads", num_workers=t), k

def main(names, relations, what, most, leaf_sizes):
    for relation in relations.split(","):
        for leaf_size in leaf_sizes.split(","):
            check_all(names, relation, what, most, int(leaf_size))

def check_all(names, relation, what, most, leaf_size):
    cost.SHORTEST, cost.LONGEST, cost.FEWEST_BOXES, plan.CHUNK = 1e-4, 1e-3, 16, 1000
    reference.SMALL = 0
    for name in names.split(","):
        rng = np.random.default_rng(90377023)
        sources, targets = sources_and_targets(name, relation, 2500, rng)
        q = rng.uniform(-1, 1, len(sources))
        fmm = taskfmm.Fmm(sources, targets, eps=1e-4, leaf_size=leaf_size)
        expected = digests(fmm, q, 1, scheduler="synchronous")
        def check(asked=None, **how):
            assert digests(fmm, q, asked, **how) == expected, (name, asked, how)
        if what == "threads":
            for how, k in ways(name, most):
                check(k, **how)
            again = taskfmm.Fmm(sources, targets, eps=1e-4, leaf_size=leaf_size)
            assert digests(again, q, most, scheduler="threads") == expected
        elif what == "processes":
            for t in range(1, most + 1):
                check(scheduler="processes", num_workers=t)
        else:
            from distributed import Client, LocalCluster
            for workers in range(1, most + 1):
                for nthreads in (1, 2) if what == "workers" else (1,):
                    options = dict(processes=what == "cluster", dashboard_address=None)
                    with LocalCluster(n_workers=workers, threads_per_worker=nthreads, **options) as cluster:
                        with Client(cluster):
                            check()
                            check(2)

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
"""


@pytest.fixture
def run(tmp_path):
    def go(names, relations, what, most, leaf_sizes="25"):
        script = tmp_path / "script.py"
        script.write_text(RUN)
        environment = dict(os.environ, NUMBA_NUM_THREADS="4")
        command = [sys.executable, str(script), ",".join(names), relations, what, str(most), leaf_sizes]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr

    return go


def test_more_threads_than_cores(run):
    """Some of the nightly test, and the direct sum: targets in several tiles of a task and in several tasks."""
    run(("plummer",), "same,separate", "threads", 3, f"25,{10**6}")


@pytest.mark.nightly
@pytest.mark.parametrize("relation", ["same", "separate"])
def test_any_number_of_threads(run, relation):
    """1 to 4 Dask threads x 1 to 4 Numba threads, on every distribution."""
    run(DISTRIBUTIONS, relation, "threads", 4)


@pytest.mark.nightly
@pytest.mark.parametrize("what", ["workers", "processes", "cluster"])
def test_any_number_of_workers(run, what):
    """1 to 4 workers, in this process of one or two threads each, or processes, of Dask alone or distributed."""
    run(("plummer", "two_clusters"), "separate", what, 4)
