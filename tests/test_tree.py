"""The octree: invariants on every cloud, the same boxes as a brute-force build, hard inputs, threads."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from cases import EVERY_TWO, each

from taskfmm.geometry import morton
from taskfmm.geometry.domain import SIZE, enclose
from taskfmm.testing import DISTRIBUTIONS, sources_and_targets
from taskfmm.tree import octree
from taskfmm.tree.check import check_tree
from taskfmm.tree.octree import Octree


def boxes(tree: Octree) -> set[tuple[int, int, int, int]]:
    return {(int(level), *anchor) for level, anchor in zip(tree.level, tree.anchor.tolist(), strict=True)}


def assert_same(a: Octree, b: Octree) -> None:
    for field in dataclasses.fields(Octree):
        if field.name != "domain":
            first, second = getattr(a, field.name), getattr(b, field.name)
            if first is second is None:
                continue
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second, err_msg=field.name)


@each("name, relation, leaf_size", EVERY_TWO)
def test_invariants(name, relation, leaf_size):
    sources, targets = sources_and_targets(name, relation, 2500, np.random.default_rng(60613))
    tree = octree.build(sources, targets, leaf_size)
    check_tree(tree)
    expected = sources[tree.source_order].T * tree.domain.scale
    np.testing.assert_array_equal(tree.sources, expected)
    given = sources if targets is None else targets
    np.testing.assert_array_equal(tree.targets, given[tree.target_order].T * tree.domain.scale)


def brute_force(sources: np.ndarray, targets: np.ndarray, leaf_size: int) -> set[tuple[int, int, int, int]]:
    """Split by definition, one box at a time, with sets of anchors."""
    points = np.concatenate((sources, targets))
    hi, lo = morton.keys(points, enclose(points, points[:0]))
    deepest = [morton.anchor(h, w, morton.MAX_LEVEL) for h, w in zip(hi, lo, strict=True)]
    inside = {(0, 0, 0, 0): list(range(len(points)))}
    inner = set()

    def split(box):
        level = box[0] + 1
        inner.add(box)
        for i in inside[box]:
            child = (level, *(c >> (morton.MAX_LEVEL - level) for c in deepest[i]))
            inside.setdefault(child, []).append(i)
        return [b for b in inside if b[0] == level and tuple(c // 2 for c in b[1:]) == box[1:]]

    def crowded(box):
        n_sources = sum(i < len(sources) for i in inside[box])
        distinct = len({deepest[i] for i in inside[box]}) > 1
        return distinct and max(n_sources, len(inside[box]) - n_sources) > leaf_size

    def touches(leaf, fine):
        return all(2 * a - 1 <= b <= 2 * a + 2 for a, b in zip(leaf[1:], fine[1:], strict=True))

    todo = [(0, 0, 0, 0)]
    while todo:
        box = todo.pop()
        if crowded(box):
            todo += split(box)
    changed = True
    while changed:
        changed = False
        for leaf in [b for b in inside if b not in inner]:
            if any(fine[0] == leaf[0] + 1 and touches(leaf, fine) for fine in inner):
                split(leaf)
                changed = True
    return set(inside)


@each("name", ["uniform", "ellipsoid", "two_clusters", "tiny_cluster", "box_faces"])
def test_boxes_are_those_of_the_definition(name):
    sources, targets = sources_and_targets(name, "separate", 90, np.random.default_rng(41414))
    for leaf_size in (1, 7):
        tree = octree.build(sources, targets, leaf_size)
        assert boxes(tree) == brute_force(sources, targets, leaf_size)


@each("name", DISTRIBUTIONS)
def test_full_leaves_hold_points_of_one_key(name):
    sources, targets = sources_and_targets(name, "separate", 2000, np.random.default_rng(78787))
    tree = octree.build(sources, targets, 10)
    hi, lo = morton.keys(tree.sources.T / tree.domain.scale, tree.domain)
    begin, end = tree.source_ptr[tree.is_leaf].T
    for b, e in zip(begin[end - begin > 10], end[end - begin > 10], strict=True):
        assert np.ptp(hi[b:e]) == 0
        assert np.ptp(lo[b:e]) == 0
    begin, end = tree.target_ptr[tree.is_leaf].T
    assert name in ("identical", "half_duplicates") or (end - begin).max() <= 10


@each("n", [1, 2, 3])
def test_very_few_points(n):
    points = np.random.default_rng(10007).random((n, 3))
    tree = octree.build(points, None, 1)
    check_tree(tree)
    assert np.diff(tree.source_ptr[tree.is_leaf])[:, 0].tolist() == [1] * n
    assert octree.build(points, None, n).n_boxes == 1


def test_targets_that_are_the_sources_share_arrays():
    tree = octree.build(np.random.default_rng(99991).random((50, 3)), None, 5)
    assert tree.targets is tree.sources
    assert tree.target_order is tree.source_order


@each("side", ["sources", "targets"])
def test_one_side_empty(side):
    points, nothing = np.random.default_rng(10009).random((500, 3)), np.empty((0, 3))
    tree = octree.build(*((nothing, points) if side == "sources" else (points, nothing)), 20)
    check_tree(tree)
    assert getattr(tree, side).shape == (3, 0)
    assert tree.n_boxes > 1


def test_many_identical_points_are_fast():
    points = np.full((100_000, 3), 0.625)
    octree.build(points[:10], None, 1)
    start = time.perf_counter()
    tree = octree.build(points, None, 1)
    assert time.perf_counter() - start < 2
    assert tree.n_boxes == 1
    np.testing.assert_array_equal(tree.source_order, np.arange(100_000))


def test_two_points_almost_together_make_a_chain():
    points = np.array([[0.3, 0.3, 0.3], [0.3 + 1e-12, 0.3, 0.3], [1.3, 1.3, 1.3]])
    tree = octree.build(points, None, 1)
    check_tree(tree)
    assert 38 <= tree.n_levels - 1 <= morton.MAX_LEVEL
    assert tree.n_boxes < 3 * tree.n_levels


def test_points_closer_than_the_deepest_level_stay_together():
    points = np.array([[0.3, 0.3, 0.3], [0.3 + 1e-15, 0.3, 0.3], [1.3, 1.3, 1.3]])
    tree = octree.build(points, None, 1)
    check_tree(tree)
    assert np.diff(tree.source_ptr[tree.is_leaf]).max() == 2


@each("width, offset", [(1e-150, 0.0), (1e150, 0.0), (1.0, 1e8), (1e-3, -1e8), (1e150, 1e8)])
def test_extreme_places(width, offset):
    points = (np.random.default_rng(65537).random((2000, 3)) + offset) * width
    tree = octree.build(points, None, 25)
    check_tree(tree)
    assert tree.n_levels > 2
    assert np.isfinite(tree.sources).all()


def test_powers_of_two_change_nothing():
    points = np.random.default_rng(27644437).random((1000, 3))
    a, b = octree.build(points, None, 12), octree.build(points * 2.0**-300, None, 12)
    assert_same(a, b)
    assert a.domain.scale == b.domain.scale * 2.0**-300


def test_given_domain_is_kept():
    points = np.random.default_rng(28657).random((300, 3))
    domain = enclose(np.array([[-3.0, -3.0, -3.0], [5.0, 5.0, 5.0]]), points)
    tree = octree.build(points, None, 10, domain=domain)
    assert tree.domain is domain
    check_tree(tree)


@each("name", DISTRIBUTIONS)
def test_threads_do_not_change_the_tree(name):
    sources, targets = sources_and_targets(name, "separate", 3000, np.random.default_rng(46368))
    assert_same(octree.build(sources, targets, 20, threads=1), octree.build(sources, targets, 20, threads=2))


def test_any_memory_layout():
    points = np.random.default_rng(75025).random((400, 3))
    padded = np.zeros((800, 6))
    padded[::2, ::2] = points
    expected = octree.build(points, None, 10)
    assert_same(octree.build(np.asfortranarray(points), None, 10), expected)
    assert_same(octree.build(padded[::2, ::2], None, 10), expected)


@each("field", ["anchor", "parent", "source_ptr", "sources", "source_order", "child_ptr"])
def test_the_check_notices_damage(field):
    tree = octree.build(np.random.default_rng(121393).random((800, 3)), None, 10)
    damaged = getattr(tree, field).copy()
    damaged.flat[damaged.size // 2] += SIZE / 8 if field == "sources" else 1
    with pytest.raises(AssertionError):
        check_tree(dataclasses.replace(tree, **{field: damaged}))
