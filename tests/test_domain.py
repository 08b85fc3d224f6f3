"""The root cube holds every point, and box centres are exact, at any offset and any width."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

from taskfmm.geometry.domain import (
    HALF_WIDTH_BITS,
    SIZE,
    Domain,
    box_centers,
    box_half_width,
    enclose,
    enlarge,
    from_center,
)
from taskfmm.testing import DISTRIBUTIONS

NONE = np.empty((0, 3))


def assert_valid(domain: Domain, points: np.ndarray) -> None:
    scaled = points * domain.scale
    offset = scaled - domain.lower[None, :]
    assert np.isfinite(domain.lower).all()
    assert np.isfinite(scaled).all()
    assert 0.5 <= domain.half_width / SIZE < 1
    assert (domain.half_width / SIZE * 2**HALF_WIDTH_BITS).is_integer()
    assert np.frexp(domain.scale)[0] == 0.5
    assert (offset >= 0).all()
    assert (offset < 2 * domain.half_width).all()


@each("name", DISTRIBUTIONS)
@each("width", [1e-150, 1.0, 1e150])
@each("offset", [0.0, 1e8])
def test_every_point_is_inside(name, width, offset):
    points = (DISTRIBUTIONS[name](500, np.random.default_rng(90210)) + offset) * width
    assert_valid(enclose(points, NONE), points)
    assert_valid(enclose(NONE, points), points)


ANY = st.floats(-1.7e308, 1.7e308)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.lists(ANY, min_size=3, max_size=3),
    st.floats(0, 1e300),
    st.integers(1, 2**32),
    st.sampled_from([1.2, 1.5]),
)
def test_every_point_is_inside_at_any_offset(offset, width, seed, factor):
    """Also where only a few numbers lie between the faces of the cube; axes are moved by different amounts."""
    points = np.random.default_rng(seed).random((20, 3)) * width + np.array(offset)
    domain = enclose(points[:5], points[5:])
    assert_valid(domain, points)
    larger = enlarge(domain, factor)
    away = points * larger.scale - larger.lower
    assert larger.scale == domain.scale
    assert larger.half_width >= domain.half_width * factor
    assert (away >= 0).all() and (away < 2 * larger.half_width).all()


@each("offset", [0.0, 1e8, -5e12, 1e15, 3e15])
def test_places_in_boxes_are_exact_at_any_offset(offset):
    """Compiled, with all the freedom that the compiler has elsewhere: a point seen from the centre of its box."""
    points = np.random.default_rng(60711).random((40, 3)) + offset
    domain = enclose(points, NONE)
    scaled = points.T * domain.scale
    level = 9
    anchor = np.int64((scaled.T - domain.lower) // (2 * box_half_width(domain, level)))
    hi, lo = box_centers(domain, level, anchor)
    for axis in range(3):
        for i in range(40):
            exact = Fraction(scaled[axis, i]) - Fraction(hi[axis, i]) - Fraction(lo[axis, i])
            found = from_center(scaled[axis, i], 0.0, hi[axis, i], lo[axis, i])
            assert abs(found - exact) <= 2.0**-50 * box_half_width(domain, level)


@each("offset", [0.0, 1e-300, 5e-324, 1e8, -1e8, 1e300])
def test_one_place_gets_a_sane_cube(offset):
    points = np.full((3, 3), offset)
    domain = enclose(points[:2], points[2:])
    assert_valid(domain, points)
    center = np.sum(box_centers(domain, 0, np.zeros((1, 3), np.int64)), axis=0)
    assert np.all(np.abs(points.T * domain.scale - center) <= domain.half_width)


@each(
    "low, high",
    [(-1.7e308, 1.7e308), (0.0, 5e-324), (1e8, np.nextafter(1e8, 2e8)), (-1e300, 1e-300), (1.0, 1 + 2**-52)],
)
def test_extreme_intervals(low, high):
    points = np.array([[low, 0.0, low], [high, 1e-310, low], [low, high, high]])
    assert_valid(enclose(points, NONE), points)


@each("axes", [[0], [1, 2], [0, 2]])
@each("thickness", [0.0, 1e-4])
@each("factor", [1.0, 1.2, 1.5])
def test_flat_points_lie_off_the_faces_of_boxes(axes, thickness, factor):
    """Where operators err most; also where the cube is enlarged."""
    points = np.random.default_rng(4).random((50, 3)) + 0.7
    points[:, axes] = 0.3 + thickness * points[:, axes]
    domain = enlarge(enclose(points, NONE), factor)
    for level in range(8):
        across = (points * domain.scale - domain.lower)[:, axes] / (2.0 * box_half_width(domain, level))
        assert np.abs(across - np.round(across)).min() > 0.3


def test_narrow_in_one_axis_far_out_in_another():
    points = np.random.default_rng(70707).random((50, 3)) * 1e-150
    points[:, 1] = 1e8
    assert_valid(enclose(points, NONE), points)


def test_cube_is_hardly_wider_than_the_points():
    points = np.random.default_rng(36912).random((4000, 3))
    domain = enclose(points[:1000], points[1000:])
    extent = np.ptp(points, axis=0).max() * domain.scale
    assert extent < 2 * domain.half_width <= extent * (1 + 2.0 ** (2 - HALF_WIDTH_BITS))


def test_sources_and_targets_share_one_cube():
    rng = np.random.default_rng(24680)
    sources, targets = rng.random((20, 3)), rng.random((30, 3)) + 7
    assert_valid(enclose(sources, targets), np.concatenate((sources, targets)))


@each("offset", [0.0, -3.7, 1e8, 1e15])
def test_box_centers_are_exact(offset):
    rng = np.random.default_rng(55221)
    domain = enclose(rng.random((40, 3)) + offset, NONE)
    level = rng.integers(0, 43, 200)
    anchor = rng.integers(0, 2**42, (200, 3)) // 2 ** (42 - level)[:, None]
    hi, lo = box_centers(domain, level, anchor)
    for b in range(200):
        for axis in range(3):
            step = Fraction(box_half_width(domain, level[b]))
            exact = Fraction(domain.lower[axis]) + (2 * int(anchor[b, axis]) + 1) * step
            assert Fraction(hi[axis, b]) + Fraction(lo[axis, b]) == exact


def test_one_level_for_many_boxes():
    domain = enclose(np.random.default_rng(11235).random((9, 3)), NONE)
    anchor = np.array([[0, 1, 2], [7, 7, 0]])
    one, many = box_centers(domain, 3, anchor), box_centers(domain, np.array([3, 3]), anchor)
    np.testing.assert_array_equal(one, many)
    assert one[0].shape == (3, 2)
    assert one[0].flags.c_contiguous
    assert box_half_width(domain, 3) == domain.half_width / 8
