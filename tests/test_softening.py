"""Softening by source: the formulas, the pairs that are summed one by one, eps, and what carries the lengths."""

from __future__ import annotations

import pickle
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each
from numpy.polynomial import Polynomial

import taskfmm
from taskfmm.errors import InputError
from taskfmm.geometry.domain import box_half_width, enclose
from taskfmm.kernels import KERNELS, Gravity, gravity
from taskfmm.plan import plan as plans
from taskfmm.plan import tune
from taskfmm.plan.make import make
from taskfmm.plan.planned import Asked
from taskfmm.plan.softened import direct_within_reach
from taskfmm.store.bounds import Unfit
from taskfmm.store.check import check
from taskfmm.testing import DISTRIBUTIONS
from taskfmm.tree import lists, octree

N, EPS = 1500, 1e-4
OUTPUTS = ("potential", "acceleration", "tide")

_Q = Polynomial([0.0, 1.0])
DENSITY = 8.0 / np.pi * (1 - 6 * _Q**2 + 6 * _Q**3), 8.0 / np.pi * 2 * (1 - _Q) ** 3
"""The cubic spline of width 1, below a half and above."""


def spread(q):
    """Of a unit mass that is spread as the spline: its potential, its mass within q, and its density there."""
    inner, outer = DENSITY
    mass = [4 * np.pi * (piece * _Q**2).integ() for piece in (inner, outer)]
    shells = [4 * np.pi * (piece * _Q).integ() for piece in (inner, outer)]
    is_inner = q < 0.5
    within = np.where(is_inner, mass[0](q), mass[0](0.5) + mass[1](q) - mass[1](0.5))
    beyond = np.where(
        is_inner, shells[0](0.5) - shells[0](q) + shells[1](1) - shells[1](0.5), shells[1](1) - shells[1](q)
    )
    out = q >= 1.0
    density = np.where(is_inner, inner(q), outer(q))
    within, beyond, density = (
        np.where(out, 1.0, within),
        np.where(out, 0.0, beyond),
        np.where(out, 0.0, density),
    )
    return -(within / q + beyond), within, density


def by_numpy(kind, x, m, h, G=1.0, targets=None):
    """Potential, acceleration and tide."""
    d = (x if targets is None else targets)[:, None] - x
    h = np.broadcast_to(h, len(x))
    h = np.maximum(h[:, None], h) if targets is None else np.broadcast_to(h, d.shape[:2])
    r = np.sqrt((d**2).sum(axis=2))
    with np.errstate(all="ignore"):
        if kind == "plummer":
            s = np.sqrt(r**2 + h**2)
            value, slope, bend = -1.0 / s, 1.0 / s**3, 3.0 / s**5
        else:
            h = np.where(h > 0.0, h, 1e-30 * r.max())
            potential, within, density = spread(r / h)
            value, slope = potential / h, within / r**3
            bend = 3.0 * slope / r**2 - 4.0 * np.pi * density / (h**3 * r**2)
            value = np.where(r >= h, -1.0 / r, value)
    value, slope, bend = (np.where(r > 0.0, each, 0.0) for each in (value, slope, bend))
    tide = np.einsum("tsi,tsj,ts->tij", d, d, m * bend) - np.eye(3) * (slope @ m)[:, None, None]
    return G * (value @ m), -G * np.einsum("tsi,ts->ti", d, m * slope), G * tide


def lengths_of(n, rng, width=1.0):
    """Of all sizes, some zero."""
    return width * np.where(rng.random(n) < 0.1, 0.0, 10.0 ** rng.uniform(-4, 0.5, n))


@each("kind", gravity.KINDS)
@each("unit", [1.0, 1e-5, 3e7])
@each("same", [True, False])
def test_softened_gravity_is_its_formula(kind, unit, same):
    """The larger length of a pair of sources, the source's at other targets; in any unit, with all outputs."""
    rng = np.random.default_rng(61)
    x, m, h = unit * rng.random((200, 3)), rng.random(200), lengths_of(200, rng, unit)
    at = None if same else unit * rng.random((70, 3))
    for softening in (h, float(0.3 * unit)):
        found = taskfmm.direct(x, m, at, kernel=Gravity(softening, kind, G=6.7), outputs=OUTPUTS)
        for output, exact in zip(OUTPUTS, by_numpy(kind, x, m, softening, 6.7, at), strict=True):
            assert l2_error(found[output], exact) <= 100 * ROUNDING, output


