"""How much of an output comes through expansions, and that errors follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import l2_error
from cases import each, even_sphere
from scipy.special import eval_legendre

import taskfmm
from taskfmm import testing
from taskfmm.kernels import KERNELS, Gravity
from taskfmm.operators import accuracy, calibrated
from taskfmm.operators.calibrated import SHARE
from taskfmm.operators.known import Known, Share, are_many
from taskfmm.passes.share import Places, look
from taskfmm.testing import charges, with_heavy

LAPLACE = KERNELS["laplace"].of_first
N = 4000
ORDER = 4
ROW = next(
    row for row in calibrated.table() if row.accuracy == accuracy.Accuracy(ORDER, 3e-4, 3e-4, accuracy.MIXED)
)


def clouds():
    rng = np.random.default_rng(5051)
    for name in ("uniform", "sphere", "coplanar", "box_faces", "plummer", "two_clusters"):
        points = testing.DISTRIBUTIONS[name](N, rng)
        for kind in ("signed", "equal"):
            yield f"{name} {kind}", points, None, charges(kind, N, rng)
        for place in testing.HEAVY_PLACES:
            yield f"{name} heavy {place}", *with_separate(with_heavy(points, place, 1e9, rng))
    for name, make in testing.REGULAR.items():
        points = make(N, rng)
        for kind in ("signed", "equal"):
            yield f"{name} {kind}", points, None, charges(kind, len(points), rng)
    for widths in (0.0, 1.5, 30.0, 300.0):
        points, targets = rng.random((N, 3)), rng.random((N // 3, 3)) + widths * np.array([1, 0.3, 0.1])
        for kind in ("signed", "neutral", "equal"):
            yield f"{widths} widths apart {kind}", points, targets, charges(kind, N, rng)
    targets = 0.3 * even_sphere(N // 3) * rng.random((N // 3, 1))
    yield "within a sphere equal", even_sphere(N), targets, np.ones(N)


def with_separate(problem):
    points, q = problem
    return points, None, q


CLOUDS = {name: rest for name, *rest in clouds()}


@each("name", CLOUDS)
def test_errors_follow_from_the_share(name):
    """And the size of a gradient is estimated from below. Too much by a factor of two at most, where charges cancel.
    Too little by far would make it dear, as where few targets have all of the norm: the ends of a line, and those
    next to a heavy charge."""
    points, targets, q = CLOUDS[name]
    fmm = taskfmm.Fmm(points, targets, order=ORDER, leaf_size=40)
    exact = taskfmm.direct(points, q, targets, outputs=("potential", "gradient"))
    known = look(fmm.plan, LAPLACE, [q], "gradient")

    unit = fmm.plan.tree.domain.scale**2 * 2.0 ** np.frexp(np.abs(q).max())[1] / (4 * np.pi)
    size, estimate = np.linalg.norm(exact["gradient"]), known.gradient.total * unit
    few = "heavy" in name or name == "line equal"
    assert (1e-3 if few else 0.02) * size <= estimate <= 2.0 * size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "of_order", lambda *_: ROW.accuracy)
        found = fmm.serial(q, "gradient")
        assert l2_error(found, exact["gradient"]) <= SHARE * known.gradient.times(
            ROW.errors.gradient, ORDER, ROW.errors.smooth
        )
        if targets is not None:
            bound = ROW.errors.potential * (
                1.0 if known.potential is None else max(1.0, known.potential.times(1.0, ORDER))
            )
            assert l2_error(fmm.serial(q, "potential"), exact["potential"]) <= bound


def lattice(name: str, m: int) -> np.ndarray:
    grid = np.indices((m, m)).reshape(2, -1).T / m
    if name == "line":
        return np.c_[np.arange(m) / m, np.zeros((m, 2))]
    if name == "hexagonal":
        grid = grid @ [[1.0, 0.0], [0.5, 0.75**0.5]]
    return np.c_[grid, np.zeros(m * m)]


@pytest.mark.parametrize(
    "name, m, eps, leaf_size, even",
    [
        ("square", 90, 6.5e-3, 10, True),
        ("hexagonal", 65, 5.14e-3, 20, True),
        ("hexagonal", 70, 3.87e-5, 30, True),
        ("line", 2294, 3.09e-4, 4, False),
        ("line", 5795, 6.39e-5, 3, False),
    ],
)
def test_gradients_of_lattices_with_few_points_in_a_leaf(name, m, eps, leaf_size, even):
    """They cancel nearly; and in each leaf charges lie alike, but too few of them to tell that in one leaf."""
    points = lattice(name, m)
    q = np.ones(len(points)) if even else np.random.default_rng(1).random(len(points))
    found = taskfmm.Fmm(points, eps=eps, leaf_size=leaf_size).serial(q, "gradient")
    assert l2_error(found, taskfmm.direct(points, q, outputs=("gradient",))["gradient"]) <= eps


def test_close_pairs_make_the_share_small_and_cancelling_charges_large():
    def part(name):
        points, targets, q = CLOUDS[name]
        fmm = taskfmm.Fmm(points, targets, order=ORDER, leaf_size=40)
        share = look(fmm.plan, LAPLACE, [q], "gradient").gradient
        return share.far / share.total

    assert part("sphere signed") < part("uniform signed") < 0.2
    assert part("plane_grid equal") > 0.1
    assert part("uniform heavy beside") == pytest.approx(1.0, rel=0.1)
    assert part("30.0 widths apart neutral") > 2


@pytest.mark.parametrize("order, cut", [(4, 2e-3), (4, 3e-4), (5, 3e-4), (6, 3e-5), (8, 2e-7)])
@pytest.mark.parametrize("name", ["cubic_grid", "plane_grid", "plummer", "half_duplicates"])
def test_errors_of_many_charges_stay_within_the_margin(name, order, cut, monkeypatch):
    """The margins over errors that are averaged over places and directions, with the clouds that needed them."""
    (row,) = (
        r for r in calibrated.table() if r.accuracy == accuracy.Accuracy(order, cut, cut, accuracy.MIXED)
    )
    monkeypatch.setattr(accuracy, "of_order", lambda *_: row.accuracy)
    rng = np.random.default_rng(3)
    points = (testing.REGULAR | testing.DISTRIBUTIONS)[name](N, rng)
    fmm = taskfmm.Fmm(points, order=order, leaf_size=40)
    for kind in ("signed", "neutral"):
        q = charges(kind, len(points), rng)
        assert l2_error(fmm.serial(q), taskfmm.direct(points, q)) <= row.reach("potential", Known(many=True))


def flat_wave(
    m: int, k: int, other: int = 0, thick: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A wave on a plane grid, or on one a little thick, whose upper half follows its lower half in Morton order.

    Two points far above and below, without charge, have the plane lie on faces of boxes, where operators err most.
    """
    grid = np.indices((m, m)).reshape(2, -1).T / m
    z = thick / m * np.random.default_rng(seed).random(m * m)
    wave = np.cos(2 * np.pi * k * grid[:, 0] + 1.0) * np.cos(2 * np.pi * other * grid[:, 1])
    middle = 0.5 * (z.min() + z.max())
    away = [[0.5, 0.5, middle - 0.5], [0.5, 0.5, middle + 0.5]]
    return np.concatenate([np.c_[grid, z], away]), np.append(wave, [0.0, 0.0])


