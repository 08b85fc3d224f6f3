"""Numbers at the ends of floating point and clouds that no box can part: an answer that is right, or one that is
documented in `taskfmm.Fmm`, and in seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import SUM_ROUNDING
from boxes import FOUR_PI, l2_error
from cases import each
from plans import listed

import taskfmm

OUTPUTS = ("potential", "gradient")
EPS = 1e-6


def computed(fmm, charges) -> dict[str, np.ndarray]:
    return dask.compute(fmm.evaluate(charges, OUTPUTS), scheduler="threads")[0]


def relative(found, expected) -> float:
    """l2 error of numbers whose squares would be infinite or zero."""
    scale = np.abs(expected).max()
    return l2_error(found / scale, expected / scale)


@pytest.fixture(scope="module")
def ordinary():
    rng = np.random.default_rng(61800743)
    x, q = rng.random((2000, 3)), rng.uniform(-1, 1, 2000)
    fmm = taskfmm.Fmm(x, eps=EPS, leaf_size=20)
    return fmm, q, computed(fmm, q), taskfmm.direct(x, q, outputs=OUTPUTS)


AXES = ([0], [1, 2], [0, 1, 2])
OFFSETS = (1e8, 4e12, -5e12, 1e14, -1e15, 1e100, 1e300)


@pytest.mark.parametrize(
    "offset, axes, leaf_size",
    [
        (offset, axes, (30, None)[(i + j) % 2])
        for i, offset in enumerate(OFFSETS)
        for j, axes in enumerate(AXES)
    ],
)
def test_clouds_far_from_the_origin(offset, axes, leaf_size):
    """There coordinates are a lattice, at 1e15 with 8 places along an axis; the direct sum is exact for them."""
    rng = np.random.default_rng(41290087)
    x, q = rng.random((2000, 3)), rng.uniform(-1, 1, 2000)
    x[::2, 0] += 1e3
    axes = axes[:2] if abs(offset) >= 1e100 else axes  # points that differ in something
    x[:, axes] += offset
    exact = taskfmm.direct(x, q, outputs=OUTPUTS)
    for eps in (1e-3, 1e-8):
        found = computed(taskfmm.Fmm(x, eps=eps, leaf_size=leaf_size), q)
        assert relative(found["potential"], exact["potential"]) <= eps
        assert relative(found["gradient"], exact["gradient"]) <= eps


@each("exponent", [-970, -300, -130, 130, 300, 990])
def test_charges_of_any_size_give_the_same_digits(ordinary, exponent):
    """1e-292 to 1e298, far beyond float32, in which M2L runs at this eps."""
    fmm, q, expected, exact = ordinary
    factor = 2.0**exponent
    found = computed(fmm, q * factor)
    lazy, lazily = (computed(fmm, da.from_array(each, chunks=700)) for each in (q * factor, q))
    by_pairs = taskfmm.direct(fmm.sources, q * factor, outputs=OUTPUTS)
    for output in OUTPUTS:
        np.testing.assert_array_equal(found[output], expected[output] * factor)
        np.testing.assert_array_equal(lazy[output], lazily[output] * factor)
        np.testing.assert_array_equal(by_pairs[output], exact[output] * factor)
    np.testing.assert_array_equal(fmm.serial(q * factor, "gradient"), found["gradient"])


@each("size", [1e-300, 1e300])
def test_charges_of_1e300(ordinary, size):
    fmm, q, _, exact = ordinary
    found = computed(fmm, q * size)
    for output in OUTPUTS:
        assert relative(found[output], exact[output] * size) <= EPS


def test_charges_from_1e_300_to_1e300_at_once(ordinary):
    """The large ones decide; the small ones do no harm."""
    fmm, q, _, _ = ordinary
    mixed = np.sign(q) * 10.0 ** np.random.default_rng(77301129).uniform(-300, 300, q.size)
    found, exact = computed(fmm, mixed), taskfmm.direct(fmm.sources, mixed, outputs=OUTPUTS)
    for output in OUTPUTS:
        assert relative(found[output], exact[output]) <= EPS


def test_subnormal_charges_and_the_largest(ordinary):
    fmm, q, _, _ = ordinary
    signs = np.sign(q)
    tiny = computed(fmm, signs * 5e-324)["potential"]
    np.testing.assert_array_equal(tiny, computed(fmm, signs)["potential"] * 5e-324)
    with pytest.warns(RuntimeWarning, match="overflow"):
        large = fmm.serial(signs * 2.0**1023)
    assert np.isinf(large).any()
    unit = fmm.serial(signs)
    fits = np.abs(unit) < 1
    np.testing.assert_array_equal(large[fits], unit[fits] * 2.0**1023)


@pytest.mark.parametrize(
    "width, charge", [(1e-150, 1e-300), (1e150, 1e300), (1e-150, 1e150), (1e150, 1e-150)]
)
def test_widths_and_charges_together(ordinary, width, charge):
    """What goes beyond a float64 on the way need not end there."""
    fmm, q, _, exact = ordinary
    scaled = taskfmm.Fmm(fmm.sources * width, eps=EPS, leaf_size=20)
    found = scaled.potential(q * charge).compute()
    assert relative(found, exact["potential"] * (charge / width)) <= EPS
    size = charge / width / width
    if 0 < size < 1e300:
        found = scaled.evaluate(q * charge, "gradient")["gradient"].compute()
        assert relative(found, exact["gradient"] * size) <= EPS


def spread_over(decades, n, rng) -> np.ndarray:
    """Points around the origin, at distances from 1 down over so many powers of ten."""
    direction = rng.standard_normal((n, 3))
    return (
        10.0 ** -rng.uniform(0, decades, (n, 1))
        * direction
        / np.linalg.norm(direction, axis=1, keepdims=True)
    )


@each("width", [1e-150, 1.0, 1e150])
def test_a_cloud_over_thirty_decades(width):
    rng = np.random.default_rng(30103217)
    x, q = spread_over(30, 2000, rng), rng.uniform(-1, 1, 2000)
    distance = np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))
    np.fill_diagonal(distance, np.inf)
    exact = (1 / distance) @ q / FOUR_PI
    assert relative(taskfmm.direct(x * width, q) * width, exact) <= SUM_ROUNDING
    for leaf_size in (1, 20, None):
        assert (
            relative(taskfmm.Fmm(x * width, leaf_size=leaf_size).potential(q).compute() * width, exact) <= EPS
        )


def test_a_cloud_over_three_hundred_decades_is_refused():
    """The loops cannot tell most of its points apart."""
    x = spread_over(300, 3000, np.random.default_rng(30103217)) * 1e150
    for refused in (lambda: taskfmm.Fmm(x), lambda: taskfmm.direct(x, np.ones(3000))):
        with pytest.raises(
            taskfmm.InputError, match=r"sources row \d+ and sources row \d+, .* would count as one"
        ):
            refused()


MISSING = 3.4028235e38
"""The largest float32, which often stands for a missing value."""


@each("mark", [[MISSING] * 3, [-MISSING] * 3, [0.5, MISSING, 0.5], [1e36] * 3])
def test_a_row_that_marks_a_missing_value_is_named(mark):
    x = np.random.default_rng(71003321).random((5000, 3))
    x[2345] = mark
    q = np.ones(5000)
    in_a_tree, as_a_sum = lambda: taskfmm.Fmm(x, leaf_size=50), lambda: taskfmm.Fmm(x, x.copy())
    for refused in (in_a_tree, as_a_sum, lambda: taskfmm.direct(x, q)):
        with pytest.raises(taskfmm.InputError, match=r"sources row 2345 is \[.*drop the row"):
            refused()
    with pytest.raises(taskfmm.InputError, match="targets row 2345 is"):
        taskfmm.Fmm(np.delete(x, 2345, axis=0), x)


@each("far", [1e6, 1e20, 1e33])
def test_one_row_far_away_that_does_no_harm(far):
    rng = np.random.default_rng(71003322)
    x, q = rng.random((1000, 3)), rng.uniform(-1, 1, 1000)
    exact = taskfmm.direct(x, q)
    x, q = np.concatenate([x, [[far] * 3]]), np.append(q, 1.0)
    assert relative(taskfmm.direct(x, q)[:1000], exact + 1 / (FOUR_PI * np.sqrt(3) * far)) <= 1e-6
    assert relative(taskfmm.Fmm(x).potential(q).compute()[:1000], exact) <= 1e-5


def test_targets_so_far_away_that_sources_need_not_be_told_apart():
    rng = np.random.default_rng(71003323)
    x, q = rng.random((1000, 3)), rng.random(1000)
    targets = np.array([[1e45, 0, 0], [0, -3e45, 0]])
    expected = q.sum() / FOUR_PI / np.array([1e45, 3e45])
    for found in (taskfmm.direct(x, q, targets), taskfmm.Fmm(x, targets).potential(q).compute()):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_constant_kernel_need_not_tell_points_apart():
    x = np.array([[0, 0, 0], [1e-30, 0, 0], [1e30, 0, 0]])
    np.testing.assert_array_equal(taskfmm.Fmm(x, kernel="one").potential(np.ones(3)).compute(), [3, 3, 3])


@each("distance", [1e-300, 1e-150, 1e-20, 1e150, 1e300])
@each("leaf_size", [1, None])
def test_two_points_at_any_distance(distance, leaf_size):
    fmm = taskfmm.Fmm([[0, 0, 0], [0, distance, 0]], leaf_size=leaf_size)
    found = computed(fmm, [distance, 2 * distance])
    np.testing.assert_allclose(FOUR_PI * found["potential"], [2, 1], rtol=SUM_ROUNDING)
    slope = FOUR_PI * found["gradient"][:, 1] * distance
    np.testing.assert_allclose(slope, [2, -1], rtol=SUM_ROUNDING)


def test_two_points_a_subnormal_apart_are_refused():
    """Closer than 1e-37 of the smallest cube there is."""
    with pytest.raises(taskfmm.InputError, match=r"4.9e-324 apart, would count as one point"):
        taskfmm.Fmm([[0, 0, 0], [0, 5e-324, 0]])


def test_subnormal_coordinates_among_others():
    rng = np.random.default_rng(84410033)
    x, q = rng.random((1500, 3)), rng.uniform(-1, 1, 1500)
    plain = x.copy()
    x[::3, 0], plain[::3, 0] = 3e-310, 0.0
    x[1::3, 1], plain[1::3, 1] = -0.0, 0.0
    found, expected = (computed(taskfmm.Fmm(p, order=4, leaf_size=10), q) for p in (x, plain))
    for output in OUTPUTS:
        np.testing.assert_array_equal(found[output], expected[output])


def test_negative_zeros_are_zeros():
    """At the origin, and as charges."""
    found = computed(taskfmm.Fmm([[0.0, 0.0, 0.0], [-0.0, -0.0, -0.0], [0, 0, 1.0]]), [-0.0, 3.0, 0.0])
    np.testing.assert_allclose(FOUR_PI * found["potential"], [0, 0, 3.0], rtol=SUM_ROUNDING)


@each("leaf_size", [1, 7, 100, None])
def test_a_grid_on_all_faces(leaf_size):
    """Every point on a corner of boxes; the last of each row on the upper face of the cube."""
    side = np.arange(13) / 12
    x = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.random.default_rng(92810047).uniform(-1, 1, len(x))
    found = computed(taskfmm.Fmm(x, eps=EPS, leaf_size=leaf_size), q)
    exact = taskfmm.direct(x, q, outputs=OUTPUTS)
    assert l2_error(found["potential"], exact["potential"]) <= EPS
    assert l2_error(found["gradient"], exact["gradient"]) <= EPS


def test_float32_results_beyond_its_range_are_infinite_or_zero(ordinary):
    fmm, *_ = ordinary
    single = taskfmm.Fmm(fmm.sources, eps=1e-3, leaf_size=20, dtype=np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf(single.serial(np.full(2000, 3e38))).all()
    assert (single.serial(np.full(2000, 1e-44)) > 0).all()


# --- points that no box can part


@pytest.mark.parametrize("separate", [False, True])
def test_what_shares_a_leaf_is_said(says, separate):
    x = np.tile([[0.1, 0.2, 0.3], [1.0, 0.0, 0.0]], (60, 1))
    fmm = taskfmm.Fmm(x, x[:90] if separate else None, leaf_size=20)
    assert fmm.plan.tree.fullest == 60
    assert "fullest leaf    60 points, more than the leaf size of 20" in fmm.explain()
    taskfmm.Fmm(x, leaf_size=20)
    (line,) = says()
    assert "60 points share a leaf, and leaf_size is 20" in line
    assert taskfmm.Fmm(x, leaf_size=60).plan.tree.fullest == 60


def test_an_ordinary_tree_is_not_talked_about(says):
    fmm = taskfmm.Fmm(np.random.default_rng(55113907).random((500, 3)), leaf_size=1)
    assert "fullest" not in fmm.explain()
    assert says() == []


@pytest.mark.parametrize("n", [1500, pytest.param(60_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("relation", ["same", "given", "elsewhere"])
def test_many_coincident_points_take_no_pairs(n, relation):
    """The leaf itself is left out of its near field only where all its points, of both kinds, are at one place."""
    rng = np.random.default_rng(19283077)
    others = rng.random((1000, 3))
    middle = np.tile([0.3, 0.4, 0.5], (n, 1))
    x, q = np.concatenate([middle, others]), rng.uniform(-1, 1, n + 1000)
    targets = {
        "same": None,
        "given": x.copy(),
        "elsewhere": np.concatenate([middle + np.array([0, 0, 1e-14]), others]),
    }[relation]
    fmm = taskfmm.Fmm(x, targets, eps=EPS, leaf_size=40)
    tree, u = fmm.plan.tree, fmm.plan.lists.u
    (crowded,) = np.flatnonzero(tree.is_leaf & (np.diff(tree.source_ptr)[:, 0] >= n))
    assert (crowded in listed(u, crowded)) == (relation == "elsewhere")
    assert crowded in u.idx  # for its neighbours
    rows = np.concatenate([[0, n // 2], rng.integers(n, n + 1000, 300)])
    exact = taskfmm.direct(x, q, fmm.targets[rows], outputs=OUTPUTS)
    found = computed(fmm, q)
    for output in OUTPUTS:
        assert relative(found[output][rows], exact[output]) <= EPS


def test_the_constant_kernel_counts_coincident_points():
    found = taskfmm.Fmm(np.full((1500, 3), 0.7), kernel="one", leaf_size=5).potential(np.ones(1500)).compute()
    np.testing.assert_array_equal(found, np.full(1500, 1500.0))


SLOWEST = """
import sys, time
import numpy as np, dask, taskfmm
from taskfmm.testing import DISTRIBUTIONS
n, what = int(float(sys.argv[1])), sys.argv[2]
rng = np.random.default_rng(10223)
x, few, targets = rng.random((n, 3)), rng.random((2000, 3)), None
place = np.full((n, 3), 0.625)
if what == "one place":
    x = place
