"""Files: what is read, what is refused, and that an output is whole or absent."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.files import charges, disk, output
from taskfmm.files.output import OutputFile, check_output
from taskfmm.kernels import KERNELS

RNG = np.random.default_rng(518377)
SOURCES = RNG.random((50, 3))
CHARGES = RNG.normal(size=50)
SHAPES = {"potential": (CHARGES.shape, CHARGES.dtype)}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(taskfmm.__file__).parents[1])}
CAPTURE = dict(capture_output=True, text=True, check=False)


read = partial(charges.read, kernel=KERNELS["laplace"])


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
    return path


def refusal(call, *args) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)
    return str(caught.value)


def test_sources_charges_and_targets(tmp_path):
    targets = RNG.random((8, 3)).astype(">f4")
    found = read(write(tmp_path / "in.h5", sources=SOURCES, charges=CHARGES, targets=targets))
    np.testing.assert_array_equal(found.sources, SOURCES)
    np.testing.assert_array_equal(found.given["charges"], CHARGES)
    np.testing.assert_array_equal(found.targets, targets)
    assert found.targets.dtype == np.float64


def test_a_name_of_another_kind_does_no_harm(tmp_path):
    path = write(tmp_path / "in.npy", sources=SOURCES, charges=CHARGES)
    np.testing.assert_array_equal(read(path).given["charges"], CHARGES)


def test_without_targets(tmp_path):
    found = read(write(tmp_path / "in.h5", sources=SOURCES, charges=CHARGES))
    assert found.targets is None


@each(
    "datasets, part",
    [
        (
            dict(charges=CHARGES, x=CHARGES),
            "/sources is missing; found /charges, /x; expected /sources (n",
        ),
        (
            dict(sources=SOURCES, vorticity=SOURCES),
            "no source of kernel laplace is there; found /sources, /vorticity; expected /sources (n, 3) and at least "
            "one of /charges (n,), /dipoles (n, 3) for kernel laplace",
        ),
        (
            dict(sources=SOURCES, charges=CHARGES, dipoles=CHARGES),
            "dipoles has shape (50,), expected (50, 3)",
        ),
        (dict(sources=SOURCES, dipoles=SOURCES * 1j), "/dipoles holds complex numbers"),
        (dict(sources=SOURCES.T, charges=CHARGES), "sources has shape (3, 50), expected (n, 3)"),
        (dict(sources=SOURCES, charges=CHARGES[1:]), "charges has 49 rows, sources has 50"),
        (dict(sources=SOURCES, charges=CHARGES * 1j), "/charges holds complex numbers"),
        (dict(sources=SOURCES, charges=["a"] * 50), "/charges holds strings"),
        (dict(sources=SOURCES, charges=CHARGES, targets=CHARGES), "targets has shape (50,)"),
        ({"sources/x": SOURCES, "charges": CHARGES}, "/sources is not a dataset but a group"),
        (dict(sources=h5py.Empty("f8"), charges=CHARGES), "/sources holds nothing"),
        (dict(sources=SOURCES, charges=np.where(CHARGES[9] == CHARGES, np.nan, CHARGES)), "charges row 9 is"),
    ],
)
def test_refused_contents_name_the_file_and_the_dataset(tmp_path, datasets, part):
    path = write(tmp_path / "in.h5", **datasets)
    text = refusal(read, path)
    assert text.startswith(f"{path}: ")
    assert part in text


def test_files_that_are_not_hdf5(tmp_path):
    assert "no such file" in refusal(read, tmp_path / "none.h5")
    assert "not a regular file" in refusal(read, tmp_path)
    (tmp_path / "text.h5").write_text("sources")
    assert "cannot be read as HDF5" in refusal(read, tmp_path / "text.h5")
    whole = write(tmp_path / "in.h5", sources=SOURCES, charges=CHARGES).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as HDF5" in refusal(read, tmp_path / "cut.h5")


def test_data_that_lives_elsewhere_is_not_followed(tmp_path):
    write(tmp_path / "other.h5", sources=SOURCES)
    path = write(tmp_path / "in.h5", charges=CHARGES)
    with h5py.File(path, "a") as file:
        file["sources"] = h5py.ExternalLink("other.h5", "/sources")
    assert "a link to data elsewhere" in refusal(read, path)

    SOURCES.tofile(tmp_path / "raw")
    path = write(tmp_path / "raw.h5", charges=CHARGES)
    with h5py.File(path, "a") as file:
        file.create_dataset("sources", SOURCES.shape, "f8", external=[(str(tmp_path / "raw"), 0, 50 * 24)])
    assert "stored in other files" in refusal(read, path)

    layout = h5py.VirtualLayout(SOURCES.shape, "f8")
    layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "sources", SOURCES.shape)
    path = write(tmp_path / "virtual.h5", charges=CHARGES)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("sources", layout)
    assert "stored in other files" in refusal(read, path)


def test_flipped_bytes_are_noticed(tmp_path):
    path = tmp_path / "in.h5"
    charges.write_cloud(path, SOURCES, CHARGES, {})
    raw = bytearray(path.read_bytes())
    place = raw.index(SOURCES[20].tobytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    assert "damaged" in refusal(read, path)


def test_an_output_reads_back_with_its_settings(tmp_path):
    path = tmp_path / "out.h5"
    with OutputFile(path, {**SHAPES, "empty": ((0,), CHARGES.dtype)}) as output:
        output.write("potential", 0, CHARGES)
        output.attributes({"eps": 1e-6, "kernel": "laplace"})
        assert not path.exists()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["potential"][()], CHARGES)
        assert file["potential"].fletcher32
        assert file["empty"].shape == (0,)
        assert file.attrs["eps"] == 1e-6
        assert file.attrs["kernel"] == "laplace"
        assert file.attrs["complete"]
    assert os.listdir(tmp_path) == ["out.h5"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_output_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "out.h5"
    path.write_bytes(b"old")
    with pytest.raises(error), OutputFile(path, SHAPES) as output:
        output.write("potential", 0, CHARGES)
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.h5"]


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
@each("limit", [100, 5_000, 80_000])
def test_a_full_disk_leaves_the_old_output(tmp_path, limit):
    # In a process of its own: a library that writes past the limit may take the process down.
    code = f"""
