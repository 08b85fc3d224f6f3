"""Fmm from outside: the constant kernel counts every source once, whatever the cloud; the documented face."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from cases import EVERY_TWO, LEAF_SIZES, each

import taskfmm
from taskfmm.testing import DISTRIBUTIONS, RELATIONS, sources_and_targets


def assert_every_target_receives(n_points, name, relation, leaf_sizes, seed):
    """Charges are ones, then distinct integers: nothing is rounded, so the tolerance is zero."""
    rng = np.random.default_rng(seed)
    sources, targets = sources_and_targets(name, relation, n_points, rng)
    charges = rng.integers(-1000, 1000, n_points).astype(float)
    n_targets = n_points if targets is None else len(targets)
    for leaf_size in leaf_sizes:
        fmm = taskfmm.Fmm(sources, targets, kernel="one", leaf_size=leaf_size)
        found = fmm.potential(np.ones(n_points)).compute()
        np.testing.assert_array_equal(found, np.full(n_targets, float(n_points)), err_msg=f"leaf {leaf_size}")
        found = fmm.potential(charges).compute()
        np.testing.assert_array_equal(found, np.full(n_targets, charges.sum()), err_msg=f"leaf {leaf_size}")


@each("name, relation, leaf_size", EVERY_TWO)
def test_constant_kernel(name, relation, leaf_size):
    assert_every_target_receives(1201, name, relation, [leaf_size], 5915587277)


@pytest.mark.nightly
@pytest.mark.parametrize("n", [10_000, 100_000])
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_constant_kernel_of_many(name, relation, n):
    assert_every_target_receives(n, name, relation, LEAF_SIZES, 1500450271)


@pytest.mark.parametrize("name", ["plummer", "two_clusters", "power_law"])
def test_constant_kernel_through_expansions_alone(name, monkeypatch):
    """With no W or X entry moved into the near field, P2L and M2P must count as well."""
    from taskfmm.plan import plan

    real = plan.direct_where_cheaper
    monkeypatch.setattr(plan, "direct_where_cheaper", lambda tree, lists, n, top: real(tree, lists, 0, top))
    assert_every_target_receives(3001, name, "same", (3, 20), 3267000013)
    assert_every_target_receives(3001, name, "separate", (3, 20), 3628273133)


def test_constant_kernel_on_small_shards(small_shards):
    """Many shards on each level, many chunks."""
    assert_every_target_receives(5003, "plummer", "separate", (5, 40), 4093082899)
    assert_every_target_receives(5003, "uniform", "same", (5, 40), 9576890767)


def test_constant_kernel_has_no_gradient():
    x = np.random.default_rng(2860486313).random((500, 3))
    out = dask.compute(taskfmm.Fmm(x, kernel="one", leaf_size=10).evaluate(np.ones(500)))[0]
    np.testing.assert_array_equal(out["potential"], np.full(500, 500.0))
    np.testing.assert_array_equal(out["gradient"], np.zeros((500, 3)))


def test_results_are_in_the_callers_order():
    """One heavy source beside each of three targets: each must feel its own."""
    sources = np.array([[5.0, 5, 5], [0, 0, 0], [9, 1, 3]])
    targets = sources[[2, 0, 1]] + [0, 0, 1e-3]
    found = taskfmm.Fmm(sources, targets, leaf_size=1).potential([1.0, 10.0, 100.0]).compute()
    np.testing.assert_allclose(found * 4 * np.pi * 1e-3, [100.0, 1.0, 10.0], rtol=0.05)


def test_one_plan_serves_many_charges(clustered):
    rng = np.random.default_rng(8278487999)
    a, b = rng.uniform(-1, 1, (2, len(clustered.sources)))
    lazy = clustered.potential(a), clustered.potential(b)
    for phi, q in zip(dask.compute(*lazy), (a, b), strict=True):
        np.testing.assert_array_equal(phi, clustered.serial(q))


def test_lazy_charges_are_told_apart():
    """Computed together, tasks of the same key would run once for both."""
    rng = np.random.default_rng(7906493)
    fmm = taskfmm.Fmm(rng.random((300, 3)), order=3, leaf_size=50)
    a, b = rng.uniform(-1, 1, (2, 300))
    lazy = [fmm.potential(da.from_array(q, chunks=100)) for q in (a, b)]
    for phi, q in zip(dask.compute(*lazy), (a, b), strict=True):
        np.testing.assert_array_equal(phi, fmm.serial(q))


def test_evaluate_takes_a_name_or_names(clustered):
    q = np.ones(len(clustered.sources))
    assert list(clustered.evaluate(q)) == ["potential", "gradient"]
    assert list(clustered.evaluate(q, "gradient")) == ["gradient"]
    assert list(clustered.evaluate(q, ["gradient", "potential", "gradient"])) == ["gradient", "potential"]


@each("dtype", ["float64", "float32"])
def test_charges_may_change_after_the_call(dtype):
    """As in a loop that fills one buffer again and again, and computes all results at the end."""
    fmm = taskfmm.Fmm(np.random.default_rng(2750159).random((300, 3)), order=3, leaf_size=50, dtype=dtype)
    buffer = np.empty(300, dtype)
    lazy = []
    for k in range(3):
        buffer[:] = k + 1
        lazy.append(fmm.potential(buffer))
    for k, phi in enumerate(dask.compute(*lazy)):
        np.testing.assert_array_equal(phi, fmm.serial(np.full(300, k + 1.0)))


@pytest.mark.parametrize("n_targets", [None, 200])
def test_points_may_change_after_planning(n_targets, tmp_path):
    """As they do in a simulation: the plan goes on with those it was made for, in all that it does."""
    rng = np.random.default_rng(2750161)
    x, q = rng.random((300, 3)) - 0.5, rng.uniform(-1, 1, 300)
    t = None if n_targets is None else rng.random((n_targets, 3))
    before = x.copy(), (x if t is None else t).copy()
    fmm = taskfmm.Fmm(x, t, eps=1e-6, leaf_size=20)
    phi = fmm.potential(q).compute()
    for points in (x, t):
        if points is not None:
            points[:] = rng.random(points.shape)
    for points, old in zip((fmm.sources, fmm.targets), before, strict=True):
        np.testing.assert_array_equal(points, old)
        with pytest.raises(ValueError, match="read-only"):
            points[0] = 0.0
    assert fmm.error_estimate(q, phi) <= 1e-6
    np.testing.assert_array_equal(fmm.potential(q).compute(), phi)
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    np.testing.assert_array_equal(again.sources, before[0])
    np.testing.assert_array_equal(again.potential(q).compute(), phi)


def test_points_without_a_plan_may_change_too():
    x = np.ones((5, 3))
    for fmm in (taskfmm.Fmm(x, []), taskfmm.Fmm([], x)):
        x[:] = 7.0
        np.testing.assert_array_equal(fmm.sources if fmm.n_sources else fmm.targets, np.ones((5, 3)))
        x[:] = 1.0


@each("width", [1e-150, 0.1, 3.0, 1e150])
@each("offset", [0.0, 1.0, -1e8])
def test_points_come_back_bit_for_bit(width, offset):
    x = (np.random.default_rng(2750173).standard_normal((100, 3)) + offset) * width
    x[0], x[1] = 0.0, -0.0
    found = taskfmm.Fmm(x).sources
    np.testing.assert_array_equal(found.view(np.int64), x.view(np.int64))


def test_plans_of_one_shape_and_two_sizes_are_told_apart():
    """Their trees are the same, but for the scale."""
    x, q = np.random.default_rng(2750183).random((200, 3)), np.ones(200)
    small, large = (taskfmm.Fmm(x * width, order=3, leaf_size=50).potential(q) for width in (1, 2))
    assert small.name != large.name
    one, other = dask.compute(small, large)
    np.testing.assert_array_equal(one, 2 * other)


def test_plans_of_one_cloud_in_two_orders_are_told_apart():
    x, q = np.random.default_rng(2750191).random((200, 3)), np.arange(200.0)
    one, other = (taskfmm.Fmm(points, order=3, leaf_size=50).potential(q) for points in (x, x[::-1]))
    assert one.name != other.name


def test_error_estimate_measures_the_error(clustered):
    rng = np.random.default_rng(5463458053)
    q = rng.uniform(-1, 1, len(clustered.sources))
    exact = taskfmm.direct(clustered.sources, q)
    for factor in (1.0, 1 + 1e-3, 1 - 0.25):
        found = clustered.error_estimate(q, exact * factor, n_samples=500, seed=3367900313)
        np.testing.assert_allclose(found, abs(factor - 1), rtol=1e-9, atol=1e-13)
    lazy = clustered.potential(q)
    estimate = clustered.error_estimate(q, lazy, n_samples=10**9)
    phi = lazy.compute()
    np.testing.assert_allclose(estimate, np.linalg.norm(phi - exact) / np.linalg.norm(exact), rtol=1e-6)
    with pytest.raises(taskfmm.InputError, match="values has shape"):
        clustered.error_estimate(q, phi[:-1])


def test_error_estimate_of_a_gradient(separate):
    rng = np.random.default_rng(2750207)
    q = rng.uniform(-1, 1, separate.n_sources)
    exact = taskfmm.direct(separate.sources, q, separate.targets, outputs="gradient")["gradient"]
    for factor in (1.0, 1 + 1e-3, 1 - 0.25):
        found = separate.error_estimate(q, exact * factor, n_samples=500, seed=2750221, output="gradient")
        np.testing.assert_allclose(found, abs(factor - 1), rtol=1e-9, atol=1e-13)
    found = separate.error_estimate(q, exact[:, ::-1], output="gradient")
    assert found > 0.1
    lazy = separate.evaluate(q, "gradient")["gradient"]
    assert separate.error_estimate(q, lazy, output="gradient") < 1e-2


@each(
    "arguments, message",
    [
        (dict(n_samples=0), "n_samples is 0, expected an integer of at least 1"),
        (dict(n_samples=-1), "n_samples is -1"),
        (dict(n_samples=10.0), "n_samples is 10.0"),
        (dict(n_samples=True), "n_samples is True"),
        (dict(output="gradient"), r"values has shape \(20,\), expected \(20, 3\): give a gradient"),
        (dict(output="gradiant"), "did you mean 'gradient'"),
        (dict(values=np.ones((20, 3))), r"expected \(20,\): give a potential"),
        (dict(values=np.ones(20) * 1j), "values has dtype complex128"),
        (dict(values=np.ma.masked_equal(np.arange(20.0), 3)), "values has masked entries"),
        (dict(values=np.full(20, np.nan), n_samples=1), r"values row 0 is NaN: nan \(20 such rows\)"),
        (dict(output=["potential"]), r"output: \['potential'\] is not known"),
        (dict(seed=-1), "seed is -1, expected a non-negative integer"),
        (dict(seed="a"), "seed is 'a', expected"),
        (dict(charges=np.ones(19)), "charges has 19 rows"),
        (dict(charges=np.full(20, np.nan)), "charges row 0 is not finite"),
        (dict(charges=np.ma.masked_equal(np.arange(20.0), 3)), "charges has masked entries"),
    ],
)
def test_error_estimates_that_cannot_be_meant(arguments, message):
    fmm = taskfmm.Fmm(np.random.default_rng(2750233).random((20, 3)))
    with pytest.raises(taskfmm.InputError, match=message):
        fmm.error_estimate(**dict(charges=np.ones(20), values=np.ones(20)) | arguments)


def test_error_estimate_beside_zero():
    """Something where there should be nothing is infinitely wrong."""
    fmm = taskfmm.Fmm(np.random.default_rng(2750243).random((20, 3)))
    assert fmm.error_estimate(np.zeros(20), np.ones(20)) == np.inf


def test_error_estimate_looks_everywhere(clustered):
    """A potential that is wrong at a few places, first or last, is caught by a sample of an eighth."""
    n = len(clustered.sources)
    exact = taskfmm.direct(clustered.sources, np.ones(n))
    for rows in (slice(n // 20), slice(-n // 20, None)):
        wrong = exact.copy()
        wrong[rows] *= 2.0
        assert clustered.error_estimate(np.ones(n), wrong, n_samples=n // 8, seed=4904011) > 1e-3


def test_error_estimate_of_nothing(clustered):
    n = len(clustered.sources)
    assert clustered.error_estimate(np.zeros(n), np.zeros(n), n_samples=50) == 0.0


@each("dtype", ["float64", "float32"])
def test_results_have_the_dtype(dtype):
    x = np.random.default_rng(2147483629).random((300, 3))
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=10, dtype=dtype)
    lazy = fmm.evaluate(np.ones(300))
    for output, array in lazy.items():
        assert array.dtype == np.dtype(dtype)
        found = array.compute()
        assert found.dtype == np.dtype(dtype)
        assert fmm.serial(np.ones(300), output).dtype == np.dtype(dtype)
    assert fmm.error_estimate(np.ones(300), lazy["potential"]) <= 1e-3


def test_repr_says_what_was_planned(clustered, separate):
    assert "7,000 sources" in repr(clustered)
    assert "order 3" in repr(clustered)
    assert "2,500 targets" in repr(separate)
    assert "laplace" in str(separate)


def test_explain_is_a_table_of_text(clustered):
    text = clustered.explain()
    assert isinstance(text, str)
    assert "7,000" in text
    for operator in ("M2L", "P2P"):
        assert operator in text


MODULES = (
    "taskfmm",
    "taskfmm.fmm",
    "taskfmm.derived",
    "taskfmm.direct_sum",
    "taskfmm.live.dashboard",
    "taskfmm.plots",
    "taskfmm.report.described",
    "taskfmm.testing",
)


@each("module", MODULES)
def test_docstring_examples_run(module):
    import doctest
    import importlib

    found = doctest.testmod(
        importlib.import_module(module),
        extraglobs={"np": np},
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    assert found.attempted > 0
    assert found.failed == 0


def test_every_public_function_has_an_example():
    public = (
        taskfmm.Fmm.potential,
        taskfmm.Fmm.evaluate,
        taskfmm.Fmm.as_linear_operator,
        taskfmm.Fmm.moved,
        taskfmm.Fmm.at,
        taskfmm.Fmm.field,
        taskfmm.direct,
    )
    for item in (taskfmm, taskfmm.Fmm, *public):
        assert ">>>" in item.__doc__