elif what == "one place but for one":
    x = place
    x[n // 3] = 0.0
elif what == "half in one place":
    x[::2] = place[::2]
elif what == "sources in one place":
    x, targets = place, x
elif what == "targets in one place":
    targets = place
elif what == "targets far away":
    targets = rng.random((n, 3)) + 1e3
elif what == "on an axis":
    x[:, 1:] = 0.3
elif what == "on a line":
    x = x[:, :1] * np.array([0.3, 0.5, 0.8])
elif what == "in a plane":
    x[:, 2] = 0.3
elif what == "half within 1e-9":
    x[::2] *= 1e-9
elif what == "all but one within 1e-9":
    x[1:] *= 1e-9
elif what == "from 1e-30 to 1":
    x = (x - 0.5) * 10.0 ** rng.uniform(-30, 0, (n, 1))
elif what in ("1e-150 wide", "1e150 wide"):
    x *= float(what.split()[0])
elif what == "at 1e8":
    x += 1e8
else:
    x = DISTRIBUTIONS[what](n, rng)
def go(x, targets):
    return dask.compute(taskfmm.Fmm(x, targets).evaluate(np.ones(len(x))))[0]
go(few, None), go(few, few[::2].copy())
start = time.process_time()
found = go(x, targets)
assert all(np.isfinite(values).all() for values in found.values())
print(time.process_time() - start)
"""

NO_HARDER = (
    "one place", "one place but for one", "half in one place", "sources in one place", "targets in one place",
    "targets far away", "on an axis", "on a line", "in a plane", "half within 1e-9", "all but one within 1e-9",
    "power_law", "1e-150 wide", "1e150 wide", "at 1e8",
)  # fmt: skip
"""Clouds of a million points that take seconds. A cluster much below 1e-10 of the cube is cut into few boxes by the
deepest level, 42, and takes up to a minute of one core; where most points are closer together than its boxes are
wide, time goes as their square, as is said, and fewer have to do."""


@pytest.mark.parametrize(
    "n, what",
    [
        (1e5, "one place"),
        (3e4, "from 1e-30 to 1"),
        *(pytest.param(1e6, what, marks=pytest.mark.nightly) for what in NO_HARDER),
    ],
)
def test_a_million_points_anywhere_take_seconds(n, what):
    """A limit that only a hang breaks, or a quadratic time: a trillion pairs."""
    command = [sys.executable, "-c", SLOWEST, str(n), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60


@each("length, charge", [(1e-30, 1e-50), (1e30, 1e50)])
def test_float32_results_of_charges_that_float32_cannot_hold(length, charge):
    rng = np.random.default_rng(120)
    x, q = length * rng.random((1500, 3)), charge * rng.uniform(-1, 1, 1500)
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=50, dtype=np.float32)
    for charges in (q, da.from_array(q, chunks=400)):
        assert relative(fmm.potential(charges).compute(), taskfmm.direct(x, q)) <= 1e-3


@each("size", [1e-300, 1e300])
def test_error_estimates_of_results_of_any_size(ordinary, size):
    fmm, q, _, _ = ordinary
    phi = fmm.potential(size * q).compute()
    assert fmm.error_estimate(size * q, phi) <= EPS
    assert fmm.error_estimate(size * q, 2 * phi) == pytest.approx(1.0, rel=1e-3)


def test_crowded_leaves_side_by_side(tmp_path):
    """Each is left out of its own near field, and all other pairs are mutual: nothing is read from one side."""
    points = np.repeat([[0.0, 0, 0], [1, 1, 1]], 2000, axis=0)
    q = np.random.default_rng(6067).uniform(-1, 1, 4000)
    fmm = taskfmm.Fmm(points, leaf_size=2500)
    assert l2_error(fmm.serial(q), taskfmm.direct(points, q)) <= 1e-12
    fmm.save(tmp_path / "plan.h5")
    np.testing.assert_array_equal(
        taskfmm.Fmm.load(tmp_path / "plan.h5").potential(q).compute(), fmm.serial(q)
    )


def test_a_plan_whose_locals_are_zero_is_loaded(tmp_path):
    """A lone point far from a crowded octant has no V list, and its local, which nothing reaches, is still read."""
    rng = np.random.default_rng(6073)
    points = np.concatenate([0.4 * rng.random((400, 3)), np.ones((1, 3))])
    fmm = taskfmm.Fmm(points, leaf_size=100)
    fmm.save(tmp_path / "plan.h5")
    q = np.ones(401)
    np.testing.assert_array_equal(taskfmm.Fmm.load(tmp_path / "plan.h5").serial(q), fmm.serial(q))
