"""Points that differ by too little for the loops are found, all of them, and no others by much."""

from __future__ import annotations

import numpy as np
from cases import each
from hypothesis import given, settings
from hypothesis import strategies as st

from taskfmm.geometry.domain import enclose
from taskfmm.geometry.resolution import RESOLVED, unresolved_pair
from taskfmm.kernels.roots import NORMAL

NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.3, 1e-30, -1e-30, 1e-36, *(k * 4e-38 for k in range(-6, 7)), 1e-50, 5e-324]
COORDINATE = st.one_of(st.sampled_from(NUMBERS), st.floats(-1e-36, 1e-36))
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=12)


def by_pairs(sources: np.ndarray, targets: np.ndarray, scale: float, times: float = 1.0) -> np.ndarray:
    """bool [n_sources, n_targets]: in different places, and without a seed for the reciprocal root."""
    square = ((sources[:, None] * scale - targets * scale) ** 2).sum(axis=2) / times**2
    return (sources[:, None] != targets).any(axis=2) & (np.float32(square) < NORMAL)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(POINTS, POINTS, st.booleans(), st.sampled_from([1e-200, 1.0, 1e200]))
def test_every_pair_that_the_loops_take_for_one_point_is_found(some, others, same, width):
    sources = np.array([*some, (1.0, 0.0, 0.0)]) * width
    targets = sources if same else np.array(others) * width
    scale = enclose(sources, targets).scale
    found = unresolved_pair(sources, targets, scale)
    if found is None:
        assert not by_pairs(sources, targets, scale).any()
    else:
        assert by_pairs(sources, targets, scale, times=4.0)[found]


@each("where", [0, 1, 777, 16_384, 39_999])
def test_one_pair_among_many(where):
    points = np.random.default_rng(80510033).random((40_000, 3))
    points[5] = [0.0, 0.5, 0.5]
    assert unresolved_pair(points, points, enclose(points, points).scale) is None
    points[where] = [1e-40, 0.5, 0.5]
    found = unresolved_pair(points, points, enclose(points, points).scale)
    assert sorted(found) == sorted((5, where))


def test_dense_clusters_take_no_search_of_all_pairs():
    """So many points in one cell that looking at all pairs of them would take minutes."""
    rng = np.random.default_rng(80510034)
    points = np.concatenate([rng.random((200_000, 3)) * 1e-200, [[1.0, 1.0, 1.0]]])
    assert unresolved_pair(points, points, enclose(points, points).scale) is not None
    away = np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 1e-20]])
    assert unresolved_pair(points, away, enclose(points, away).scale) is None


def test_the_limit_is_that_of_the_loops():
    assert np.float32(RESOLVED**2) == NORMAL
