"""Results block by block under every scheduler: each row once, the right numbers, none kept longer than needed."""

from __future__ import annotations

import threading
import weakref

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client

from taskfmm.runtime.blocks import each_block


def collected(fmm, charges):
    arrays = fmm.evaluate(charges)
    found = {name: np.full(array.shape, np.nan) for name, array in arrays.items()}
    rows, busy = [], threading.Lock()

    def write(name, first, block):
        assert busy.acquire(blocking=False), "two calls at once"
        assert np.isnan(found[name][first : first + len(block)]).all(), "a row came twice"
        found[name][first : first + len(block)] = block
        rows.append(len(block))
        busy.release()

    each_block(arrays, write)
    assert len(rows) == sum(array.numblocks[0] for array in arrays.values()) > 4
    return found


def check(clustered, found, charges):
    (exact,) = dask.compute(clustered.evaluate(charges), scheduler="synchronous")
    for name in exact:
        np.testing.assert_array_equal(found[name], exact[name])


@pytest.mark.parametrize("scheduler", [None, "synchronous", "processes"])
def test_local_schedulers(clustered, scheduler):
    charges = np.random.default_rng(66103).normal(size=len(clustered.sources))
    with dask.config.set(scheduler=scheduler):
        found = collected(clustered, charges)
    check(clustered, found, charges)


def test_a_cluster(clustered):
    charges = np.random.default_rng(5531).normal(size=len(clustered.sources))
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None):
        found = collected(clustered, charges)
    check(clustered, found, charges)


def test_blocks_are_let_go():
    """Of a hundred blocks only a few are alive at any time."""
    alive, most = [0], [0]

    def gone():
        alive[0] -= 1

    def make(block):
        made = block.copy()
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(made, gone)
        return made

    lazy = da.zeros(1000, chunks=10).map_blocks(make, meta=np.empty(0))
    with dask.config.set(scheduler="threads", num_workers=2):
        each_block({"x": lazy}, lambda *_: None)
    assert 0 < most[0] < 20


def test_an_error_of_the_writer_ends_it(clustered):
    def full(*_):
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        each_block({"x": da.zeros(100, chunks=10)}, full)
