"""Cube surfaces."""

from __future__ import annotations

import numpy as np
from cases import each

from taskfmm.geometry import surface
from taskfmm.operators import symmetry


@each("order, n", [(2, 8), (3, 26), (4, 56), (5, 98), (6, 152), (7, 218), (8, 296), (10, 488), (12, 728)])
def test_known_sizes(order, n):
    assert surface.n_points(order) == n
    points = surface.cube(order, 2.95)
    assert points.shape == (3, n)
    assert points.flags.c_contiguous
    assert len(np.unique(points.round(12), axis=1).T) == n


@each("radius", [1.0, surface.INNER, surface.OUTER])
def test_every_point_lies_on_the_surface_and_the_grid_is_regular(radius):
    points = surface.cube(5, radius)
    assert (np.abs(points).max(axis=0) == radius).all()
    for row in points:
        np.testing.assert_allclose(np.unique(row), radius * np.linspace(-1, 1, 5), rtol=1e-15)
    # the cube's symmetry: mirrored and with axes exchanged it is the same set
    original = {tuple(p) for p in points.T.round(12) + 0.0}
    assert {tuple(p) for p in 0.0 - points.T.round(12)} == original
    assert {tuple(p) for p in points[[1, 2, 0]].T.round(12) + 0.0} == original


def test_radii_are_those_of_the_method():
    """Equivalent inside check; both check and equivalent clear of the boxes they must not enter."""
    assert (surface.INNER, surface.OUTER) == (1.05, 2.95)


def test_order_one_is_the_centre():
    assert surface.n_points(1) == 1
    np.testing.assert_array_equal(surface.cube(1, 2.0), np.zeros((3, 1)))


@each("arrangement", surface.ARRANGEMENTS)
@each("order", [1, 2, 3, 4, 7, 8])
def test_arrangements_are_symmetric_and_clear_of_other_boxes(arrangement, order):
    """Equivalent points are within the nearest check surface, and check points out of boxes that are not adjacent."""
    inner, outer = surface.equivalent(arrangement, order), surface.check(arrangement, order)
    for points in (inner, outer):
        assert points.flags.c_contiguous
        for turn in (*map(np.diag, symmetry.reflections()), *symmetry.exchanges()):
            np.testing.assert_allclose(
                points[:, symmetry.permutation(points, turn)], turn.T @ points, atol=1e-12
            )
    assert np.abs(inner).max() <= surface.INNER
    if order > 1:
        assert np.abs(outer).max(axis=0).min() == surface.OUTER


@each(
    "arrangement, inner, outer",
    [("single", 296, 296), ("doubled", 296 + 98, 296), ("filled", 296 + 216, 2 * 296)],
)
def test_known_sizes_of_arrangements(arrangement, inner, outer):
    assert surface.equivalent(arrangement, 8).shape == (3, inner)
    assert surface.check(arrangement, 8).shape == (3, outer)


def test_octants_are_numbered_x_slowest():
    centers = surface.octant_centers()
    assert centers.shape == (8, 3)
    assert (np.abs(centers) == 0.5).all()
    np.testing.assert_array_equal((centers > 0) @ [4, 2, 1], np.arange(8))
