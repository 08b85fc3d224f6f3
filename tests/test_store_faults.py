"""Everything that can be wrong with the cache: never a wrong number, never a lost file, one warning at most."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from cases import each
from conftest import others_can_read

import taskfmm
from taskfmm.cost import rates
from taskfmm.files import cache, disk
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, box, calibrated, store

ROOT = {"PYTHONPATH": str(Path(taskfmm.__file__).parents[1])}
KERNEL = KERNELS["laplace"].of_first
ACCURACY = calibrated.choose(KERNEL, 1e-2, "potential", np.dtype(float), None)
RNG = np.random.default_rng(1209553)


@pytest.fixture(scope="module")
def operators():
    return box.build(KERNEL, ACCURACY)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(tmp_path / "cache"))
    store._said.clear()
    return tmp_path


@pytest.fixture
def kept(operators, home):
    """The file of a filled cache."""
    store.save(KERNEL, operators)
    return store.path(KERNEL, ACCURACY)


def same(found, operators):
    for field in fields(operators):
        mine, other = getattr(found, field.name), getattr(operators, field.name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(mine, other)
        elif field.name == "m2l":
            same(mine, other)


def ask(operators, caplog, built, warned):
    """Ask the cache for operators; says whether they had to be built, and how often it warned."""
    caplog.clear()
    calls = []
    with caplog.at_level(logging.INFO, "taskfmm"):
        found = store.kept(KERNEL, ACCURACY, 1.0, lambda: (calls.append(1), operators)[1])
    same(found, operators)
    assert (len(calls), len(caplog.records)) == (built, warned), caplog.text


def test_kept_once_found_ever_after(operators, caplog):
    ask(operators, caplog, built=1, warned=0)
    ask(operators, caplog, built=0, warned=0)
    (file,) = cache.directory().iterdir()
    assert file.name.endswith(".h5")


@each("part", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
def test_cut_anywhere(kept, operators, caplog, part):
    store._said.clear()
    content = kept.read_bytes()
    kept.write_bytes(content[: int(part * (len(content) - 1))])
    ask(operators, caplog, built=1, warned=1)
    assert kept.read_bytes() == content
    ask(operators, caplog, built=0, warned=0)


def test_flipped_anywhere(kept, operators, caplog):
    content = kept.read_bytes()
    places = [
        *range(0, 40),
        store.FRONT,
        store.FRONT + 8,
        *RNG.integers(0, len(content), 20),
        len(content) - 1,
    ]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << RNG.integers(8)
        kept.write_bytes(damaged)
        with pytest.raises(OSError, match="changed since"):
            store.load(KERNEL, ACCURACY)
    store._said.clear()
    ask(operators, caplog, built=1, warned=1)
    kept.write_bytes(content + b"\0")
    with pytest.raises(OSError, match="changed since"):
        store.load(KERNEL, ACCURACY)


def test_of_another_version(kept, operators, caplog, monkeypatch):
    """Under the right name, whole, but from the future."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "FORMAT", store.FORMAT + 1)
        store.save(KERNEL, operators)
        future = store.path(KERNEL, ACCURACY)
    assert future != kept
    shutil.copy(future, kept)
    ask(operators, caplog, built=1, warned=1)
    assert "another kernel, accuracy or version" in caplog.text


def test_places_that_are_no_files(kept, operators, caplog):
    for make in (kept.mkdir, lambda: kept.symlink_to(kept), lambda: os.mkfifo(kept)):
        store._said.clear()
        kept.unlink() if not kept.is_dir() else kept.rmdir()
        make()
        ask(operators, caplog, built=1, warned=1)
        if kept.is_dir():
            kept.rmdir()
            kept.touch()
        else:
            ask(operators, caplog, built=0, warned=0)


@pytest.mark.parametrize("where", ["file", "below a file", "loop", "dangling"])
def test_a_cache_directory_that_cannot_be(home, operators, caplog, monkeypatch, where):
    place = home / "place"
    if where == "loop":
        place.symlink_to(place)
    elif where == "dangling":
        place.symlink_to(home / "none" / "where")
    else:
        place.write_text("mine")
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(place / "deep" if where == "below a file" else place))
    ask(operators, caplog, built=1, warned=1)
    ask(operators, caplog, built=1, warned=0)
    if "file" in where:
        assert place.read_text() == "mine"
    rates.current.cache_clear()
    assert rates.current() == rates.DEFAULT
    rates.current.cache_clear()


def test_a_directory_that_is_not_there_yet(home, operators, caplog, monkeypatch):
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(home / "a" / "b" / "c"))
    ask(operators, caplog, built=1, warned=0)
    ask(operators, caplog, built=0, warned=0)


def test_a_disk_that_is_full(kept, operators, caplog, monkeypatch):
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "write_all", full)
    ask(operators, caplog, built=1, warned=1)
    assert os.listdir(kept.parent) == [kept.name]
    assert kept.read_bytes() == content
    kept.unlink()
    # the same trouble is said once
    ask(operators, caplog, built=1, warned=0)
    assert os.listdir(kept.parent) == []


