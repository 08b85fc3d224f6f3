"""eps is a contract: the relative l2 error against the direct sum, and how it falls with the order."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import FLOAT32_ERROR, FMM_DIFFERENCE, FMM_SLOPE
from boxes import l2_error
from cases import each, even_sphere

import taskfmm
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, calibrated
from taskfmm.operators.known import Known, Share
from taskfmm.testing import CHARGE_KINDS, DISTRIBUTIONS, HEAVY_PLACES, REGULAR, charges, with_heavy

CLOUDS = ("uniform", "sphere", "plummer", "two_clusters")
KINDS = ("positive", "signed")
OUTPUTS = ("potential", "gradient")
EPS = (1e-3, 1e-6, 1e-9)
EVERY_TWO = [(name, kind, EPS[(i + j) % 2]) for i, name in enumerate(CLOUDS) for j, kind in enumerate(KINDS)]
"""Any two of a cloud, a kind of charges and an eps meet."""


def long(*values):
    """A case for the nightly run: operators of an order above 13, say, take seconds to make."""
    return pytest.param(*values, marks=pytest.mark.nightly)


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


@pytest.mark.parametrize("name, kind, eps", EVERY_TWO)
def test_eps_is_kept(name, kind, eps):
    assert_contract(name, kind, eps)


@pytest.mark.parametrize(
    "name, kind", [long("uniform", "signed"), ("plummer", "positive"), ("sphere", "signed")]
)
def test_high_accuracy_is_kept(name, kind):
    assert_contract(name, kind, 1e-9, n=8000, leaf_size=60)


def kept_or_refused(points, q, eps, targets=None, **options) -> int:
    """Asserts that errors are at most eps; returns how many outputs were refused for their floor instead."""
    try:
        fmm = taskfmm.Fmm(points, targets, eps=eps, **options)
    except taskfmm.AccuracyError:
        return len(OUTPUTS)
    at, refused = (points if targets is None else targets), 0
    rows = np.random.default_rng(6101203).choice(len(at), min(len(at), N_SAMPLES), replace=False)
    exact = taskfmm.direct(points, q, at[rows], outputs=OUTPUTS)
    for output in OUTPUTS:
        try:
            found = fmm.evaluate(q, output)[output]
        except taskfmm.AccuracyError:
            refused += 1
            continue
        wrong = np.linalg.norm(found.compute()[rows] - exact[output])
        assert wrong <= eps * np.linalg.norm(exact[output]), output
    return refused


def assert_kept_or_refused(name, eps, n, leaf_size, dtype=np.float64) -> None:
    """Every kind of charges and every output; above the floor of any single charge nothing is refused."""
    points, rng = cloud(name, n), np.random.default_rng(7368787)
    for kind in CHARGE_KINDS:
        q = charges(kind, n, rng)
        refused = kept_or_refused(points, q, eps, leaf_size=leaf_size, dtype=dtype)
        floor = calibrated.floor(calibrated.table(), 1, np.dtype(dtype))
        assert refused == 0 or eps < 10 * floor, kind


@pytest.mark.parametrize("i, name", list(enumerate(DISTRIBUTIONS)))
def test_eps_is_kept_or_refused(i, name):
    """A sample of the nightly sweep: each distribution at another eps, of those whose operators are made quickly."""
    assert_kept_or_refused(name, 10.0 ** (-2 - i % 5), 1500, 40)


def test_below_the_floor_there_is_no_result():
    points, q = cloud("uniform", 100), np.ones(100)
    for dtype, lowest in ((np.float64, 5e-14), (np.float32, 1e-7)):
        for eps in np.geomspace(lowest, 1e-300, 7):
            assert kept_or_refused(points, q, eps, dtype=dtype) == 2


def star_and_ring(n: int):
    """One charge at the origin, and a thin ring of charges that weigh nothing."""
    rng = np.random.default_rng(2400701)
    angle, radius = 2 * np.pi * rng.random(n), 130 + 10 * rng.random(n)
    ring = np.column_stack((radius * np.cos(angle), radius * np.sin(angle), rng.standard_normal(n)))
    return np.concatenate([np.zeros((1, 3)), ring]), np.r_[1.0, np.full(n, 1e-12)]


@pytest.mark.parametrize("eps", [1e-3, 10**-6.25, long(10**-8.5)])
def test_eps_is_kept_where_one_charge_outweighs_all_others(eps):
    points, q = star_and_ring(8000)
    assert kept_or_refused(points, q, eps, leaf_size=60) == 0


@each("place", HEAVY_PLACES)
@each("name", ["uniform", "sphere", "coplanar", "box_faces"])
def test_eps_is_kept_with_a_heavy_charge(name, place):
    points, q = with_heavy(cloud(name, 6000), place, 1e9, np.random.default_rng(883))
    assert kept_or_refused(points, q, 1e-4, leaf_size=40) == 0


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
@pytest.mark.parametrize("name", REGULAR)
def test_eps_is_kept_where_equal_charges_cancel(name, eps):
    points = REGULAR[name](9000, np.random.default_rng(3))
    assert kept_or_refused(points, np.ones(len(points)), eps, leaf_size=40) == 0


@pytest.mark.parametrize("eps", [1e-4, long(1e-5)])
@pytest.mark.parametrize("widths", [1.5, 30.0, 1000.0])
@pytest.mark.parametrize("kind", CHARGE_KINDS)
def test_eps_is_kept_or_refused_at_targets_apart(kind, widths, eps):
    """Neutral charges cancel there: the more, the further away."""
    rng = np.random.default_rng(471_100)
    sources, targets = rng.random((4000, 3)), rng.random((1500, 3)) + widths * np.array([1.0, 0.3, 0.1])
    refused = kept_or_refused(sources, charges(kind, 4000, rng), eps, targets, leaf_size=40)
    assert refused == 0 or kind == "neutral"


@pytest.mark.parametrize("eps, radius", [(1e-2, 0.5), (1e-6, 0.1)])
def test_eps_is_kept_or_refused_inside_a_shell(radius, eps):
    targets = radius * even_sphere(700) * np.random.default_rng(5).random((700, 1))
    kept_or_refused(even_sphere(6000), np.ones(6000), eps, targets, leaf_size=60)


@each("gap", [0.003, 0.02])
@each("eps", [3e-3, 1e-4])
def test_eps_is_kept_in_a_capacitor(gap, eps):
    plate = REGULAR["plane_grid"](3000, None)
    plate /= plate.max()
    points = np.concatenate([plate, plate + np.array([0.0, 0.0, gap])])
    q = np.repeat([1.0, -1.0], len(plate))
    assert kept_or_refused(points, q, eps, leaf_size=100) == 0


@each("seed", [0, 1, 2])
def test_eps_is_kept_with_two_opposite_heavy_charges(seed):
    rng = np.random.default_rng(seed)
    points, q = rng.random((4000, 3)), rng.uniform(-1, 1, 4000)
    q[np.abs(points - 0.5).sum(axis=1).argsort()[:2]] = 1e6, -1e6
    assert kept_or_refused(points, q, 1e-3, leaf_size=100) == 0


def lazily(q):
    return da.from_array(q, chunks=3000)


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
def test_lazy_charges_get_what_the_worst_need(eps):
    star = star_and_ring(8000)
    ring = REGULAR["circle"](8000, None), np.ones(8000)
    for points, q in (star, ring):
        assert kept_or_refused(points, lazily(q), eps, leaf_size=40) == 0


@pytest.mark.parametrize("eps", [1e-2, 1e-4, long(1e-6)])
def test_a_lazy_charge_far_from_small_leaves(eps):
    """L2L keeps the error of a field that hardly varies, while its gradient becomes as small as the leaf."""
    rng = np.random.default_rng(34)
    direction = rng.standard_normal((4000, 3))
    points = direction / np.linalg.norm(direction, axis=1)[:, None] * 10.0 ** (-6 * rng.random(4000))[:, None]
    for farthest in np.argsort(np.linalg.norm(points, axis=1))[[-1, -200]]:
        assert kept_or_refused(points, lazily(np.eye(1, 4000, farthest)[0]), eps, leaf_size=40) <= 1
    along = np.repeat(np.arange(1000)[:, None] / 1000.0, 3, axis=1)
    spot = [0.5, 0.5, 0.55] + 1e-4 * rng.random((500, 3))
    heavy = np.where(np.arange(1000) == 999, 1.0, 1e-9)
    assert kept_or_refused(along, lazily(heavy), eps, spot, leaf_size=40) <= 1


def test_lazy_charges_may_be_like_others():
    points, rng = cloud("sphere", 5000), np.random.default_rng(61)
    q = rng.uniform(-1, 1, 5000)
    plain = taskfmm.Fmm(points, eps=1e-6, leaf_size=40)
    like = taskfmm.Fmm(points, eps=1e-6, leaf_size=40, like=q)
    assert like.accuracy("gradient", lazily(q)) == plain.accuracy("gradient", q)
    assert plain.accuracy("gradient", lazily(q)).order > plain.accuracy("gradient", q).order
    heavy = np.r_[1e9, q[1:]]
    assert like.accuracy("gradient", heavy) == plain.accuracy("gradient", heavy)


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


@pytest.mark.parametrize("name, kind", list(zip(CLOUDS, KINDS * 2, strict=True)))
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


@each("dtype_eps", [1e-2, 1e-4])
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
    out = dask.compute(taskfmm.Fmm(sources, targets, order=10, leaf_size=40).evaluate(q))[0]
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


@each("cases", [(None,), (Known(True),), (None, Known(True, gradient=Share(1.0, 0.2, 0.5, 3.0)))])
@each("output", OUTPUTS)
def test_choices_are_ordered(output, cases):
    """What is chosen reaches eps, and is no dearer than for a smaller eps; then comes the floor."""
    kernel, dtype = KERNELS["laplace"].of_first, np.dtype(np.float64)
    lowest = calibrated.floor(calibrated.table(), int(output == "gradient"), dtype, cases)
    rows = {row.accuracy: row for row in calibrated.table()}
    ladder = np.geomspace(0.1, lowest * 1.001, 60)
    chosen = [rows[calibrated.choose(kernel, eps, output, dtype, cases=cases)] for eps in ladder]
    for row, eps in zip(chosen, ladder, strict=True):
        assert all(row.reach(int(output == "gradient"), known) <= eps for known in cases)
    assert (np.diff([row.seconds for row in chosen]) >= 0).all()
    assert chosen[-1].accuracy.order > chosen[0].accuracy.order
    with pytest.raises(taskfmm.AccuracyError):
        calibrated.choose(kernel, lowest * 0.99, output, dtype, cases=cases)


def test_m2l_is_rounded_only_where_eps_bears_it():
    for row in calibrated.table():
        if row.accuracy.m2l_dtype == "float32":
            assert row.reach("potential", None) >= accuracy.NOISE[row.accuracy.dtypes]
            assert (
                row.reach("potential", Known(True))
                >= calibrated.AVERAGE * accuracy.NOISE[row.accuracy.dtypes]
            )


def test_a_given_order_overrides_eps():
    fmm = taskfmm.Fmm(cloud("uniform", 100), eps=1e-30, order=5)
    assert fmm.accuracy("potential").order == fmm.accuracy("gradient").order == 5
