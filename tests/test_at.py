"""Fields at other targets, from the tree and the multipoles of a plan."""

from __future__ import annotations

from fractions import Fraction

import dask
import numpy as np
import pytest
from boxes import l2_error
from cases import each
from conftest import tasks_cut_small

import taskfmm
from taskfmm import InputError
from taskfmm.geometry.domain import box_centers, enclose, grown
from taskfmm.kernels import Gravity, Stokes, Yukawa

N, EPS = 5000, 1e-5


def cloud(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3))


def signed(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape or N)


@pytest.fixture(scope="module")
def fmm() -> taskfmm.Fmm:
    return taskfmm.Fmm(cloud(1), eps=EPS, leaf_size=50)


def ring(n: int = 300) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n)
    return np.column_stack([0.5 + 0.8 * np.cos(angle), 0.5 + 0.8 * np.sin(angle), np.full(n, 0.5)])


PLACES = {
    "inside": cloud(2, 700),
    "sources": cloud(1)[:500],
    "plane": np.column_stack([cloud(3, 600)[:, :2], np.full(600, 0.5)]),
    "around": 3.0 * cloud(4, 900) - 1.0,
    "ring": ring(),
    "below": cloud(5, 200) * [1, 1, 0.2] - [0, 0, 0.21],
    "one": np.array([[0.3, 0.4, 0.5]]),
    "two": np.array([[0.3, 0.4, 0.5], [-5.0, 0.1, 0.2]]),
    "the same": np.full((400, 3), 0.25),
    "crowd": np.vstack([0.3 + 1e-3 * cloud(6, 2000), [[1.5, 0.5, 0.5]]]),
    "crowd outside": 1.2 + 1e-3 * cloud(7, 2000),
    "far": cloud(8, 300) + np.array([300.0, -20.0, 5.0]),
    "very far": 1e6 * cloud(9, 300),
}


@each("name", list(PLACES))
def test_anywhere(fmm, name):
    q = np.random.default_rng(10).random(N)
    targets, outputs = PLACES[name], ("potential", "gradient")
    probe = fmm.at(targets)
    assert probe.plan.base.plan is fmm.plan
    found = dask.compute(probe.evaluate(q, outputs))[0]
    exact = taskfmm.direct(fmm.sources, q, targets=targets, outputs=outputs)
    for output in outputs:
        assert found[output].shape == exact[output].shape
        assert l2_error(found[output], exact[output]) <= EPS, output
    np.testing.assert_array_equal(probe.serial(q, "gradient"), probe.evaluate(q, "gradient")["gradient"])
    np.testing.assert_array_equal(probe.targets, targets)
    assert probe.error_estimate(q, found["potential"]) <= EPS


def test_charges_that_cancel_far_away(fmm):
    """From afar next to nothing is left of them: the accuracy is chosen for the new targets."""
    q, targets = signed(11), cloud(12, 200) + np.array([20.0, 0, 0])
    probe = fmm.at(targets)
    assert probe.accuracy("gradient", q).order > fmm.accuracy("gradient", q).order
    found = probe.evaluate(q, "gradient")["gradient"].compute()
    exact = taskfmm.direct(fmm.sources, q, targets=targets, outputs="gradient")["gradient"]
    assert l2_error(found, exact) <= EPS


def test_few_targets_far_away_are_in_one_leaf(fmm):
    tree = fmm.at(20.0 * PLACES["far"][:30]).plan.tree
    assert np.count_nonzero(np.diff(tree.target_ptr[tree.is_leaf])) == 1


def test_boxes_of_sources_are_those_of_the_plan(fmm):
    """Only boxes that balance divides, and those above the root, have multipoles of their own."""
    of_sources = np.count_nonzero(np.diff(fmm.plan.tree.source_ptr, axis=1))
    for targets in (PLACES["inside"], PLACES["far"], cloud(66, 10_000)):
        tree, other, base = fmm.at(targets).plan.tree, fmm.plan.tree, fmm.at(targets).plan.base
        box = base.box
        assert base.up > 5 if targets is PLACES["far"] else base.up <= 1
        same = np.flatnonzero(box >= 0)
        assert same.size == of_sources if len(targets) > N else 50 < same.size <= of_sources
        np.testing.assert_array_equal(tree.source_ptr[same], other.source_ptr[box[same]])
        np.testing.assert_array_equal(tree.level[same], other.level[box[same]] + base.up)
    upward = [shard for shards in fmm.at(PLACES["inside"]).plan.far for shard in shards if shard.p2m]
    assert not upward


