"""Morton keys against plain Python integers of 126 bits."""

from __future__ import annotations

import numpy as np
from cases import each

from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain, enclose
from taskfmm.testing import DISTRIBUTIONS

UNIT = Domain(np.zeros(3), 0.5, 1.0)


def interleave(x: int, y: int, z: int, levels: int = morton.MAX_LEVEL) -> int:
    value = 0
    for bit in reversed(range(levels)):
        value = value * 8 + (x >> bit & 1) * 4 + (y >> bit & 1) * 2 + (z >> bit & 1)
    return value


def whole(hi, lo) -> int:
    return int(hi) * 2**63 + int(lo)


def test_key_interleaves_and_anchor_undoes_it():
    anchors = np.random.default_rng(13579).integers(0, morton.CELLS, (100, 3))
    for x, y, z in [*anchors.tolist(), (0, 0, 0), (morton.CELLS - 1,) * 3]:
        hi, lo = (np.uint64(word) for word in morton.key(x, y, z))
        assert whole(hi, lo) == interleave(x, y, z)
        for level in (0, 1, 20, 21, 22, 41, 42):
            shift = morton.MAX_LEVEL - level
            assert morton.anchor(hi, lo, level) == (x >> shift, y >> shift, z >> shift)
            first = morton.first_key(x >> shift, y >> shift, z >> shift, level)
            assert whole(*first) == whole(hi, lo) >> 3 * shift << 3 * shift


def test_octant_is_one_digit_of_the_key():
    x, y, z = np.random.default_rng(86420).integers(0, morton.CELLS, 3).tolist()
    hi, lo = (np.uint64(word) for word in morton.key(x, y, z))
    digits = [morton.octant(hi, lo, level) for level in range(1, morton.MAX_LEVEL + 1)]
    assert digits == [int(digit) for digit in f"{interleave(x, y, z):042o}"]


def test_same_cell_down_to_the_level_where_keys_part():
    for parting in (1, 2, 21, 22, 42):
        a = tuple(np.uint64(word) for word in morton.key(0, 0, 0))
        b = tuple(np.uint64(word) for word in morton.key(0, 1 << (morton.MAX_LEVEL - parting), 0))
        shared = [morton.same_cell(*a, *b, level) for level in range(morton.MAX_LEVEL + 1)]
        assert shared == [level < parting for level in range(morton.MAX_LEVEL + 1)]


def test_points_land_in_their_cells():
    points = np.array([[0.0, 0.0, 0.0], [0.5, 0.25, 0.75], [1.0, 1.0, 1.0], [np.nextafter(0.5, 0), 0.5, 0.0]])
    hi, lo = morton.keys(points, UNIT)
    half, last = morton.CELLS // 2, morton.CELLS - 1
    expected = [(0, 0, 0), (half, half // 2, half + half // 2), (last, last, last), (half - 1, half, 0)]
    assert [whole(*key) for key in zip(hi, lo, strict=True)] == [interleave(*cell) for cell in expected]


@each("name", DISTRIBUTIONS)
def test_sort_is_by_key_then_index(name):
    points = DISTRIBUTIONS[name](700, np.random.default_rng(97531))
    hi, lo = morton.keys(points, enclose(points, points))
    keys = [whole(*key) for key in zip(hi, lo, strict=True)]
    assert morton.sort(hi, lo).tolist() == sorted(range(700), key=lambda i: (keys[i], i))


def test_sort_breaks_ties_at_every_depth():
    rng = np.random.default_rng(31337)
    hi, lo = rng.integers(0, 9, 5000).astype(np.uint64), rng.integers(0, 30, 5000).astype(np.uint64)
    expected = np.lexsort((np.arange(5000), lo, hi))
    np.testing.assert_array_equal(morton.sort(hi, lo), expected)
    for before in (expected, rng.permutation(5000)):
        np.testing.assert_array_equal(morton.sort(hi, lo, before), expected)


def test_sort_looks_beyond_the_bits_that_fit_beside_an_index():
    """Keys that differ in their first bit and in their last ones: most agree in all bits that are sorted at first."""
    rng = np.random.default_rng(31338)
    hi = rng.integers(0, 9, 5000).astype(np.uint64)
    hi[:100] += np.uint64(2**62)
    lo = rng.integers(0, 30, 5000).astype(np.uint64)
    np.testing.assert_array_equal(morton.sort(hi, lo), np.lexsort((np.arange(5000), lo, hi)))


def test_find_gives_the_first_point_of_a_cell():
    points = np.random.default_rng(44556).random((300, 3)) ** 3
    hi, lo = morton.keys(points, UNIT)
    order = morton.sort(hi, lo)
    hi, lo = hi[order], lo[order]
    for level in (1, 3, 6):
        cells = [tuple(cell) for cell in (points[order] * 2**level).astype(int).tolist()]
        grid = [(x, y, z) for x in range(0, 2**level, 3) for y in range(2) for z in range(2)]
        for cell in {*cells, *grid}:
            expected = cells.index(cell) if cell in cells else -1
            assert morton.find(hi, lo, *cell, level) == expected


def test_threads_do_not_change_keys():
    points = np.random.default_rng(20202).random((1000, 3))
    np.testing.assert_array_equal(morton.keys(points, UNIT, threads=1), morton.keys(points, UNIT, threads=2))
