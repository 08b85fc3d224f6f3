"""Plans for the same points in other places."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm import InputError
from taskfmm.plan import tune

N, EPS = 6000, 1e-4


def cloud(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3))


def step(seed: int, n: int = N) -> np.ndarray:
    return 1e-3 * np.random.default_rng(seed).normal(size=(n, 3))


@pytest.fixture
def unchosen(monkeypatch):
    """Leaves must not be chosen again."""

    def refuse(*_):
        raise AssertionError("a tree was made to choose leaves")

    return lambda: monkeypatch.setattr(tune, "_estimator", refuse)


def test_it_is_a_plan_with_the_leaves_of_another(unchosen):
    x, q = cloud(1), np.random.default_rng(2).uniform(-1, 1, N)
    fmm = taskfmm.Fmm(x, eps=EPS)
    before = fmm.serial(q)
    unchosen()
    there = x + step(3)
    moved = fmm.moved(there)
    assert (moved.leaf_size, moved.eps, moved.kernel) == (fmm.leaf_size, EPS, fmm.kernel)
    wide, was = (each.plan.tree.domain.half_width for each in (moved, fmm))
    assert 0.99 < wide / was < 1.01
    assert l2_error(moved.serial(q), taskfmm.direct(there, q)) <= EPS
    np.testing.assert_array_equal(fmm.serial(q), before)
    # and on from there
    again = moved.moved(there + step(4))
    assert l2_error(again.serial(q), taskfmm.direct(there + step(4), q)) <= EPS


def test_an_enlarged_cube_stays_one(monkeypatch):
    from taskfmm.geometry.domain import enlarge

    x = cloud(5)
    choose = tune.choose
    monkeypatch.setattr(
        tune, "choose", lambda *args: (60, enlarge(args[3], 1.4)) if args[5] is None else choose(*args)
    )
    fmm = taskfmm.Fmm(x, eps=EPS)
    moved = fmm.moved(x + step(6))
    assert moved.plan.tree.domain.half_width == pytest.approx(fmm.plan.tree.domain.half_width, rel=0.02)
    assert moved.plan.tree.n_levels == fmm.plan.tree.n_levels


@each("which", ["sources", "targets", "both"])
def test_separate_targets(which):
    x, t, q = cloud(7), cloud(8, 2000), np.ones(N)
    fmm = taskfmm.Fmm(x, t, eps=EPS)
    y, s = x + step(9), t + step(10, 2000)
    given = {"sources": {"sources": y}, "targets": {"targets": s}, "both": {"sources": y, "targets": s}}[
        which
    ]
    exact = taskfmm.direct(given.get("sources", x), q, given.get("targets", t))
    moved = fmm.moved(**given)
    assert moved.separate
    assert l2_error(moved.serial(q), exact) <= EPS


def test_points_may_go_anywhere():
    x, q = cloud(11), np.random.default_rng(12).uniform(-1, 1, N)
    fmm = taskfmm.Fmm(x, eps=EPS)
    for there in (
        50.0 * x - 7.0,
        1e-6 * x,
        np.r_[x[:3000], 1e3 + 1e-3 * x[3000:]],
        np.repeat(x[::2], 2, axis=0),
    ):
        assert l2_error(fmm.moved(there).serial(q), taskfmm.direct(there, q)) <= EPS


def test_softening_keeps_its_order():
    x, m, h = cloud(13), np.ones(N), np.random.default_rng(14).uniform(0.0, 0.02, N)
    kernel = taskfmm.kernels.Gravity(softening=h, kind="spline")
    fmm = taskfmm.Fmm(x, kernel=kernel, eps=EPS)
    there = x + step(15)
    assert l2_error(fmm.moved(there).serial(m), taskfmm.direct(there, m, kernel=kernel)) <= EPS


def test_a_periodic_box(unchosen):
    x, q = cloud(16), np.where(np.arange(N) % 2, 1.0, -1.0)
    fmm = taskfmm.Fmm(x, eps=EPS, box=1.0)
    there = (x + step(17)) % 1.0
    exact = taskfmm.Fmm(there, eps=1e-9, box=1.0).serial(q)
    unchosen()
    assert l2_error(fmm.moved(there).serial(q), exact) <= EPS


def test_cubes_of_a_periodic_box_stay_cut(monkeypatch):
    from taskfmm.geometry.domain import THIRDS, enlarge

    x, q = cloud(26), np.where(np.arange(N) % 2, 1.0, -1.0)
    choose = tune.choose
    monkeypatch.setattr(
        tune, "choose", lambda *args: (60, enlarge(args[3], THIRDS)) if args[5] is None else choose(*args)
    )
    fmm = taskfmm.Fmm(x, eps=EPS, box=1.0)
    moved = fmm.moved((x + step(27)) % 1.0)
    assert moved.plan.tree.domain.cell == fmm.plan.tree.domain.cell
    assert moved.error_estimate(q, moved.serial(q)) <= EPS


def test_what_was_known_of_charges_is_no_longer():
    """It was of where they were; lazy ones may need more than that now."""
    x, q = cloud(18), np.random.default_rng(19).uniform(-1, 1, N)
    fmm, there = taskfmm.Fmm(x, eps=1e-6, like=q), x + step(20)
    lazy = da.from_array(q)
    unknown, known = taskfmm.Fmm(there, eps=1e-6), taskfmm.Fmm(there, eps=1e-6, like=q)
    assert known.accuracy("gradient", lazy) != unknown.accuracy("gradient", lazy)
    assert fmm.moved(there).accuracy("gradient", lazy) == unknown.accuracy("gradient", lazy)
    assert fmm.moved(there, like=q).accuracy("gradient", lazy) == known.accuracy("gradient", lazy)


@each("n", [0, 1, 2, 50])
def test_few_points(n):
    x, q = cloud(21, n), np.ones(n)
    found = taskfmm.Fmm(x, eps=EPS).moved(x + step(22, n)).serial(q)
    np.testing.assert_allclose(found, taskfmm.direct(x + step(22, n), q), rtol=1e-12)


@each(
    "given, says",
    [
        ({}, "no points are given"),
        ({"sources": cloud(23, 10)}, "sources has 10 points, and the plan has 6000"),
        ({"sources": cloud(24), "targets": cloud(24)}, "targets are given"),
        ({"sources": np.full((N, 3), np.nan)}, "not finite"),
    ],
)
def test_bad_input(given, says):
    with pytest.raises(InputError, match=says):
        taskfmm.Fmm(cloud(25), eps=1e-2, leaf_size=100).moved(**given)