def cubic_wave(m: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    grid = (np.indices((m, m, m)).reshape(3, -1).T + 0.5) / m
    return grid, np.cos(2 * np.pi * k * grid).prod(axis=1)


def blocks(m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one sign each, as boxes of an upper level are."""
    grid, _ = cubic_wave(m, 1.0)
    return grid, np.where(np.floor(n * grid).sum(axis=1) % 2 == 0, 1.0, -1.0)


def harmonic(n: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    x = even_sphere(n)
    return x, eval_legendre(degree, x[:, 2])


WAVES: dict[str, tuple[tuple[np.ndarray, np.ndarray], float, int | None]] = {
    "cubic": (cubic_wave(25, 5.0), 1e-3, None),
    "small cubic": (cubic_wave(15, 4.0), 1.03e-6, 31),
    "flat": (flat_wave(91, 14), 1e-4, 50),
    "flat, as large as random ones": (flat_wave(108, 16), 1e-4, 50),
    "thick": (flat_wave(48, 7, 11, 1e-3, 600), 1e-4, 50),
    "thick, with sums of random ones": (flat_wave(104, 4, 24, 1e-3, 4402), 1e-4, 50),
    "blocks": (blocks(24, 4), 5.1e-7, 70),
    "on a sphere": (harmonic(14694, 51), 4.68e-3, None),
}


@pytest.mark.parametrize("name", WAVES)
def test_waves_are_not_random(name):
    """Over boxes of one size, or at other scales, sums of a wave may be as those of random charges."""
    (points, wave), eps, leaf_size = WAVES[name]
    fmm = taskfmm.Fmm(points, eps=eps, leaf_size=leaf_size)
    assert not fmm.plan.is_direct
    assert l2_error(fmm.serial(wave), taskfmm.direct(points, wave)) <= eps


def test_random_charges_count_as_such():
    rng = np.random.default_rng(8)
    points = cubic_wave(25, 1.0)[0]
    fmm = taskfmm.Fmm(points, eps=1e-3)
    vectors = [rng.uniform(-1.0, 1.0, len(points)) for _ in range(20)]
    # some of them happen to cancel
    assert sum(look(fmm.plan, LAPLACE, [each], "potential").potential is None for each in vectors) >= 16


def test_places_serve_any_charges():
    points, targets, signed = CLOUDS["1.5 widths apart signed"]
    plan = taskfmm.Fmm(points, targets, order=ORDER, leaf_size=40).plan
    places = Places(plan.tree)
    for q in (signed, np.abs(signed), signed):
        assert look(plan, LAPLACE, [q], "gradient", places) == look(plan, LAPLACE, [q], "gradient")


def test_what_are_many():
    assert are_many(np.ones(100))
    assert not are_many(np.ones(99))
    assert not are_many(np.r_[1e6, np.ones(10_000)])
    assert are_many(np.r_[np.zeros(1000), np.full(500, -1e-3)])
    assert are_many(np.zeros(5))


@each("scale, charge", [(1e-150, 1.0), (1e150, 1e-300), (1.0, 1e300)])
def test_it_has_no_unit(scale, charge):
    """Leaves may fall otherwise, and with them the estimates."""
    points, _, q = CLOUDS["plummer signed"]
    plain, other = (
        look(taskfmm.Fmm(s * points, order=ORDER, leaf_size=40).plan, LAPLACE, [c * q], "gradient").gradient
        for s, c in ((1.0, 1.0), (scale, charge))
    )
    assert 0.4 < (other.far / other.total) / (plain.far / plain.total) < 2.5
    assert 0.4 < (other.smooth / other.far) / (plain.smooth / plain.far) < 2.5


@each("n", [1, 2, 5, 300])
@each("value", [0.0, 1.0])
def test_few_points_coincident_points_and_no_charges(n, value):
    rng = np.random.default_rng(n)
    for points in (rng.random((n, 3)), np.repeat(rng.random((1, 3)), n, axis=0)):
        plan = taskfmm.Fmm(points, order=ORDER, leaf_size=2).plan
        share = look(plan, LAPLACE, [np.full(n, value)], "gradient").gradient
        assert np.isfinite([share.total, share.far, share.even, share.smooth]).all()
        assert share.times(1.0, ORDER, 1.0) == 0.0 or value


def test_without_a_far_field_nothing_errs():
    assert Share(0.0, 0.0).times(1.0, ORDER) == 0.0
    assert Share(0.0, 1.0).times(1.0, ORDER) == np.inf
    assert ROW.reach("gradient", Known(True, gradient=Share(1.0, 0.0))) == ROW.reach("potential", Known(True))


@each(
    "kernel, output, dtype, eps, n, n_pairs, near, width, away, strength",
    [
        ("laplace", "gradient", "float64", 1e-6, 300, 50, 1, 4.7e-4, 94.4, 81.0),
        ("laplace", "gradient", "float32", 1e-3, 300, 10, 5, 7.7e-7, 278.9, 53.0),
        ("laplace", "gradient", "float32", 1e-3, 3000, 50, 1, 4.8e-7, 913.5, 26.0),
        ("laplace", "hessian", "float32", 1e-3, 300, 10, 5, 7.7e-7, 278.9, 53.0),
        (Gravity(0.0), "acceleration", "float32", 1e-3, 300, 10, 5, 7.7e-7, 278.9, 53.0),
    ],
)
def test_both_charges_of_a_close_pair_are_seen(
    kernel, output, dtype, eps, n, n_pairs, near, width, away, strength
):
    """Pairs of opposite charges on both sides of a border of leaves, and beside them the largest gradients."""
    for seed in range(3):
        rng = np.random.default_rng([5052, seed])
        points, q = rng.random((n, 3)), rng.uniform(0.5, 1.0, n)
        middle, half = rng.random((n_pairs, 3)), np.array([width / 2, 0.0, 0.0])
        middle[:, 0] = 0.5
        points[: 2 * n_pairs] = np.concatenate([middle - half, middle + half])
        q[: 2 * n_pairs] = np.repeat([strength, -strength], n_pairs)
        to = np.abs(rng.normal(size=(n_pairs * near, 3)))
        targets = rng.random((5000, 3))
        targets[: len(to)] = np.repeat(middle, near, axis=0) + away * width * to / np.linalg.norm(
            to, axis=1, keepdims=True
        )
        fmm = taskfmm.Fmm(points, targets, kernel, eps, dtype=dtype, leaf_size=20)
        exact = taskfmm.direct(points, q, targets, kernel, output)[output]
        assert l2_error(fmm.serial(q, output), exact) <= eps, seed