def test_none_and_few():
    nowhere = np.empty((0, 3))
    fmm = taskfmm.Fmm(cloud(13, 300))
    assert fmm.at(nowhere).potential(np.ones(300)).compute().shape == (0,)
    assert taskfmm.Fmm(nowhere).at(cloud(14, 5)).potential(np.empty(0)).compute().tolist() == [0.0] * 5
    for n in (1, 2):
        few = taskfmm.Fmm(cloud(15, n))
        exact = taskfmm.direct(few.sources, np.ones(n), targets=cloud(16, 40))
        np.testing.assert_allclose(few.at(cloud(16, 40)).potential(np.ones(n)), exact, rtol=1e-13)


def test_a_direct_sum_and_the_farthest_targets_get_plans_of_their_own(fmm):
    direct = taskfmm.Fmm(cloud(17, 200))
    assert direct.plan.is_direct and direct.at(cloud(18, 20000)).plan.base is None
    probe = fmm.at(1e14 * cloud(19, 500))
    assert probe.plan.base is None
    exact = taskfmm.direct(fmm.sources, np.ones(N), targets=probe.targets)
    assert l2_error(probe.potential(np.ones(N)).compute(), exact) <= EPS


KERNELS = {
    "dipoles": ("laplace", "potential", lambda: {"charges": signed(20), "dipoles": signed(21, N, 3)}),
    "yukawa": (Yukawa(3.0), "potential", lambda: {"charges": signed(22)}),
    "dies away": (Yukawa(100.0), "potential", lambda: {"charges": signed(23)}),
    "stokes": (Stokes(), "velocity", lambda: {"forces": signed(24, N, 3)}),
    "softened": (
        Gravity(softening=0.1 * cloud(25)[:, 0], kind="spline"),
        "potential",
        lambda: {"masses": cloud(26)[:, 0]},
    ),
}


@each("name", list(KERNELS))
def test_kernels(name):
    kernel, output, make = KERNELS[name]
    sources, given = cloud(28), make()
    fmm, eps = taskfmm.Fmm(sources, kernel=kernel, eps=1e-4, leaf_size=50), 1e-4
    for targets in (cloud(29, 400), 1.5 * cloud(30, 400) - 0.2):
        probe = fmm.at(targets)
        assert probe.plan.base is not None
        found = probe.evaluate(outputs=output, **given)[output].compute()
        exact = taskfmm.direct(sources, targets=targets, kernel=kernel, outputs=output, **given)[output]
        assert l2_error(found, exact) <= eps
        np.testing.assert_array_equal(found, probe.serial(output=output, **given))


def test_wide_sources_meet_all_targets():
    n, h, masses = 30_000, np.full(30_000, 1e-3), cloud(60, 30_000)[:, 0]
    h[[5, 17]], masses[[5, 17]] = (2.0, 0.7), 1e4
    kernel, sources = Gravity(softening=h, kind="spline"), cloud(61, n)
    fmm = taskfmm.Fmm(sources, kernel=kernel, eps=1e-2, order=4)
    assert fmm.plan.tree.n_wide >= 2
    for targets in (cloud(62, 400), 3.0 * cloud(63, 400) - 1.0):
        probe = fmm.at(targets)
        assert probe.plan.base is not None and probe.plan.tree.n_wide == fmm.plan.tree.n_wide
        exact = taskfmm.direct(sources, targets=targets, kernel=kernel, masses=masses)
        assert l2_error(probe.potential(masses=masses).compute(), exact) <= 1e-4