def test_the_middle_of_a_spline_and_beyond():
    at = np.array([[1e-9, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    found = taskfmm.direct(np.zeros((1, 3)), [1.0], at, kernel=Gravity(2.0, "spline"), outputs=OUTPUTS)
    np.testing.assert_allclose(found["potential"], [-1.4, -1 / 2, -1 / 3])
    np.testing.assert_allclose(found["acceleration"][:, 0], [-1e-9 * 32 / 3 / 8, -1 / 4, -1 / 9])
    np.testing.assert_allclose(found["tide"][:, 0, 0], [-32 / 3 / 8, 2 / 8, 2 / 27])


@each("kind, middle", [("plummer", 1.0), ("spline", 2.8)])
@each("length", [50.0, 1e9, 1e19])
def test_a_length_may_exceed_the_cloud(kind, middle, length):
    """By any factor: squares of lengths have to be float32 numbers as those of distances have."""
    x = np.random.default_rng(62).random((5, 3))
    h = np.array([0.1, length, 0.0, 0.2, 0.1])
    found = taskfmm.direct(x, np.ones(5), kernel=Gravity(h, kind))
    expected = by_numpy(kind, x, np.ones(5), np.minimum(h, 50.0))[0]
    if length > 50.0:
        expected[1] = -4 * middle / length
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@each("kind", gravity.KINDS)
def test_momentum_is_conserved(kind):
    rng = np.random.default_rng(63)
    x, m, h = rng.random((500, 3)), rng.random(500), lengths_of(500, rng, 0.1)
    force = m[:, None] * taskfmm.direct(x, m, kernel=Gravity(h, kind), outputs="acceleration")["acceleration"]
    assert np.abs(force.sum(axis=0)).max() <= 1e-12 * np.abs(force).sum()


def clouds():
    """Points, targets, the reach of each source, and leaf sizes."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        name = list(DISTRIBUTIONS)[seed % len(DISTRIBUTIONS)]
        x = DISTRIBUTIONS[name](400, rng)
        targets = (
            DISTRIBUTIONS["cube" if "cube" in DISTRIBUTIONS else name](300, rng) if seed % 3 == 2 else None
        )
        width = np.ptp(x, axis=0).max()
        reach = (
            width * 0.3 * rng.random(400) ** 6,
            width * np.where(rng.random(400) < 0.01, 0.2, 0.003),
            width * np.where(np.arange(400) == 7, 1.0, 0.0),
            width * np.where(np.arange(400) == 7, 0.1, 0.01 * rng.random(400)),
        )[seed % 4]
        yield x, targets, reach, (1, 5, 20)[seed % 3]


def members(ptr, csr, other):
    """How often each source meets each target in a list, [targets, sources]."""
    met = np.zeros((ptr.max(), other.max()), np.int64)
    for row, (begin, end) in enumerate(ptr):
        for entry in csr.idx[csr.ptr[row] : csr.ptr[row + 1]]:
            met[begin:end, slice(*other[entry])] += 1
    return met


def test_pairs_within_reach_are_summed_one_by_one():
    """All pairs are met once, and those within the reach of either source in the near field."""
    n_limited = n_moved = 0
    for x, targets, reach, leaf_size in clouds():
        tree = octree.build(x, targets, leaf_size, reach=reach)
        own = reach[tree.source_order] * tree.domain.scale
        plain = lists.build(tree)
        found = direct_within_reach(tree, plain, own)
        near, v, w, x_list = (
            members(tree.target_ptr, getattr(found, name), tree.source_ptr) for name in "uvwx"
        )
        assert (near + v + w + x_list == 1).all()
        distance = np.sqrt(((tree.targets[:, :, None] - tree.sources[:, None]) ** 2).sum(axis=0))
        larger = np.maximum(own[:, None], own) if targets is None else own[None]
        assert (near[distance < larger * (1 - 1e-12)] == 1).all()
        n_limited += tree.n_boxes < octree.build(x, targets, leaf_size).n_boxes
        n_moved += found is not plain
    assert n_limited >= 8 and n_moved >= 4


def test_no_box_is_narrower_than_the_reach_of_its_sources():
    for x, targets, reach, leaf_size in clouds():
        tree = octree.build(x, targets, leaf_size, reach=reach)
        own = reach[tree.source_order] * tree.domain.scale
        for box, (begin, end) in enumerate(tree.source_ptr):
            if box and end > begin:
                assert own[begin:end].max() <= 2 * box_half_width(tree.domain, tree.level[box])


def test_a_box_may_be_just_as_wide_as_the_reach():
    x = np.random.default_rng(64).random((500, 3))
    edge = 2 * enclose(x, x[:0]).half_width / enclose(x, x[:0]).scale
    for level, reach in ((3, edge / 8), (2, np.nextafter(edge / 8, 1.0)), (0, np.nextafter(edge / 2, 1.0))):
        assert octree.build(x, None, 1, reach=np.full(500, reach)).n_levels == level + 1
    deepest = octree.build(x, None, 1).n_levels
    assert all(
        octree.build(x, None, 1, reach=np.full(500, h)).n_levels == deepest for h in (0.0, 5e-324, 1e-300)
    )


CASES = {
    "most leaves": lambda n, rng: 0.05 * rng.random(n) ** 3,
    "one as wide as the cloud": lambda n, rng: np.where(np.arange(n) == 3, 1.0, 0.01),
    "a few": lambda n, rng: np.where(rng.random(n) < 0.002, 0.1, 1e-3),
    "half of them": lambda n, rng: np.where(rng.random(n) < 0.5, 0.0, 0.02),
}


def cluster(n, rng):
    x = DISTRIBUTIONS["plummer"](n, rng)
    return x / np.abs(x).max(), rng.random(n)


@each("name", CASES)
@each("separate", [False, True])
def test_eps_is_kept_where_splines_exceed_leaves(name, separate):
    rng = np.random.default_rng(65)
    x, m = cluster(N, rng)
    h = CASES[name](N, rng)
    at = 0.7 * cluster(N, rng)[0] if separate else None
    fmm = taskfmm.Fmm(x, at, kernel=Gravity(h, "spline"), eps=EPS, leaf_size=10)
    assert fmm.plan.is_direct == (name == "one as wide as the cloud")
    found = fmm.evaluate(masses=m, outputs=OUTPUTS)
    for output, exact in zip(OUTPUTS, by_numpy("spline", x, m, h, targets=at), strict=True):
        assert l2_error(found[output].compute(scheduler="synchronous"), exact) <= EPS, output


@each("eps", [1e-2, 1e-3])
@each("power", [0.0, 3.0])
def test_eps_is_kept_where_plummer_spheres_are_unlike_points(eps, power):
    """They are so at any distance: beyond their reach a difference goes unnoticed."""
    rng = np.random.default_rng(66)
    x, m = cluster(N, rng)
    h = 0.13 * np.sqrt(eps) * rng.random(N) ** power
    fmm = taskfmm.Fmm(x, kernel=Gravity(h), eps=eps, leaf_size=10)
    assert not fmm.plan.is_direct
    found = fmm.evaluate(masses=m, outputs=OUTPUTS)
    for output, exact in zip(OUTPUTS, by_numpy("plummer", x, m, h), strict=True):
        assert l2_error(found[output].compute(scheduler="synchronous"), exact) <= eps, output


def test_two_plummer_spheres_just_beyond_their_reach():
    """Here nothing averages: what is left out is what the reach allows."""
    kernel = Gravity([1.0])
    for eps in (1e-2, 1e-4, 1e-6):
        reach = kernel.softening.reach(eps)
        at = np.array([[0.0, reach, 0.0]])
        given = {"masses": [1.0], "targets": at, "outputs": OUTPUTS}
        softened, points = (
            taskfmm.direct(np.zeros((1, 3)), kernel=each, **given) for each in (kernel, Gravity(0.0))
        )
        assert all(l2_error(points[output], softened[output]) <= 0.51 * eps for output in OUTPUTS)


def test_bodies_at_one_place_do_not_act_on_each_other():
    rng = np.random.default_rng(67)
    x, m, h = rng.random((40, 3)), rng.random(120), lengths_of(120, rng, 0.3)
    x = np.tile(x, (3, 1))
    for kind in gravity.KINDS:
        exact = by_numpy(kind, x, m, h)
        fmm = taskfmm.Fmm(x, kernel=Gravity(h, kind), eps=EPS, leaf_size=2)
        found = fmm.evaluate(masses=m, outputs=OUTPUTS)
        for output, expected in zip(OUTPUTS, exact, strict=True):
            assert l2_error(found[output].compute(scheduler="synchronous"), expected) <= EPS


@pytest.fixture(scope="module")
def softened():
    rng = np.random.default_rng(68)
    x, m = cluster(N, rng)
    h = 0.03 * rng.random(N) ** 2
    return taskfmm.Fmm(x, kernel=Gravity(h, "spline"), eps=EPS, leaf_size=20), m, h


def test_lengths_go_where_tasks_go(softened, tmp_path):
    """All schedulers, plain calls and plans from files give the same bits; no task carries all lengths."""
    fmm, m, h = softened
    lazy = fmm.evaluate(masses=m, outputs="acceleration")["acceleration"]
    found = lazy.compute(scheduler="synchronous")
    assert np.array_equal(fmm.serial(m, "acceleration"), found)
    assert np.array_equal(lazy.compute(scheduler="processes", num_workers=2), found)
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert np.array_equal(again.serial(m, "acceleration"), found)
    assert again.kernel == fmm.kernel == Gravity(h, "spline")
    assert again.error_estimate(m, found, output="acceleration") <= EPS
    assert len(pickle.dumps(fmm._planned.asked)) < h.nbytes / 2


def test_plans_of_other_lengths_do_not_share_tasks(softened):
    fmm, m, h = softened
    other = taskfmm.Fmm(fmm.sources, kernel=Gravity(0.5 * h, "spline"), eps=EPS, leaf_size=20)
    lazy = [each.potential(masses=m) for each in (fmm, other)]
    found = dask.compute(*lazy, scheduler="synchronous")
    assert not np.array_equal(*found)


def test_lengths_that_cannot_be_are_refused(softened):
    fmm, _, _ = softened
    tree = fmm.plan.tree
    for lengths, says in (
        (-tree.lengths, "lengths are no lengths"),
        (tree.lengths[:-1], "lengths are of other sources"),
        (tree.lengths.astype(np.float32), "lengths are float32"),
    ):
        with pytest.raises(Unfit, match=says):
            check(replace(fmm.plan, tree=replace(tree, lengths=lengths)), True)
    none = replace(tree, source_ptr=np.full_like(tree.source_ptr, N))
    for wrong in (none, replace(tree, lengths=None, source_ptr=np.maximum(tree.source_ptr, 1))):
        with pytest.raises(Unfit, match="too many sources are in no box"):
            check(replace(fmm.plan, tree=wrong), True)


def test_errors_are_those_of_softened_bodies(softened):
    """Of targets that are sources, a sample has their own lengths."""
    fmm, m, h = softened
    x = fmm.sources
    found = taskfmm.direct(x, m, kernel=Gravity(h, "spline"))
    assert fmm.error_estimate(m, found, n_samples=50) <= 100 * ROUNDING


def test_lengths_of_tuned_leaves_are_respected():
    """Leaves are chosen on a sample that has the few sources which reach furthest."""
    rng = np.random.default_rng(69)
    n = 60_000
    x, h = rng.random((n, 3)), np.full(n, 1e-3)
    h[rng.choice(n, 20, replace=False)] = 0.12
    seen = []

    def build(sources, targets, leaf_size, domain, threads, reach=None, *args, **more):
        seen.append(reach)
        return built(sources, targets, leaf_size, domain, threads, reach, *args, **more)

    built = octree.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "wide", lambda *_: np.empty(0, np.int64))
        patch.setattr(tune.octree, "build", build)
        asked = Asked(KERNELS["spline_gravity"], np.dtype(float), 1e-2, 4)
        accuracy = asked.any_accuracy()
        planned = make(asked, accuracy, x, None, None, lengths=h)
    assert all((reach == 0.12).sum() == 20 for reach in seen)
    assert len(seen[0]) < 0.6 * n
    level = planned.plan.tree.level[planned.plan.tree.is_leaf]
    assert level.max() > 3 > level.min() - 1


def plan_with_wide(x, targets, kernel, wide, leaf_size=20):
    """A plan of few points, in which these sources are in no box."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "wide", lambda *_: wide)
        return taskfmm.Fmm(x, targets, kernel=kernel, eps=EPS, leaf_size=leaf_size)


def with_a_few_wide(separate=False):
    """Points, targets, masses, lengths, and the rows of the widest, the heaviest body among them."""
    rng = np.random.default_rng(70)
    x, m = cluster(N, rng)
    h, wide = 0.01 * rng.random(N), np.sort(rng.choice(N, 5, replace=False))
    h[wide], m[wide[2]] = 0.4 + rng.random(5), 30.0
    return x, 0.7 * cluster(N // 2, rng)[0] if separate else None, m, h, wide


@each("kind", gravity.KINDS)
@each("separate", [False, True])
def test_wide_sources_are_in_no_box_and_meet_all_points(kind, separate):
    x, at, m, h, wide = with_a_few_wide(separate)
    h = h if kind == "spline" else np.where(np.isin(np.arange(N), wide), h, 1e-5)
    fmm = plan_with_wide(x, at, Gravity(h, kind), wide)
    tree = fmm.plan.tree
    assert tree.n_wide == 5 and not fmm.plan.is_direct and np.array_equal(tree.source_order[:5], wide)
    found = fmm.evaluate(masses=m, outputs=OUTPUTS)
    for output, exact in zip(OUTPUTS, by_numpy(kind, x, m, h, targets=at), strict=True):
        assert l2_error(found[output].compute(scheduler="synchronous"), exact) <= EPS, output
    # what they do alone is summed exactly, and so is what others do to them
    alone = np.where(np.isin(np.arange(N), wide), m, 0.0)
    assert l2_error(fmm.serial(alone), by_numpy(kind, x, alone, h, targets=at)[0]) <= 100 * ROUNDING
    if not separate:
        assert l2_error(fmm.serial(m)[wide], by_numpy(kind, x, m, h)[0][wide]) <= 100 * ROUNDING


@each("separate", [False, True])
def test_wide_sources_go_where_tasks_go(separate, tmp_path, monkeypatch):
    """Tasks, plain calls, shards of charges, lazy masses and plans from files give the same bits."""
    monkeypatch.setattr(plans, "CHARGES_OF_A_SHARD", 200)
    x, at, m, h, wide = with_a_few_wide(separate)
    fmm = plan_with_wide(x, at, Gravity(h, "spline"), wide)
    assert len(fmm.plan.charges) > 4
    lazy = fmm.evaluate(masses=m, outputs="acceleration")["acceleration"]
    found = lazy.compute(scheduler="synchronous")
    assert np.array_equal(fmm.serial(m, "acceleration"), found)
    assert np.array_equal(lazy.compute(scheduler="threads"), found)
    assert np.array_equal(lazy.compute(scheduler="processes", num_workers=2), found)
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert np.array_equal(again.serial(m, "acceleration"), found)
    assert np.array_equal(again.sources, x) and again.kernel == fmm.kernel
    assert "wide sources    5 meet all points one by one" in again.explain()
    assert fmm.forecast("acceleration").seconds > 0.0
    lazy = fmm.potential(masses=da.from_array(m, chunks=400)).compute(scheduler="synchronous")
    assert l2_error(lazy, by_numpy("spline", x, m, h, targets=at)[0]) <= EPS


def test_a_wide_source_makes_no_direct_sum():
    rng = np.random.default_rng(71)
    n = 30_000
    x, h = rng.random((n, 3)), np.full(n, 1e-3)
    even = taskfmm.Fmm(x, kernel=Gravity(h, "spline"), eps=1e-2, order=4)
    h[[5, 17]] = 2.0, 0.7
    fmm = taskfmm.Fmm(x, kernel=Gravity(h, "spline"), eps=1e-2, order=4)
    assert even.plan.tree.n_wide == 0 and not even.plan.is_direct
    assert 2 <= fmm.plan.tree.n_wide <= 8 and not fmm.plan.is_direct
    assert {5, 17} <= {*fmm.plan.tree.source_order[: fmm.plan.tree.n_wide].tolist()}


def test_a_tree_of_one_box_has_wide_sources_in_it():
    x, _, m, h, wide = with_a_few_wide()
    fmm = plan_with_wide(x, None, Gravity(h, "spline"), wide, leaf_size=N)
    assert fmm.plan.is_direct and fmm.plan.tree.n_wide == 0
    assert l2_error(fmm.serial(m), by_numpy("spline", x, m, h)[0]) <= 100 * ROUNDING


def test_equal_lengths_make_equal_kernels():
    h = np.array([0.1, 0.2])
    kernel = Gravity(h, "spline", G=2.0)
    assert kernel == Gravity([0.1, 0.2], "spline", G=2.0) and hash(kernel) == hash(
        Gravity([0.1, 0.2], "spline", 2.0)
    )
    others = Gravity([0.1, 0.3], "spline", 2.0), Gravity(h, "spline", 3.0), Gravity(h, "plummer", 2.0)
    assert all(kernel != other for other in others)
    h[0] = 5.0
    assert kernel == Gravity([0.1, 0.2], "spline", G=2.0), "the caller's buffer is not kept"
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    assert kernel.unsoftened.expands == Gravity(0.0).expands


def test_without_lengths_kernels_are_as_before():
    assert Gravity(0.1, "plummer") == gravity.KERNEL.with_parameters(1.0, 0.1)
    assert Gravity(0.0, "spline") == Gravity(0.0) == gravity.NEWTON


@each(
    "make, says",
    [
        (
            lambda: Gravity([0.1, -0.2]),
            "softening row 1 is -0.2: give lengths in the unit of the points, or 0",
        ),
        (lambda: Gravity([0.1, np.nan]), "softening row 1 is not finite: nan"),
        (lambda: Gravity(-1.0, "spline"), "softening is -1.0: give a length"),
        (
            lambda: Gravity(np.ones((2, 2))),
            r"softening has shape \(2, 2\), expected one number for each source",
        ),
        (lambda: Gravity(0.1, "splin"), "kind: 'splin' is not known: did you mean 'spline'"),
        (
            lambda: taskfmm.Fmm(np.eye(3), kernel=Gravity(np.ones(5))),
            "softening has 5 lengths, sources has 3: give one for each source, or one number for all",
        ),
        (
            lambda: taskfmm.direct(np.eye(3), np.ones(3), kernel=Gravity(np.ones(5))),
            "softening has 5 lengths",
        ),
        (
            lambda: taskfmm.direct(np.eye(3), np.ones(3), kernel=Gravity([0.1, 1e200, 0.0])),
            r"the largest softening is 1.0e\+200, and the points are 1.0e\+00 wide: give both in one unit",
        ),
        (lambda: taskfmm.Fmm(np.eye(3), kernel=Gravity(1e200, "spline")), "the largest softening is 1.0e"),
        (
            lambda: taskfmm.Fmm(np.eye(3), kernel="spline_gravity"),
            "has no softening lengths: make it with",
        ),
        (
            lambda: taskfmm.Fmm(np.eye(3), kernel=KERNELS["plummer_gravity"]),
            "has no softening lengths: make it with",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
