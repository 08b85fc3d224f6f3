"""Plans that are saved and loaded: the same bits anywhere, and nothing at all from a file that cannot be right."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest

import taskfmm
from taskfmm.errors import InputError, StorageError
from taskfmm.explain import facts
from taskfmm.operators import expansions
from taskfmm.plan import file, saved

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
from taskfmm.operators import expansions, rates

def never(*_):
    raise AssertionError("operators are built")

expansions.build = never
slow = replace(rates.current(), surface_pair=1e-6, near_pair=1e-12)
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
    assert "levels" in facts(found)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("options", [dict(dtype=np.float32), dict(kernel="one"), dict(eps=1e-2, leaf_size=7)])
def test_other_plans(options, path):
    rng = np.random.default_rng(7340033)
    fmm = taskfmm.Fmm(rng.random((700, 3)), **options)
    fmm.save(path)
    charges = rng.integers(-5, 5, 700)
    found = taskfmm.Fmm.load(path).potential(charges).compute()
    assert found.dtype == fmm.dtype
    np.testing.assert_array_equal(found, fmm.potential(charges).compute())


@pytest.mark.parametrize("shapes", [(0, None), (0, 5), (5, 0)])
def test_without_points(shapes, path):
    points = [None if n is None else np.ones((n, 3)) for n in shapes]
    taskfmm.Fmm(*points).save(path)
    found = taskfmm.Fmm.load(path)
    n, m = shapes[0], shapes[0] if shapes[1] is None else shapes[1]
    assert found.potential(np.ones(n)).compute().tolist() == [0.0] * m


def test_pickled_and_used_by_threads(fmm, charges, path):
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
        (own,) = operators.by_level
        return replace(operators, by_level=(replace(own, m2m=own.m2m * (1 + 1e-7)),))

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
        assert pickle.loads(pickle.dumps(reference)) == clustered.accuracy("potential")


# -- faults


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small plan, its file and charges, and what they give."""
    rng = np.random.default_rng(40961)
    points = np.concatenate([rng.random((400, 3)), 1e-2 * rng.random((400, 3))])
    fmm = taskfmm.Fmm(points, order=2, leaf_size=20)
    path = tmp_path_factory.mktemp("small") / "plan.h5"
    fmm.save(path)
    charges = rng.uniform(-1, 1, 800)
    return path.read_bytes(), charges, fmm.potential(charges).compute()


def attempt(path, charges):
    """The result of a file, None where it is refused in one of the two ways that it may be."""
    try:
        fmm = taskfmm.Fmm.load(path)
    except (StorageError, InputError):
        return None
    return fmm.potential(charges).compute()


def flip(content, places, rng):
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def _flips(small, path, rounds, seed):
    content, charges, expected = small
    rng = np.random.default_rng(seed)
    refused = 0
    for place in rng.integers(len(content), size=rounds):
        path.write_bytes(flip(content, [place], rng))
        found = attempt(path, charges)
        refused += found is None
        assert found is None or np.array_equal(found, expected), f"byte {place}"
    return refused


def test_flipped_bytes_never_change_a_number(small, path):
    assert _flips(small, path, 60, 1137) > 40


@pytest.mark.nightly
def test_a_thousand_flipped_bytes(small, path):
    assert _flips(small, path, 1000, None) > 700


def test_every_byte_in_front_counts(small, path):
    content, charges, _ = small
    rng = np.random.default_rng(2221)
    for place in (*range(0, 420, 6), *range(420, file.FRONT, 300), file.FRONT - 1):
        path.write_bytes(flip(content, [place], rng))
        assert attempt(path, charges) is None, f"byte {place}"


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_cut_short(small, path, part):
    content, charges, _ = small
    path.write_bytes(content[: int(part * (len(content) - 1))])
    assert attempt(path, charges) is None


def test_a_torn_file(small, path):
    """A piece in the middle never reached the disk."""
    content, charges, _ = small
    path.write_bytes(content[:9000] + bytes(4096) + content[9000 + 4096 :])
    assert attempt(path, charges) is None


