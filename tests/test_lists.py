"""The U, V, W and X lists: exact coverage on every cloud, sizes, duality, threads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import EVERY_TWO, LEAF_SIZES, each
from plans import listed

from taskfmm.csr import Csr
from taskfmm.testing import CHARGE_KINDS, DISTRIBUTIONS, RELATIONS, charges, sources_and_targets
from taskfmm.tree import lists, octree
from taskfmm.tree.check import check_lists, check_tree
from taskfmm.tree.lists import SELF, Lists


@each("name, relation, leaf_size", EVERY_TWO)
def test_every_pair_is_covered_once(name, relation, leaf_size):
    sources, targets = sources_and_targets(name, relation, 2500, np.random.default_rng(832040))
    tree = octree.build(sources, targets, leaf_size)
    check_lists(tree, lists.build(tree))


@pytest.mark.nightly
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_pair_of_many_is_covered_once(name, relation):
    sources, targets = sources_and_targets(name, relation, 100_000, np.random.default_rng(267914296))
    for leaf_size in LEAF_SIZES:
        tree = octree.build(sources, targets, leaf_size, threads=2)
        check_tree(tree)
        check_lists(tree, lists.build(tree, threads=2))


@each("name", ["uniform", "sphere", "plummer", "power_law"])
def test_sizes_stay_within_geometry(name):
    tree = octree.build(DISTRIBUTIONS[name](30_000, np.random.default_rng(1346269)), None, 8)
    found = lists.build(tree)
    # W: the 26 colleagues have 208 children, 56 of them adjacent.
    for csr, most in ((found.u, 60), (found.v, 189), (found.w, 152), (found.x, 19)):
        length = np.diff(csr.ptr)
        assert 0 < length.max() <= most


def test_uniform_grid_has_the_textbook_lists():
    side = (np.arange(16) + 0.5) / 16
    points = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    tree = octree.build(points, None, 1)
    found = lists.build(tree)
    middle = tree.level_ptr[4] + np.flatnonzero((tree.anchor[tree.level_ptr[4] :] == 7).all(axis=1))[0]
    assert listed(found.u, middle).size == 27
    assert listed(found.v, middle).size == 189
    assert found.w.idx.size == found.x.idx.size == 0
    np.testing.assert_array_equal(np.sort(found.colleagues[middle]), listed(found.u, middle))
    np.testing.assert_array_equal(found.colleagues[:, SELF], np.arange(tree.n_boxes))


def test_neighbourhood_slots_are_directions():
    tree = octree.build(np.random.default_rng(2178309).random((3000, 3)), None, 5)
    colleagues = lists.build(tree).colleagues
    box, slot = np.nonzero(colleagues >= 0)
    step = tree.anchor[colleagues[box, slot]] - tree.anchor[box]
    np.testing.assert_array_equal((step + 1) @ [9, 3, 1], slot)


def test_one_box_meets_itself():
    tree = octree.build(np.array([[1.0, 2.0, 3.0]]), None, 1)
    found = lists.build(tree)
    assert listed(found.u, 0).tolist() == [0]
    assert found.v.idx.size == found.w.idx.size == found.x.idx.size == 0
    check_lists(tree, found)


@each("n", [1, 2])
def test_few_points(n):
    tree = octree.build(np.random.default_rng(3524578).random((n, 3)), np.ones((1, 3)), 1)
    check_lists(tree, lists.build(tree))
    assert (tree.n_boxes > 1) == (n > 1)


@each("width, offset", [(1e-150, 0.0), (1e150, 0.0), (1.0, 1e8)])
def test_extreme_places(width, offset):
    points = (DISTRIBUTIONS["plummer"](2000, np.random.default_rng(5702887)) + offset) * width
    tree = octree.build(points, None, 15)
    found = lists.build(tree)
    check_lists(tree, found)
    assert found.w.idx.size > 0


def test_nothing_is_listed_without_sources_or_targets():
    points, nothing = np.random.default_rng(9227465).random((500, 3)), np.empty((0, 3))
    for pair in ((points, nothing), (nothing, points)):
        found = lists.build(octree.build(*pair, 10))
        assert all(getattr(found, name).idx.size == 0 for name in "uvwx")
        assert (found.colleagues >= 0).any()


@each("name", DISTRIBUTIONS)
def test_threads_do_not_change_the_lists(name):
    sources, targets = sources_and_targets(name, "separate", 3000, np.random.default_rng(14930352))
    tree = octree.build(sources, targets, 20)
    one, two = lists.build(tree, threads=1), lists.build(tree, threads=2)
    np.testing.assert_array_equal(one.colleagues, two.colleagues)
    for kind in "uvwx":
        np.testing.assert_array_equal(getattr(one, kind).ptr, getattr(two, kind).ptr)
        np.testing.assert_array_equal(getattr(one, kind).idx, getattr(two, kind).idx)


def without_last(csr: Csr) -> Csr:
    """The list less its last entry."""
    return Csr(np.minimum(csr.ptr, csr.idx.size - 1), csr.idx[:-1])


def moved(csr: Csr) -> Csr:
    """The list with one entry replaced by the next box."""
    idx = csr.idx.copy()
    idx[idx.size // 2] += 1
    return Csr(csr.ptr, idx)


@each("damage", [without_last, moved])
@each("kind", ["u", "v", "w", "x"])
def test_the_check_notices_damage(kind, damage):
    tree = octree.build(DISTRIBUTIONS["plummer"](3000, np.random.default_rng(24157817)), None, 20)
    good = lists.build(tree)
    check_lists(tree, good)
    with pytest.raises(AssertionError):
        check_lists(tree, dataclasses.replace(good, **{kind: damage(getattr(good, kind))}))


def test_the_check_notices_a_wrong_colleague():
    tree = octree.build(np.random.default_rng(39088169).random((2000, 3)), None, 20)
    good = lists.build(tree)
    damaged = Lists(np.roll(good.colleagues, 1, axis=1), good.u, good.v, good.w, good.x, good.images)
    with pytest.raises(AssertionError, match="colleagues"):
        check_lists(tree, damaged)


@each("name", DISTRIBUTIONS)
@each("n", [0, 1, 2, 101])
def test_clouds_have_the_promised_shape(name, n):
    points = DISTRIBUTIONS[name](n, np.random.default_rng(63245986))
    again = DISTRIBUTIONS[name](n, np.random.default_rng(63245986))
    assert points.shape == (n, 3)
    assert points.dtype == np.float64
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, again)


@each("kind", CHARGE_KINDS)
def test_charges_are_of_their_kind(kind):
    values = charges(kind, 1000, np.random.default_rng(102334155))
    assert values.shape == (1000,)
    assert (values.min() >= 0) == (kind in ("positive", "equal"))
    assert (abs(values.sum()) < 1e-10) == (kind == "neutral")


def test_unknown_names_are_refused():
    rng = np.random.default_rng(165580141)
    with pytest.raises(ValueError, match="heavy"):
        charges("heavy", 3, rng)
    with pytest.raises(ValueError, match="married"):
        sources_and_targets("uniform", "married", 3, rng)


@each("name", ["uniform", "plummer", "tiny_cluster"])
def test_lists_of_some_boxes_are_those_of_all(name):
    rng = np.random.default_rng(3524578)
    tree = octree.build(DISTRIBUTIONS[name](3000, rng), None, 8)
    families = rng.random(tree.n_boxes) < 0.2
    some = (families & ~tree.is_leaf)[tree.parent]
    some[0] = False
    every, found = lists.build(tree), lists.build(tree, some=some)
    for name in ("u", "v", "w", "x"):
        one, other = getattr(every, name), getattr(found, name)
        kept = some[one.rows]
        np.testing.assert_array_equal(other.rows, one.rows[kept])
        np.testing.assert_array_equal(other.idx, one.idx[kept])
    np.testing.assert_array_equal(found.colleagues[some], every.colleagues[some])
    assert (found.colleagues < 0).all(axis=1).sum() > tree.n_boxes // 4  # those of others were not sought
