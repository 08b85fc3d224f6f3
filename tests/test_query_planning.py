"""Under Dask's array expressions (array.query-planning), which a process chooses before it imports dask.array.

One process goes through all that touches Dask's graphs, since starting one takes longer than the checks.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import pathlib, sys
import dask
dask.config.set({"temporary-directory": sys.argv[1]})
import dask.array as da, numpy as np, taskfmm
from dask.callbacks import Callback

OPERATORS = {"P2M", "M2M", "M2L", "L2L", "L2P", "P2P"}

def graph(fmm, q):
    keys = []
    phi = fmm.evaluate(q)
    with Callback(posttask=lambda key, *_: keys.append(key)):
        potential, gradient = dask.compute(phi["potential"], phi["gradient"], scheduler="synchronous")
    np.testing.assert_array_equal(gradient, fmm.serial(q, "gradient"))
    exact = taskfmm.direct(fmm.sources, q)
    assert np.linalg.norm(potential - exact) < 2e-2 * np.linalg.norm(exact)
    names = {key[0].split("-")[0] for key in keys}
    assert OPERATORS <= names, names
    lazy = fmm.potential(da.from_array(q, chunks=250))
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), fmm.serial(q))

def profile(fmm, q):
    phi = fmm.potential(da.from_array(q, chunks=300))
    with taskfmm.profile() as found:
        (phi + 1.0).compute(scheduler="synchronous")
    names = {row["operator"] for row in found.table(by="operator")}
    assert names >= {"charges", "potential"} | OPERATORS, names
    assert "CPU/wall" in str(found)

def spread(x, q):
    lazy = da.from_array(x, chunks=(700, 3))
    fmm = taskfmm.Fmm.from_dask(lazy, eps=1e-2, leaf_size=20, region=len(x) // 4)
    exact = taskfmm.direct(x, q)
    for charges in (q, da.from_array(q, chunks=300)):
        found = fmm.potential(charges).compute(scheduler="synchronous")
        assert np.linalg.norm(found - exact) < 1e-2 * np.linalg.norm(exact)

def forecast(x):
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=100, memory_limit="64GiB")
    fmm.evaluate(np.ones(len(x)))
    assert "critical path" in fmm.explain() and fmm._repr_html_()
    fmm.visualize()

def cluster(fmm, q):
    from distributed import Client, LocalCluster
    from taskfmm.graph import reference
    reference.SMALL = 0
    options = dict(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for output in ("potential", "gradient"):
            found = fmm.evaluate(3 * q, output)[output].compute()
            np.testing.assert_array_equal(found, fmm.serial(3 * q, output))

if __name__ == "__main__":
    assert da.array_expr_enabled()
    rng = np.random.default_rng(7719023)
    x, q = rng.random((900, 3)), rng.uniform(-1, 1, 900)
    fmm = taskfmm.Fmm(x, order=3, leaf_size=20)
    graph(fmm, q), profile(fmm, q), spread(x, q)
    with dask.config.set({"optimization.fuse.active": False}):  # as in the shipped configurations
        forecast(rng.random((3000, 3))), cluster(fmm, q)
"""


def test_everything_works_under_array_expressions(tmp_path):
    pytest.importorskip("matplotlib")
    script, files = tmp_path / "script.py", tmp_path / "files"
    script.write_text(SCRIPT)
    files.mkdir()
    environment = dict(os.environ, DASK_ARRAY__QUERY_PLANNING="True")
    command = [sys.executable, "-W", "error", script, files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(files.glob("*.h5")) == []
