"""The plan: shards partition boxes, halos point to the right rows, every pair and every target is there once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from boxes import family_entries
from cases import each
from plans import listed

import taskfmm
from taskfmm.csr import Csr
from taskfmm.geometry.domain import box_half_width
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy
from taskfmm.operators.levels import load
from taskfmm.plan import cost, plan, runs
from taskfmm.plan.shards import halo_of
from taskfmm.testing import DISTRIBUTIONS, RELATIONS, sources_and_targets
from taskfmm.tree import lists, octree
from taskfmm.tree.lists import TOP_LEVEL


def shards(fmm, operator=None):
    """All shards, or those with work of an operator."""
    every = [s for level in fmm.plan.far for s in level]
    return every if operator is None else [s for s in every if getattr(s, operator) is not None]


def first_boxes(fmm):
    """First box of each shard, by (level, number)."""
    found = {}
    for level, row in enumerate(fmm.plan.far):
        box = int(fmm.plan.tree.level_ptr[level])
        for shard in row:
            found[level, shard.number] = box
            box += shard.n_boxes
    return found


def halo_boxes(fmm, halo):
    """The box of every row of a halo."""
    first = first_boxes(fmm)
    owner = np.repeat(halo.shards, np.diff(halo.ptr))
    return np.array([first[halo.level, int(s)] for s in owner], np.int64) + halo.rows


def entries(fmm, operator):
    """(target box, source box, code) of all entries of a translation, one row for each."""
    first, found = first_boxes(fmm), []
    for shard in shards(fmm, operator):
        work = getattr(shard, operator)
        code = np.tile(np.arange(work.code_ptr.shape[1] - 1), len(work.code_ptr))
        code = np.repeat(code, np.diff(work.code_ptr, axis=1).ravel())
        source = halo_boxes(fmm, work.halo)[work.source]
        found.append(np.stack([first[shard.level, shard.number] + work.target, source, code], axis=1))
    return np.concatenate(found)


def m2l_entries(fmm):
    """Target box, source box and transfer vector of M2L, from its families of siblings."""
    first, found = first_boxes(fmm), []
    for shard in shards(fmm, "m2l"):
        row, source, *offset = family_entries(shard.m2l).T
        boxes = halo_boxes(fmm, shard.m2l.halo)
        found.append(np.stack([first[shard.level, shard.number] + row, boxes[source], *offset], axis=1))
    return np.concatenate(found)


def by_row(array):
    return array[np.lexsort(array.T[::-1])]


def pairs(csr: Csr):
    return np.stack([np.repeat(np.arange(len(csr)), np.diff(csr.ptr)), csr.idx], axis=1)


def test_the_fixture_has_many_shards(fmm):
    most = max(len(level) for level in fmm.plan.far)
    assert most >= 3
    assert len(fmm.plan.near) > 5
    assert len(fmm.plan.chunks) > 1
    for operator in ("p2m", "m2m", "m2l", "p2l", "l2l", "m2p", "l2p"):
        assert shards(fmm, operator), operator


def test_shards_partition_each_level(fmm):
    tree, far = fmm.plan.tree, fmm.plan.far
    assert len(far) == tree.n_levels
    for level, row in enumerate(far):
        expected = tree.level_ptr[level + 1] - tree.level_ptr[level] if level >= TOP_LEVEL else 0
        assert sum(s.n_boxes for s in row) == expected
        assert [(s.level, s.number) for s in row] == [(level, i) for i in range(len(row))]
        assert all(s.n_boxes > 0 for s in row)


def test_m2l_entries_are_the_v_list_with_its_transfer_vectors(fmm):
    tree, found = fmm.plan.tree, m2l_entries(fmm)
    np.testing.assert_array_equal(by_row(found[:, :2]), by_row(pairs(fmm.plan.lists.v)))
    offset = tree.anchor[found[:, 0]] - tree.anchor[found[:, 1]]
    np.testing.assert_array_equal(found[:, 2:], offset)


def test_m2m_takes_every_child_with_sources_once(fmm):
    tree, found = fmm.plan.tree, entries(fmm, "m2m")
    has_sources = np.diff(tree.source_ptr, axis=1)[:, 0] > 0
    children = np.flatnonzero(has_sources & (tree.level > TOP_LEVEL))
    np.testing.assert_array_equal(np.sort(found[:, 1]), children)
    np.testing.assert_array_equal(found[:, 0], tree.parent[found[:, 1]])
    np.testing.assert_array_equal(found[:, 2], tree.anchor[found[:, 1]] % 2 @ [4, 2, 1])


def test_l2l_reaches_every_box_with_targets_once(fmm):
    tree, found = fmm.plan.tree, entries(fmm, "l2l")
    has_targets = np.diff(tree.target_ptr, axis=1)[:, 0] > 0
    np.testing.assert_array_equal(
        np.sort(found[:, 0]), np.flatnonzero(has_targets & (tree.level > TOP_LEVEL))
    )
    np.testing.assert_array_equal(found[:, 1], tree.parent[found[:, 0]])
    np.testing.assert_array_equal(found[:, 2], tree.anchor[found[:, 0]] % 2 @ [4, 2, 1])


def test_m2p_entries_are_the_w_list(fmm):
    tree, found = fmm.plan.tree, []
    for shard in shards(fmm, "m2p"):
        work, first = shard.m2p, first_boxes(fmm)[shard.level, shard.number]
        leaves = first + np.flatnonzero(
            (tree.is_leaf & (np.diff(tree.target_ptr, axis=1)[:, 0] > 0))[first : first + shard.n_boxes]
        )
        target = np.repeat(leaves, np.diff(work.ptr))
        found.append(np.stack([target, halo_boxes(fmm, work.halo)[work.idx]], axis=1))
        assert work.half_width == box_half_width(fmm.plan.tree.domain, work.halo.level)
        assert work.halo.level == shard.level + 1
    found = np.concatenate(found)
    np.testing.assert_array_equal(by_row(found), by_row(pairs(fmm.plan.lists.w)))


def test_halos_are_ascending_and_distinct(fmm):
    for shard in shards(fmm):
        for operator in ("m2m", "m2l", "l2l", "m2p", "l2p"):
            work = getattr(shard, operator)
            if work is not None:
                boxes = halo_boxes(fmm, work.halo)
                assert (np.diff(boxes) > 0).all()
                assert len(work.halo.shards) == len(work.halo.ptr) - 1
                assert (np.diff(work.halo.ptr) > 0).all()
                np.testing.assert_array_equal(fmm.plan.tree.level[boxes], work.halo.level)


def sources_of(fmm, halo):
    """The places in the tree of the sources whose charges a halo names."""
    return np.repeat(fmm.plan.charge_ptr[list(halo.shards)], np.diff(halo.ptr)) + halo.rows


def run_points(fmm, work):
    """How many sources each row of the work reads, and which."""
    places = sources_of(fmm, work.charges)
    counts = [
        sum(int(work.end[e] - work.begin[e]) for e in range(work.ptr[r], work.ptr[r + 1]))
        for r in range(work.ptr.size - 1)
    ]
    rows = [
        places[work.begin[e] : work.end[e]]
        for r in range(work.ptr.size - 1)
        for e in range(work.ptr[r], work.ptr[r + 1])
    ]
    return np.array(counts), np.concatenate(rows)


def test_p2m_takes_every_source_once(fmm):
    tree, rows = fmm.plan.tree, []
    for shard in shards(fmm, "p2m"):
        rows.append(run_points(fmm, shard.p2m)[1])
        np.testing.assert_array_equal(shard.p2m.points, tree.sources[:, sources_of(fmm, shard.p2m.charges)])
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(tree.sources.shape[1]))


def test_p2l_takes_the_sources_of_the_x_list(fmm):
    tree, total = fmm.plan.tree, 0
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    for shard in shards(fmm, "p2l"):
        first = first_boxes(fmm)[shard.level, shard.number]
        counts, _ = run_points(fmm, shard.p2l)
        expected = [n_sources[listed(fmm.plan.lists.x, first + r)].sum() for r in shard.p2l.rows]
        np.testing.assert_array_equal(counts, expected)
        np.testing.assert_array_equal(shard.p2l.points, tree.sources[:, sources_of(fmm, shard.p2l.charges)])
        total += counts.sum()
    assert total == n_sources[fmm.plan.lists.x.idx].sum()


def test_every_target_is_in_l2p_once_and_in_near_once(fmm):
    """Except that a leaf with no source in its U list needs no near field."""
    tree = fmm.plan.tree
    lonely = tree.is_leaf & (np.diff(fmm.plan.lists.u.ptr) == 0)
    lonely = [tree.target_order[begin:end] for begin, end in tree.target_ptr[lonely]]
    for kind, left_out in (("far", []), ("near", lonely)):
        rows = [c.begin + part.rows for c in fmm.plan.chunks for part in getattr(c, kind).values()]
        np.testing.assert_array_equal(np.sort(np.concatenate(rows + left_out)), np.arange(len(fmm.targets)))
    works = {(s.level, s.number): s.l2p for s in shards(fmm, "l2p")} | dict(enumerate(fmm.plan.near))
    for chunk in fmm.plan.chunks:
        for key, part in (chunk.far | chunk.near).items():
            expected = fmm.targets[chunk.begin + part.rows].T * fmm.plan.tree.domain.scale
            np.testing.assert_array_equal(works[key].targets[:, part.columns], expected)


def test_chunks_partition_the_result(fmm):
    edges = [(c.begin, c.end) for c in fmm.plan.chunks]
    assert edges[0][0] == 0
    assert edges[-1][1] == len(fmm.targets)
    assert all(a[1] == b[0] for a, b in pairwise(edges))


def test_near_pairs_are_the_u_list(fmm):
    tree, u = fmm.plan.tree, fmm.plan.lists.u
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    expected = (n_targets[pairs(u)[:, 0]] * n_sources[pairs(u)[:, 1]]).sum()
    found = 0
    for work in fmm.plan.near:
        size = np.diff(work.target_ptr)
        found += int((run_points(fmm, work)[0] * size).sum())
        np.testing.assert_array_equal(work.points, tree.sources[:, sources_of(fmm, work.charges)])
        if work.mutual is not None:  # where targets are sources, each of these pairs of leaves stands for two
            rows = np.repeat(np.arange(size.size), np.diff(work.mutual.ptr))
            assert (work.mutual.idx > rows).all()
            # a thread takes a block: it must not add into the rows of another
            block, other = (
                np.searchsorted(work.mutual.block_ptr, r, "right") for r in (rows, work.mutual.idx)
            )
            np.testing.assert_array_equal(block, other)
            found += int(2 * (size[rows] * size[work.mutual.idx]).sum())
            np.testing.assert_array_equal(work.targets, tree.sources[:, sources_of(fmm, work.mutual.own)])
    assert found == expected


@each("relation", RELATIONS)
@each("name", ["plummer", "two_clusters", "tiny_cluster"])
def test_what_is_cheaper_directly_keeps_every_pair(name, relation):
    """W and X entries only move into U: with sources and targets as boxes, nothing is lost or doubled."""
    sources, targets = sources_and_targets(name, relation, 3000, np.random.default_rng(4801183))
    tree = octree.build(sources, targets, 25)
    before = lists.build(tree)
    after = plan.direct_where_cheaper(tree, before, 56)
    moved = sum(getattr(before, k).idx.size - getattr(after, k).idx.size for k in "wx")
    joined = by_row(np.concatenate([pairs(getattr(before, k)) for k in "uwx"]))
    kept = by_row(np.concatenate([pairs(getattr(after, k)) for k in "uwx"]))
    np.testing.assert_array_equal(joined, kept)
    assert after.v is before.v
    n_sources, n_targets = (np.diff(p, axis=1)[:, 0] for p in (tree.source_ptr, tree.target_ptr))
    assert (n_sources[after.w.idx] > 56).all()
    assert ((n_targets > 56) | ~tree.is_leaf)[pairs(after.x)[:, 0]].all()
    assert after.u.idx.size == before.u.idx.size + moved
    assert tree.is_leaf[pairs(after.u)[:, 0]].all()


def test_moving_happens_on_clusters():
    points = DISTRIBUTIONS["plummer"](3000, np.random.default_rng(1190633))
    tree = octree.build(points, None, 25)
    before = lists.build(tree)
    nothing = plan.direct_where_cheaper(tree, before, 0)
    some = plan.direct_where_cheaper(tree, before, 56)
    assert nothing.w.idx.size == before.w.idx.size > some.w.idx.size
    assert nothing.x.idx.size == before.x.idx.size > some.x.idx.size


def test_the_plan_does_not_depend_on_the_cut(monkeypatch):
    """One shard a level or many: the same entries."""
    points = DISTRIBUTIONS["plummer"](3000, np.random.default_rng(7190063))
    tree = octree.build(points, None, 25)
    operators = load(KERNELS["laplace"].of_first, accuracy.of_order(3))
    interactions = lists.build(tree)
    few = plan.build(tree, interactions, operators)
    monkeypatch.setattr(cost, "SHORTEST", 1e-5)
    monkeypatch.setattr(cost, "LONGEST", 1e-4)
    monkeypatch.setattr(cost, "FEWEST_BOXES", 8)
    many = plan.build(tree, interactions, operators)
    for p in (few, many):
        works = [s.m2l for level in p.far for s in level if s.m2l]
        assert sum(len(family_entries(work)) for work in works) == interactions.v.idx.size
    assert sum(len(level) for level in many.far) > sum(len(level) for level in few.far) + 10


def test_cut_makes_runs_of_equal_cost():
    rng = np.random.default_rng(6602311)
    values = rng.random(1000)
    bounds = cost.cut(values, values.sum() / 10)
    assert bounds[0] == 0
    assert bounds[-1] == 1000
    pieces = np.add.reduceat(values, bounds[:-1])
    assert len(pieces) == 10
    np.testing.assert_allclose(pieces, values.sum() / 10, atol=2.0)


@each("values", [np.zeros(5), np.ones(1), np.array([0.0, 9.0, 0.0])])
def test_cut_of_hard_cases(values):
    bounds = cost.cut(values, 0.5)
    assert bounds[0] == 0
    assert bounds[-1] == values.size
    assert (np.diff(bounds) > 0).all()


def test_row_sums():
    values = np.array([2, 8, 1, 1, 4])
    np.testing.assert_array_equal(cost.row_sums(np.array([0, 2, 2, 5]), values), [10.0, 0.0, 6.0])


def test_halo_of_names_owners_and_rows():
    halo = halo_of(4, np.array([3, 4, 9, 20, 21]), np.array([3, 9, 15, 22]))
    assert halo.level == 4
    assert halo.shards == (0, 1, 2)
    assert halo.ptr.tolist() == [0, 2, 3, 5]
    assert halo.rows.tolist() == [0, 1, 0, 5, 6]


def test_works_share_the_points_of_the_tree_where_they_are_one_run():
    fmm = taskfmm.Fmm(np.random.default_rng(3301728).random((4000, 3)), eps=1e-3, leaf_size=200)
    shards, tree = [shard for level in fmm.plan.far for shard in level if shard.l2p], fmm.plan.tree
    assert shards
    for shard in shards:
        assert np.shares_memory(shard.l2p.targets, tree.targets)
        assert np.shares_memory(shard.p2m.points, tree.sources)


def test_compiled_helpers():
    rng = np.random.default_rng(3301727)
    points = rng.random((3, 50))
    begin, end = np.array([3, 20, 20]), np.array([9, 20, 31])
    taken, ptr = runs.take_runs(points, begin, end)
    np.testing.assert_array_equal(taken, np.hstack([points[:, 3:9], points[:, 20:31]]))
    assert ptr.tolist() == [0, 6, 6, 17]
    assert runs.list_runs(begin, end).tolist() == [*range(3, 9), *range(20, 31)]
    values = rng.integers(10, 40, 200).astype(np.int32)
    found, where = runs.distinct(values, 5, 60)
    np.testing.assert_array_equal(found, np.unique(values))
    np.testing.assert_array_equal(found[where], values)


def test_sort_by_code_is_stable_within_block_and_code():
    rng = np.random.default_rng(9903167)
    row, code = rng.integers(0, 1300, 9000).astype(np.int32), rng.integers(0, 8, 9000).astype(np.int16)
    source = np.arange(9000, dtype=np.int32)
    code_ptr, target, sorted_source = runs.sort_by_code(row, source, code, 8, 1300, 512)
    order = np.lexsort((source, code, row // 512))
    np.testing.assert_array_equal(sorted_source, source[order])
    np.testing.assert_array_equal(target, row[order])
    assert code_ptr.shape == (3, 9)
    for block in range(3):
        for c in range(8):
            inside = slice(code_ptr[block, c], code_ptr[block, c + 1])
            assert (code[sorted_source[inside]] == c).all()
            assert (target[inside] // 512 == block).all()
    assert code_ptr[-1, -1] == 9000
