"""Saved plans that are damaged, raced or cannot be written: nothing at all from a file that cannot be right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cases import each

import taskfmm
from taskfmm.errors import InputError, StorageError
from taskfmm.operators import box
from taskfmm.store import file

ROOT = str(Path(taskfmm.__file__).parents[1])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.h5"


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


@each("part", [0.0, 0.01, 0.3, 0.9, 1.0])
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
    monkeypatch.setattr(box, "build", None)
    assert attempt(path, small[1]) is not None