import resource, numpy as np
from taskfmm import errors
from taskfmm.files.output import OutputFile
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    with OutputFile("out.h5", {{"potential": ((10_000,), np.dtype(float))}}) as output:
        output.write("potential", 0, np.ones(10_000))
except errors.InputError as error:
    print(error)
"""
    (tmp_path / "out.h5").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, **CAPTURE)
    assert "out.h5: cannot be written, nothing was changed" in done.stdout
    assert "File too large" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.h5").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.h5"]


@each("after", [0, 1, 2, 5, 30])
def test_a_disk_that_fails_in_the_middle_leaves_the_old_output(tmp_path, after):
    """Room was taken, but the disk fails all the same: HDF5, which might crash or hang, must not hear of it."""
    code = f"""
import numpy as np
from taskfmm import errors
from taskfmm.files import disk
from taskfmm.files.output import OutputFile
write_all, calls = disk.write_all, []

def failing(descriptor, content, place=0):
    calls.append(place)
    if len(calls) > {after}:
        raise OSError(5, "Input/output error")
    write_all(descriptor, content, place)

disk.write_all = failing
try:
    with OutputFile("out.h5", {{"gradient": ((400_000, 3), np.dtype(float))}}) as output:
        for first in range(390_000, -1, -10_000):
            output.write("gradient", first, np.ones((10_000, 3)))
except errors.InputError as error:
    print(error)