def test_files_of_another_kind(path, tmp_path):
    h5py = pytest.importorskip("h5py")
    for name, make in {
        "text": lambda: path.write_text("what is this\n" * 1000),
        "hdf5": lambda: h5py.File(path, "w").create_dataset("sources", data=np.ones((900, 3))).file.close(),
        "empty": lambda: path.write_bytes(b""),
        "folder": lambda: path.mkdir(),
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "nothing": lambda: None,
    }.items():
        make()
        with pytest.raises(StorageError, match=r"plan\.h5: cannot be read as a plan: "):
            taskfmm.Fmm.load(path)
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        assert not path.exists(), name
    with pytest.raises(StorageError, match="embedded null"):
        taskfmm.Fmm.load("a\0b")


# -- places that cannot be written to


@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "no folder", "no such folder"])
def test_places_for_no_file(tiny, tmp_path, what):
    fmm, _ = tiny
    path = tmp_path / "plan.h5"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path)
    elif what == "no folder":
        path.touch()
        path = path / "plan.h5"
    else:
        path = tmp_path / "nowhere" / "plan.h5"
    before = os.listdir(tmp_path)
    with pytest.raises(StorageError, match=r"plan\.h5: cannot be written, nothing was changed: "):
        fmm.save(path)
    assert os.listdir(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tiny, tmp_path):
    fmm, _ = tiny
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        fmm.save(tmp_path / "plan.h5")
    tmp_path.chmod(0o700)


def test_a_failing_disk_leaves_the_older_plan(small, tiny, path, monkeypatch):
    content, _, _ = small
    path.write_bytes(content)
    written = []
    pwrite = os.pwrite

    def failing(descriptor, data, place):
        written.append(len(data))
        if sum(written) > 100_000:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(StorageError, match="nothing was changed: No space left"):
        tiny[0].save(path)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


def test_a_link_to_a_plan_is_replaced_by_the_new_one(small, tiny, path, tmp_path):
    content, _, _ = small
    older = tmp_path / "older.h5"
    older.write_bytes(content)
    path.symlink_to(older)
    tiny[0].save(path)
    assert older.read_bytes() == content
    assert repr(taskfmm.Fmm.load(path)) == repr(tiny[0])


RACER = """
import sys, time, taskfmm
fmm = taskfmm.Fmm.load(sys.argv[1])
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
for _ in range(6):
    fmm.save(sys.argv[2])
"""


def test_of_two_writers_one_wins_whole(small, tiny, path, tmp_path):
    (tmp_path / "one.h5").write_bytes(small[0])
    tiny[0].save(tmp_path / "two.h5")
    contents = [(tmp_path / name).read_bytes() for name in ("one.h5", "two.h5")]
    environment = os.environ | {"PYTHONPATH": ROOT}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, tmp_path / name, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for name in ("one.h5", "two.h5")
    ]  # fmt: skip
    try:
        assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        seen = 0
        while any(racer.poll() is None for racer in racers):
            if path.exists():
                assert path.read_bytes() in contents
                seen += 1
        assert [racer.wait(60) for racer in racers] == [0, 0]
        assert seen > 0
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(os.listdir(tmp_path)) == ["one.h5", "plan.h5", "two.h5"]


def test_loading_while_it_is_replaced(small, tiny, path):
    content, _, _ = small
    path.write_bytes(content)
    ended = threading.Event()

    def replaces():
        while not ended.is_set():
            tiny[0].save(path)

    thread = threading.Thread(target=replaces)
    thread.start()
    try:
        assert {len(taskfmm.Fmm.load(path).sources) for _ in range(20)} <= {800, 900}
    finally:
        ended.set()
        thread.join()


def test_versions_are_said(small, path):
    content, _, _ = small
    facts = json.loads(content.partition(b"\n")[0])
    for changes, message in (
        ({"format": file.FORMAT + 1}, f"has format {file.FORMAT + 1} of taskfmm .* make it again"),
        ({"taskfmm": "99.0"}, "of taskfmm 99.0, .* make it again with this version"),
    ):
        path.write_bytes(file._front(json.dumps(facts | changes).encode()) + content[file.FRONT :])
        with pytest.raises(StorageError, match=message):
            taskfmm.Fmm.load(path)


def test_nothing_is_built_to_load(small, path, monkeypatch):
    path.write_bytes(small[0])
    monkeypatch.setattr(expansions, "build", None)
    assert attempt(path, small[1]) is not None
