"""Plan files: what is read is what was written, mapped and shared; what is damaged is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from cases import each
from numba.core import event

from taskfmm.errors import StorageError
from taskfmm.graph.build import works
from taskfmm.kernels import KERNELS
from taskfmm.passes import near
from taskfmm.plan.works import Chunk, Halo, Part
from taskfmm.store import file


def same(one, other) -> None:
    """Equal in types, structure, dtypes, shapes and bits."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert np.array_equal(one, other)
        assert other.flags.c_contiguous and other.flags.aligned and other.flags.writeable
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        same(tuple(one.values()), tuple(other.values()))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.h5"


def test_a_whole_plan_comes_back(fmm, path):
    """Works, tree and lists; nothing else is left in the directory."""
    values = {**works(fmm.plan).values, "tree": fmm.plan.tree, "lists": fmm.plan.lists}
    file.write(path, values)
    found = file.PlanFile(path, verify=True)
    assert found.names() == list(values)
    for name, value in values.items():
        same(value, found[name])
    assert found["tree"] is found["tree"]
    assert os.listdir(path.parent) == [path.name]


def test_one_array_stays_one(clustered, path):
    """Targets that are the sources still are, and take no room twice."""
    tree = clustered.plan.tree
    assert tree.targets is tree.sources
    file.write(path, {"tree": tree, "again": tree.sources}, lasting=True)
    found = file.PlanFile(path)
    assert found["tree"].targets is found["tree"].sources
    with h5py.File(path) as raw:
        assert raw["shards/float64"].size <= tree.sources.size + 100


def test_a_lasting_file_is_like_any_other_and_one_of_ours_is_private(path):
    for lasting, mode in ((False, 0o600), (True, 0o666 & ~UMASK)):
        file.write(path, {"a": 1}, lasting=lasting)
        assert path.stat().st_mode & 0o777 == mode


def test_odd_values(path):
    values = {
        "nothing": None,
        "empty": np.empty((3, 0)),
        "strided": np.arange(20.0).reshape(4, 5)[:, ::2],
        "small": np.arange(5, dtype=np.int8),
        "text": "an ångström",
        "numbers": (1, -2.5, 1e-300, float("inf"), True, 2**40),
        "nested": {(3, 1): (), 2: {"a": (None,)}},
        "chunk": Chunk(0, 2, {(2, 0): Part(np.arange(2, dtype=np.int32), np.arange(2, dtype=np.int32))}, {}),
    }
    file.write(path, values)
    found = file.PlanFile(path, verify=True)
    for name, value in values.items():
        same(np.ascontiguousarray(value) if name == "strided" else value, found[name])


def test_numpy_numbers_become_plain_ones(path):
    file.write(path, {"n": (np.int64(3), np.float64(0.1))})
    same(file.PlanFile(path)["n"], (3, 0.1))


def test_no_loop_is_compiled_again_for_mapped_arrays(clustered, path):
    """Layout, alignment and flags are those of arrays in memory."""
    work = clustered.plan.near[0]
    file.write(path, {"work": work})
    rng = np.random.default_rng(6081)
    charges, own = (
        [rng.uniform(-1, 1, (1, 1200)) for _ in halo.shards] for halo in (work.charges, work.mutual.own)
    )
    expected = near.p2p(work, charges, own, KERNELS["laplace"].of_first, "potential", 1)
    compiled = []

    class Listener(event.Listener):
        def on_start(self, found):
            compiled.append(found.data["dispatcher"])

        def on_end(self, found):
            pass

    with event.install_listener("numba:compile", Listener()):
        found = near.p2p(
            file.PlanFile(path)["work"], charges, own, KERNELS["laplace"].of_first, "potential", 1
        )
    np.testing.assert_array_equal(found, expected)
    assert compiled == []


def test_writing_into_what_was_read_changes_no_file(path):
    file.write(path, {"a": np.arange(10.0)})
    file.PlanFile(path)["a"][:] = 0
    np.testing.assert_array_equal(file.PlanFile(path, verify=True)["a"], np.arange(10.0))


def test_a_file_may_go_while_it_is_used(path):
    file.write(path, {"a": np.arange(1e6)})
    found = file.PlanFile(path)
    path.unlink()
    np.testing.assert_array_equal(found["a"], np.arange(1e6))


