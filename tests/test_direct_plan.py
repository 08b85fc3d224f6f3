"""The direct sum as a plan: taken where it costs least, cut into tasks, exact, and without operators."""

from __future__ import annotations

from itertools import chain

import dask
import numpy as np
import pytest
from bounds import SUM_ROUNDING
from boxes import l2_error
from cases import each
from conftest import tasks_cut_small

import taskfmm
from taskfmm.errors import InputError
from taskfmm.forecast.effort import n_bytes
from taskfmm.kernels import KERNELS
from taskfmm.operators import levels, store
from taskfmm.operators.accuracy import Accuracy
from taskfmm.passes import serial
from taskfmm.plan import cost, direct, tune
from taskfmm.runtime import memory
from taskfmm.store import saved

BOTH = ("potential", "gradient")

SIZES = [(2, None), (900, None), (2300, None), (40_000, 3), (3, 40_000), (1, 1), (700, 900)]


def cloud(n_sources, n_targets=None, **options) -> tuple[taskfmm.Fmm, np.ndarray]:
    """A plan, and charges for it."""
    rng = np.random.default_rng(60_201_713)
    points = rng.random((n_sources, 3)), None if n_targets is None else rng.random((n_targets, 3))
    return taskfmm.Fmm(*points, **options), rng.uniform(-1, 1, n_sources)


@pytest.fixture
def no_operators(monkeypatch):
    """Nothing can be built or read."""

    def refuse(*_):
        raise AssertionError("operators are asked for")

    monkeypatch.setattr(store, "kept", refuse)
    levels._kept.clear()
    yield
    levels._kept.clear()


@each("n_sources, n_targets", SIZES)
def test_it_is_exact_and_needs_no_operators(n_sources, n_targets, no_operators, tmp_path):
    fmm, q = cloud(n_sources, n_targets)
    found = dask.compute(fmm.evaluate(q))[0]
    exact = taskfmm.direct(fmm.sources, q, None if n_targets is None else fmm.targets, outputs=BOTH)
    for output in BOTH:
        assert l2_error(found[output], exact[output]) <= SUM_ROUNDING
        np.testing.assert_array_equal(fmm.serial(q, output), fmm.evaluate(q, output)[output].compute())
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    np.testing.assert_array_equal(again.potential(q).compute(), fmm.potential(q).compute())
    for one in (fmm, again):
        assert one.leaf_size is None
        assert "direct sum" in repr(one) and "direct sum" in one.explain(BOTH) and one._repr_html_()
        assert one.facts()["direct_sum"] and one.forecast().by_operator.keys() == {
            "charges",
            "P2P",
            "potential",
        }


@pytest.mark.parametrize("n_sources, n_targets", [(5000, None), (90_000, 40), (40, 90_000), (6000, 5000)])
def test_every_pair_is_in_one_task_once(n_sources, n_targets):
    """In many tasks and chunks: the constant counts the sources, a position more tells them apart."""
    with tasks_cut_small():
        fmm, _ = cloud(n_sources, n_targets, kernel="one", leaf_size=10**6)
        coulomb, q = cloud(n_sources, n_targets, leaf_size=10**6)
    assert fmm.plan.is_direct and len(fmm.plan.near) > 5
    ones = np.ones(n_sources)
    assert (fmm.serial(ones) == n_sources).all()
    assert fmm.potential(ones).compute().tolist() == [n_sources] * len(fmm.targets)
    exact = taskfmm.direct(coulomb.sources, q, None if n_targets is None else coulomb.targets)
    found = coulomb.potential(q).compute()
    assert l2_error(found, exact) <= SUM_ROUNDING
    how = (
        coulomb.plan,
        coulomb.operators("potential"),
        coulomb.kernel.of_first,
        [q],
        "potential",
        coulomb.dtype,
    )
    for threads in (1, 2):
        np.testing.assert_array_equal(serial.run(*how, threads), found)


def test_each_distance_serves_both_points():
    """Where the targets are the sources: half the distances, but for those within a row."""
    n = 3000
    fmm, _ = cloud(n, leaf_size=n)
    count = {"near_one": 0.0, "near_two": 0.0}
    for key, effort in zip(fmm.forecast().keys, fmm.forecast().efforts, strict=True):
        if key[0] == "P2P":
            count = {name: count[name] + effort.counts.shared[name] for name in count}
    assert count["near_one"] + 2 * count["near_two"] == n**2
    assert count["near_one"] <= n * direct.ROW


