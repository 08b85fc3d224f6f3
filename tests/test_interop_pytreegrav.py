"""The gravity of pytreegrav on taskfmm: beside pytreegrav where it is installed, formulas and direct sums."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
from bounds import ROUNDING, SUM_ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.interop import pytreegrav
from taskfmm.interop.pytreegrav_tree import EPS, eps_of

BOTH = (("potential", "Potential"), ("acceleration", "Accel"))

TRUNCATED = 1e-11
"""pytreegrav's constants 1 / 15 and 64 / 3 have twelve digits, and at the edge of a spline a digit is lost."""


def bodies(n, seed=71, width=1.0):
    """Places, masses and softening lengths, of which some are zero."""
    rng = np.random.default_rng(seed)
    lengths = 0.4 * width * rng.random(n) ** 2
    lengths[: n // 4] = 0.0
    return width * rng.standard_normal((n, 3)), rng.random(n), lengths


def plummer(n, seed=72):
    rng = np.random.default_rng(seed)
    radius = 1.0 / np.sqrt(rng.uniform(0.001, 0.999, n) ** (-2.0 / 3.0) - 1.0)
    direction = rng.standard_normal((n, 3))
    return (radius / np.linalg.norm(direction, axis=1))[:, None] * direction


def pairs(x, m, h, targets, of_targets, output):
    """By the law of Newton, of pairs farther apart than the larger length of both; the others by `taskfmm.direct`."""
    d = targets[:, None] - x
    r, length = np.linalg.norm(d, axis=2), np.maximum(h, of_targets[:, None])
    found = np.zeros((len(targets), 3) if output == "acceleration" else len(targets))
    for i, j in zip(*np.nonzero((r > 0.0) & (r < length)), strict=True):
        kernel = taskfmm.kernels.Gravity(softening=length[i, j], kind="spline")
        found[i] += taskfmm.direct(
            x[j : j + 1], masses=m[j : j + 1], targets=targets[i : i + 1], kernel=kernel, outputs=(output,)
        )[output][0]
    far = np.where(r >= length, 1.0 / np.where(r > 0.0, r, np.inf), 0.0)
    if output == "potential":
        return found - far @ m
    return found - np.einsum("tsi,ts->ti", d, m * far**3)


@each("output,name", BOTH)
def test_a_pair_has_the_larger_length_of_both(output, name):
    x, m, h = bodies(40)
    own = getattr(pytreegrav, name)
    assert l2_error(own(x, m, h), pairs(x, m, h, x, h, output)) <= ROUNDING
    t, _, ht = bodies(30, seed=73)
    t[0] = x[0]
    at = getattr(pytreegrav, f"{name}Target")
    zeros = np.zeros(30)
    for lengths, taken in ((None, zeros), (ht, ht), (np.full(30, 5.0), np.full(30, 5.0))):
        exact = pairs(x, m, h, t, taken, output)
        assert l2_error(at(t, x, m, lengths, h), exact) <= ROUNDING
        tree = pytreegrav.ConstructTree(x, m, h)
        assert l2_error(at(t, None, None, lengths, tree=tree), exact) <= ROUNDING
        assert l2_error(own(t, None, lengths, tree=tree), exact) <= ROUNDING
    assert l2_error(at(t, x, m), pairs(x, m, np.zeros(40), t, zeros, output)) <= ROUNDING


@each("output,name", BOTH)
def test_formulas_are_those_of_pytreegrav(output, name):
    """At all distances, from the middle of a spline to beyond its end; the length of a pair, and G."""
    real = pytest.importorskip("pytreegrav")
    r = np.concatenate([np.geomspace(1e-12, 0.35, 99), np.linspace(0.34, 0.75, 199), [0.35, 0.7, 2.0, 1e6]])
    t, y, one = r[:, None] * np.array([0.6, 0.0, 0.8]), np.zeros((1, 3)), np.array([1.3])
    asked = {"softening_source": np.array([0.7]), "method": "bruteforce", "G": 4.3}
    expected = getattr(real, f"{name}Target")(t, y, one, **asked)
    found = getattr(pytreegrav, f"{name}Target")(t, y, one, **asked)
    scale = np.abs(expected) + (expected == 0.0)
    assert (np.abs(found - expected) / scale).max() <= TRUNCATED
    x, m, h = bodies(60)
    expected = getattr(real, name)(x, m, h, G=2.0)
    found = getattr(pytreegrav, name)(x, m, h, G=2.0)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert l2_error(found, expected) <= SUM_ROUNDING
    t, _, ht = bodies(50, seed=73)
    expected = getattr(real, f"{name}Target")(t, x, m, ht, h)
    assert l2_error(getattr(pytreegrav, f"{name}Target")(t, x, m, ht, h), expected) <= SUM_ROUNDING


def test_signatures_are_those_of_pytreegrav():
    real = pytest.importorskip("pytreegrav")
    for name in pytreegrav.__all__:
        theirs, ours = (
            inspect.signature(getattr(each, name)).parameters.values() for each in (real, pytreegrav)
        )
        assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs], (
            name
        )
    offered = {
        name for name in vars(real.frontend) if name[0].isupper() and inspect.isfunction(vars(real)[name])
    }
    own = {name for name in offered if vars(real.frontend)[name].__module__ == "pytreegrav.frontend"}
    assert own == {*pytreegrav.__all__, *pytreegrav.NOT_OFFERED}


