"""How close the closest pairs of points are, and what follows for gradients."""

from __future__ import annotations

import numpy as np
import pytest

import taskfmm
from taskfmm import testing
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy
from taskfmm.testing import grid
from taskfmm.tree import octree
from taskfmm.tree.closeness import FEW, closeness


def of(points: np.ndarray, leaf_size: int = 64) -> float:
    return closeness(octree.build(points, None, leaf_size))


@pytest.mark.parametrize("leaf_size", [64, 512])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("edge", [13, 20, 32, 40])
def test_grids_are_known_by_it(edge, closed, leaf_size):
    assert 1 < of(grid(edge, closed), leaf_size) <= accuracy.GRID_CLOSENESS


def test_random_clouds_have_close_pairs():
    rng = np.random.default_rng(190633)
    assert 8 < of(rng.random((10_000, 3))) < 40
    assert 100 < of(testing.sphere(10_000, rng)) < 1000


def test_a_shaken_grid_lies_between():
    points = grid(20)
    rng = np.random.default_rng(7001)
    shaken = [of(points + size / 20 * rng.random(points.shape)) for size in (0.0, 0.2, 0.6, 1.0)]
    assert shaken == sorted(shaken)


def test_it_is_the_root_of_a_sum_over_neighbours_in_the_tree():
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
    points = np.random.default_rng(8128).random((1000, 3))
    assert of(scale * points) == pytest.approx(of(points), rel=0.3)  # leaves may fall otherwise


def test_a_handful_of_close_pairs_does_not_count():
    """What charges they have would decide the error of all."""
    points = grid(13)
    points[:FEW] = points[FEW : 2 * FEW] + 1e-9
    assert of(points) <= accuracy.GRID_CLOSENESS


@pytest.mark.parametrize("n", [1, 2, FEW])
def test_few_points_and_points_in_one_place_have_none(n):
    points = np.random.default_rng(n + 100).random((n, 3))
    assert of(points) == of(np.repeat(points[:1], 500, axis=0)) == 0.0


def test_separate_targets_are_taken_for_a_grid():
    rng = np.random.default_rng(496)
    sources, targets = rng.random((2000, 3)), rng.random((2000, 3))
    assert closeness(octree.build(sources, targets, 64)) == 0.0


def test_gradients_on_grids_get_better_operators_than_in_random_clouds():
    rng = np.random.default_rng(60_000)
    chosen = [
        taskfmm.Fmm(points, eps=1e-6).accuracy("gradient") for points in (grid(20), rng.random((8000, 3)))
    ]
    kernel, dtype = KERNELS["laplace"], np.dtype(float)
    rows = {(row.accuracy.order, row.accuracy.basis_tol): row for row in accuracy.table()}
    on_grids = [rows[each.order, each.basis_tol].grid_error["gradient"] for each in chosen]
    assert on_grids[0] <= 1e-6 / accuracy.GRID_MARGIN < on_grids[1]
    assert chosen[0] == accuracy.choose(kernel, 1e-6, "gradient", dtype)