def beside_a_coarse_sphere(n: int = 6000) -> np.ndarray:
    """A sphere of few points, and a dense ball next to it."""
    points = np.random.default_rng(1).normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    points[: n // 2] = 0.02 * points[: n // 2] + [0.9, 0.0, 0.0]
    return points


def test_targets_in_a_gap_may_divide_leaves_of_sources():
    """Boxes within a leaf have multipoles of their own, also below the deepest level of the plan."""
    sources, masses = beside_a_coarse_sphere(), np.ones(6000)
    targets = 0.05 * np.random.default_rng(64).normal(size=(30_000, 3)) + [0.85, 0.02, 0.01]
    fmm = taskfmm.Fmm(sources, eps=EPS, leaf_size=40)
    probe = fmm.at(targets)
    assert sum(shard.p2m is not None for shards in probe.plan.far for shard in shards)
    exact = taskfmm.direct(sources, masses, targets=targets)
    assert l2_error(probe.potential(masses).compute(), exact) <= EPS
    np.testing.assert_array_equal(probe.potential(masses).compute(), probe.serial(masses))
    # softened ones must not be divided further than they reach: then the plan is a new one
    h = np.full(6000, 1e-4)
    h[3000:] = 0.1
    kernel = Gravity(softening=h, kind="spline")
    probe = taskfmm.Fmm(sources, kernel=kernel, eps=1e-6, leaf_size=40).at(targets)
    assert probe.plan.base is None
    exact = taskfmm.direct(sources, targets=targets, kernel=kernel, masses=masses)
    assert l2_error(probe.potential(masses=masses).compute(), exact) <= 1e-6


def test_boxes_of_a_larger_cube_are_where_they_were():
    """Their centres are exact, however much larger the cube is and wherever it begins."""
    rng = np.random.default_rng(65)
    domain = enclose(rng.random((100, 3)) + 0.37, rng.random((0, 3)))
    anchor = rng.integers(2**20, size=(50, 3))
    centers = [
        sum(map(Fraction, each)) for each in zip(*map(np.ravel, box_centers(domain, 20, anchor)), strict=True)
    ]
    for targets in ([[1e3, -3.0, 0.5]], [[-1e5, -1e5, 1e5]], [[0.4, 0.4, -1.0]]):
        wider, up, place = grown(domain, np.array(targets), True, 22)
        there = box_centers(wider, 20 + up, anchor + place * 2**20)
        found = [2**up * sum(map(Fraction, each)) for each in zip(*map(np.ravel, there), strict=True)]
        assert (
            max(abs(float(a - b)) for a, b in zip(found, centers, strict=True))
            <= 1e-15 * domain.half_width * 2**-20
        )
    assert grown(domain, np.array([[1e30, 0.0, 0.0]]), True, 22) is None


def test_float32():
    fmm, q = taskfmm.Fmm(cloud(31), eps=1e-4, dtype=np.float32, leaf_size=50), cloud(32)[:, 0]
    probe = fmm.at(PLACES["around"])
    found = probe.potential(q).compute()
    assert found.dtype == np.float32
    assert l2_error(found, taskfmm.direct(fmm.sources, q, targets=probe.targets)) <= 1e-4


@each("box, periodic", [(1.0, True), ((1.0, 1.0, None), (True, True, False)), ((1.0, 2.0, 1.0), True)])
def test_in_a_periodic_box(box, periodic):
    sides = np.array([side or 1.0 for side in np.broadcast_to(box, 3)])
    sources, targets = cloud(33, 3000) * sides, cloud(34, 300) * sides
    q = signed(35, 3000)
    q -= q.mean()
    fmm = taskfmm.Fmm(sources, eps=EPS, box=box, periodic=periodic)
    outside = targets + np.where(np.broadcast_to(periodic, 3), [3.0, -2.0, 5.0] * sides, 0.0)
    new = taskfmm.Fmm(sources, targets, eps=1e-9, box=box, periodic=periodic).potential(q).compute()
    inside = fmm.at(targets)
    assert inside.plan.base is not None
    assert l2_error(inside.potential(q).compute(), new) <= EPS
    assert l2_error(fmm.at(outside).potential(q).compute(), new) <= EPS
    np.testing.assert_array_equal(inside.serial(q), inside.potential(q).compute())
    above = fmm.at(
        targets + np.array([0.0, 0.0, 2.5])
    )  # farther than the cell reaches along z, where it is not repeated
    exact = taskfmm.Fmm(sources, above.targets, eps=1e-9, box=box, periodic=periodic).potential(q).compute()
    assert l2_error(above.potential(q).compute(), exact) <= EPS


def tasks(*lazy) -> dict[str, int]:
    """How often each operator ran."""
    with taskfmm.profile() as profile:
        dask.compute(*lazy)
    counts: dict[str, int] = {}
    for record in profile.tasks:
        counts[record.operator] = counts.get(record.operator, 0) + 1
    return counts


def test_results_computed_together_share_the_upward_pass(fmm):
    q = signed(36)
    one, other = fmm.at(PLACES["inside"]), fmm.at(cloud(37, 700))
    alone = tasks(one.potential(q))
    both = tasks(one.potential(q), other.potential(q))
    assert alone["P2M"] and both["P2M"] == alone["P2M"]
    assert both["M2M"] == alone["M2M"] and both["L2P"] > alone["L2P"]


def test_targets_that_look_alike_in_cubes_of_other_sizes(fmm):
    """Their coordinates are equal where they are scaled by the width of the cube."""
    q, outside = signed(70), 1.9 * cloud(72, 300)
    up = fmm.at(outside).plan.base.up
    assert up
    targets = outside / 2.0**up, outside
    found = dask.compute(*(fmm.at(place).potential(q) for place in targets))
    for place, values in zip(targets, found, strict=True):
        assert l2_error(values, taskfmm.direct(fmm.sources, q, targets=place)) <= EPS


def test_a_field_keeps_multipoles(fmm):
    q = signed(38)
    field = fmm.field(q, "potential")
    sizes = [sum(each.nbytes for each in found.results.values()) for found in field._kept.known.values()]
    assert field.nbytes == sum(sizes) + q.nbytes > 2 * q.nbytes
    for targets in (PLACES["inside"], PLACES["around"], cloud(1)):
        probe = fmm.at(targets)
        ran = tasks(probe.potential(field))
        # of boxes that are not the plan's, and of charges in the unit of a larger cube
        extra = 0 if probe.plan.base.up == 0 else 3
        assert ran.get("P2M", 0) <= extra and "M2L" in ran
        if not extra:
            assert "charges" not in ran and "M2M" not in ran
        found = probe.potential(field).compute()
        assert l2_error(found, taskfmm.direct(fmm.sources, q, targets=targets)) <= EPS
        np.testing.assert_array_equal(found, probe.serial(field))
        assert probe.error_estimate(field, found) <= EPS
    assert "P2M" not in tasks(fmm.potential(field))
    exact, q[:] = taskfmm.direct(fmm.sources, q, targets=PLACES["inside"]), 0.0
    assert l2_error(fmm.at(PLACES["inside"]).potential(field).compute(), exact) <= EPS
    assert "multipoles" not in repr(field) and "5,000 sources" in repr(field)


def test_a_field_that_is_too_rough_is_not_taken(fmm):
    q, targets = signed(39), cloud(40, 200) + np.array([20.0, 0, 0])
    field, probe = fmm.field(q, "gradient"), fmm.at(targets)
    assert not field.accuracy.covers(probe.accuracy("gradient", q))
    found = probe.evaluate(field, "gradient")["gradient"].compute()
    exact = taskfmm.direct(fmm.sources, q, targets=targets, outputs="gradient")["gradient"]
    assert l2_error(found, exact) <= EPS
    # made for these targets, it is taken
    assert "P2M" not in tasks(probe.evaluate(probe.field(q, "gradient"), "gradient")["gradient"])


@each("name", ["inside", "around"])
def test_of_a_plan_that_cut_its_charges_otherwise(name):
    """As one that was saved where shards had other sizes: values, and the forecast of both plans' tasks."""
    with tasks_cut_small():
        fmm = taskfmm.Fmm(cloud(1), eps=EPS, leaf_size=50)
    probe, q = fmm.at(PLACES[name]), signed(50)
    assert len(fmm.plan.charges) > 1
    exact = taskfmm.direct(fmm.sources, q, targets=probe.targets)
    assert l2_error(probe.potential(q).compute(), exact) <= EPS
    ran = tasks(probe.potential(q))
    assert {key: row["tasks"] for key, row in probe.forecast().by_operator.items()} == ran


def test_fields_of_vectors_and_of_complex_charges(fmm):
    probe = fmm.at(PLACES["inside"])
    vectors = signed(41, N, 10)
    for charges in (vectors, vectors[:, 0] + 1j * vectors[:, 1]):
        field = fmm.field(charges, "potential")
        assert "P2M" not in tasks(probe.potential(field))
        exact = taskfmm.direct(fmm.sources, charges, targets=probe.targets)
        assert l2_error(probe.potential(field).compute(), exact) <= EPS


def test_lazy_charges(fmm):
    import dask.array as da

    q = cloud(42)[:, 0]
    lazy, probe = da.from_array(q, chunks=1200), fmm.at(PLACES["around"])
    exact = taskfmm.direct(fmm.sources, q, targets=probe.targets)
    assert l2_error(probe.potential(lazy).compute(), exact) <= EPS
    field = fmm.field(lazy, "potential")
    assert l2_error(probe.potential(field).compute(), exact) <= EPS
    assert "P2M" not in tasks(fmm.at(PLACES["inside"]).potential(field))


def test_of_dipoles_from_a_larger_cube():
    """Dipoles are lengths: their numbers hang on the unit, and a field is kept in that of its own cube."""
    sources, given = cloud(43), {"charges": cloud(44)[:, 0], "dipoles": 1e3 * signed(45, N, 3)}
    fmm = taskfmm.Fmm(sources, eps=1e-4, leaf_size=50)
    probe = fmm.at(3.0 * cloud(46, 600) - 1.0)
    field = probe.field(outputs="potential", **given)
    exact = taskfmm.direct(sources, targets=probe.targets, **given)
    assert probe.plan.base.up
    assert l2_error(probe.potential(field).compute(), exact) <= 1e-4
    assert l2_error(probe.serial(**given), exact) <= 1e-4


def test_on_a_cluster(fmm):
    from distributed import Client

    q, probe = signed(47), fmm.at(PLACES["around"])
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"):
        field = fmm.field(q, "potential")
        found = probe.potential(field).compute()
        assert not field.is_lost
    np.testing.assert_array_equal(found, probe.serial(field))
    # its multipoles went with the client, and are computed anew
    assert field.is_lost
    np.testing.assert_array_equal(found, probe.potential(field).compute())


def test_what_is_said_of_it(fmm, tmp_path):
    probe = fmm.at(PLACES["around"])
    assert "900 targets" in repr(probe)
    for at in (probe, fmm.at(PLACES["inside"])):
        q = signed(48)
        forecast = at.forecast("potential")
        ran = tasks(at.potential(q))
        assert {name: row["tasks"] for name, row in forecast.by_operator.items()} == ran
        assert "M2L" in at.explain()
    with pytest.raises(InputError, match="save that one"):
        probe.save(tmp_path / "plan.h5")
    again = probe.at(PLACES["inside"])
    assert again.plan.base.plan is fmm.plan
    matrix = fmm.at(PLACES["inside"]).as_linear_operator()
    assert l2_error(matrix @ np.ones(N), taskfmm.direct(fmm.sources, np.ones(N), PLACES["inside"])) <= EPS


def test_loaded_plans(fmm, tmp_path):
    fmm.save(tmp_path / "plan.h5")
    loaded, q = taskfmm.Fmm.load(tmp_path / "plan.h5"), signed(49)
    for name in ("inside", "around"):
        np.testing.assert_array_equal(
            loaded.at(PLACES[name]).potential(q).compute(), fmm.at(PLACES[name]).potential(q).compute()
        )


def test_operators_that_came_with_a_plan(tmp_path):
    """Those of another machine may have other bases: multipoles of both must not be mixed."""
    fmm, q, targets = taskfmm.Fmm(cloud(1), order=5, leaf_size=50), cloud(73)[:, 0], PLACES["around"]
    fmm.save(tmp_path / "plan.h5")
    planned = taskfmm.Fmm.load(tmp_path / "plan.h5")._planned
    for found in planned.brought["potential"].by_level.values():
        for array in found.check_to_multipole, found.check_to_local:
            array *= -1.0
    other = taskfmm.Fmm.__new__(taskfmm.Fmm)
    other._hold(planned, None)
    brought, exact = other.at(targets), fmm.at(targets).serial(q)
    for values in (
        brought.potential(q).compute(),
        brought.potential(other.field(q)).compute(),
        brought.serial(q),
    ):
        np.testing.assert_allclose(values, exact, rtol=1e-12)
    # of a kernel without a degree they are of the levels of the plan alone
    taskfmm.Fmm(cloud(74), kernel=Yukawa(3.0), order=3, leaf_size=50).save(tmp_path / "other.h5")
    assert taskfmm.Fmm.load(tmp_path / "other.h5").at(targets).plan.base is None


def test_wrong_input(fmm):
    for targets in ([[0.0, 0.0]], [[np.nan, 0, 0]], "there"):
        with pytest.raises(InputError, match="targets"):
            fmm.at(targets)
    other = taskfmm.Fmm(cloud(50), eps=EPS, leaf_size=50)
    again, field = taskfmm.Fmm(fmm.sources, eps=EPS, leaf_size=50), fmm.field(np.ones(N), "potential")
    for another in (other, again):
        with pytest.raises(InputError, match="made by another plan"):
            another.potential(field)
    with pytest.raises(InputError, match="dipoles"):
        fmm.potential(field, dipoles=np.ones((N, 3)))
    for call in (
        lambda: fmm.potential(dipoles=field),
        lambda: fmm.potential(np.ones(N), dipoles=field),
        lambda: fmm.error_estimate(np.ones(N), field),
        lambda: taskfmm.direct(fmm.sources, field),
        lambda: taskfmm.Fmm(field),
        lambda: np.asarray(field),
    ):
        with pytest.raises(InputError, match=r"taskfmm\.Field .* fmm\.evaluate\(field\)"):
            call()
    with pytest.raises(InputError, match="charges"):
        fmm.field(np.ones(3))