@each("softened", [False, True])
@each("theta,quadrupole", [(0.7, False), (0.3, True)])
def test_many_bodies_keep_the_eps_of_an_angle(theta, quadrupole, softened):
    n = 7000
    x, m, h = plummer(n), np.full(n, 1.0 / n), 0.03 * np.random.default_rng(4).random(n)
    h = h if softened else None
    asked = {"theta": theta, "quadrupole": quadrupole}
    found, tree = pytreegrav.Accel(x, m, h, return_tree=True, **asked)
    again = pytreegrav.Potential(x, m, h, tree=tree, **asked)
    for (output, name), values in zip(BOTH, (again, found), strict=True):
        exact = getattr(pytreegrav, name)(x, m, h, method="bruteforce")
        assert 0.0 < l2_error(values, exact) < eps_of(theta, output, quadrupole)
    t = plummer(5000, seed=74)
    for lengths in (None, np.full(5000, 0.02)):
        exact = pytreegrav.AccelTarget(t, x, m, lengths, h, method="bruteforce")
        values = pytreegrav.AccelTarget(t, None, None, lengths, tree=tree, **asked)
        assert 0.0 < l2_error(values, exact) < eps_of(theta, "acceleration", quadrupole)


def test_a_tree_keeps_its_plans(monkeypatch):
    made = []
    monkeypatch.setattr(
        taskfmm, "Fmm", lambda *args, of=taskfmm.Fmm, **kw: made.append(of(*args, **kw)) or made[-1]
    )
    x, m, h = bodies(6000, width=50.0)
    first, tree = pytreegrav.Accel(x, m, h, return_tree=True)
    assert len(made) == 1 and tree.NumParticles == 6000
    np.testing.assert_array_equal(pytreegrav.Accel(x, m, h, tree=tree, G=2.0), 2.0 * first)
    assert len(made) == 1
    pytreegrav.Accel(x + 1.0, m, h, tree=tree)
    assert len(made) == 2


def test_smaller_angles_have_smaller_eps():
    for output, _ in BOTH:
        for quadrupole in (False, True):
            angles = [0.01, 0.05, *sorted(EPS), 3.0]
            found = [eps_of(theta, output, quadrupole) for theta in angles]
            assert found == sorted(found) and found[-1] == found[-2] == EPS[1.0][output][quadrupole]
            assert eps_of(0.69, output, quadrupole) == EPS[0.5][output][quadrupole]
            assert eps_of(0.05, output, quadrupole) < 0.05 * EPS[0.1][output][quadrupole]
        assert EPS[0.5][output][True] < EPS[0.5][output][False]
    assert eps_of(0.0, "potential", False) == 0.0


@each("n,method,has", [(1000, "adaptive", False), (1001, "adaptive", True), (50, "tree", True)])
def test_a_tree_is_returned_where_pytreegrav_has_one(n, method, has):
    x, m, _ = bodies(n)
    values, tree = pytreegrav.Potential(x, m, method=method, return_tree=True, parallel=True, group_size=1)
    assert (tree is not None) == has and values.shape == (n,)
    values, tree = pytreegrav.PotentialTarget(x[:1], x, m, return_tree=True)
    assert tree is None and values.shape == (1,)


def test_what_is_not_offered_says_so():
    x, m, _ = bodies(5)
    with pytreegrav.install():
        from pytreegrav import ColumnDensity
    for call in (
        lambda: ColumnDensity(x, m),
        lambda: pytreegrav.ConstructTree(x, m, vel=x),
        lambda: pytreegrav.Accel(x, m, device="cuda"),
    ):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(ValueError, match="method is 'trees'"):
        pytreegrav.Accel(x, m, method="trees")
    with pytest.raises(ValueError, match="neither a tree"):
        pytreegrav.AccelTarget(x, None, None)
    for masked in ((np.ma.masked_equal(x, x[0, 0]), m), (x, np.ma.masked_equal(m, m[0]))):
        with pytest.raises(taskfmm.InputError, match="masked"):
            pytreegrav.Accel(*masked)
    for given, told in (
        ((x, m[:, None]), rf"shape \({len(m)}, 1\), expected \(n,\)"),
        ((x, m, None, 1.0, 0.7, object()), "tree is builtins.object, expected one of ConstructTree"),
    ):
        with pytest.raises(taskfmm.InputError, match=told):
            pytreegrav.Accel(*given)
    with pytest.raises(taskfmm.InputError, match=r"tree is builtins\.object"):
        pytreegrav.PotentialTarget(x, None, None, tree=object())


def test_programs_run_unchanged_until_it_is_taken_away():
    before = sys.modules.get("pytreegrav")
    x, m, h = bodies(5)
    with pytreegrav.install():
        from pytreegrav import Accel, ConstructTree
        from pytreegrav.frontend import Potential

        tree = ConstructTree(x.tolist(), list(m), h)
        assert Accel(x, m, h, tree=tree, theta=0.5).shape == (5, 3)
        assert Potential(x[0], m[:1]) == 0.0
    assert sys.modules.get("pytreegrav") is before
    assert ConstructTree(x).NumParticles == 5
