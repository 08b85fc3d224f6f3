"""eps is a contract: the relative l2 error against the direct sum, and how it falls with the order."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from bounds import FLOAT32_ERROR, FMM_DIFFERENCE, FMM_SLOPE, LOWEST_AT_HARD_POINTS
from boxes import l2_error

import taskfmm
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy
from taskfmm.testing import CHARGE_KINDS, DISTRIBUTIONS, charges

CLOUDS = ("uniform", "sphere", "plummer", "two_clusters")
KINDS = ("positive", "signed")
OUTPUTS = ("potential", "gradient")
EPS = (1e-3, 1e-6, 1e-9)
N = 20_000
N_SAMPLES = 1000

ORDERS = (3, 4, 5, 6, 7, 8)


def cloud(name: str, n: int = N):
    return DISTRIBUTIONS[name](n, np.random.default_rng(4256233))


def errors(points, q, **options) -> dict[str, float]:
    """Relative l2 error of potential alone, and of the gradient, each from a graph of its own."""
    fmm = taskfmm.Fmm(points, **options)
    rows = np.random.default_rng(6101203).choice(len(points), N_SAMPLES, replace=False)
    exact = taskfmm.direct(points, q, points[rows], outputs=OUTPUTS)
    return {
        output: l2_error(fmm.evaluate(q, output)[output].compute()[rows], exact[output]) for output in OUTPUTS
    }


def assert_contract(name, kind, eps, n=N, leaf_size=40):
    q = charges(kind, n, np.random.default_rng(7368787))
    found = errors(cloud(name, n), q, eps=eps, leaf_size=leaf_size)
    assert found["potential"] <= eps
    assert found["gradient"] <= eps


@pytest.mark.parametrize("eps", EPS[:2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLOUDS)
def test_eps_is_kept(name, kind, eps):
    assert_contract(name, kind, eps)


@pytest.mark.parametrize("name, kind", [("uniform", "signed"), ("plummer", "positive"), ("sphere", "signed")])
def test_high_accuracy_is_kept(name, kind):
    assert_contract(name, kind, 1e-9, n=8000, leaf_size=60)


def assert_kept_or_refused(name, eps, n, leaf_size, dtype=np.float64) -> int:
    """Every kind of charges and every output, on one plan; returns how many were refused for their floor."""
    points, rng = cloud(name, n), np.random.default_rng(7368787)
    rows = rng.choice(n, min(n, N_SAMPLES), replace=False)
    refused = [output for output in OUTPUTS if eps < accuracy.floor(output, np.dtype(dtype))]
    if "potential" in refused:
        with pytest.raises(taskfmm.AccuracyError, match="the floor"):
            taskfmm.Fmm(points, eps=eps, leaf_size=leaf_size, dtype=dtype)
        return len(refused)
    fmm = taskfmm.Fmm(points, eps=eps, leaf_size=leaf_size, dtype=dtype)
    if refused == [] and eps < LOWEST_AT_HARD_POINTS:
        try:
            fmm.accuracy("gradient")
        except taskfmm.AccuracyError:
            refused = ["gradient"]
    for kind in CHARGE_KINDS:
        q = charges(kind, n, rng)
        exact = taskfmm.direct(points, q, points[rows], outputs=OUTPUTS)
        for output in OUTPUTS:
            if output in refused:
                with pytest.raises(taskfmm.AccuracyError, match="the floor"):
                    fmm.evaluate(q, output)
                continue
            wrong = np.linalg.norm(fmm.evaluate(q, output)[output].compute()[rows] - exact[output])
            assert wrong <= eps * np.linalg.norm(exact[output]), (kind, output)
    return len(refused)


@pytest.mark.parametrize("i, name", list(enumerate(DISTRIBUTIONS)))
def test_eps_is_kept_or_refused(i, name):
    """A sample of the nightly sweep: each distribution at another eps, of those whose operators are made quickly."""
    assert_kept_or_refused(name, 10.0 ** (-2 - i % 5), 1500, 40)


def test_below_the_floor_there_is_no_result():
    for dtype, lowest in ((np.float64, 1e-13), (np.float32, 1e-7)):
        for eps in np.geomspace(lowest, 1e-300, 7):
            assert assert_kept_or_refused("uniform", eps, 100, None, dtype) == 2


@pytest.mark.nightly
@pytest.mark.parametrize("leaf_size", [40, None])
@pytest.mark.parametrize("exponent", range(-2, -13, -1))
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_eps_is_kept_or_refused_everywhere(name, exponent, leaf_size):
    assert_kept_or_refused(name, 10.0**exponent, 8000, leaf_size)


@pytest.mark.nightly
@pytest.mark.parametrize("exponent", [-2, -3, -4])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_eps_is_kept_in_float32_everywhere(name, exponent):
    assert_kept_or_refused(name, 10.0**exponent, 8000, 40, np.float32)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "identical"])
def test_eps_is_kept_by_many(name):
    assert_kept_or_refused(name, 1e-6, 60_000, None)


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
def test_eps_is_kept_at_other_targets(eps):
    rng = np.random.default_rng(8452019)
    sources, targets = cloud("sphere", 12_000), rng.uniform(-1.2, 1.2, (8000, 3))
    q = rng.uniform(-1, 1, 12_000)
    fmm = taskfmm.Fmm(sources, targets, eps=eps, leaf_size=40)
    exact = taskfmm.direct(sources, q, targets, outputs=OUTPUTS)
    for output in OUTPUTS:
        assert l2_error(fmm.evaluate(q, output)[output].compute(), exact[output]) <= eps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLOUDS)
def test_the_error_falls_with_the_order(name, kind):
    points, q = cloud(name, 8000), charges(kind, 8000, np.random.default_rng(9001003))
    table = [errors(points, q, order=order, leaf_size=40) for order in ORDERS]
    for output in OUTPUTS:
        digits = [np.log10(row[output]) for row in table]
        assert np.polyfit(ORDERS, digits, 1)[0] <= FMM_SLOPE[output], (output, digits)


def test_the_far_field_matters_in_these_tests():
    """Else an exact near field alone would pass them."""
    fmm = taskfmm.Fmm(cloud("sphere"), eps=1e-3, leaf_size=40)
    n_sources, u = np.diff(fmm.plan.tree.source_ptr, axis=1)[:, 0], fmm.plan.lists.u
    rows = np.repeat(np.arange(len(u)), np.diff(u.ptr))
    near_pairs = (n_sources[rows] * n_sources[u.idx]).sum()
    assert near_pairs < 0.05 * N * N


@pytest.mark.parametrize("dtype_eps", [1e-2, 1e-4])
def test_float32_results_keep_eps(dtype_eps):
    points = cloud("uniform", 8000)
    q = charges("signed", 8000, np.random.default_rng(5550113))
    found = errors(points, q, eps=dtype_eps, leaf_size=40, dtype=np.float32)
    assert max(found.values()) <= dtype_eps
    double = errors(points, q, eps=dtype_eps, leaf_size=40)
    for output in OUTPUTS:
        assert abs(found[output] - double[output]) <= FLOAT32_ERROR


def test_gradient_is_the_slope_of_the_potential():
    """Of the FMM itself, by central differences of its own potential over a thousandth of the cloud."""
    rng = np.random.default_rng(6650201)
    sources, q = cloud("uniform", 8000), rng.uniform(-1, 1, 8000)
    where, h = rng.uniform(1.1, 1.5, (100, 3)), 1e-3
    steps = np.concatenate([np.zeros((1, 3)), h * np.eye(3), -h * np.eye(3)])
    targets = (where[:, None, :] + steps).reshape(-1, 3)
    out = dask.compute(taskfmm.Fmm(sources, targets, eps=1e-9, leaf_size=40).evaluate(q))[0]
    phi = out["potential"].reshape(100, 7)
    difference = (phi[:, 1:4] - phi[:, 4:7]) / (2 * h)
    found = out["gradient"].reshape(100, 7, 3)[:, 0]
    assert l2_error(found, difference) <= FMM_DIFFERENCE


def test_eps_below_the_floor_is_refused_with_the_floor():
    x = cloud("uniform", 100)
    with pytest.raises(taskfmm.AccuracyError, match=r"eps is 1e-15, the floor .* is \d") as caught:
        taskfmm.Fmm(x, eps=1e-15).potential(np.ones(100))
    assert "order" in str(caught.value)
    with pytest.raises(taskfmm.AccuracyError, match="float32"):
        taskfmm.Fmm(x, eps=1e-9, dtype=np.float32).potential(np.ones(100))


def cuts(choice: accuracy.Accuracy) -> tuple:
    """What the table tells rows apart by; the dtype of M2L follows from eps."""
    return choice.order, choice.basis_tol, choice.m2l_tol


@pytest.mark.parametrize("output", OUTPUTS)
def test_choices_are_ordered(output):
    """What is chosen measured half of eps or less, and is no dearer than for a smaller eps; then comes the floor."""
    kernel, dtype = KERNELS["laplace"], np.dtype(np.float64)
    lowest = accuracy.floor(output, dtype, hard=1.0)
    ladder = np.geomspace(0.9, lowest * 1.001, 60)
    rows = {cuts(row.accuracy): row for row in accuracy.table()}
    choices = [accuracy.choose(kernel, eps, output, dtype) for eps in ladder]
    chosen, dtypes = [rows[cuts(choice)] for choice in choices], [choice.m2l_dtype for choice in choices]
    # half of eps is for one charge that outweighs all others, at the worst place of its box
    assert all(2.0 * row.error[output] < eps for row, eps in zip(chosen, ladder, strict=True))
    # and on regular grids
    assert all(1.4 * row.grid_error[output] < eps for row, eps in zip(chosen, ladder, strict=True))
    # the dtype changes once, and with it what is dear
    for dtype_name in set(dtypes):
        seconds = [
            row.seconds(dtype_name) for row, m2l in zip(chosen, dtypes, strict=True) if m2l == dtype_name
        ]
        assert (np.diff(seconds) >= 0).all()
    assert chosen[-1].accuracy.order > chosen[0].accuracy.order
    with pytest.raises(taskfmm.AccuracyError):
        accuracy.choose(kernel, lowest * 0.99, output, dtype)


def test_a_given_order_overrides_eps():
    fmm = taskfmm.Fmm(cloud("uniform", 100), eps=1e-30, order=5)
    assert fmm.accuracy("potential").order == fmm.accuracy("gradient").order == 5
