"""How hard the gradients at some points are, and what follows for the operators."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import l2_error

import taskfmm
from taskfmm import testing
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy
from taskfmm.operators.hardness import (
    APART,
    FEW,
    GRID_CLOSENESS,
    GRID_LEAVES,
    SMALL_LEAVES,
    closeness,
    hardness,
)
from taskfmm.plan import cost
from taskfmm.testing import grid
from taskfmm.tree import octree

ORDERS = tuple(range(3, 17))


def close(points: np.ndarray, leaf_size: int = 64) -> float:
    return closeness(octree.build(points, None, leaf_size))


def hard(points: np.ndarray, targets: np.ndarray | None = None, leaf_size: int = 64) -> float:
    return hardness(octree.build(points, targets, leaf_size), ORDERS)[8]


@pytest.mark.parametrize("leaf_size", [64, 512])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("edge", [13, 20, 32, 40])
def test_grids_have_no_close_pairs(edge, closed, leaf_size):
    assert 1 < close(grid(edge, closed), leaf_size) <= GRID_CLOSENESS


def test_random_clouds_have_close_pairs():
    rng = np.random.default_rng(190633)
    assert 8 < close(rng.random((10_000, 3))) < 40
    assert 100 < close(testing.sphere(10_000, rng)) < 1000


def test_a_shaken_grid_lies_between():
    points = grid(20)
    rng = np.random.default_rng(7001)
    shaken = [close(points + size / 20 * rng.random(points.shape)) for size in (0.0, 0.2, 0.6, 1.0)]
    assert shaken == sorted(shaken)


def test_closeness_is_the_root_of_a_sum_over_neighbours_in_the_tree():
    rng = np.random.default_rng(33550)
    tree = octree.build(rng.random((500, 3)), None, 20)
    width = 2 * tree.domain.half_width
    steps = (tree.sources[:, 1:] - tree.sources[:, :-1]) / width
    near = sorted(1 / np.linalg.norm(step) ** 4 for step in steps.T)[:-FEW]
    far = [
        (stop - start) ** 2 / 0.5 ** (4 * int(level))
        for (start, stop), level, leaf in zip(tree.source_ptr, tree.level, tree.is_leaf, strict=True)
        if leaf
    ]
    assert closeness(tree) == pytest.approx(np.sqrt(2 * sum(near) / sum(far)), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 3.0, 1e150])
def test_it_has_no_unit(scale):
    points, targets = grid(13), grid(13) + 1500.0
    assert close(scale * points) == pytest.approx(close(points), rel=0.3)  # leaves may fall otherwise
    assert hard(scale * points, scale * targets) == pytest.approx(hard(points, targets), rel=1e-6)


def test_a_handful_of_close_pairs_does_not_count():
    """What charges they have would decide the error of all."""
    points = grid(13)
    points[:FEW] = points[FEW : 2 * FEW] + 1e-9
    assert close(points) <= GRID_CLOSENESS


@pytest.mark.parametrize("n", [1, 2, FEW])
def test_few_points_and_points_in_one_place_have_no_close_pairs(n):
    points = np.random.default_rng(n + 100).random((n, 3))
    assert close(points) == close(np.repeat(points[:1], 500, axis=0)) == 0.0


def test_without_a_far_field_nothing_is_hard():
    assert hard(grid(4), leaf_size=8) == 0.0
    assert hard(grid(4), grid(4) + 0.01, leaf_size=8) == 0.0


@pytest.mark.parametrize("leaf_size, times", [(27, 64 / 27), (1, SMALL_LEAVES), (1000, 1.0)])
def test_small_leaves_are_harder(leaf_size, times):
    tree = octree.build(grid(24), None, leaf_size)
    assert (tree.fullest <= 64) == (times > 1)
    assert hardness(tree, ORDERS)[8] == pytest.approx(times)
    found = hardness(tree, ORDERS)
    assert [found[order] for order in ORDERS] == sorted(found.values())
    assert GRID_LEAVES[-1][0] >= max(row.accuracy.order for row in accuracy.table())


def test_targets_among_the_sources_are_taken_for_a_grid():
    rng = np.random.default_rng(496)
    assert hard(rng.random((4000, 3)), rng.random((4000, 3))) == pytest.approx(64 / 64, rel=0.3)


@pytest.mark.parametrize("widths", [1.5, 50.0, 1000.0])
def test_targets_apart_are_harder(widths):
    """By as much at any distance up to a hundred widths, and by the distance beyond."""
    rng = np.random.default_rng(28)
    sources, targets = rng.random((2000, 3)), rng.random((2000, 3)) + np.array([widths, 0, 0])
    assert hard(sources, targets) == pytest.approx(APART * max(1.0, widths / 100), rel=0.02)


def test_targets_on_a_shell_around_are_apart():
    rng = np.random.default_rng(8128)
    assert hard(rng.random((2000, 3)) - 0.5, 3 * testing.sphere(2000, rng)) == APART


def test_gradients_on_grids_get_better_operators_than_in_random_clouds():
    rng = np.random.default_rng(60_000)
    chosen = [
        taskfmm.Fmm(points, eps=1e-6).accuracy("gradient") for points in (grid(20), rng.random((8000, 3)))
    ]
    rows = {(row.accuracy.order, row.accuracy.basis_tol): row for row in accuracy.table()}
    on_grids = [rows[each.order, each.basis_tol].grid_error["gradient"] for each in chosen]
    assert on_grids[0] <= 1e-6 / accuracy.GRID_MARGIN < on_grids[1]


def test_what_is_too_hard_is_refused():
    kernel, dtype = KERNELS["laplace"], np.dtype(float)
    tree = octree.build(grid(13), grid(13) + 1e4, 64)
    with pytest.raises(taskfmm.AccuracyError, match=r"the floor for a gradient at these points is \d"):
        accuracy.choose(kernel, 1e-10, "gradient", dtype, tree=tree)
    assert accuracy.choose(kernel, 1e-10, "potential", dtype, tree=tree).order > 10


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("leaf_size", [1, 20, 64])
def test_gradients_keep_eps_on_the_hardest_grid(leaf_size, eps):
    """Its points lie on faces of boxes."""
    x, q = grid(13, closed=True), np.random.default_rng(92810047).uniform(-1, 1, 13**3)
    exact = taskfmm.direct(x, q, outputs=("gradient",))["gradient"]
    found = taskfmm.Fmm(x, eps=eps, leaf_size=leaf_size).evaluate(q, "gradient")["gradient"]
    assert l2_error(found.compute(), exact) <= eps


@pytest.mark.parametrize(
    "widths, eps", [(1.5, 1e-8), (3, 1e-6), (10, 1e-4), (30, 1e-6), (100, 1e-8), (1000, 1e-5)]
)
@pytest.mark.parametrize("kind", ["positive", "signed"])
def test_gradients_keep_eps_where_targets_are_apart(widths, eps, kind, monkeypatch):
    # a tree, as for more points: so few would be summed directly
    monkeypatch.setattr(cost, "direct", lambda *_: 1e9)
    monkeypatch.setattr(cost, "tasks", lambda *_: 0.0)
    rng = np.random.default_rng(471_100)
    sources, targets = rng.random((4000, 3)), rng.random((1500, 3)) + np.array([widths, 0.3, 0.1])
    q = testing.charges(kind, 4000, rng)
    exact = taskfmm.direct(sources, q, targets, outputs=("gradient",))["gradient"]
    found = taskfmm.Fmm(sources, targets, eps=eps).evaluate(q, "gradient")["gradient"]
    assert l2_error(found.compute(), exact) <= eps
