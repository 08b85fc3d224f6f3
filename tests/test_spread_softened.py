"""Points that never meet, softened by source or by a spline: the sums of `taskfmm.direct`, and where lengths go."""

from __future__ import annotations

import json

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.geometry.domain import box_half_width
from taskfmm.kernels import Gravity
from taskfmm.passes.given import Given
from taskfmm.plan import tune
from taskfmm.plan.softened import _gap
from taskfmm.spread import files, room, stages
from taskfmm.testing import DISTRIBUTIONS
from taskfmm.tree import lists, octree
from taskfmm.tree.essential import TOP
from taskfmm.tree.units import distinct

N, LEAF = 3000, 20
OUTPUTS = ("potential", "acceleration")


@pytest.fixture(autouse=True)
def in_this_process():
    with dask.config.set(scheduler="synchronous"):
        yield


def lazy(array: np.ndarray, size: int = 1100) -> da.Array:
    return da.from_array(array, chunks=(size, *array.shape[1:]))


def cloud(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points, the furthest at a distance of about 1, and masses."""
    rng = np.random.default_rng(seed)
    x = DISTRIBUTIONS[name](N, rng)
    return np.ascontiguousarray(x / np.abs(x).max()), rng.random(N)


def spread(x, kernel, targets=None, eps=1e-3, **how) -> taskfmm.spread.Spread:
    at = None if targets is None else lazy(targets, 700)
    return taskfmm.Fmm.from_dask(
        lazy(x), at, kernel=kernel, eps=eps, **{"leaf_size": LEAF, "region": N // 5} | how
    )


def regions(plan) -> list[int]:
    units = plan.facts.units
    return [*range(units.n_regions), *([TOP] if len(units.top) else [])]


@each("name, length", [("uniform", 0.2), ("plummer", 0.02), ("two_clusters", 1e-3)])
def test_of_equal_lengths_the_tree_is_that_of_one_process(name, length):
    """And so are its lists, and values to the last digits."""
    x, m = cloud(name, 61)
    kernel = Gravity(length, "spline")
    found, fmm = spread(x, kernel, eps=1e-7), taskfmm.Fmm(x, kernel=kernel, eps=1e-7, leaf_size=LEAF)
    tree, path = fmm.plan.tree, found.plan.depot.path
    own = [stages.boxes_of(region, path).cells for region in range(found.n_regions)]
    boxes = distinct(found.plan.facts.units.top, *own)
    np.testing.assert_array_equal(boxes.level, tree.level)
    np.testing.assert_array_equal(boxes.anchor, tree.anchor)
    assert tree.n_boxes < taskfmm.Fmm(x, eps=1e-3, leaf_size=LEAF).plan.tree.n_boxes
    surveys = [stages.survey_of(region, found.plan.facts, path) for region in regions(found.plan)]
    for each_list in "uvwx":
        n = sum(getattr(survey.lists, each_list).idx.size for survey in surveys)
        assert n == getattr(fmm.plan.lists, each_list).idx.size
    masses = lazy(m, 900)
    expected = fmm.evaluate(masses, OUTPUTS)
    for output, values in found.evaluate(masses, OUTPUTS).items():
        assert l2_error(values.compute(), expected[output].compute()) <= ROUNDING


LENGTHS = {
    "one": lambda rng: 0.03,
    "most leaves": lambda rng: 0.05 * rng.random(N) ** 3,
    "a few": lambda rng: np.where(rng.random(N) < 0.002, 0.2, 1e-3),
    "half of them": lambda rng: np.where(rng.random(N) < 0.5, 0.0, 0.02),
    "none": lambda rng: np.zeros(N),
    "one as wide as the cloud": lambda rng: np.where(np.arange(N) == 7, 2.5, 1e-3),
}


EVERY_TWO = [
    (name, lengths, (i + j) % 2 == 1, (i + j // 2) % 2 == 1)
    for i, name in enumerate(("uniform", "plummer", "half_duplicates"))
    for j, lengths in enumerate(LENGTHS)
]


@each("name, lengths, apart, looked_at", EVERY_TWO)
def test_splines_keep_eps(name, lengths, apart, looked_at):
    x, m = cloud(name, 62)
    rng = np.random.default_rng(63)
    kernel = Gravity(LENGTHS[lengths](rng), "spline")
    targets = 0.7 * cloud("plummer", 64)[0][: N // 2] if apart else None
    found = spread(x, kernel, targets)
    assert found.plan.is_direct == (lengths == "one as wide as the cloud")
    exact = taskfmm.direct(x, m, targets, kernel=kernel, outputs=OUTPUTS)
    (values,) = dask.compute(found.evaluate(m if looked_at else lazy(m, 900), OUTPUTS))
    for output in OUTPUTS:
        assert l2_error(values[output], exact[output]) <= 1e-3, output


@each("eps", [1e-2, 1e-3])
@each("apart", [False, True])
def test_plummer_spheres_keep_eps(eps, apart):
    """They differ from points at any distance: here as much as their reach allows."""
    x, m = cloud("plummer", 65)
    kernel = Gravity(0.13 * np.sqrt(eps) * np.random.default_rng(66).random(N))
    targets = 0.7 * cloud("uniform", 67)[0] if apart else None
    found = spread(x, kernel, targets, eps=eps, leaf_size=10)
    assert not found.plan.is_direct
    exact = taskfmm.direct(x, m, targets, kernel=kernel, outputs=OUTPUTS)
    for output, values in found.evaluate(m, OUTPUTS).items():
        assert l2_error(values.compute(), exact[output]) <= eps, output


@each("name, longest", [("uniform", 0.1), ("plummer", 0.02)])
def test_pairs_within_reach_are_summed_one_by_one(name, longest):
    """No box is narrower than the furthest reach, and none that meets others through expansions is closer to them."""
    x, _ = cloud(name, 68)
    found = spread(x, Gravity(np.linspace(0.0, longest, N), "spline"), leaf_size=3)
    facts, path, n_entries = found.plan.facts, found.plan.depot.path, np.zeros(3, np.int64)
    reach = longest * facts.domain.scale
    for region in regions(found.plan):
        tree = stages.essential_tree(region, facts, path).tree
        assert reach <= 2.0 * box_half_width(facts.domain, tree.n_levels - 1)
        every = lists.build(tree)
        for csr in (every.v, every.w, every.x):
            assert (_gap(tree, csr.rows, csr.idx) >= reach).all()
        n_entries += [every.v.idx.size, every.w.idx.size, every.x.idx.size]
    assert n_entries[0] and (name == "uniform" or n_entries.all())


def test_leaves_are_chosen_for_boxes_as_wide_as_the_longest_length(monkeypatch):
    x, _ = cloud("uniform", 87)
    built, seen = octree.build, []

    def build(sources, targets, leaf_size, domain, threads, reach=None, keys=None):
        seen.append(reach)
        return built(sources, targets, leaf_size, domain, threads, reach, keys)

    monkeypatch.setattr(tune.octree, "build", build)
    for lengths in (0.1, np.linspace(0.0, 0.1, N)):
        spread(x, Gravity(lengths, "spline"), leaf_size=None)
    assert len(seen) > 4 and all((reach == 0.1).all() for reach in seen)


def test_bodies_reach_into_other_regions():
    """What a body does within its length is exact, wherever the other one is, and of no other size."""
    x, _ = cloud("uniform", 69)
    h = 0.2 * np.random.default_rng(70).random(N)
    found, kernel = spread(x, Gravity(h, "spline")), Gravity(h, "spline")
    path, owner = found.plan.depot.path, np.empty(N, np.int64)
    for region in range(found.n_regions):
        owner[stages.points_of(region, path).source_rows] = region
    n_across = 0
    for body in np.argsort(-h)[:20:4]:
        near = np.linalg.norm(x - x[body], axis=1) < 0.9 * h[body]
        n_across += np.count_nonzero(owner[near] != owner[body])
        alone = np.where(np.arange(N) == body, 3.0, 0.0)
        values, exact = found.potential(lazy(alone, 700)).compute(), taskfmm.direct(x, alone, kernel=kernel)
        assert l2_error(values[near], exact[near]) <= ROUNDING
    assert n_across > 50


def test_many_vectors():
    x, _ = cloud("plummer", 71)
    rng = np.random.default_rng(72)
    m, h = rng.uniform(-1, 1, (N, 9)) * 10.0 ** np.arange(-4, 5), 0.04 * rng.random(N)
    found = spread(x, Gravity(h, "spline")).evaluate(m, OUTPUTS)
    exact = taskfmm.direct(x, m, kernel=Gravity(h, "spline"), outputs=OUTPUTS)
    for output, values in found.items():
        values = values.compute()
        for number in range(m.shape[1]):
            assert l2_error(values[..., number], exact[output][..., number]) <= 1e-3


def test_where_all_is_within_reach_sums_are_exact():
    x, m = cloud("uniform", 73)
    for kernel in (
        Gravity(100.0, "spline"),
        Gravity(np.full(N, 1e9)),
        Gravity(np.linspace(0, 1, N), "spline"),
    ):
        values = spread(x, kernel).potential(m).compute()
        assert l2_error(values, taskfmm.direct(x, m, kernel=kernel)) <= 10 * ROUNDING


def test_a_cluster_has_the_same_bits(client):
    x, m = cloud("plummer", 76)
    h = 0.02 * np.random.default_rng(77).random(N)
    expected = spread(x, Gravity(h, "spline"), leaf_size=None).potential(m).compute()
    with dask.config.set(scheduler=client):
        found = spread(x, Gravity(lazy(h, 500), "spline"), leaf_size=None).potential(lazy(m, 800))
        np.testing.assert_array_equal(found.compute(), expected)


def test_the_command_line_has_splines(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LADDER", (N // 3,))
    monkeypatch.setattr(files, "BLOCK", 500)
    x, m = cloud("plummer", 86)
    names = [str(tmp_path / name) for name in ("in.h5", "out.h5")]
    with h5py.File(names[0], "w") as file:
        file["sources"], file["masses"] = x, m
    kernel = ["--kernel", "gravity", "--kernel-param", "softening=0.05", "--kernel-param", "kind=spline"]
    run = ["run", names[0], "-o", names[1], "--spread", "--eps", "1e-3", "--leaf-size", "20", *kernel]
    result = CliRunner().invoke(main, [*run, "--outputs", ",".join(OUTPUTS), "--check", "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    report = json.loads(result.output)
    assert report["n_regions"] > 1 and report["error_estimate_acceleration"] <= 1e-3
    exact = taskfmm.direct(x, m, kernel=Gravity(0.05, "spline"), outputs=OUTPUTS)
    with h5py.File(names[1]) as file:
        for output in OUTPUTS:
            assert l2_error(file[output][()], exact[output]) <= 1e-3


def test_errors_are_those_of_softened_bodies():
    """A sample of targets has their own lengths, where they are the sources, and none where they are not."""
    x, m = cloud("plummer", 78)
    kernel = Gravity(0.2 * np.random.default_rng(79).random(N) ** 2, "spline")
    for targets in (None, 0.5 * x[: N // 3]):
        found = spread(x, kernel, targets)
        for output, values in taskfmm.direct(x, m, targets, kernel=kernel, outputs=OUTPUTS).items():
            assert found.error_estimate(m, values, 200, 1, output) <= 10 * ROUNDING
        assert found.error_estimate(m, np.zeros(found.n_targets)) == 1.0


@each("apart", [False, True])
@each("output", OUTPUTS)
def test_what_is_known_of_masses_is_what_one_process_knows(apart, output):
    """Outputs at a sample of targets are those of softened pairs, what comes through expansions that of points."""
    x, m = cloud("plummer", 80)
    m, kernel = m - 0.5, Gravity(np.full(N, 0.03), "spline")
    targets = cloud("uniform", 81)[0][: N // 2] if apart else None
    found, fmm = spread(x, kernel, targets), taskfmm.Fmm(x, targets, kernel=kernel, eps=1e-3, leaf_size=LEAF)
    given = Given.checked(kernel.without_lengths, m, {}, N)
    ours, theirs = found._chooser.look(given, output), fmm._evaluator.chooser.look(given, output)
    assert ours.many == theirs.many
    for name in ("potential", "gradient"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one.total, other.total, rtol=1e-9)
            for part in ("far", "even", "smooth"):
                np.testing.assert_allclose(
                    getattr(one, part), getattr(other, part), rtol=0.3 if apart else 1e-6
                )
    assert found.accuracy(output, m) == fmm.accuracy(output, m)
