"""Periodic boxes: known constants, sums by other formulas, lists with images, what an evaluation keeps, bad input."""

from __future__ import annotations

import click
import dask
import dask.array as da
import ewald
import numpy as np
import pytest
from bounds import EWALD, PERIODIC_DIRECT, ROUNDING, SUM_ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.cli import options
from taskfmm.errors import AccuracyError
from taskfmm.geometry.cell import Box
from taskfmm.geometry.domain import THIRDS, enlarge
from taskfmm.geometry.periodic import enclose
from taskfmm.operators import lattice
from taskfmm.passes.share import look
from taskfmm.testing import DISTRIBUTIONS
from taskfmm.tree import lists, octree
from taskfmm.tree.check import check_lists, check_tree

AXES = {"xyz": (True, True, True), "xz": (True, False, True), "y": (False, True, False)}
STOKES = taskfmm.kernels.Stokes(viscosity=2.0)
SIDES = {"cube": (1.3, 1.3, 1.3), "brick": (0.5, 1.0, 1.5)}


def neutral(n: int, seed: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    q = np.random.default_rng(seed).uniform(-1.0, 1.0, (n, *shape))
    return q - q.mean(axis=0)


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def salt(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sodium and chloride, one apart, in a cube of side n."""
    points = np.stack(np.meshgrid(*3 * [np.arange(float(n))], indexing="ij"), axis=-1).reshape(-1, 3)
    return points, (-1.0) ** points.sum(axis=1)


@each("n, leaf_size", [(2, 100), (2, 1), (8, 20)])
def test_madelungs_constant_of_sodium_chloride(n, leaf_size):
    points, q = salt(n)
    fmm = taskfmm.Fmm(points, eps=1e-9, box=float(n), leaf_size=leaf_size)
    constant = -4.0 * np.pi * fmm.potential(q).compute() * q
    assert np.abs(constant - 1.7475645946331822).max() < 1e-9
    exact = -4.0 * np.pi * np.asarray(taskfmm.direct(points, q, box=float(n))) * q
    assert np.abs(exact - 1.7475645946331822).max() < PERIODIC_DIRECT


def test_madelungs_constant_of_caesium_chloride():
    points, q = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), np.array([1.0, -1.0])
    phi = taskfmm.Fmm(points, eps=1e-9, box=2.0).potential(q).compute()
    assert np.abs(-4.0 * np.pi * np.sqrt(3.0) * phi * q - 1.76267477307099).max() < 1e-9


def test_a_charge_in_its_own_images_has_hasimotos_constant():
    own = lattice.smooth(np.zeros((3, 1)), (0, 0, 0), AXES["xyz"], (1, 1, 1))
    images = lattice.SIDE * ewald.whole(np.ones(3))
    near = sum(1.0 / np.linalg.norm(image) for image in images if image.any())
    assert abs((own[0] + near) * lattice.SIDE + 2.8372974794806) < SUM_ROUNDING


def test_places_that_differ_by_their_order_have_the_same_sums():
    line, cubes = np.linspace(-2.1, 2.1, 7), (3, 3, 3)
    for away in ((0, 1, 2), (2, 0, 1), (1, 0, 0), (2, 1, 2)):
        order = np.argsort(away, kind="stable")
        known = lattice._on_grid(line, tuple(np.sort(away).tolist()), AXES["xyz"], cubes, True)
        found = lattice._on_grid(line, away, AXES["xyz"], cubes, True)
        np.testing.assert_allclose(lattice._reordered(known, order), found, atol=1e-12 * np.abs(found).max())


def test_a_box_whose_cube_is_cut_in_thirds_keeps_eps():
    rng = np.random.default_rng(3416454622906707)
    x, q, f = rng.random((4000, 3)), neutral(4000, 5527939700884757), rng.normal(size=(4000, 3))
    for kernel, charges, eps in (("laplace", q, 1e-6), (STOKES, f, 1e-3)):
        domain, _ = enclose(Box((1.0, 1.0, 1.0), AXES["xyz"]), [x])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("taskfmm.plan.tune.choose", lambda *_, of=domain: (60, enlarge(of, THIRDS)))
            fmm = taskfmm.Fmm(x, kernel=kernel, eps=eps, box=1.0)
        assert fmm.plan.tree.domain.cell.cubes == (3, 3, 3)
        values = fmm.evaluate(charges, fmm.kernel.names[0])[fmm.kernel.names[0]]
        assert fmm.error_estimate(charges, values, n_samples=300, seed=4) < eps


def exact_sum(
    axes: str, sides: tuple[float, float, float], x: np.ndarray, y: np.ndarray, q: np.ndarray
) -> np.ndarray:
    if axes == "xyz":
        return ewald.three(x, y, q, np.array(sides), alpha=2.2 / min(sides))
    turn = [0, 2, 1] if axes == "xz" else [1, 0, 2]
    textbook = ewald.two if axes == "xz" else ewald.one
    return textbook(x[:, turn], y[:, turn], q, sides[turn[0]])


def scattered(axes: str, sides: tuple[float, float, float], n: int) -> np.ndarray:
    """Points of which no two are close in what the textbook's series has to have apart."""
    rng = np.random.default_rng(433494437)
    points = rng.random((n, 3)) * sides
    if axes == "xz":
        points[:, 1] = sides[1] * (rng.permutation(n) + 0.5) / n * 3.0
    if axes == "y":
        points[:, 0] = sides[0] * (rng.permutation(n) + 0.5) / n
    return points


@each(
    "axes, sides",
    [
        ("xyz", SIDES["cube"]),
        ("xyz", SIDES["brick"]),
        ("xz", (1.3, 1.3, 1.3)),
        ("y", (0.9, 0.9, 0.9)),
        ("y", (0.5, 0.2, 0.5)),
    ],
)
def test_potentials_are_those_of_the_textbook(axes, sides):
    y = scattered(axes, sides, 40)
    q = neutral(40, 701408733)
    exact = exact_sum(axes, sides, y, y, q)
    found = np.asarray(taskfmm.direct(y, q, box=sides, periodic=AXES[axes]))
    assert relative(found, exact) < EWALD
    for eps in (1e-3, 1e-6):
        fmm = taskfmm.Fmm(y, eps=eps, box=sides, periodic=AXES[axes], leaf_size=4)
        assert relative(fmm.potential(q).compute(), exact) < eps


@each("axes, sides", [("xyz", SIDES["brick"]), ("xz", SIDES["cube"]), ("y", SIDES["cube"])])
def test_derivatives_are_differences(axes, sides):
    """Of the potential at places moved by h, from the textbook's own sums with charges and pairs of them."""
    rng, h = np.random.default_rng(1134903170), 1e-4
    y, x = rng.random((60, 3)) * sides, rng.random((5, 3)) * sides
    q, p = neutral(60, 1836311903), rng.normal(size=(60, 3))
    steps = h * np.vstack([np.eye(3), -np.eye(3)])
    how = {"box": sides, "periodic": AXES[axes]}
    moved = (x[:, None] + steps).reshape(-1, 3)
    found = taskfmm.direct(y, q, x, outputs=("potential", "gradient", "hessian"), **how)
    apart = taskfmm.direct(y, q, moved, outputs=("potential", "gradient"), **how)
    for of, derivative in (("potential", "gradient"), ("gradient", "hessian")):
        ahead, behind = np.split(np.asarray(apart[of]).reshape(5, 6, -1), 2, axis=1)
        slope = (ahead - behind).swapaxes(1, 2).reshape(found[derivative].shape) / (2.0 * h)
        assert relative(found[derivative], slope) < 1e-4
    # dipoles are pairs of charges
    pairs = np.concatenate([y + 0.5 * h * p, y - 0.5 * h * p])
    charges = np.repeat([1.0 / h, -1.0 / h], 60)
    exact = np.asarray(taskfmm.direct(pairs, charges, x, **how))
    assert relative(np.asarray(taskfmm.direct(y, dipoles=p, targets=x, **how)), exact) < 1e-4


@each("axes, sides", [("xyz", "brick"), ("xyz", "cube"), ("xz", "cube"), ("y", "cube")])
def test_all_sources_and_outputs_keep_eps(axes, sides):
    rng, eps = np.random.default_rng(2971215073), 1e-4
    y, x = (rng.random((n, 3)) * SIDES[sides] for n in (1500, 300))
    q, p = neutral(1500, 4807526976), rng.normal(size=(1500, 3))
    how = {"box": SIDES[sides], "periodic": AXES[axes]}
    fmm = taskfmm.Fmm(y, x, eps=eps, leaf_size=30, **how)
    for given in ({"charges": q}, {"dipoles": p}, {"charges": q, "dipoles": p}):
        for output in ("potential", "gradient", "hessian"):
            found = fmm.evaluate(outputs=output, **given)[output].compute()
            exact = taskfmm.direct(y, targets=x, outputs=output, **how, **given)[output]
            assert relative(found, exact) < eps, (tuple(given), output)


@each("name", list(DISTRIBUTIONS))
def test_lists_hold_every_image_once(name):
    rng = np.random.default_rng(7778742049)
    for axes in AXES.values():
        for shape in SIDES.values():
            points = DISTRIBUTIONS[name](400, rng)
            points = (points - points.min(axis=0)) / max(np.ptp(points), 1e-300)
            domain, (moved,) = enclose(Box(shape, axes), [1.7 * points])
            for cut in (domain, enlarge(domain, THIRDS)):
                tree = octree.build(moved, None, 5, cut)
                found = lists.build(tree)
                check_tree(tree)
                check_lists(tree, found)
                assert found.images.box.size or cut is not domain  # a small cloud may be far from its images


@each("axes", list(AXES))
def test_eps_is_kept_on_clusters_lines_and_planes(axes):
    rng = np.random.default_rng(12586269025)
    n = 3000
    clusters = rng.random((8, 3))[rng.integers(8, size=n)] + 0.002 * rng.normal(size=(n, 3))
    line = np.column_stack([rng.random(n), np.full((n, 2), 0.3)])
    plane = np.column_stack([rng.random((n, 2)), np.full(n, 0.7)])
    one = neutral(n, 20365011074) * 1e-3
    one[7] += 1.0
    charges = {"random": neutral(n, 32951280099), "one": one - one.mean()}
    for cloud in (rng.random((n, 3)), clusters, line, plane):
        fmm = taskfmm.Fmm(cloud, eps=1e-5, box=1.0, periodic=AXES[axes])
        for q in charges.values():
            for output in ("potential", "gradient"):
                values = fmm.evaluate(q, output)[output]
                assert fmm.error_estimate(q, values, output=output, n_samples=200, seed=1) < 1e-5


SLAB = {"box": (1.0, 1.0, None), "periodic": (True, True, False)}
WIRE = {"box": (1.0, None, None), "periodic": (True, False, False)}


@each("n_targets", [40, 600])
def test_gradients_off_a_slab(n_targets):
    """They fall by exp(2 pi) with each width, while the potential stays as large as it is."""
    rng = np.random.default_rng(31)
    x, beside = rng.random((2000, 3)), rng.random((n_targets, 3)) * [1.0, 1.0, 0.1]
    q = rng.normal(size=2000)
    q -= q.mean()
    for widths, eps in ((2.0, 1e-6), (3.0, 1e-3)):
        targets = beside + np.array([0.0, 0.0, widths])
        exact = taskfmm.direct(x, q, targets, outputs=("gradient",), **SLAB)["gradient"]
        assert l2_error(taskfmm.Fmm(x, targets, eps=eps, **SLAB).serial(q, "gradient"), exact) <= eps
    fmm = taskfmm.Fmm(x, beside + np.array([0.0, 0.0, 5.0]), eps=1e-3, **SLAB)
    with pytest.raises(AccuracyError, match="floor for a gradient of these charges"):
        fmm.serial(q, "gradient")


@each(
    "where, away, how",
    [
        ("plane", 1.5, SLAB),
        ("plane", 2.0, SLAB),
        ("plane", 2.0, {"box": (1.0, 1.0, 4.0)}),
        ("line", 2.0, WIRE),
        ("board", 0.25, {"box": 1.0}),
    ],
)
def test_far_images_that_cancel(where, away, how):
    """Neutral charges without a dipole across: all of their images together leave exp(-2 pi) with each width."""
    rng = np.random.default_rng(1)
    x = rng.random((600, 3)) * ([1.0, 0.0, 0.0] if where == "line" else [1.0, 1.0, 0.0])
    q = rng.uniform(-1.0, 1.0, 600)
    if where == "board":
        grid = np.indices((10, 10)).reshape(2, -1)
        x, q = np.c_[grid.T / 10, np.zeros(100)], (-1.0) ** grid.sum(axis=0)
    q = q - q.mean()
    targets = rng.random((200, 3)) * [1.0, 1.0, 0.01] + np.array([0.0, 0.0, away])
    exact = taskfmm.direct(x, q, targets, outputs=("potential", "gradient"), **how)
    for eps in (1e-2, 1e-4):
        fmm = taskfmm.Fmm(x, targets, eps=eps, **how)
        for output, values in exact.items():
            assert l2_error(fmm.serial(q, output), values) <= eps


def test_far_images_of_which_nothing_is_left():
    rng = np.random.default_rng(2)
    x, q = rng.random((600, 3)) * [1.0, 1.0, 0.0], rng.uniform(-1.0, 1.0, 600)
    fmm = taskfmm.Fmm(x, rng.random((200, 3)) + np.array([0.0, 0.0, 4.0]), eps=1e-2, **SLAB)
    for output in ("potential", "gradient"):
        with pytest.raises(AccuracyError, match="next to nothing is left"):
            fmm.serial(q - q.mean(), output)


@each("axes, sides", [("xyz", "brick"), ("xz", "cube"), ("y", "cube")])
def test_nothing_hangs_on_where_the_cell_begins(axes, sides):
    lengths, rng = np.array(SIDES[sides]), np.random.default_rng(53316291173)
    x, q = rng.random((300, 3)) * lengths, neutral(300, 86267571272)
    how = {"box": SIDES[sides], "periodic": AXES[axes]}
    exact = np.asarray(taskfmm.direct(x, q, **how))
    whole = np.where(AXES[axes], rng.integers(-3, 4, x.shape) * lengths, 0.0)
    shifted = x + whole + np.array([0.3, -7.1, 0.9])
    assert relative(np.asarray(taskfmm.direct(shifted, q, **how)), exact) < PERIODIC_DIRECT
    fmm = taskfmm.Fmm(shifted, eps=1e-7, **how)
    assert relative(fmm.potential(q).compute(), exact) < 1e-7


@each("axes", list(AXES))
def test_two_cells_are_a_cell(axes):
    rng = np.random.default_rng(139583862445)
    x, q, at = rng.random((200, 3)), neutral(200, 225851433717), AXES[axes].index(True)
    step, box = np.eye(3)[at], np.ones(3)
    box[at] = 2.0
    one = np.asarray(taskfmm.direct(x, q, box=1.0, periodic=AXES[axes]))
    two = np.asarray(taskfmm.direct(np.vstack([x, x + step]), np.tile(q, 2), box=box, periodic=AXES[axes]))
    assert relative(two, np.tile(one, 2)) < PERIODIC_DIRECT


def test_vacuum_adds_the_field_of_the_dipole_moment():
    rng = np.random.default_rng(365435296162)
    x, q = rng.random((300, 3)), neutral(300, 591286729879)
    around = [
        taskfmm.direct(x, q, box=1.0, surroundings=each, outputs=("potential", "gradient"))
        for each in ("conductor", "vacuum")
    ]
    moment = q @ x  # over 3 V eps0, the field within a sphere of dipoles
    np.testing.assert_allclose(
        around[1]["gradient"] - around[0]["gradient"], np.tile(moment / 3.0, (300, 1)), rtol=1e-9
    )
    along = (x - 0.5) @ moment / 3.0
    np.testing.assert_allclose(around[1]["potential"] - around[0]["potential"], along, atol=1e-10)
    fmm = taskfmm.Fmm(x, eps=1e-8, box=1.0, surroundings="vacuum")
    assert relative(fmm.potential(q).compute(), np.asarray(around[1]["potential"])) < 1e-8


def test_vectors_each_have_their_own_images():
    rng = np.random.default_rng(956722026041)
    x, q = rng.random((800, 3)), neutral(800, 1548008755920, (5,)) * [1.0, 1e-3, 1e3, 0.0, 2.0]
    fmm = taskfmm.Fmm(x, eps=1e-7, box=1.0, leaf_size=20)
    found = fmm.evaluate(q, ("potential", "gradient"))
    for output in found:
        exact = taskfmm.direct(x, q, box=1.0, outputs=output)[output]
        values = found[output].compute()
        for vector in (0, 1, 2, 4):
            assert relative(values[..., vector], exact[..., vector]) < 1e-7
        assert not values[..., 3].any()


@each("axes, sides", [("xyz", "cube"), ("xyz", "brick"), ("xz", "cube")])
def test_the_same_bits_everywhere(axes, sides, tmp_path):
    x, q = np.random.default_rng(2504730781961).random((3000, 3)) * SIDES[sides], neutral(3000, 4052739537881)
    fmm = taskfmm.Fmm(x, eps=1e-5, box=SIDES[sides], periodic=AXES[axes], leaf_size=40)
    expected = fmm.serial(q, "gradient")
    path = tmp_path / f"{axes}-{sides}.h5"
    fmm.save(path)
    again = taskfmm.Fmm.load(path)
    for plan in (fmm, again):
        for scheduler in ("synchronous", "threads"):
            with dask.config.set(scheduler=scheduler):
                np.testing.assert_array_equal(plan.evaluate(q, "gradient")["gradient"].compute(), expected)
    assert again.explain().splitlines()[0] == fmm.explain().splitlines()[0]
    for shown in (fmm.explain(), fmm._repr_html_()):
        assert "along x, y, z; cut into" in shown or "along x, z; cut into" in shown
    assert "box" not in taskfmm.Fmm(x, eps=1e-3)._repr_html_().replace("boxes", "")


def test_plans_of_other_boxes_are_told_apart():
    """Results of several plans that are computed together share what has the same name."""
    x, q = np.random.default_rng(14472334024676221).random((500, 3)), neutral(500, 23416728348467685)
    x[:2] = [[0.0], [0.999]]  # so that cells begin at the same corner
    boxes = [
        {"box": 1.0},
        {"box": 1.0, "surroundings": "vacuum"},
        {"box": 1.0, "periodic": AXES["xz"]},
        {"box": 1.0, "periodic": AXES["y"]},
    ]
    plans = [taskfmm.Fmm(x, eps=1e-4, leaf_size=20, **how) for how in boxes]
    lazy = [plan.potential(q) for plan in plans]
    assert len({each.name for each in lazy}) == len(boxes)
    for found, plan in zip(dask.compute(*lazy), plans, strict=True):
        np.testing.assert_array_equal(found, plan.serial(q))


def test_far_images_count_where_charges_are_looked_at():
    """Charges that are polarised as a whole: without far images their field would seem to be larger than it is."""
    x = np.random.default_rng(37889062373143906).random((4000, 3))
    q = x[:, 2] - x[:, 2].mean()
    fmm = taskfmm.Fmm(x, box=1.0, eps=1e-5, leaf_size=60)
    scale = fmm.plan.tree.domain.scale
    found = look(fmm.plan, fmm.kernel.of_first, [q], "gradient").gradient
    exact = np.linalg.norm(taskfmm.direct(x, q, box=1.0, outputs="gradient")["gradient"])
    total = found.total * 2.0 ** np.frexp(np.abs(q).max())[1] * scale**2 / (4.0 * np.pi)
    assert 0.8 * exact < total < exact


def test_float32_keeps_eps():
    x, q = np.random.default_rng(6557470319842).random((4000, 3)), neutral(4000, 10610209857723)
    fmm = taskfmm.Fmm(x, eps=1e-3, box=1.0, dtype="float32", leaf_size=60)
    assert fmm.accuracy("potential", q).dtype == "float32"
    for output in ("potential", "gradient"):
        values = fmm.evaluate(q, output)[output]
        assert values.dtype == np.float32
        assert fmm.error_estimate(q, values.compute(), output=output, seed=2) < 1e-3


def test_lazy_charges_are_found_to_be_charged_when_computed():
    x = np.random.default_rng(17167680177565).random((2000, 3))
    q = neutral(2000, 27777890035288)
    fmm = taskfmm.Fmm(x, eps=1e-4, box=1.0)
    found = fmm.potential(da.from_array(q, chunks=700)).compute()
    assert relative(found, np.asarray(taskfmm.direct(x, q, box=1.0))) < 1e-4
    with pytest.raises(taskfmm.InputError, match="do not add up to zero"):
        fmm.potential(da.from_array(q + 1e-6, chunks=700)).compute()


@each("n", [0, 1, 2])
def test_few_points(n):
    x = np.array([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]])[:n]
    q = np.array([1.0, -1.0])[:n] * (n == 2)
    fmm = taskfmm.Fmm(x, box=1.0, eps=1e-8)
    found = fmm.potential(q).compute()
    assert found.shape == (n,)
    np.testing.assert_allclose(found, taskfmm.direct(x, q, box=1.0), rtol=1e-8)
    assert fmm.error_estimate(q, found) < 1e-8


def test_coincident_points_add_nothing_but_their_images():
    x = np.repeat(np.random.default_rng(44945570212853).random((30, 3)), 4, axis=0)
    q = neutral(120, 72723460248141)
    exact = ewald.three(x, x, q, np.ones(3), alpha=2.5)
    # a textbook's own term belongs to each of four charges at one place
    assert relative(np.asarray(taskfmm.direct(x, q, box=1.0)), exact) < EWALD
    fmm = taskfmm.Fmm(x, box=1.0, eps=1e-6, leaf_size=3)
    assert relative(fmm.potential(q).compute(), exact) < 1e-6


class InNanometres(np.ndarray):
    unit = "nm"


X, Q = np.random.default_rng(117669030460994).random((20, 3)), neutral(20, 190392490709135)


@each(
    "arguments, says",
    [
        ({"box": (1.0, 1.0, 1.3)}, "3:3:4"),
        ({"box": (1.0, 1.0, np.pi)}, "in the ratio"),
        ({"box": (1.0, 1.0)}, "expected its sides"),
        ({"box": (1.0, 1.0, 65.0)}, "64 times as long"),
        ({"box": (1.0, 1.0, 0.0)}, "above 0"),
        ({"box": 1e120}, r"from 1e-100 to 1e\+100"),
        ({"box": (1.0, 1.0, -2.0)}, "above 0"),
        ({"box": (1.0, 1.0, np.nan)}, "above 0"),
        ({"box": (1.0, 1.0, 1.0, 90.0, 90.0, 90.0)}, "expected its sides"),
        ({"box": 0.5, "wrap": False}, "outside the box"),
        ({"box": 1.0, "periodic": (False, False, False)}, "leave box out"),
        ({"box": 1.0, "periodic": "xy"}, "periodic is"),
        ({"box": 1.0, "periodic": (True, False)}, "periodic is"),
        ({"box": 1.0, "surroundings": "tin"}, "conductor"),
        ({"box": 1.0, "surroundings": np.ones(3)}, "conductor"),
        ({"box": 1.0, "surroundings": "vacuum", "periodic": (True, True, False)}, "all three axes"),
        ({"box": InNanometres((3,))}, "sources have no unit, sides of the box are in nm"),
        ({"periodic": (True, True, False)}, "give box"),
        ({"surroundings": "vacuum"}, "give box"),
        ({"box": 1e-3, "periodic": (True, True, False)}, "not periodic"),
        ({"box": 1.0, "kernel": taskfmm.kernels.Yukawa(lam=1.0)}, "use laplace or stokes"),
        ({"box": 1.0, "kernel": "biot_savart"}, "use laplace"),
    ],
)
def test_what_no_box_can_be_is_refused(arguments, says):
    for plan_or_sum in (lambda: taskfmm.Fmm(X, **arguments), lambda: taskfmm.direct(X, Q, **arguments)):
        with pytest.raises(taskfmm.InputError, match=says):
            plan_or_sum()


def test_charges_that_do_not_add_up_are_refused_by_name():
    fmm = taskfmm.Fmm(X, box=1.0)
    with pytest.raises(taskfmm.InputError, match=r"charges do not add up to zero.*charges - charges.mean"):
        fmm.potential(np.ones(20))
    two = np.column_stack([Q, Q + 1e-9])
    for ask in (fmm.potential, fmm.serial, lambda q: fmm.error_estimate(q, np.zeros((20, 2)))):
        with pytest.raises(taskfmm.InputError, match="charges of vector 1"):
            ask(two)
    with pytest.raises(taskfmm.InputError, match="do not add up"):
        taskfmm.direct(X, np.ones(20), box=1.0)
    assert np.isfinite(fmm.potential(dipoles=np.ones((20, 3))).compute()).all()  # dipoles have no charge
    assert not fmm.potential(np.zeros(20)).compute().any()


@each("given, along", [("xz", (True, False, True)), ("zx", (True, False, True)), ("zz", None), ("", None)])
def test_axes_on_the_command_line(given, along):
    if along is None:
        with pytest.raises(click.BadParameter, match="is none of x, y, z, xy"):
            options.axes(None, None, given)
    else:
        assert options.axes(None, None, given) == along


def test_points_within_the_box_are_not_moved():
    fmm = taskfmm.Fmm(X - 0.5, box=1.0)
    np.testing.assert_array_equal(fmm.sources, X - 0.5)
    outside = X + np.array([0.0, 3.0, 0.5])
    fmm = taskfmm.Fmm(np.vstack([X, outside]), box=1.0)
    assert fmm.sources.min() >= 0.0 and fmm.sources.max() < 1.0
    np.testing.assert_allclose(fmm.sources[20:], outside % 1.0, atol=ROUNDING)


@each("far", [1e3, 1e12, 1e300])
def test_points_far_outside_are_moved_into_the_box(far):
    side, rng = 0.3, np.random.default_rng(308061521170129)
    whole = np.rint(far * rng.uniform(-1.0, 1.0, (2000, 3))) * side
    fmm = taskfmm.Fmm(np.nextafter(whole, -np.inf), box=side)  # rounding finds many of them a side too far
    assert fmm.sources.min() >= 0.0 and fmm.sources.max() < side


@each("sides, net", [("cube", True), ("brick", False), ("brick", True)])
def test_flows_of_forces_are_hasimotos(sides, net):
    rng, lengths = np.random.default_rng(498454011879264), np.array(SIDES[sides])
    y, x = rng.random((40, 3)) * lengths, rng.random((20, 3)) * lengths
    f = rng.normal(size=(40, 3))
    f -= 0.0 if net else f.mean(axis=0)
    exact = ewald.stokes(x, y, f, lengths, alpha=2.2 / lengths.min()) / 2.0
    found = taskfmm.direct(y, f, x, STOKES, ("velocity", "pressure", "velocity_gradient"), box=lengths)
    assert relative(found["velocity"], exact) < EWALD
    # pressures of forces are potentials of dipoles, beside the gradient that balances the forces
    dipoles = np.asarray(taskfmm.direct(y, dipoles=f, targets=x, box=lengths))
    balance = (x - lengths / 2.0) @ f.sum(axis=0) / lengths.prod()
    begin = np.minimum(y.min(axis=0), x.min(axis=0)) / 2.0 + np.maximum(y.max(axis=0), x.max(axis=0)) / 2.0
    balance -= (begin - lengths / 2.0) @ f.sum(axis=0) / lengths.prod()  # from the middle of the cell
    assert relative(found["pressure"], dipoles + balance) < EWALD
    for eps in (1e-3, 1e-6):
        fmm = taskfmm.Fmm(y, x, STOKES, eps=eps, box=lengths, leaf_size=3)
        assert relative(fmm.evaluate(f, "velocity")["velocity"].compute(), exact) < eps


@each("kind", ["stresslets", "rotlets"])
def test_force_dipoles_are_pairs_of_forces(kind):
    rng, h = np.random.default_rng(806515533049393), 1e-4
    y, x, lengths = rng.random((40, 3)) * SIDES["brick"], rng.random((20, 3)), SIDES["brick"]
    product = rng.normal(size=(40, 3, 3))
    product -= np.trace(product, axis1=1, axis2=2)[:, None, None] / 3.0 * np.eye(3)
    both = product.swapaxes(1, 2)
    dipole = product + both if kind == "stresslets" else product - both
    steps = [sign * 0.5 * h * axis for axis in np.eye(3) for sign in (1, -1)]
    pairs = np.concatenate([y + step for step in steps])
    forces = np.concatenate([sign * dipole[:, :, axis] / h for axis in range(3) for sign in (1, -1)])
    exact = taskfmm.direct(pairs, forces, x, STOKES, "velocity", box=lengths)["velocity"]
    found = taskfmm.direct(y, None, x, STOKES, "velocity", box=lengths, **{kind: product})["velocity"]
    assert relative(found, exact) < 1e-4


def test_flows_keep_eps():
    rng, eps = np.random.default_rng(1304969544928657), 1e-3
    y, f = rng.random((1500, 3)) * SIDES["brick"], rng.normal(size=(1500, 3))
    fmm = taskfmm.Fmm(y, kernel=STOKES, eps=eps, box=SIDES["brick"], leaf_size=30)
    for output in ("velocity", "pressure", "velocity_gradient"):
        values = fmm.evaluate(f, output)[output].compute()
        exact = taskfmm.direct(y, f, kernel=STOKES, outputs=output, box=SIDES["brick"])[output]
        assert relative(values, exact) < eps, output
    assert relative(fmm.serial(f, "velocity"), fmm.evaluate(f, "velocity")["velocity"].compute()) == 0.0


def test_an_estimate_from_some_targets_lays_the_cell_around_all():
    rng = np.random.default_rng(498454011879265)
    y, f = 0.1 * rng.random((300, 3)), rng.normal(size=(300, 3))
    x = np.vstack([0.1 * rng.random((100, 3)), [[0.7, 0.8, 0.9]]])  # one target moves the middle of the cell
    fmm = taskfmm.Fmm(y, x, STOKES, eps=1e-3, box=1.0)
    pressure = fmm.evaluate(f, "pressure")["pressure"].compute()
    exact = taskfmm.direct(y, f, x, STOKES, "pressure", box=1.0)["pressure"]
    error = relative(pressure, exact)
    assert error < 1e-3
    for seed in range(3):  # a constant times the sum of the forces would be 2e-3 of such pressures
        assert fmm.error_estimate(f, pressure, output="pressure", n_samples=5, seed=seed) < 10.0 * error


def test_what_flows_have_no_sum():
    y = np.random.default_rng(2111485077978050).random((10, 3))
    with pytest.raises(taskfmm.InputError, match="all three axes"):
        taskfmm.Fmm(y, kernel=STOKES, box=1.0, periodic=(True, True, False))
    fmm = taskfmm.Fmm(y, kernel=STOKES, box=1.0)
    with pytest.raises(taskfmm.InputError, match="traces of stresslets do not add up to zero"):
        fmm.evaluate(stresslets=np.tile(np.eye(3), (10, 1, 1)))
