"""Lazy charges: whatever their chunks turn out to be, the right result or one error that names the chunk."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from cases import each

import taskfmm

N, CHUNK = 100, 30


@pytest.fixture(scope="module")
def fmm():
    return taskfmm.Fmm(np.random.default_rng(60161).random((N, 3)), order=3, leaf_size=20)


@pytest.fixture(scope="module", params=["one process", "points in other chunks"])
def planned(request, fmm):
    if request.param == "one process":
        return fmm
    points = da.from_array(np.random.default_rng(60161).random((N, 3)), chunks=(45, 3))
    return taskfmm.Fmm.from_dask(points, order=3, leaf_size=20)


def charges(number: int, change) -> da.Array:
    """Ones, declared as float64 in chunks of 30, 30, 30 and 10; but one chunk comes changed."""

    def chunk(block, block_info):
        return change(block) if block_info[0]["chunk-location"] == (number,) else block

    return da.map_blocks(chunk, da.ones(N, chunks=CHUNK), dtype=float, meta=np.empty(0))


@each(
    "number, change, came",
    [
        (1, lambda block: np.r_[block, 1.0], r"declared as float64 of shape \(30,\) and came .* shape \(31,\)"),
        (1, lambda block: block[:-1], r"declared as float64 of shape \(30,\) and came as float64 of shape \(29,\)"),
        (3, lambda block: np.ones(30), r"declared as float64 of shape \(10,\) and came as float64 of shape \(30,\)"),
        (0, lambda block: block * 1j, r"declared as float64 .* came as complex128 of shape \(30,\)"),
        (2, lambda block: block[:, None], r"came as float64 of shape \(30, 1\)"),
        (2, lambda block: block[None], r"came as float64 of shape \(1, 30\)"),
        (3, lambda block: block.astype(str), r"declared as float64 .* came as <U"),
        (3, lambda block: block.astype(object), r"came as object"),
        (3, lambda block: block > 0, r"came as bool"),
        (3, lambda block: None, r"came as object of shape \(\)"),
        (3, lambda block: [[1], [1, 2]], r"is not an array of numbers"),
        (1, lambda block: np.ma.masked_array(block, np.arange(30) == 3), "has masked entries"),
    ],
)  # fmt: skip
def test_a_chunk_that_is_not_as_declared(planned, number, change, came):
    phi = planned.potential(charges(number, change))
    for scheduler in ("synchronous", "threads"):
        with pytest.raises(taskfmm.InputError, match=f"chunk {number} of charges .*{came}"):
            phi.compute(scheduler=scheduler)


@each("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found_by_row_and_chunk(planned, bad):
    phi = planned.potential(charges(2, lambda block: np.where(np.arange(block.size) == 7, bad, block)))
    with pytest.raises(taskfmm.InputError, match=f"charges row 67 is not finite: {bad}, in chunk 2"):
        phi.compute()


def test_a_masked_array(fmm):
    masked = da.ma.masked_where(da.arange(N, chunks=CHUNK) < 40, da.ones(N, chunks=CHUNK))
    with pytest.raises(taskfmm.InputError, match=r"chunk [01] of charges has masked entries"):
        fmm.potential(masked).compute()
    nothing = da.ma.masked_where(da.arange(N, chunks=CHUNK) < 0, da.ones(N, chunks=CHUNK))
    np.testing.assert_array_equal(fmm.potential(nothing).compute(), fmm.serial(np.ones(N)))


@each("use", ["serial", "direct", "error_estimate"])
def test_what_gathers_charges_looks_at_them_as_well(fmm, use):
    calls = {
        "serial": fmm.serial,
        "direct": lambda q: taskfmm.direct(fmm.sources, q),
        "error_estimate": lambda q: fmm.error_estimate(q, np.ones(N)),
    }
    masked = da.ma.masked_where(da.arange(N, chunks=CHUNK) < 40, da.ones(N, chunks=CHUNK))
    with pytest.raises(taskfmm.InputError, match="masked"):
        calls[use](masked)
    with pytest.raises(taskfmm.InputError, match="masked"):
        calls[use](np.ma.masked_less(np.arange(N), 40))
    with pytest.raises(taskfmm.InputError, match="complex128"):
        calls[use](charges(0, lambda block: block * 1j))
    with pytest.raises(taskfmm.InputError, match="charges has 101 rows"):
        calls[use](charges(0, lambda block: np.ones(31)))


@each("given", ["int64", "float32", ">f8"])
@each("dtype", ["float64", "float32"])
def test_other_real_dtypes_give_the_same_bits(given, dtype):
    rng = np.random.default_rng(60167)
    plan = taskfmm.Fmm(rng.random((N, 3)), order=3, leaf_size=20, dtype=dtype)
    q = rng.integers(-9, 9, N).astype(given)
    np.testing.assert_array_equal(plan.potential(da.from_array(q, chunks=CHUNK)).compute(), plan.serial(q))
    fine = rng.random(N)  # rounded to float32 where the plan is
    found = plan.potential(da.from_array(fine, chunks=CHUNK)).compute()
    np.testing.assert_array_equal(found, plan.serial(fine))


def test_chunks_of_no_length(fmm):
    q = np.random.default_rng(60169).random(N)
    lazy = da.from_array(q, chunks=((0, 60, 0, 40),))
    np.testing.assert_array_equal(fmm.potential(lazy).compute(), fmm.serial(q))


def test_chunks_on_workers(fmm, client):
    """The error crosses processes."""
    np.testing.assert_array_equal(fmm.potential(da.ones(N, chunks=CHUNK)).compute(), fmm.serial(np.ones(N)))
    with pytest.raises(taskfmm.InputError, match="chunk 1 of charges"):
        fmm.potential(charges(1, lambda block: block[1:])).compute()


def test_charges_that_are_delayed(fmm):
    delayed = dask.delayed(np.ones)(N)
    for call in (fmm.potential, fmm.serial, lambda q: taskfmm.direct(fmm.sources, q)):
        with pytest.raises(
            taskfmm.InputError, match=r"charges is a Delayed of dask.*dask\.array\.from_delayed"
        ):
            call(delayed)
    proposed = da.from_delayed(delayed, (N,), float)
    np.testing.assert_array_equal(fmm.potential(proposed).compute(), fmm.serial(np.ones(N)))


def test_charges_to_be_like_are_looked_at():
    points = np.random.default_rng(9).random((50, 3))
    with pytest.raises(taskfmm.InputError, match="masked"):
        taskfmm.Fmm(points, like=np.ma.masked_less(np.arange(50.0), 3))
    with pytest.raises(taskfmm.InputError, match="49 rows"):
        taskfmm.Fmm(points, like=np.ones(49))


@each("size", [1e-300, 1.0, 1e300])
@each("chunks", [300, 1999, 7000])
def test_chunks_of_any_size_meet_shards_of_charges(clustered, size, chunks):
    """Shards take their own from all chunks, some of which are zero, and all have one exponent."""
    q = size * np.random.default_rng(60427).uniform(-1, 1, len(clustered.sources))
    q[:2000] = 0.0
    lazy = da.from_array(q, chunks=chunks)
    assert len(clustered.plan.charges) > 1
    np.testing.assert_array_equal(clustered.potential(lazy).compute(), clustered.potential(q).compute())


def test_a_task_gets_the_charges_of_its_shard_alone(clustered):
    """What a task of the charges refers to is as long as its shard, and no task reads more shards than it needs."""
    graph = dict(clustered.potential(np.ones(len(clustered.sources))).__dask_graph__())
    lengths = [rows.size for rows in clustered.plan.charges]
    assert max(lengths) < 0.5 * len(clustered.sources)
    for (name, *numbers), task in graph.items():
        if name.startswith("charges-"):
            (reference,) = task.args[0].args
            assert reference.value.shape == (lengths[numbers[0]],)
        elif name.startswith("P2M-"):
            level, number = numbers
            work = clustered.plan.far[level][number].p2m
            assert {key[1] for key in task.dependencies} == set(work.charges.shards)