def in_a_process(code: str, **options) -> str:
    program = f"""
import logging, os, resource, sys
logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout)
{code}
"""
    environment = {**os.environ, **ROOT, **options.pop("env", {})}
    environment = {key: value for key, value in environment.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        **options,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


LOAD = """
from taskfmm.kernels import KERNELS
from taskfmm.operators import calibrated, levels
import hashlib, numpy as np
chosen = calibrated.choose(KERNELS["laplace"].of_first, 1e-2, "potential", np.dtype(float), None)
found = levels.load(KERNELS["laplace"].of_first, chosen)
levels.load(KERNELS["laplace"].of_first, chosen)
print(hashlib.sha256(b"".join(array.tobytes() for array in found.m2l.arrays().values())).hexdigest())
"""


def digest(operators) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in operators.m2l.arrays().values())).hexdigest()


def test_the_limit_of_a_file_size_takes_no_process_down(home, operators):
    text = in_a_process("resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))\n" + LOAD)
    warning, found = text.splitlines()
    assert warning.startswith("operators cannot be kept")
    assert found == digest(operators)
    assert os.listdir(home / "cache") == []


NOBODY = dict(user=65534, group=65534, extra_groups=[])
BECOME_NOBODY = """
import numpy as np
from taskfmm.kernels import KERNELS
from taskfmm.operators import calibrated
from taskfmm.operators import box
# Python and compiled kernels may lie where only root can read: load all of it first
kernel = KERNELS["laplace"].of_first
box.build(kernel, calibrated.choose(kernel, 1e-2, "potential", np.dtype(float), None))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not others_can_read(), reason="the package lies where no other user can read")
@pytest.mark.parametrize("what", ["directory", "file"])
def test_without_permission(kept, operators, what, tmp_path):
    """As a user who may read the cache directory only, or not even the file."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o5 != 0o5:
            parent.chmod(0o755)
    content = kept.read_bytes()
    if what == "file":
        kept.chmod(0)
    else:
        kept.unlink()
    kept.parent.chmod(0o555)
    warning, found = in_a_process(BECOME_NOBODY + LOAD).splitlines()
    assert "Permission denied" in warning
    assert found == digest(operators)
    if what == "file":
        assert kept.read_bytes() == content


@pytest.mark.nightly
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_write_nowhere(operators):
    """Kernels are compiled anew in each process, with one warning; Numba alone would refuse."""
    probe = [sys.executable, "-c", "import taskfmm"]
    try:
        subprocess.run(probe, env={**os.environ, **ROOT}, capture_output=True, check=True, **NOBODY)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("another user cannot run this Python")
    home = {"HOME": "/nonexistent", "TASKFMM_CACHE_DIR": "/proc/none", "NUMBA_CACHE_DIR": None}
    first, second, found = in_a_process(LOAD, env=home, cwd="/", **NOBODY).splitlines()
    assert "NUMBA_CACHE_DIR" in first
    assert "operators cannot be kept" in second
    assert found == digest(operators)


def test_without_a_home(home, operators):
    """A user without an entry in the password file, and no HOME: not the working directory."""
    code = """
import platformdirs
platformdirs.user_cache_dir = lambda *_: "~/.cache/taskfmm"
"""
    text = in_a_process(code + LOAD, env={"HOME": None, "TASKFMM_CACHE_DIR": None}, cwd=home)
    warning, found = text.splitlines()
    assert "there is no home directory: set TASKFMM_CACHE_DIR" in warning
    assert found == digest(operators)
    assert os.listdir(home) == []


def test_processes_that_race_for_one_place(home, operators):
    program = [sys.executable, "-c", "import sys\n" + LOAD]
    racers = [
        subprocess.Popen(program, env={**os.environ, **ROOT}, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {racer.communicate(timeout=100)[0].strip() for racer in racers} == {digest(operators)}
    assert all(racer.returncode == 0 for racer in racers)
    (_,) = (home / "cache").iterdir()
    same(store.load(KERNEL.expands, ACCURACY), operators)


def test_flipped_rates_are_not_used(caplog):
    rates.keep(rates.DEFAULT)
    content = rates.path().read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << RNG.integers(7)
        rates.path().write_bytes(damaged)
        rates.current.cache_clear()
        caplog.clear()
        assert rates.current() == rates.DEFAULT
        # a flip in white space changes nothing, and is none
        assert len(caplog.records) <= 1
    rates.path().unlink()
    os.mkfifo(rates.path())
    rates.current.cache_clear()
    assert rates.current() == rates.DEFAULT
    rates.current.cache_clear()


@pytest.mark.nightly
def test_flipped_at_every_place(kept):
    content = kept.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 5000)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << RNG.integers(8)
        kept.write_bytes(damaged)
        with pytest.raises(OSError, match="changed since"):
            store.load(KERNEL, ACCURACY)


def test_operators_that_were_not_used_for_longest_make_room(home, monkeypatch):
    """A file that is read counts as used; measured errors, which are small, stay."""
    accuracies = [accuracy.Accuracy(order, 1e-2, 1e-2) for order in (3, 6, 2)]
    for number, chosen in enumerate(accuracies[:2]):
        store.save(KERNEL.expands, box.build(KERNEL, chosen))
        os.utime(store.path(KERNEL.expands, chosen), (number, number))
    small = store.path(KERNEL.expands, accuracies[0]).with_suffix(".json")
    small.write_text("{}")
    store.load(KERNEL.expands, accuracies[0])
    third = box.build(KERNEL, accuracies[2])
    held = sum(file.stat().st_size for file in cache.directory().glob("*.h5"))
    monkeypatch.setattr(store, "MOST", held + 1)
    store.save(KERNEL.expands, third)
    kept = [store.is_kept(KERNEL.expands, chosen) for chosen in accuracies]
    assert kept == [True, False, True]
    assert small.exists()
