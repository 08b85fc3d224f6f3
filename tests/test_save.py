"""Plans that are saved and loaded: the same bits anywhere."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from cases import each

import taskfmm
from taskfmm.store import saved

ROOT = str(Path(taskfmm.__file__).parents[1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.h5"


def results(fmm, charges):
    return dask.compute(fmm.evaluate(charges))[0]


def equal(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("potential", "gradient"))


ELSEWHERE = """
import json, os, sys
from dataclasses import replace
import dask, numpy as np
import taskfmm
from taskfmm.operators import box
from taskfmm.cost import rates

def never(*_):
    raise AssertionError("operators are built")

box.build = never
slow = replace(rates.current(), surface_pair=1e-6, near_one=1e-12, near_two=1e-12)
rates.current = lambda: slow
fmm = taskfmm.Fmm.load(sys.argv[1])
charges = np.load(sys.argv[2])
lazy = fmm.evaluate(charges)
found, = dask.compute(lazy)
assert np.array_equal(found["potential"], fmm.serial(charges)) or "gradient" in found
np.savez(sys.argv[3], names=[a.name for a in lazy.values()], **found)
assert os.listdir(os.environ["TASKFMM_CACHE_DIR"]) == [], "the cache is not touched"
fmm.save(sys.argv[1] + ".again")
"""


def test_another_process_without_a_cache_gives_the_same_bits(fmm, charges, path, tmp_path):
    """And the same keys, whatever the rates say there; saved from there, the file has the same bytes."""
    fmm.save(path)
    np.save(tmp_path / "charges.npy", charges)
    (tmp_path / "cache").mkdir()
    command = [sys.executable, "-c", ELSEWHERE, path, tmp_path / "charges.npy", tmp_path / "found.npz"]
    environment = os.environ | {"TASKFMM_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": ROOT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lazy = fmm.evaluate(charges)
    with np.load(tmp_path / "found.npz") as found:
        assert list(found["names"]) == [array.name for array in lazy.values()]
        assert equal(found, dask.compute(lazy)[0])
    assert Path(f"{path}.again").read_bytes() == path.read_bytes()


def test_all_that_an_fmm_knows_comes_back(fmm, path):
    fmm.save(path)
    found = taskfmm.Fmm.load(path, memory_limit="8GiB")
    assert repr(found) == repr(fmm)
    for name in ("eps", "order", "leaf_size", "dtype", "kernel"):
        assert getattr(found, name) == getattr(fmm, name)
    assert found.memory_limit == 2**33
    np.testing.assert_array_equal(found.sources, fmm.sources)
    assert found.sources.flags.writeable is False
    assert (found.targets is found.sources) == (fmm.targets is fmm.sources)
    assert "levels" in found.facts()
    assert os.listdir(path.parent) == [path.name]


@each("options", [dict(dtype=np.float32), dict(kernel="one"), dict(eps=1e-2, leaf_size=7)])
def test_other_plans(options, path):
    rng = np.random.default_rng(7340033)
    fmm = taskfmm.Fmm(rng.random((700, 3)), **options)
    fmm.save(path)
    charges = rng.integers(-5, 5, 700)
    found = taskfmm.Fmm.load(path).potential(charges).compute()
    assert found.dtype == fmm.dtype
    np.testing.assert_array_equal(found, fmm.potential(charges).compute())


@each("shapes", [(0, None), (0, 5), (5, 0)])
def test_without_points(shapes, path):
    points = [None if n is None else np.ones((n, 3)) for n in shapes]
    taskfmm.Fmm(*points).save(path)
    found = taskfmm.Fmm.load(path)
    n, m = shapes[0], shapes[0] if shapes[1] is None else shapes[1]
    assert found.potential(np.ones(n)).compute().tolist() == [0.0] * m


def test_pickled_and_used_by_threads(tiny, path):
    fmm, charges = tiny
    fmm.save(path)
    expected = results(fmm, charges)
    again = pickle.loads(pickle.dumps(taskfmm.Fmm.load(path)))
    path.unlink()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: equal(results(again, charges), expected), range(8)))


def with_other_operators(fmm, path):
    """A file of a plan with operators that no machine would make."""
    fmm.save(path)
    found = saved.load(path)

    def moved(operators):
        own = operators.at(0)
        return replace(operators, by_level={0: replace(own, m2m=own.m2m * (1 + 1e-7))})

    saved.save(path, replace(found, operators={name: moved(each) for name, each in found.operators.items()}))
    return taskfmm.Fmm.load(path)


def test_operators_of_a_file_are_for_its_plan_alone(clustered, path):
    """A file from anywhere must not change what other plans of this process give."""
    charges = np.random.default_rng(5521).uniform(-1, 1, len(clustered.sources))
    before = results(clustered, charges)
    other = with_other_operators(clustered, path)
    assert not equal(results(other, charges), before)
    assert equal(results(clustered, charges), before)
    fresh = taskfmm.Fmm(clustered.sources, order=3, leaf_size=30)
    np.testing.assert_array_equal(
        fresh.operators("potential").at(0).m2m, clustered.operators("potential").at(0).m2m
    )


def test_operators_of_a_file_travel_to_workers(clustered, path, client, by_reference):
    charges = np.random.default_rng(5522).uniform(-1, 1, len(clustered.sources))
    other = with_other_operators(clustered, path)
    with dask.config.set(scheduler="threads"):
        expected = results(other, charges)
    assert equal(results(other, charges), expected)


def test_without_a_file_the_accuracy_travels(clustered, path):
    """By value, operators would be sent with every task."""
    clustered.save(path)
    shelf = taskfmm.Fmm.load(path)._evaluator.works
    reference = shelf.reference("operators/potential")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(shelf), "publish", lambda self: None)
        assert pickle.loads(pickle.dumps(reference)) == clustered._planned.made(
            clustered.accuracy("potential")
        )
