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
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.geometry.domain import enclose
from taskfmm.plan import regional
from taskfmm.spread import stages
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
        hi, lo, _ = octree._sorted_keys(points, self.tree.domain, 1)
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
        return essential.build(
            self.tree.domain,
            self.units,
            region,
            self.tree.sources[:, begin:end],
            self.tree.source_order[begin:end],
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
@each("eps, same", [(1e-9, 1e-13), (1e-5, 5e-7)])
def test_values_are_those_of_one_process(name, eps, same):
    """M2L runs in float32 at the larger eps, and rounds by the shape of its batches."""
    x, q = cloud(name, 64), np.random.default_rng(65).uniform(-1, 1, N)
    spread = taskfmm.Fmm.from_dask(lazy(x, 1100), eps=eps, leaf_size=LEAF, region=N // 5)
    assert len(spread.plan.points) >= 3
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
        (dict(points=np.zeros((3, 3))), "expected a dask.array"),
        (dict(points=da.zeros((3, 2))), "expected a dask.array"),
        (dict(points=da.zeros((0, 3))), "expected a dask.array"),
        (dict(region=0), "region is 0"),
        (dict(kernel="yukawa"), "lam"),
        (dict(kernel=taskfmm.kernels.Yukawa(2.0)), "has a length of its own"),
        (dict(eps=2.0), "eps is 2.0"),
    ],
)
def test_what_cannot_be_planned_is_refused(given, says):
    with pytest.raises(InputError, match=says):
        taskfmm.Fmm.from_dask(**{"points": da.zeros((30, 3), chunks=(10, 3))} | given)


def test_a_point_that_is_not_finite_is_told_by_row_and_chunk():
    x = cloud("uniform", 72)
    x[1700, 1] = np.nan
    with pytest.raises(InputError, match=r"points row 1700 is not finite: .*nan.*, in chunk 3"):
        taskfmm.Fmm.from_dask(lazy(x, 500))


def test_masked_points_are_refused():
    x = da.ma.masked_where(
        da.from_array(cloud("uniform", 81), chunks=(1500, 3)) > 0.999, lazy(cloud("uniform", 81), 1500)
    )
    with pytest.raises(InputError, match="points has masked entries"):
        taskfmm.Fmm.from_dask(x)


def test_stages_that_run_twice_leave_and_return_the_same(tmp_path):
    """As after the death of a worker that had finished, but not told."""
    x = cloud("two_clusters", 82)
    for number in range(4):
        stages.look(x[number::4], number, number, 7, tmp_path)
    domain = enclose(x, x[:0])
    for number in (0, 1, 2, 3, 3, 0):
        stages.sort(number, number, domain, tmp_path)

    def held(cells):
        return reduce(Held.with_others, [stages.count(number, cells, tmp_path) for number in range(4)])

    found = units.find(held, N, N // 16, N // 6)
    for region in (0, 1, 0):
        stages.gather(region, found, 4, LEAF, tmp_path)
    for region in range(found.n_regions):
        stages.gather(region, found, 4, LEAF, tmp_path)
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


def test_what_is_not_there_yet_is_refused():
    x, q = cloud("uniform", 73), np.ones((N, 2))
    spread = taskfmm.Fmm.from_dask(lazy(x, 2000), eps=1e-3)
    with pytest.raises(InputError, match="give an order"):
        spread.evaluate(q[:, 0], "gradient")
    with pytest.raises(InputError, match="charges has"):
        spread.potential(q[:-1, 0])


def test_a_sample_does_not_hang_on_chunks(tmp_path):
    x = cloud("uniform", 78)
    samples = []
    for size in (N, 700):
        pieces = [
            stages.look(x[first : first + size], number, first, 7, tmp_path).sample
            for number, first in enumerate(range(0, N, size))
        ]
        samples.append(np.concatenate(pieces))
    np.testing.assert_array_equal(*samples)
    assert N / 8 < len(samples[0]) < N / 6


def test_files_are_removed_with_the_plan():
    spread = taskfmm.Fmm.from_dask(lazy(cloud("uniform", 74), 2000), eps=1e-3)
    path, found = spread.plan.depot.path, spread.potential(np.ones(N))
    left = {each.name.split("-")[0] for each in path.iterdir()}
    assert left == {"lease", "facts", "points", "split", "boxes", "works"}
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
