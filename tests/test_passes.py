"""Passes read their halo and nothing else, change nothing they were given, and give the same bits again."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from cases import each

import taskfmm
from taskfmm.kernels import KERNELS
from taskfmm.operators.levels import load
from taskfmm.passes import near, result, source, target, transfer
from taskfmm.passes.halo import pull
from taskfmm.plan.works import Halo
from taskfmm.testing import DISTRIBUTIONS, sources_and_targets

RANK_SEED = 2830943

LAPLACE = KERNELS["laplace"].of_first


@pytest.fixture
def at(fmm):
    return load(LAPLACE, fmm.accuracy("potential"))


@pytest.fixture
def shards_of_charges(fmm, charges):
    """float64 [n, 1] each."""
    return [charges[rows][:, None] for rows in fmm.plan.charges]


def sizes(fmm, level):
    return [s.n_boxes for s in fmm.plan.far[level]]


def expansions(fmm, halo, rank):
    """Random expansions of the shards of a halo, and the same with NaN in every row outside it."""
    rng = np.random.default_rng(RANK_SEED)
    return poison(halo, [rng.standard_normal((sizes(fmm, halo.level)[s], 1, rank)) for s in halo.shards])


def poison(halo, whole):
    poisoned = []
    for i, rows in enumerate(whole):
        inside = halo.rows[halo.ptr[i] : halo.ptr[i + 1]]
        only = np.full_like(rows, np.nan)
        only[inside] = rows[inside]
        poisoned.append(only)
    return whole, poisoned


def alone(work):
    """Targets that are alone in a leaf which forms no pair: nothing hangs on their own charges."""
    pairs = work.mutual
    meets = np.diff(pairs.ptr) > 0
    meets[pairs.idx] = True
    return work.target_ptr[:-1][(np.diff(work.target_ptr) == 1) & ~meets]


def forget(targets, halo, poisoned):
    """Poison the charges of some targets as well."""
    for i, rows in enumerate(poisoned):
        here = targets[(targets >= halo.ptr[i]) & (targets < halo.ptr[i + 1])]
        rows[halo.rows[here]] = np.nan


def columns(rows):
    return [np.ascontiguousarray(each.T) for each in rows]


def runs_of(fmm, at, charges, output):
    """For every halo of the plan: its operator, a function of what it names, that, the same poisoned.

    charges : of all shards, [n, 1] each
    """

    def of(halo):
        return poison(halo, [charges[shard] for shard in halo.shards])

    for shard in (s for level in fmm.plan.far for s in level):
        for operator in ("p2m", "p2l"):
            if work := getattr(shard, operator):
                module = source if operator == "p2m" else transfer
                p = getattr(module, operator)
                run = lambda q, w=work, p=p: p(w, columns(q), LAPLACE, at)  # noqa: E731
                yield operator, run, *of(work.charges)
        if shard.m2m:
            yield (
                "m2m",
                lambda e, w=shard.m2m: source.m2m(w, None, e, at),
                *expansions(fmm, shard.m2m.halo, at.rank),
            )
        if shard.m2l:
            yield (
                "m2l",
                lambda e, w=shard.m2l: transfer.m2l(w, e, at),
                *expansions(fmm, shard.m2l.halo, at.rank),
            )
        if shard.l2l:
            shape = (shard.n_boxes, 1, at.rank)
            run = lambda e, w=shard.l2l, n=shape: target.l2l(w, e, [], n, at)  # noqa: E731
            yield "l2l", run, *expansions(fmm, shard.l2l.halo, at.rank)
        for operator in ("m2p", "l2p"):
            if work := getattr(shard, operator):
                run = lambda e, w=work, o=operator: getattr(target, o)(w, e, LAPLACE, at, output)  # noqa: E731
                yield operator, run, *expansions(fmm, work.halo, at.rank)
    for work in fmm.plan.near:

        def p2p(sources, own, work=work):
            return near.p2p(work, columns(sources), columns(own), LAPLACE, output)

        sources = of(work.charges)
        own = of(work.mutual.own) if work.mutual else ([], [])
        if work.mutual:
            forget(alone(work), work.mutual.own, own[1])
        if work.charges.rows.size:
            yield "p2p", partial(lambda q, run, own: run(q, own), run=p2p, own=own[0]), *sources
        if work.mutual and work.mutual.idx.size:
            yield "p2p of its own", partial(lambda q, run, rest: run(rest, q), run=p2p, rest=sources[0]), *own


def assert_nothing_outside_the_halo_is_read(fmm, at, charges, output) -> set[str]:
    """Returns the operators that were seen."""
    seen, dropped = set(), 0
    for operator, run, whole, poisoned in runs_of(fmm, at, charges, output):
        found = run(poisoned)
        assert np.isfinite(found).all(), operator
        np.testing.assert_array_equal(found, run(whole), err_msg=operator)
        seen.add(operator)
        dropped += sum(int(np.isnan(each).sum()) for each in poisoned)
    assert dropped > 0
    return seen


@each("output", ["potential", "gradient"])
def test_nothing_outside_the_halo_is_read(fmm, at, shards_of_charges, output):
    seen = assert_nothing_outside_the_halo_is_read(fmm, at, shards_of_charges, output)
    mutual = set() if fmm.separate else {"p2p of its own"}
    assert seen == {"p2m", "m2m", "m2l", "p2l", "l2l", "m2p", "l2p", "p2p"} | mutual


@pytest.mark.nightly
@pytest.mark.parametrize("relation", ["same", "separate", "disjoint"])
@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "identical"])
def test_nothing_outside_the_halo_is_read_anywhere(name, relation, small_shards):
    rng = np.random.default_rng(83441011)
    sources, targets = sources_and_targets(name, relation, 6000, rng)
    fmm = taskfmm.Fmm(sources, targets, order=3, leaf_size=20)
    charges = rng.uniform(-1, 1, len(sources))
    q = [charges[rows][:, None] for rows in fmm.plan.charges]
    at = load(LAPLACE, fmm.accuracy("potential"))
    assert assert_nothing_outside_the_halo_is_read(fmm, at, q, "gradient")


ROWS = 6
"""Of each halo, how many are looked at."""


@each("output", ["potential", "gradient"])
def test_everything_inside_the_halo_is_read(fmm, at, shards_of_charges, output):
    """A halo that is too large would cost memory and hide a wrong one: NaN in any one row of it must show."""
    rng = np.random.default_rng(7702181)
    for operator, run, whole, poisoned in runs_of(fmm, at, shards_of_charges, output):
        inside = [np.isfinite(rows.reshape(len(rows), -1)).all(axis=1) for rows in poisoned]
        rows = [(shard, row) for shard, read in enumerate(inside) for row in np.flatnonzero(read)]
        for shard, row in rng.permutation(rows)[:ROWS]:
            changed = [each.copy() for each in whole]
            changed[shard][row] = np.nan
            found = run(changed)
            assert np.isnan(found).any(), (operator, shard, row)


def test_pull_copies_rows_in_order():
    rng = np.random.default_rng(8240773)
    shards = [rng.random((5, 3)), rng.random((7, 3))]
    halo = Halo(2, (1, 4), np.array([0, 2, 5]), np.array([4, 0, 6, 1, 1], np.int32))
    expected = np.concatenate([shards[0][[4, 0]], shards[1][[6, 1, 1]]])
    np.testing.assert_array_equal(pull(halo, shards), expected)
    single = pull(halo, shards, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, expected.astype(np.float32))


def test_threads_do_not_change_a_pass(fmm, at, shards_of_charges):
    plan = fmm.plan
    shard = max((s for level in plan.far for s in level if s.p2m), key=lambda s: s.n_boxes)
    charges = columns(shards_of_charges[number] for number in shard.p2m.charges.shards)
    one, two = (source.p2m(shard.p2m, charges, LAPLACE, at, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    work = plan.near[0]
    halos = (work.charges, work.mutual.own) if work.mutual else (work.charges,)
    read = [columns(shards_of_charges[number] for number in halo.shards) for halo in halos] + [[]]
    one, two = (near.p2p(work, *read[:2], LAPLACE, "gradient", threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@each("kernel", ["laplace", "one"])
@each("output, power", [("potential", 0), ("gradient", 1)])
def test_units(kernel, output, power):
    facts = KERNELS[kernel]
    values = np.random.default_rng(5590117).standard_normal((4, 7))
    found = result.in_units(values[facts.rows(output)], facts, output, 8.0)
    scale = facts.factor * 8.0 ** (power - (facts.degree or 0))
    expected = values[0] * scale if output == "potential" else values[1:].T * scale
    np.testing.assert_array_equal(found, expected)


def test_units_of_extreme_widths_do_not_overflow_on_the_way():
    """scale**2 = 1e304 is representable; scale alone squared by two factors must not be formed first."""
    values = np.full((3, 2), 1e-200)
    found = result.in_units(values, LAPLACE, "gradient", 2.0**505)
    np.testing.assert_allclose(found, 1e-200 * 2.0**505 * 2.0**505 * LAPLACE.factor, rtol=1e-15)


def test_collect_adds_parts_into_their_rows(fmm):
    plan = fmm.plan
    chunk = plan.chunks[0]
    values, times = [], np.zeros(chunk.end - chunk.begin)
    for part in result.parts(chunk):
        times[part.rows] += 1
        array = np.zeros((1, 1 + part.columns.max()))
        array[0, part.columns] = chunk.begin + part.rows
        values.append(array)
    found = result.collect(chunk, values, KERNELS["one"], "potential", 1.0, (0,), np.dtype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, times * np.arange(chunk.begin, chunk.end))
    assert times.max() == 2
