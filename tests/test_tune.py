"""Leaf size and root cube: cheap by the estimate, valid whatever they are, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from cases import each

import taskfmm
from taskfmm.cost.counts import PLAIN, Weights
from taskfmm.geometry.domain import HALF_WIDTH_BITS, SIZE, enclose, enlarge
from taskfmm.kernels import KERNELS, weights
from taskfmm.operators import calibrated
from taskfmm.operators.known import Known
from taskfmm.operators.levels import load
from taskfmm.plan import cost, plan, tune
from taskfmm.testing import DISTRIBUTIONS
from taskfmm.tree import lists, octree
from taskfmm.tree.check import check_lists, check_tree

MANY = Known(many=True)


def operators(eps: float):
    return load(
        KERNELS["laplace"].of_first,
        calibrated.choose(KERNELS["laplace"].of_first, eps, "potential", np.dtype(float), cases=(MANY,)),
    )


def choose(points, operators, **how):
    return tune.choose(points, None, operators, enclose(points, points), **how)


@each("factor", [1.0, 1.2, 1.5, 2.0])
@each("offset", [0.0, 1e8])
def test_an_enlarged_cube_is_a_domain_of_the_points(factor, offset):
    points = np.random.default_rng(9814072).random((500, 3)) + offset
    small = enclose(points, points[:0])
    domain = enlarge(small, factor)
    assert domain.scale == small.scale
    assert factor <= domain.half_width / small.half_width < factor * (1 + 2.0 ** (2 - HALF_WIDTH_BITS))
    assert (domain.half_width / SIZE * 2.0**HALF_WIDTH_BITS).is_integer()
    tree = octree.build(points, None, 10, domain)
    check_tree(tree)
    check_lists(tree, lists.build(tree))


def test_a_given_leaf_size_stays_and_so_does_the_smallest_cube():
    points = np.random.default_rng(9814073).random((2000, 3))
    size, domain = choose(points, operators(1e-6), leaf_size=77)
    assert size == 77
    assert domain.half_width == enclose(points, points[:0]).half_width


@pytest.mark.parametrize(
    "name, eps", [("uniform", 1e-9), ("sphere", 1e-3), ("plummer", 1e-9), ("plummer", 1e-3)]
)
def test_the_choice_is_cheaper_than_far_smaller_and_far_larger_leaves(name, eps, monkeypatch):
    monkeypatch.setattr(
        cost, "direct", lambda *_: np.inf
    )  # else, at 1e-9, it is cheaper than a tree of plummer
    points = DISTRIBUTIONS[name](40_000, np.random.default_rng(9814074))
    chosen = operators(eps)

    def seconds(size, domain):
        tree = octree.build(points, None, size, domain)
        return tune.estimate(tree, lists.build(tree), chosen)

    size, domain = choose(points, chosen)
    assert tune.SMALLEST <= size <= 2 * tune.LARGEST
    found = seconds(size, domain)
    whole = enclose(points, points[:0])
    assert found < seconds(size // 8, whole)
    assert found < seconds(16 * size, whole)
    for threads in (1, 2, 3):
        again = choose(points, chosen, threads=threads)
        assert (again[0], again[1].half_width) == (size, domain.half_width)


@pytest.mark.parametrize("name", ["uniform", "plummer"])
def test_counts_of_lists_are_enough_for_an_estimate(name):
    """Keys that are known, and V lists of which there are the numbers alone, change no digit."""
    points = DISTRIBUTIONS[name](20_000, np.random.default_rng(9814079))
    chosen, domain = operators(1e-6), enclose(points, points[:0])
    tree = octree.build(points, None, 40, domain)
    same = octree.build(points, None, 40, domain, keys=octree.sorted_keys(points, domain, 1))
    counted = lists.build(same, only_count_v=True)
    assert counted.v.idx.size == 0 < lists.build(tree).v.idx.size
    assert tune.estimate(same, counted, chosen) == tune.estimate(tree, lists.build(tree), chosen)


@pytest.mark.parametrize("name", ["uniform", "sphere", "plummer", "power_law", "tiny_cluster"])
def test_children_of_some_parents_stand_for_all(name, monkeypatch):
    """Also where leaves that nothing divides have nearly all pairs of points."""
    monkeypatch.setattr(tune, "PARENTS", 300)
    points = DISTRIBUTIONS[name](40_000, np.random.default_rng(9814080))
    chosen = operators(1e-6)
    tree = octree.build(points, None, 8)
    stands_for = tune._stands_for(tree, (8, 8))
    some = stands_for > 0.0
    assert 0 < some.sum() < tree.n_boxes / 2
    assert stands_for.sum() == pytest.approx(tree.n_boxes, rel=0.1)
    found = tune.estimate(tree, lists.build(tree, some=some), chosen, stands_for=stands_for)
    assert found == pytest.approx(tune.estimate(tree, lists.build(tree), chosen), rel=0.1)


def test_children_of_parents_with_targets_stand_for_all(monkeypatch):
    monkeypatch.setattr(tune, "PARENTS", 300)
    rng = np.random.default_rng(9814082)
    chosen, points = operators(1e-6), rng.random((40_000, 3))
    tree = octree.build(points, 0.5 * rng.random((20_000, 3)), 8)
    stands_for = tune._stands_for(tree, (8, 8))
    found = tune.estimate(tree, lists.build(tree, some=stands_for > 0.0), chosen, stands_for=stands_for)
    assert found == pytest.approx(tune.estimate(tree, lists.build(tree), chosen), rel=0.1)


def test_few_parents_all_count():
    tree = octree.build(np.random.default_rng(9814081).random((5000, 3)), None, 8)
    assert tune._stands_for(tree, (8, 8)) is None


def test_few_targets_divide_boxes_of_a_sample_as_they_divide_those_of_the_cloud():
    """They are all in it, where sources are one in many."""
    rng = np.random.default_rng(9814083)
    sources, targets = rng.random((100_000, 3)), np.array([0.2, 0.3, 0.1]) + 0.01 * rng.random((8190, 1))
    assert 2048 <= taskfmm.Fmm(sources, targets, eps=1e-3).leaf_size <= 4096


def test_tighter_accuracy_wants_larger_leaves():
    points = np.random.default_rng(9814075).random((40_000, 3))
    trees = [octree.build(points, None, *choose(points, operators(eps))) for eps in (1e-3, 1e-9)]
    assert trees[0].is_leaf.sum() > 2 * trees[1].is_leaf.sum()


def test_a_sample_estimates_the_whole():
    """One point in eight with leaves an eighth of the size: the same boxes, so nearly the same seconds."""
    points = np.random.default_rng(9814076).random((80_000, 3))
    chosen, domain = operators(1e-6), enclose(points, points[:0])
    whole = octree.build(points, None, 64, domain)
    thin = octree.build(points[::8].copy(), None, 8, domain)
    found = tune.estimate(thin, lists.build(thin), chosen, every=8)
    assert 0.7 < found / tune.estimate(whole, lists.build(whole), chosen) < 1.4


@each("separate", [False, True])
def test_leaves_are_chosen_by_the_lists_that_the_plan_will_have(separate):
    """W and X entries that cost less directly are counted in the near field before they are moved there."""
    rng = np.random.default_rng(9814077)
    sources, targets = DISTRIBUTIONS["plummer"](4000, rng), DISTRIBUTIONS["plummer"](3000, rng)
    chosen = operators(1e-3)
    tree = octree.build(sources, targets if separate else None, 40)
    raw = lists.build(tree)
    moved = plan.direct_where_cheaper(tree, raw, chosen.upward_check.shape[1])
    assert 0 < moved.w.idx.size < raw.w.idx.size and 0 < moved.x.idx.size < raw.x.idx.size
    before, after = (cost.counted(tree, found, chosen, each=False) for found in (raw, moved))
    for operator, done in after.items():
        assert before[operator].shared == pytest.approx(done.shared)
        assert before[operator].alone == pytest.approx(done.alone)


def test_dearer_pairs_get_smaller_leaves():
    """With the pairs of Laplace's potential, forces of a fluid had leaves of 2,048 points, and took twice as long."""
    points = np.random.default_rng(9814079).random((40_000, 3))
    chosen = operators(1e-6)
    plain, dear = (choose(points, chosen, weights=w) for w in (PLAIN, Weights(near_one=10.0, near_two=10.0)))
    trees = [octree.build(points, None, *found) for found in (plain, dear)]
    assert trees[0].n_boxes < trees[1].n_boxes
    laplace = KERNELS["laplace"].of_first
    assert weights(laplace, "potential") == PLAIN
    assert weights(laplace, "gradient") == Weights(near="_gradient", surface="_gradient")
    assert weights(KERNELS["stokes"].of_first, "velocity").near_one > 1.5