@each("n_sources, n_targets", [(400_000, 40), (40, 400_000)])
def test_the_longer_side_is_cut_into_tasks_that_all_workers_share(n_sources, n_targets):
    fmm, _ = cloud(n_sources, n_targets)
    assert len(fmm.plan.near) > 1
    longer = [max(work.points.shape[1], len(set(work.targets[0]))) for work in fmm.plan.near]
    assert sum(longer) == 400_000 and max(longer) < 2 * min(longer)
    rows = chain.from_iterable(np.diff(work.target_ptr) for work in fmm.plan.near)
    assert max(rows) <= direct.TARGETS


def test_few_are_planned_from_counts_alone(monkeypatch):
    """No tree is tried, however large the other side is."""
    monkeypatch.setattr(tune, "choose", None)
    for sizes in ((1000, None), (300_000, 20), (20, 300_000)):
        assert cloud(*sizes)[0].plan.is_direct


def test_many_get_a_tree_and_so_does_who_asks_for_leaves():
    assert not cloud(20_000)[0].plan.is_direct
    fmm, _ = cloud(500, leaf_size=20)
    assert not fmm.plan.is_direct and fmm.leaf_size == 20 and "leaf size 20" in repr(fmm)
    assert "direct sum" not in fmm.explain()


def test_the_cheaper_of_tree_and_direct_sum_is_taken(monkeypatch):
    """By the estimate: at the same points a tree wins where pairs are dear, and loses where they are cheap."""
    monkeypatch.setattr(cost, "least", lambda *_: 0.0)  # so that counts do not decide
    for seconds, is_direct in ((1e3, False), (1e-9, True)):
        monkeypatch.setattr(cost, "direct", lambda *_, found=seconds: found)
        assert cloud(6000)[0].plan.is_direct == is_direct


def test_points_in_one_place_take_no_direct_sum():
    """A leaf of theirs has no near field; the sum over all pairs would take 2e8."""
    fmm = taskfmm.Fmm(np.tile([[0.25, 0.5, 0.75]], (15_000, 1)))
    assert sum(work.ptr[-1] for work in fmm.plan.near) == 0
    assert not fmm.potential(np.ones(15_000)).compute().any()


def test_an_eps_below_the_floor_is_refused_all_the_same():
    with pytest.raises(taskfmm.AccuracyError, match="floor"):
        cloud(10, eps=1e-15)


@pytest.mark.parametrize("sizes", [(3000, None), (60_000, 30)])
def test_the_same_bits_on_workers(sizes, client, by_reference):
    with tasks_cut_small():
        fmm, q = cloud(*sizes, leaf_size=10**6)
    np.testing.assert_array_equal(fmm.potential(q).compute(), fmm.serial(q))
    np.testing.assert_array_equal(fmm.potential(q).compute(scheduler="processes"), fmm.serial(q))


def test_a_file_of_a_direct_sum_holds_no_operators(tmp_path):
    fmm, _ = cloud(200)
    held = saved.Contents.of(fmm._planned, fmm._evaluator.chooser.reachable())
    assert not held.operators
    forged = held.__class__(
        **{name: getattr(held, name) for name in held.__slots__}
        | {"operators": {"potential": levels.Operators(KERNELS["laplace"], Accuracy(3, 1e-3, 1e-3)).of((0,))}}
    )
    saved.save(tmp_path / "plan.h5", forged)
    with pytest.raises(InputError, match="operators: of other outputs"):
        taskfmm.Fmm.load(tmp_path / "plan.h5")


@each("sizes", [(200_000, 3), (3, 200_000)])
def test_no_more_memory_is_promised_before_planning_than_it_takes(sizes):
    fmm, _ = cloud(*sizes)
    least = memory.SOURCE * sizes[0] + memory.TARGET * sizes[1]
    assert least < n_bytes(fmm.plan) + fmm.forecast().schedule.peak[0]


def test_many_sources_of_few_targets_are_cut_although_their_boxes_are_few():
    """P2M of half a million points is most of the evaluation, and one task of it would leave other threads idle."""
    rng = np.random.default_rng(60_201_717)
    sources = rng.random((500_000, 3))
    fmm = taskfmm.Fmm(sources, rng.random((500, 3)), eps=1e-3, leaf_size=4096)
    finest = fmm.plan.far[-1]
    assert len(finest) > 2 and sum(shard.n_boxes for shard in finest) < cost.FEWEST_BOXES * 2
    q = rng.uniform(-1, 1, 500_000)
    assert fmm.error_estimate(q, fmm.potential(q)) <= 1e-3


def test_a_direct_sum_is_foretold_and_limited():
    points, q = np.random.default_rng(77).random((900, 3)), np.ones(900)
    fmm = taskfmm.Fmm(points, memory_limit="64GiB")
    assert "direct sum" in fmm.explain(("potential", "gradient"))
    assert fmm.forecast().operator_bytes == fmm.forecast().operator_peak == 0
    np.testing.assert_array_equal(fmm.potential(q).compute(), fmm.serial(q))
