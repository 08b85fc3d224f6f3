"""Points that never meet: the same boxes, lists and values as where one process has them all."""

from __future__ import annotations

import gc
import os
import signal
from functools import reduce

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import MIXED
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import AccuracyError, InputError
from taskfmm.geometry.domain import enclose
from taskfmm.passes.share import products_of_runs
from taskfmm.plan import regional
from taskfmm.spread import chunks, depot, looking, stages
from taskfmm.spread.planning import SECONDS
from taskfmm.testing import DISTRIBUTIONS
from taskfmm.tree import essential, lists, octree, units
from taskfmm.tree.essential import TOP
from taskfmm.tree.regional import Boxes, beside_top, boxes, close, crowded
from taskfmm.tree.units import Cells, Held, distinct, points_in

N, LEAF = 4000, 20
STOKES = taskfmm.kernels.Stokes(viscosity=2.0)


def doubles(n, rng):
    return np.repeat(rng.random((n // 50, 3)), 50, axis=0)


def far_apart(n, rng):
    """Two clusters so narrow that all 42 levels are used."""
    x = 1e-11 * rng.random((n, 3))
    x[n // 2 :] += 1.0
    return x


CLOUDS = DISTRIBUTIONS | {"doubles": doubles, "far apart": far_apart}


def cloud(name: str, seed: int) -> np.ndarray:
    return np.ascontiguousarray(CLOUDS[name](N, np.random.default_rng(seed)))


class Parts:
    """The regions of a cloud, found as tasks find them."""

    def __init__(self, points: np.ndarray, n_regions: int = 6) -> None:
        self.tree = octree.build(points, None, LEAF, enclose(points, points[:0]))
        hi, lo, _ = octree.sorted_keys(points, self.tree.domain, 1)
        n = len(points)
        self.units = units.find(
            lambda cells: Held.of(cells, hi, lo), n, max(LEAF, n // (4 * n_regions)), n // n_regions
        )
        self.first = self.units.split(hi, lo)
        self.keys = [(hi[a:b], lo[a:b]) for a, b in zip(self.first[:-1], self.first[1:], strict=True)]
        self.regions = range(self.units.n_regions)
        self.boxes: dict[int, Boxes] = {}

    def balanced(self) -> Parts:
        split = [
            distinct(crowded(self.units.of(r), *self.keys[r], LEAF), beside_top(self.units, r, *self.keys[r]))
            for r in self.regions
        ]
        waiting = list(self.regions)
        while waiting:
            asked = []
            for r in waiting:
                split[r], demands = close(split[r], self.units, r, *self.keys[r])
                asked.append(demands)
            every = distinct(*asked)
            owner, waiting = self.units.owner(every), []
            for r in self.regions:
                mine = every[owner == r]
                wanted = distinct(split[r], mine[points_in(mine, *self.keys[r]) > 0])
                if len(wanted) > len(split[r]):
                    split[r] = wanted
                    waiting.append(r)
        self.boxes = {r: boxes(split[r], self.units.of(r), *self.keys[r]) for r in self.regions}
        return self

    def essential(self, region: int) -> essential.Essential:
        own = self.units.top if region == TOP else self.boxes[region].cells
        children_of = essential.needed(self.units, region, own)
        near = essential.neighbours(self.units, region, children_of)
        begin, end = (0, 0) if region == TOP else self.first[region : region + 2]
        rows = 2 * (self.tree.source_order[begin:end],)
        return essential.build(
            self.tree.domain,
            self.units,
            region,
            essential.Points(self.tree.sources[:, begin:end], self.tree.targets[:, begin:end], *rows),
            {number: self.boxes[number] for number in near},
            children_of,
        )


@each("name", CLOUDS)
def test_units_hold_few_points_and_every_one(name):
    parts = Parts(cloud(name, 61))
    cells = parts.units.cells
    hi, lo = (np.concatenate([keys[word] for keys in parts.keys]) for word in (0, 1))
    held = points_in(cells, hi, lo)
    np.testing.assert_array_equal(held, parts.units.count)
    assert held.sum() == N
    cap, alike = max(LEAF, N // 24), Held.of(cells, hi, lo).alike
    assert ((held <= cap) | alike).all()
    assert (points_in(parts.units.top, hi, lo) > cap).all()


@each("name", CLOUDS)
def test_boxes_of_all_regions_are_the_tree(name):
    parts = Parts(cloud(name, 62)).balanced()
    found = distinct(parts.units.top, *(each.cells for each in parts.boxes.values()))
    np.testing.assert_array_equal(found.level, parts.tree.level)
    np.testing.assert_array_equal(found.anchor, parts.tree.anchor)


@each("name", CLOUDS)
def test_lists_of_own_boxes_are_those_of_the_tree(name):
    parts = Parts(cloud(name, 63)).balanced()
    tree, every = parts.tree, lists.build(parts.tree)
    where = Cells.of(tree.level, tree.anchor)
    rows = 0
    for region in [*([TOP] if len(parts.units.top) else []), *parts.regions]:
        found = parts.essential(region)
        number = units.index(where, Cells.of(found.tree.level, found.tree.anchor))
        own = lists.build(found.tree)
        for csr, expected in ((own.u, every.u), (own.v, every.v), (own.w, every.w), (own.x, every.x)):
            for box in np.flatnonzero(found.own):
                mine = number[csr.idx[csr.ptr[box] : csr.ptr[box + 1]]]
                np.testing.assert_array_equal(
                    mine, expected.idx[expected.ptr[number[box]] : expected.ptr[number[box] + 1]]
                )
                rows += 1
    assert rows == 4 * tree.n_boxes


def lazy(array: np.ndarray, size: int) -> da.Array:
    return da.from_array(array, chunks=(size, *array.shape[1:]))


@each("name", [name for name in CLOUDS if name != "identical"])
@each("eps, same", [(1e-9, MIXED), (1e-5, 5e-7)])
def test_values_are_those_of_one_process(name, eps, same):
    """M2L runs in float32 at the larger eps, and rounds by the shape of its batches."""
    x, q = cloud(name, 64), np.random.default_rng(65).uniform(-1, 1, N)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), eps=eps, leaf_size=LEAF, region=N // 5)
    assert spread.plan.facts.units.n_regions >= 3
    charges = lazy(q, 900)
    found = spread.potential(charges)
    assert found.chunks == ((1100, 1100, 1100, 700),)
    expected = taskfmm.Fmm(x, eps=eps, leaf_size=LEAF).potential(charges)
    assert l2_error(found.compute(), expected.compute()) <= same
    assert l2_error(found.compute(), taskfmm.direct(x, q)) <= eps


def test_bits_do_not_hang_on_chunks_schedulers_or_workers(client):
    x, q = cloud("two_clusters", 66), np.random.default_rng(67).uniform(-1, 1, N)
    results = []
    for size, scheduler in ((N, "synchronous"), (700, "threads"), (1300, client)):
        with dask.config.set(scheduler=scheduler):
            spread = taskfmm.Fmm.from_dask(lazy(x, size), eps=1e-6, region=N // 5)
            results.append(spread.potential(lazy(q, 1500)).compute())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@each("name", [name for name in CLOUDS if name != "identical"])
def test_what_is_known_of_gradients_is_what_one_process_knows(name):
    """So their accuracy is the same; regions sum a sample over all pairs, one process over boxes."""
    x, q = cloud(name, 83), np.ones(N)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), eps=1e-3, leaf_size=LEAF, region=N // 5)
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=LEAF)
    alone, equal = spread._chooser._of_any
    places, usual = fmm._evaluator.chooser.places, fmm._evaluator.chooser.usual("gradient").gradient
    np.testing.assert_allclose(alone.gradient.smooth, places.lone_charge.smooth, rtol=1e-6)
    # that process halves all charges
    for part in ("far", "even", "smooth"):
        np.testing.assert_allclose(getattr(equal.gradient, part), 2.0 * getattr(usual, part), rtol=1e-6)
    np.testing.assert_allclose(equal.gradient.total, 2.0 * usual.total, rtol=0.02)
    try:
        expected = fmm.accuracy("gradient", lazy(q, N))
    except AccuracyError:
        with pytest.raises(AccuracyError, match="for a gradient of any charges"):
            spread.evaluate(lazy(q, N), "gradient")
        return
    assert spread.accuracy("gradient") == spread.accuracy("gradient", lazy(q, N)) == expected
    found = spread.evaluate(lazy(q, 900), ("potential", "gradient"))
    exact = taskfmm.direct(x, q, outputs=("potential", "gradient"))
    for output, values in found.items():
        assert l2_error(values.compute(), exact[output]) <= 1e-3


def test_few_close_pairs_have_most_of_the_gradient():
    """Too few for a sample of targets to meet them, and too many to sum all pairs at each."""
    rng = np.random.default_rng(103)
    x = rng.random((5 * N, 3))
    x[:150] = x[150:300] + 1e-5 * rng.normal(size=(150, 3))
    spread = taskfmm.Fmm.from_dask(lazy(x, 7000), eps=1e-3, region=2 * N)
    _, equal = spread._chooser._of_any
    exact = taskfmm.direct(x, np.ones(5 * N), outputs=("gradient",))["gradient"]
    usual = taskfmm.Fmm(x, eps=1e-3)._evaluator.chooser.usual("gradient").gradient
    np.testing.assert_allclose(equal.gradient.total, 2.0 * usual.total, rtol=0.05)
    # in units of the kernel without its factor, and of scaled coordinates
    true = 4.0 * np.pi * np.linalg.norm(exact) / spread.plan.scale**2
    np.testing.assert_allclose(equal.gradient.total, true, rtol=0.05)


def test_derivatives_and_vector_kernels_by_order():
    x, rng = cloud("uniform", 68), np.random.default_rng(69)
    q, f = rng.uniform(-1, 1, N), rng.uniform(-1, 1, (N, 3))
    spread = taskfmm.Fmm.from_dask(lazy(x, 1500), order=6, leaf_size=LEAF, region=N // 4)
    expected = taskfmm.Fmm(x, order=6, leaf_size=LEAF).evaluate(q, ("potential", "gradient"))
    for output, found in spread.evaluate(q, ("potential", "gradient")).items():
        assert l2_error(found.compute(), expected[output].compute()) <= 1e-12
    stokes = taskfmm.Fmm.from_dask(lazy(x, 1500), kernel=STOKES, order=5, leaf_size=LEAF, region=N // 4)
    flow = taskfmm.Fmm(x, kernel=STOKES, order=5, leaf_size=LEAF).evaluate(forces=f, outputs="velocity")
    assert l2_error(stokes.evaluate(forces=f)["velocity"].compute(), flow["velocity"].compute()) <= 1e-12


def test_many_vectors_and_complex_charges():
    x, rng = cloud("plummer", 79), np.random.default_rng(80)
    q = rng.uniform(-1, 1, (N, 10)) * 10.0 ** np.arange(-5, 5)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1500), order=5, leaf_size=LEAF, region=N // 4)
    fmm = taskfmm.Fmm(x, order=5, leaf_size=LEAF)
    charges = da.from_array(q, chunks=(900, 4))
    for output, found in spread.evaluate(charges, ("potential", "gradient")).items():
        expected = fmm.evaluate(q, output)[output].compute()
        assert found.chunks[0] == (1500, 1500, 1000)
        assert found.chunks[-1] == (4, 4, 2)
        values = found.compute()
        for number in range(10):
            assert l2_error(values[..., number], expected[..., number]) <= 1e-12
    assert spread.potential(q[:, :0]).compute().shape == (N, 0)
    both = q[:, 0] + 1j * q[:, 9]
    assert l2_error(spread.potential(both).compute(), fmm.potential(both).compute()) <= 1e-12


@each("n", [1, 2, 3])
def test_few_points(n):
    x, q = np.random.default_rng(70).random((n, 3)), np.ones(n)
    found = taskfmm.Fmm.from_dask(lazy(x, 1)).potential(q)
    np.testing.assert_allclose(found.compute(), taskfmm.direct(x, q), rtol=1e-12)


def test_points_at_one_place_add_nothing_to_each_other():
    x = np.ones((N, 3))
    assert not taskfmm.Fmm.from_dask(lazy(x, 900), region=N // 4).potential(np.ones(N)).compute().any()


def test_what_nobody_asked_for_is_not_read():
    """Where a region's lists name no source of another region, its coordinates are no numbers."""
    parts = Parts(cloud("two_clusters", 71)).balanced()
    found = parts.essential(0)
    operators = taskfmm.Fmm(cloud("uniform", 1), order=4).operators("potential").at(2)
    survey = regional.survey(found, operators, regional.How(N * SECONDS, 2))
    taken = parts.tree.sources[:, :0]
    for region, begin, end in zip(survey.runs.region, survey.runs.begin, survey.runs.end, strict=True):
        first = parts.first[region]
        taken = np.concatenate([taken, parts.tree.sources[:, first + begin : first + end]], axis=1)
    whole = essential.with_points(found, survey.boxes, survey.runs, taken).tree
    asked = np.unique(survey.boxes[~found.own[survey.boxes]])
    assert asked.size
    ptr = whole.source_ptr[asked]
    assert (ptr[:, 1] <= whole.sources.shape[1]).all()
    half = np.ldexp(whole.domain.half_width, -whole.level[asked].astype(int))
    for box, (begin, end), h in zip(asked, ptr, half, strict=True):
        low = whole.domain.lower + 2 * h * whole.anchor[box]
        inside = whole.sources[:, begin:end] - low[:, None]
        assert ((inside >= -1e-9 * h) & (inside <= 2 * h * (1 + 1e-9))).all()


@each(
    "given, says",
    [
        (dict(sources=np.zeros((3, 2))), r"sources has shape \(3, 2\)"),
        (dict(sources=da.zeros((3, 2))), r"sources has shape \(3, 2\)"),
        (dict(region=0), "region is 0"),
        (dict(kernel="yukawa"), "lam"),
        (dict(eps=2.0), "eps is 2.0"),
    ],
)
def test_what_cannot_be_planned_is_refused(given, says):
    with pytest.raises(InputError, match=says):
        taskfmm.Fmm.from_dask(**{"sources": da.zeros((30, 3), chunks=(10, 3))} | given)


def test_a_point_that_is_not_finite_is_told_by_row_and_chunk():
    x = cloud("uniform", 72)
    x[1700, 1] = np.nan
    with pytest.raises(InputError, match=r"sources row 1700 is not finite: .*nan.*, in chunk 3"):
        taskfmm.Fmm.from_dask(lazy(x, 500))


@each("name, harm", [("sources", lambda b: b[:-1]), ("targets", lambda b: np.concatenate([b, b[:1]]))])
@each("leaf_size", [None, LEAF])
def test_chunks_of_another_length_than_declared_are_refused(name, harm, leaf_size):
    """Else rows and charges would be those of other points, without a word."""
    good = lazy(cloud("uniform", 101), 1500)
    bad = good.map_blocks(harm, dtype=float, meta=np.empty((0, 3)))
    given = {"sources": good, "targets": lazy(cloud("uniform", 102), 1500)} | {name: bad}
    with pytest.raises(InputError, match=rf"chunk \d of {name} was declared with 1\d00 rows and came"):
        taskfmm.Fmm(**given, eps=1e-2, leaf_size=leaf_size)


def test_masked_points_are_refused():
    x = da.ma.masked_where(
        da.from_array(cloud("uniform", 81), chunks=(1500, 3)) > 0.999, lazy(cloud("uniform", 81), 1500)
    )
    with pytest.raises(InputError, match="sources has masked entries"):
        taskfmm.Fmm.from_dask(x)


def test_stages_that_run_twice_leave_and_return_the_same(tmp_path):
    """As after the death of a worker that had finished, but not told."""
    x = cloud("two_clusters", 82)
    pieces = chunks.Piece.of({"sources": 4 * [N // 4]})
    for piece in pieces:
        chunks.look(x[piece.number :: 4], piece, 7, tmp_path)
    domain = enclose(x, x[:0])
    for number in (0, 1, 2, 3, 3, 0):
        chunks.sort(number, domain, tmp_path)

    def held(cells):
        return reduce(Held.with_others, [chunks.count(number, cells, tmp_path) for number in range(4)])

    found = units.find(held, N, N // 16, N // 6)
    for number in (0, 1, 2, 3, 3, 0):
        chunks.deal(number, found, tmp_path)
    for region in (0, 1, *range(found.n_regions)):
        stages.gather(region, found, pieces, LEAF, True, tmp_path)
    asked = [
        [stages.balance(region, found, found.top[:0], tmp_path) for _ in range(2)]
        for region in range(found.n_regions)
    ]
    assert sum(len(once) for once, _ in asked)
    for once, again in asked:
        np.testing.assert_array_equal(once.level, again.level)
        np.testing.assert_array_equal(once.anchor, again.anchor)
    (region, demands), *_ = stages.by_region([once for once, _ in asked], found.top[:0], found).items()
    once, again = (stages.balance(region, found, demands, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(once.anchor, again.anchor)
    assert len(once) >= len(asked[region][0])


def test_charges_of_another_number_are_refused():
    spread = taskfmm.Fmm.from_dask(lazy(cloud("uniform", 73), 2000), eps=1e-3)
    with pytest.raises(InputError, match="charges has"):
        spread.potential(np.ones(N - 1))


def test_a_sample_does_not_hang_on_chunks(tmp_path):
    x = cloud("uniform", 78)
    samples = []
    for size in (N, 700):
        pieces = [
            chunks.look(x[piece.first : piece.first + piece.n], piece, 7, tmp_path).sample
            for piece in chunks.Piece.of({"sources": lazy(x, size).chunks[0]})
        ]
        samples.append(np.concatenate(pieces))
    np.testing.assert_array_equal(*samples)
    assert N / 8 < len(samples[0]) < N / 6


def test_files_are_removed_with_the_plan():
    spread = taskfmm.Fmm.from_dask(lazy(cloud("uniform", 74), 2000), eps=1e-3)
    path, found = spread.plan.depot.path, spread.potential(np.ones(N))
    files = {each.name.split("-")[0] for each in path.iterdir()}
    assert files == {"lease", "facts", "points", "blocks", "order", "split", "boxes", "works", "evaluation"}
    found.compute()
    del spread, found
    gc.collect()
    assert not path.exists()


def test_a_dead_worker_changes_no_bit():
    """What is planned lies in files, and not with workers."""
    from distributed import Client, LocalCluster

    x, q = cloud("plummer", 75), np.random.default_rng(76).uniform(-1, 1, N)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        spread = taskfmm.Fmm.from_dask(lazy(x, 1000), eps=1e-4, region=N // 4)
        before = spread.potential(lazy(q, 1000)).compute()
        pid = next(iter(client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)
        after = spread.potential(lazy(q, 800)).compute()
    np.testing.assert_array_equal(before, after)


def test_results_outlive_the_plan(client):
    """A client holds the files for the futures that it waits for."""
    x = cloud("uniform", 77)
    kept = taskfmm.Fmm.from_dask(lazy(x, 2000), eps=1e-3, region=N // 3).potential(np.ones(N)).persist()
    gc.collect()
    expected = taskfmm.direct(x, np.ones(N))
    assert l2_error(kept.compute(), expected) <= 1e-3


def separate(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sources, and targets in a part of the same cloud, around it, or elsewhere."""
    rng = np.random.default_rng(seed)
    x = cloud("two_clusters" if name == "apart" else name, seed)
    targets = {
        "plummer": 3.0 * rng.normal(size=(N // 2, 3)),
        "apart": rng.random((2 * N, 3)) + np.array([2.0, 0.0, 0.0]),
    }.get(name, x[rng.permutation(N)[: N // 3]] + 0.01 * rng.normal(size=(N // 3, 3)))
    return x, targets


@each("name", ["uniform", "plummer", "apart", "half_duplicates"])
@each("eps, same", [(1e-9, MIXED), (1e-5, 5e-7)])
def test_separate_targets(name, eps, same):
    x, targets = separate(name, 84)
    q = np.random.default_rng(85).uniform(-1, 1, N)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), lazy(targets, 700), eps=eps, leaf_size=LEAF, region=N // 4)
    assert (spread.n_sources, spread.n_targets) == (N, len(targets))
    fmm, charges = taskfmm.Fmm(x, targets, eps=eps, leaf_size=LEAF), lazy(q, 900)
    path, by_region = spread.plan.depot.path, range(spread.plan.facts.units.n_regions)
    n_boxes = sum(len(depot.get(path, "boxes", region)["level"]) for region in by_region)
    assert n_boxes + len(spread.plan.facts.units.top) == fmm.plan.tree.n_boxes
    found = spread.potential(charges)
    assert found.chunks == lazy(targets, 700).chunks[:1]
    assert l2_error(found.compute(), fmm.potential(charges).compute()) <= same
    assert l2_error(found.compute(), taskfmm.direct(x, q, targets)) <= eps


@each("name", ["uniform", "plummer", "apart"])
def test_gradients_at_separate_targets(name):
    x, targets = separate(name, 86)
    fmm = taskfmm.Fmm(x, targets, eps=1e-3, leaf_size=LEAF)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), lazy(targets, 700), eps=1e-3, leaf_size=LEAF, region=N // 4)
    alone, equal = spread._chooser._of_any
    places, usual = fmm._evaluator.chooser.places, fmm._evaluator.chooser.usual("gradient")
    assert equal.many == usual.many
    np.testing.assert_allclose(alone.gradient.smooth, places.lone_charge.smooth, rtol=1e-6)
    for part in ("far", "even", "smooth"):
        ours, theirs = (getattr(each, part) for each in (equal.gradient, usual.gradient))
        np.testing.assert_allclose(ours, 2.0 * theirs, rtol=1e-6)
    q = np.random.default_rng(87).uniform(-1, 1, N)
    found = spread.evaluate(q, ("potential", "gradient"))
    exact = taskfmm.direct(x, q, targets, outputs=("potential", "gradient"))
    for output, values in found.items():
        assert l2_error(values.compute(), exact[output]) <= 1e-3


def wave(n: int, k: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a grid, and charges that cancel on all of it."""
    x = (np.indices((n, n, n)).reshape(3, -1).T + 0.5) / n
    return x, np.cos(2.0 * np.pi * k * x).prod(axis=1)


def test_charges_that_cancel_are_looked_at():
    """Those of an array, and lazy ones by others that they are like."""
    x, q = wave(20, 5.0)
    how = dict(eps=1e-3, leaf_size=60, region=2000)
    plain, like = (taskfmm.Fmm.from_dask(lazy(x, 3000), **how, like=each) for each in (None, lazy(q, 1000)))
    assert like.accuracy("potential") == plain.accuracy("potential", q)
    assert plain.accuracy("potential", q).order > plain.accuracy("potential").order
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=60)
    assert plain.accuracy("potential", q) == fmm.accuracy("potential", q)
    assert plain.accuracy("gradient", q) == fmm.accuracy("gradient", q)
    for found in (plain.potential(q), like.potential(lazy(q, 900))):
        assert l2_error(found.compute(), taskfmm.direct(x, q)) <= 1e-3


@each("name", ["uniform", "plummer", "two_clusters", "half_duplicates"])
def test_random_charges_count_as_such(name):
    """What they need is what one process finds that they need: no more than other charges."""
    rng, n = np.random.default_rng(98), 3 * N
    x = CLOUDS[name](n, np.random.default_rng(96))
    spread = taskfmm.Fmm.from_dask(lazy(x, 3300), eps=1e-3, leaf_size=LEAF, region=N)
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=LEAF)
    for q in (rng.uniform(-1, 1, n), rng.normal(size=n), rng.choice([-1.0, 1.0], n)):
        for output in ("potential", "gradient"):
            assert spread.accuracy(output, q) == fmm.accuracy(output, q)


@each("region", [500, 1000, 2500, 10**6])
def test_where_regions_end_does_not_tell_what_is_random(region, monkeypatch):
    x, q = cloud("uniform", 112), np.random.default_rng(113).normal(size=N)
    monkeypatch.setattr(looking, "RUN", 256)
    spread = taskfmm.Fmm.from_dask(lazy(x, 900), eps=1e-3, leaf_size=LEAF, region=region)
    found = []
    monkeypatch.setattr(looking, "are_random", lambda products: found.append(products) or True)
    spread.accuracy("potential", q)
    order = taskfmm.Fmm(x, eps=1e-3, leaf_size=LEAF).plan.tree.source_order
    expected, _ = products_of_runs(q[order] / np.abs(q).max())
    some = found[0][found[0][:, 2] > 0]
    np.testing.assert_array_equal(some[:, 2], expected[:, 2])
    np.testing.assert_allclose(some[:, 0] ** 2 / some[:, 1], expected[:, 0] ** 2 / expected[:, 1], rtol=1e-6)


def test_charges_of_an_array_may_need_less_than_any():
    """Eps that no plan keeps for one charge that outweighs all others."""
    x, q = cloud("uniform", 114), np.random.default_rng(115).uniform(-1, 1, N)
    spread = taskfmm.Fmm.from_dask(lazy(x, 900), eps=1e-12, leaf_size=LEAF)
    assert l2_error(spread.potential(q).compute(), taskfmm.direct(x, q)) <= 1e-12
    with pytest.raises(AccuracyError):
        spread.potential(lazy(q, 900))
    assert "eps 1e-12" in spread.explain() and "tasks" in spread._repr_html_()


def test_leaves_beside_a_crowd():
    """Leaves above the first level with expansions meet boxes of many points, whose sources several regions have."""
    rng = np.random.default_rng(104)
    x, y = 0.01 * rng.random((2 * N, 3)), rng.random((300, 3))
    q = rng.uniform(-1, 1, 2 * N + 300)
    apart = taskfmm.Fmm.from_dask(lazy(x, 5000), lazy(y, 200), eps=1e-3, leaf_size=50, region=N // 2)
    assert l2_error(apart.potential(q[: 2 * N]).compute(), taskfmm.direct(x, q[: 2 * N], y)) <= 1e-3
    both = np.concatenate([x, y])
    beside = taskfmm.Fmm.from_dask(lazy(both, 5000), eps=1e-3, leaf_size=50, region=N // 2)
    assert l2_error(beside.potential(q).compute(), taskfmm.direct(both, q)) <= 1e-3


@each("dtype", [np.float32, np.int64, np.longdouble])
def test_lazy_charges_of_any_dtype(dtype):
    x, q = cloud("uniform", 105), np.random.default_rng(106).integers(-9, 9, N)
    spread = taskfmm.Fmm(lazy(x, 1100), order=4, leaf_size=LEAF)
    expected = spread.potential(lazy(q.astype(float), 900)).compute()
    np.testing.assert_array_equal(spread.potential(lazy(q.astype(dtype), 900)).compute(), expected)


def test_chunks_of_no_rows():
    x, q = cloud("uniform", 98), np.random.default_rng(99).uniform(-1, 1, N)
    chunked = da.from_array(x, chunks=((0, 400, 600, 0, N - 1000), 3))
    assert 0 in chunked.chunks[0]
    found = taskfmm.Fmm(chunked, eps=1e-4, leaf_size=LEAF).potential(lazy(q, 900))
    assert found.chunks[0] == chunked.chunks[0]
    assert l2_error(found.compute(), taskfmm.direct(x, q)) <= 1e-4


def test_directories_of_evaluations_go_with_them():
    x, q = cloud("uniform", 100), np.ones(N)
    spread = taskfmm.Fmm(lazy(x, 2000), eps=1e-2)
    path = spread.plan.depot.path

    def left():
        gc.collect()
        return {each.name.split("-")[0] for each in path.iterdir() if each.is_dir()}

    found, again = spread.potential(q), spread.potential(q)
    found.compute()
    assert left() == {"evaluation"}
    del found  # the other one has the same charges, and a directory of its own
    again.compute()
    del again
    assert left() == set()
    spread.error_estimate(q, q)
    spread.accuracy("gradient", -q)
    assert left() == set()


def test_error_estimates():
    """By the sources of all regions; of several vectors that of the worst."""
    x, targets = separate("uniform", 88)
    q = np.random.default_rng(89).uniform(-1, 1, (N, 3))
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), lazy(targets, 700), eps=1e-4, leaf_size=LEAF, region=N // 4)
    found = spread.evaluate(q, ("potential", "gradient"))
    exact = taskfmm.direct(x, q, targets, outputs=("potential", "gradient"))
    for output, values in found.items():
        computed = values.compute()
        errors = [l2_error(computed[..., v], exact[output][..., v]) for v in range(3)]
        for given in (values, computed):
            estimated = spread.error_estimate(q, given, n_samples=len(targets), output=output)
            np.testing.assert_allclose(estimated, max(errors), rtol=1e-6)
    wrong = found["potential"].compute()
    wrong[:, 1] *= 1.01
    np.testing.assert_allclose(spread.error_estimate(lazy(q, 900), wrong), 0.01, rtol=1e-2)
    both = q[:, 0] + 1j * q[:, 1]
    assert 0.0 < spread.error_estimate(both, spread.potential(both), 100, seed=1) <= 1e-4
    with pytest.raises(InputError, match="values has shape"):
        spread.error_estimate(q[:, 0], wrong)


KERNELS = {
    "yukawa": (taskfmm.kernels.Yukawa(lam=4.0), ("charges",)),
    "helmholtz": (taskfmm.kernels.Helmholtz(5.0), ("charges",)),
    "dipoles": ("laplace", ("charges", "dipoles")),
    "stokes": (STOKES, ("forces",)),
}


@each("name", KERNELS)
def test_kernels_without_a_table(name):
    """The accuracy of one process, for charges of an array and lazy ones."""
    kernel, kinds = KERNELS[name]
    x, rng = cloud("uniform", 90), np.random.default_rng(91)
    given = {kind: rng.uniform(-1, 1, N if kind == "charges" else (N, 3)) for kind in kinds}
    how = dict(kernel=kernel, eps=1e-3, leaf_size=LEAF)
    spread, fmm = taskfmm.Fmm.from_dask(lazy(x, 1100), **how, region=N // 5), taskfmm.Fmm(x, **how)
    exact = taskfmm.direct(x, kernel=kernel, outputs=fmm.kernel.usual, **given)
    for arrays in (given, {kind: lazy(array, 900) for kind, array in given.items()}):
        for output in fmm.kernel.usual:
            assert spread.accuracy(output, **arrays) == fmm.accuracy(output, **arrays)
        for output, values in spread.evaluate(outputs=fmm.kernel.usual, **arrays).items():
            assert l2_error(values.compute(), exact[output]) <= 1e-3


def test_a_kernel_that_has_died_away():
    """Levels without expansions; targets far from all sources are refused, as by one process."""
    x, rng = np.concatenate([cloud("uniform", 92), 40.0 + cloud("uniform", 93)]), np.random.default_rng(94)
    q = rng.uniform(-1, 1, 2 * N)
    how = dict(kernel=taskfmm.kernels.Yukawa(lam=30.0), eps=1e-3, leaf_size=LEAF)
    spread, fmm = taskfmm.Fmm.from_dask(lazy(x, 1700), **how, region=N // 3), taskfmm.Fmm(x, **how)
    assert spread.plan.top == fmm.plan.top > 2
    assert (
        l2_error(spread.potential(lazy(q, N)).compute(), taskfmm.direct(x, q, kernel=how["kernel"])) <= 1e-3
    )
    far = x[:500] + 8.0
    spread = taskfmm.Fmm.from_dask(lazy(x[:N], 1700), lazy(far, 300), **how, region=N // 3)
    with pytest.raises(AccuracyError, match="next to nothing is left at the targets"):
        spread.potential(lazy(q[:N], N))


def test_points_that_would_count_as_one_are_refused():
    x = cloud("uniform", 95)
    x[10] = [1e-45, 0.5, 0.5]
    x[3000] = [2e-45, 0.5, 0.5]
    for targets, names in (
        (None, "sources row (10|3000) and sources"),
        (x[2500:], "sources row 10 and targets"),
    ):
        given = x if targets is None else x[:1000]
        with pytest.raises(InputError, match=f"{names} row .* would count as one point"):
            taskfmm.Fmm(lazy(given, 900), targets, eps=1e-2)