@each("name", ["shards/float64", "shards/int64", "outline"])
def test_a_flipped_bit_is_noticed(path, name):
    file.write(path, {"a": np.arange(1000.0), "b": np.arange(1000)})
    with h5py.File(path) as raw:
        offset = raw[name].id.get_offset() + raw[name].id.get_storage_size() // 2
    with open(path, "r+b") as raw:
        raw.seek(offset)
        old = raw.read(1)
        raw.seek(offset)
        raw.write(bytes([old[0] ^ 4]))
    with pytest.raises(
        StorageError, match=f"plan.h5: is damaged.*: the (checksum|digest) of (the )?{name} is wrong"
    ):
        file.PlanFile(path, verify=True)


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _front(**changes):
    """Another first line, with the digest that belongs to it."""

    def change(path):
        content = path.read_bytes()
        facts = json.loads(content.partition(b"\n")[0])
        path.write_bytes(file._front(json.dumps(facts | changes).encode()) + content[file.FRONT :])

    return change


@each(
    "damage, message",
    [
        (lambda path: path.unlink(), "cannot be read as a plan: No such file"),
        (lambda path: path.write_bytes(b"something else"), "cannot be read as a plan: it has 14 bytes only"),
        (
            lambda path: path.write_bytes(b"something else" * 1000),
            "cannot be read as a plan: it is a file of another",
        ),
        (_cut, "is damaged.* it has .* bytes of"),
        (lambda path: os.truncate(path, path.stat().st_size + 1), "is damaged.* it has .* bytes of"),
        (_front(format=99), f"has format 99 of taskfmm .*, expected format {file.FORMAT}"),
        (_front(taskfmm="0.0.0"), "of taskfmm 0.0.0, little-endian, expected"),
        (_front(byteorder="big"), "big-endian, expected"),
    ],
)
def test_other_files_are_refused(path, damage, message):
    file.write(path, {"a": np.arange(1000.0)})
    damage(path)
    with pytest.raises(StorageError, match=message):
        file.PlanFile(path)


def test_any_program_can_read_it(path):
    """It is an HDF5 file; the names of the datasets are those of the values."""
    halo = Halo(3, (0, 2), np.arange(3), np.arange(7, dtype=np.int32))
    file.write(path, {"halo": halo, "far": (halo, np.arange(4.0))}, named=["halo"], attributes={"eps": 1e-6})
    with h5py.File(path) as raw:
        np.testing.assert_array_equal(raw["halo/rows"], halo.rows)
        np.testing.assert_array_equal(raw["shards/float64"], np.arange(4.0))
        assert raw.userblock_size == file.FRONT
        assert raw.attrs["eps"] == 1e-6
        assert raw.attrs["format"] == file.FORMAT
    assert file.PlanFile(path)["far"][0] is not None


def test_only_known_classes_are_made(path):
    with pytest.raises(TypeError, match="a PosixPath cannot be part of a plan file"):
        file.write(path, {"a": path})

    class Halo:
        pass

    with pytest.raises(TypeError, match="a Halo cannot be part of a plan file"):
        file.write(path, {"a": Halo()})


def test_a_value_of_another_type_is_refused(path):
    file.write(path, {"a": (1, 2)})
    assert file.PlanFile(path).read("a", tuple[int, ...]) == (1, 2)
    with pytest.raises(StorageError, match="a is missing or of another type"):
        file.PlanFile(path).read("a", tuple[float, ...])
    with pytest.raises(StorageError, match="b is missing"):
        file.PlanFile(path).read("b", int)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(
        StorageError, match="cannot be written, nothing was changed: No such file or directory"
    ):
        file.write(tmp_path / "nowhere" / "plan.h5", {"a": 1})
    with pytest.raises(TypeError):
        file.write(tmp_path / "plan.h5", {"a": np.arange(3), "b": object()})
    assert os.listdir(tmp_path) == []


FULL = """
import os, resource, signal, sys
import numpy as np
from taskfmm.errors import StorageError
from taskfmm.store import file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open(sys.argv[1], "w") as old:
    old.write("old")
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        file.write(sys.argv[1], {"a": np.arange(2e6), "b": np.arange(9)})
    except StorageError as error:
        assert "cannot be written, nothing was changed: File too large" in str(error), error
    else:
        raise AssertionError(f"it was written, limit {limit}")
    assert open(sys.argv[1]).read() == "old"
    assert os.listdir(os.path.dirname(sys.argv[1])) == [os.path.basename(sys.argv[1])]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are of POSIX")
def test_a_full_disk_is_an_error_and_no_crash(path):
    """A limit of the size of files stands for the disk, at several places of the file."""
    command = [sys.executable, "-c", FULL, path, "100", "5000", "9000000", "16000100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


WRITER = """
import sys, time
import numpy as np
from taskfmm.store import file
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    file.write(sys.argv[1], {"a": np.arange(3e5)})
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new(path):
    for delay in (0.0, 0.013, 0.031):
        with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(0.2 + delay)
            writer.kill()
        assert file.PlanFile(path, verify=True)["a"].size == 300_000