"""
    (tmp_path / "out.h5").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, timeout=60, **CAPTURE)
    assert "out.h5: cannot be written, nothing was changed" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.h5").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.h5"]


def test_after_a_failure_hdf5_reads_back_what_it_wrote(tmp_path, monkeypatch):
    """Its index of many chunks leaves its cache and comes back; zeros instead can send it round in circles."""
    sink = output._Sink(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT))
    monkeypatch.setattr(disk, "write_all", lambda *_: os.pwrite(-1, b"", 0))
    values = RNG.random(30_000)
    with h5py.File(sink, "w") as file:
        data = file.create_dataset("x", values.shape, "f8", chunks=(64,), fletcher32=True)
        for first in RNG.permutation(30) * 1000:
            data[first : first + 1000] = values[first : first + 1000]
        file.flush()
        np.testing.assert_array_equal(data[()], values)
    assert sink.failed is not None
    with h5py.File(sink, "r") as file:
        np.testing.assert_array_equal(file["x"][()], values)


def test_room_on_the_disk_is_taken_before_anything_is_computed(tmp_path, monkeypatch):
    def full(descriptor, place, size):
        assert size >= CHARGES.nbytes
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="No space left on device"), OutputFile(tmp_path / "o.h5", SHAPES):
        pytest.fail("was entered")
    assert os.listdir(tmp_path) == []


def test_blocks_in_any_order_across_the_chunks_of_the_file(tmp_path):
    values = RNG.random((2, 70_001, 3))
    cuts = [0, 1, 9_999, 32_768, 40_000, 70_001]
    blocks = [(v, a, b) for v in (0, 1) for a, b in itertools.pairwise(cuts)]
    with OutputFile(tmp_path / "out.h5", {"gradient": (values.shape, values.dtype)}, rows=1) as output:
        for i in RNG.permutation(len(blocks)):
            v, a, b = blocks[i]
            output.write("gradient", (v, a), values[v, a:b])
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["gradient"][()], values)
        assert file["gradient"].fletcher32
        assert file["gradient"].chunks == (1, 2**15, 3)
    # Room taken ahead is given back: padding of the last chunks is all there is besides the values.
    assert (tmp_path / "out.h5").stat().st_size < values.nbytes + 4 * 2**15 * 24


def test_an_output_is_not_held_in_memory(tmp_path):
    code = """
import resource, numpy as np
from taskfmm.files.output import OutputFile
OutputFile("first.h5", {"x": ((9,), np.dtype(float))}).__enter__()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
block = np.ones(100_000)
with OutputFile("out.h5", {"potential": ((20_000_000,), np.dtype(float))}) as output:
    for first in range(0, 20_000_000, 100_000):
        output.write("potential", first, block)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, timeout=60, **CAPTURE)
    assert int(done.stdout) < 40e6, done.stderr


def test_a_failed_move_leaves_the_old_output(tmp_path, monkeypatch):
    (tmp_path / "out.h5").write_bytes(b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), OutputFile(tmp_path / "out.h5", SHAPES) as output:
        output.write("potential", 0, CHARGES)
    assert (tmp_path / "out.h5").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.h5"]


def test_outputs_refused_before_computing(tmp_path):
    source = write(tmp_path / "in.h5", sources=SOURCES, charges=CHARGES)
    os.link(source, tmp_path / "same.h5")
    assert "is the input file" in refusal(check_output, tmp_path / "same.h5", source)
    assert "is a directory" in refusal(check_output, tmp_path)
    assert "No such file or directory" in refusal(check_output, tmp_path / "none" / "out.h5")
    assert "Not a directory" in refusal(check_output, source / "out.h5")
    check_output(tmp_path / "out.h5", source)
    assert sorted(os.listdir(tmp_path)) == ["in.h5", "same.h5"]


def test_an_unwritable_directory(tmp_path, monkeypatch):
    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    text = refusal(check_output, tmp_path / "out.h5")
    assert f"{tmp_path}: Permission denied" in text