def test_pairs_of_many_rows_are_counted_from_both_sides():
    points = np.random.default_rng(9814080).random((3000, 3))
    tree = octree.build(points, None, 100, enclose(points, points))
    found, chosen = lists.build(tree), operators(1e-3)
    kernel = KERNELS["stokes"].of_first
    narrow, wide = (weights(kernel, output) for output in ("velocity", "velocity_gradient"))
    assert (narrow.is_mutual, wide.is_mutual) == (True, False)
    counted = (cost.counted(tree, found, chosen, each=False, weights=w)["P2P"].shared for w in (narrow, wide))
    one, two = counted
    pairs = one["near_one"] / narrow.near_one + 2 * one["near_two"] / narrow.near_two
    assert one["near_two"] > 0.0
    assert two["near_two"] == 0.0
    assert two["near_one"] / wide.near_one == pytest.approx(pairs)


@each("kernel", ["stokes", "biot_savart"])
def test_a_plan_has_the_pairs_of_its_kernel(kernel, monkeypatch):
    asked, choose = [], tune.choose
    monkeypatch.setattr(tune, "choose", lambda *given: asked.append(given) or choose(*given))
    taskfmm.Fmm(np.random.default_rng(9814081).random((30_000, 3)), kernel=KERNELS[kernel], eps=1e-3)
    ((*_, columns, found, _),) = asked
    assert columns == KERNELS[kernel].columns
    assert found == weights(KERNELS[kernel].of_first, KERNELS[kernel].names[0]) != PLAIN
