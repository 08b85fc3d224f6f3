"""Input files made to do harm, or damaged: one error that names file and dataset, and no memory spent."""

from __future__ import annotations

import ast
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from cases import each
from h5py import h5d, h5p, h5s, h5t

import taskfmm
from benchmarks.batches import matrix
from taskfmm.errors import InputError
from taskfmm.files import charges as io
from taskfmm.files import datasets
from taskfmm.files import input as reading
from taskfmm.kernels import KERNELS
from taskfmm.sessions import configurations

RNG = np.random.default_rng(441907)
SOURCES = RNG.random((50, 3))
CHARGES = RNG.normal(size=50)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(taskfmm.__file__).parents[1])}


def read(path, kernel="laplace"):
    return io.read(path, KERNELS[kernel])


def refusal(path, kernel="laplace") -> str:
    with pytest.raises(InputError) as caught:
        read(path, kernel)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text


@pytest.fixture
def path(tmp_path):
    """Has good charges, and no sources yet."""
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["charges"] = CHARGES
    return tmp_path / "in.h5"


def low_level(file, kind, shape, change=lambda plist: None):
    """A dataset with settings that h5py has no keyword for."""
    plist = h5p.create(h5p.DATASET_CREATE)
    change(plist)
    return h5d.create(file.id, b"sources", kind, h5s.create_simple(shape), plist)


@each(
    "options",
    [
        dict(shape=(10**15, 3), chunks=(1000, 3)),
        dict(shape=(10**15, 3), chunks=(1, 1), compression="gzip"),
        dict(shape=(2**62, 3), chunks=(2**20, 3), maxshape=(None, 3)),
        dict(shape=(10**12, 3)),
        dict(shape=(50, 3), chunks=(10, 3)),
        dict(shape=(50, 3)),
    ],
)
def test_data_that_is_declared_but_not_there(path, options):
    with h5py.File(path, "a") as file:
        file.pop("sources", None)
        file.create_dataset("sources", dtype="f8", **options)
    assert "/sources declares shape" in refusal(path)


@each("packing", [None, "gzip"])
def test_a_hole_among_chunks(path, packing):
    with h5py.File(path, "a") as file:
        file.pop("sources", None)
        data = file.create_dataset("sources", (50, 3), "f8", chunks=(10, 3), compression=packing)
        data[:20], data[30:] = SOURCES[:20], SOURCES[30:]
    assert "write all of it" in refusal(path)


def test_more_than_deflate_can_hold(path):
    """Chunks that claim to be a million times smaller packed: most are left out, as filters may leave nothing."""
    with h5py.File(path, "a") as file:
        data = file.create_dataset("sources", (4 * 10**7, 3), "f8", chunks=(10**7, 3), compression="gzip")
        for first in range(0, 4 * 10**7, 10**7):
            data.id.write_direct_chunk((first, 0), zlib.compress(bytes(100)))
    assert "/sources declares shape (40000000, 3)" in refusal(path)


def test_more_than_this_machine_holds(path, monkeypatch):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    monkeypatch.setattr(reading, "memory", lambda: 1000)
    assert "this machine has 1.0e+03" in refusal(path)


@each(
    "kind, word",
    [
        (h5t.special_dtype(vlen=np.float64), "arrays of any length"),
        (h5t.special_dtype(vlen=str), "strings"),
        (np.dtype("S8"), "strings"),
        (h5t.special_dtype(ref=h5py.Reference), "references"),
        (h5t.special_dtype(enum=("i4", {"A": 1})), "named values"),
        (np.dtype(bool), "named values"),
        (np.dtype("V8"), "raw bytes"),
        (np.dtype([("x", "f8"), ("y", "f8")]), "records"),
        (np.dtype(("f8", (3,))), "arrays"),
        (np.dtype(complex), "complex numbers"),
    ],
)
def test_what_is_no_real_number(path, kind, word):
    with h5py.File(path, "a") as file:
        file.pop("sources", None)
        file.create_dataset("sources", (50, 3), kind)
    assert f"/sources holds {word}" in refusal(path)


def test_records_of_records(path):
    kind = np.dtype("f8")
    for _ in range(8):
        kind = np.dtype([("a", kind), ("b", kind)])
    with h5py.File(path, "a") as file:
        low_level(file, h5t.py_create(kind, logical=True), (50, 3))
    assert "/sources holds records" in refusal(path)


def test_links_and_types_are_not_datasets(path):
    for make, part in [
        (lambda file: h5py.SoftLink("/charges"), "a link"),
        (lambda file: h5py.SoftLink("/sources"), "a link"),
        (lambda file: h5py.ExternalLink("in.h5", "/charges"), "a link"),
        (lambda file: np.dtype("f8"), "is not a dataset"),
    ]:
        with h5py.File(path, "a") as file:
            if file.get("sources", getlink=True):
                del file["sources"]
            file["sources"] = make(file)
        assert f"/sources {'is ' if part == 'a link' else ''}{part}" in refusal(path)


def test_a_dangling_link_to_targets_is_not_overlooked(path):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
        file["targets"] = h5py.SoftLink("/nowhere")
    assert "/targets is a link" in refusal(path)


def complex_records(**of_one):
    """As h5py writes complex numbers, but for what is said."""
    kind = dict(names=["r", "i"], formats=["f8", "f8"]) | of_one
    return np.dtype(kind)


@each(
    "kind, word",
    [
        (complex_records(formats=["i8", "i8"]), "records"),
        (complex_records(formats=["f8", "f4"]), "records"),
        (complex_records(formats=["f2", "f2"]), "records"),
        (complex_records(offsets=[0, 8], itemsize=2**20), "records"),
        (complex_records(formats=["S8", "S8"]), "records"),
        (complex_records(formats=[np.dtype([("r", "f8"), ("i", "f8")])] * 2), "records"),
        (complex_records(names=["r", "j"]), "records"),
        (np.dtype("S8"), "strings"),
    ],
)
def test_what_is_no_complex_number(path, kind, word):
    with h5py.File(path, "a") as file:
        for name in ("sources", "dipoles"):
            file.pop(name, None)
        file["sources"] = SOURCES
        plain = h5t.py_create(kind, logical=True)
        h5d.create(file.id, b"dipoles", plain, h5s.create_simple((2, 3)))
    assert f"/dipoles holds {word}, expected numbers" in refusal(path, "helmholtz")
    assert f"/dipoles holds {word}, expected real numbers" in refusal(path, "laplace")


@each("kind", ["c8", ">c16", complex_records(formats=["f8", "f8"], offsets=[8, 0])])
def test_complex_numbers_of_any_form(path, kind):
    given = CHARGES.astype("f4") + 1j * CHARGES[::-1].astype("f4")
    with h5py.File(path, "w") as file:
        file["sources"] = SOURCES
        if isinstance(kind, str):
            file["charges"] = given.astype(kind)
        else:
            records = np.zeros(50, kind)
            records["r"], records["i"] = given.real, given.imag
            file["charges"] = records
    np.testing.assert_array_equal(read(path, "helmholtz").given["charges"], given)
    assert "/charges holds complex numbers, expected real numbers" in refusal(path, "laplace")


@each(
    "write, part",
    [
        (lambda file: file.create_dataset("dipoles", (10**12, 3), "c16"), "/dipoles declares shape"),
        (
            lambda file: file.create_dataset("dipoles", (50, 3), "c16", chunks=(9, 3)),
            "/dipoles declares shape",
        ),
        (lambda file: file.__setitem__("dipoles", h5py.SoftLink("/charges")), "/dipoles is a link"),
        (
            lambda file: file.create_dataset(
                "dipoles", (50, 3), "c16", chunks=(10**8, 3), maxshape=(None, 3)
            ),
            "/dipoles has chunks of 4.8e+09 bytes",
        ),
        (lambda file: file.create_group("dipoles"), "/dipoles is not a dataset"),
        (
            lambda file: file.__setitem__("dipoles", SOURCES[:, :2] * 1j),
            "dipoles has shape (50, 2), expected",
        ),
        (
            lambda file: file.__setitem__("dipoles", np.full((50, 3), complex(0, np.inf))),
            "dipoles row 0 is not finite",
        ),
    ],
)
def test_further_datasets_are_looked_at_like_the_first(path, write, part):
    with h5py.File(path, "a") as file:
        for name in ("sources", "dipoles"):
            file.pop(name, None)
        file["sources"] = SOURCES
        write(file)
    assert part in refusal(path, "helmholtz")


def test_complex_numbers_take_twice_the_memory(path, monkeypatch):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    monkeypatch.setattr(reading, "memory", lambda: 8 * 50 * 4)
    read(path)
    assert "declares 2.0e+03 bytes of points and sources" in refusal(path, "helmholtz")


def test_only_what_the_kernel_declares_is_looked_at(path):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
        file["vorticity"] = h5py.ExternalLink("nowhere.h5", "/x")
        file["dipoles_"] = h5py.SoftLink("/dipoles_")
    assert list(read(path).given) == ["charges"]
    assert "/vorticity is a link" in refusal(path, "biot_savart")


def test_groups_in_a_circle_and_great_attributes_do_no_harm(path):
    with h5py.File(path, "a", libver="latest") as file:
        file["sources"] = SOURCES
        file["sources"].attrs["big"] = np.zeros(10**6)
        file["sources"].attrs["object"] = h5py.Empty(h5py.special_dtype(vlen=str))
        group = file.create_group("a")
        group["again"], group["up"] = group, file["/"]
    np.testing.assert_array_equal(read(path).sources, SOURCES)


def test_a_file_of_many_names_is_not_listed_whole(path):
    with h5py.File(path, "a") as file:
        for i in range(300):
            file[f"{i}\n\x1b[31m{'x' * 500}"] = 0
    text = refusal(path)
    assert len(text) < 1000
    assert text.isprintable()


def test_a_block_of_the_user_in_front(tmp_path):
    with h5py.File(tmp_path / "in.h5", "w", userblock_size=1024) as file:
        file["sources"], file["charges"] = SOURCES, CHARGES
    np.testing.assert_array_equal(read(tmp_path / "in.h5").given["charges"], CHARGES)


# a library as HDF5 would load it for a filter; later tests of this process may load it again
PLUGIN = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void loaded(void) {
    if (getenv("MARK")) fclose(fopen(getenv("MARK"), "w"));
}
"""


def filtered(path, number, flags):
    with h5py.File(path, "a") as file:
        low_level(
            file, h5t.IEEE_F64LE, (50, 3), lambda p: (p.set_chunk((50, 3)), p.set_filter(number, flags, ()))
        )
        h5d.open(file.id, b"sources").write_direct_chunk((0, 0), SOURCES.tobytes())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_no_plugin_is_loaded(path, tmp_path, monkeypatch):
    (tmp_path / "plugin.c").write_text(PLUGIN)
    plugin = tmp_path / "plugins" / "libplugin.so"
    plugin.parent.mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-o", plugin, tmp_path / "plugin.c"], check=True)
    mark = tmp_path / "mark"
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(plugin.parent))
    monkeypatch.setenv("MARK", str(mark))
    filtered(path, 32015, h5py.h5z.FLAG_OPTIONAL)
    plain = "import h5py, sys; h5py.File(sys.argv[1])['sources'][()]"
    subprocess.run([sys.executable, "-c", plain, path], check=False, stderr=subprocess.DEVNULL)
    assert mark.exists(), "the plugin of this test does not work"
    mark.unlink()
    assert "packed by filter 32015, which is not read: write it with gzip" in refusal(path)
    assert not mark.exists()


def bomb(size: int = 1_500_000_000, piece: int = 10**7) -> bytes:
    """So many zeros, packed as one piece that is repeated: header, pieces, an empty last one, checksum."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (size % 65521 << 16 | 1).to_bytes(4, "big")  # Adler-32 of zeros
    return zlib.compress(b"")[:2] + packed * (size // piece) + b"\x03\x00" + checksum


MEASURE = """
import resource, sys
from taskfmm import errors
from taskfmm.files import charges as io
from taskfmm.kernels import KERNELS
def peak():
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
before = peak()
try:
    io.read(sys.argv[1], KERNELS["laplace"])
except errors.InputError as error:
    print(error)
print(peak() - before)
"""


def test_a_chunk_that_inflates_far_beyond_its_size(path):
    """HDF5 inflates a chunk to whatever comes out before it looks at what it should have been."""
    with h5py.File(path, "a") as file:
        data = file.create_dataset("sources", (50, 3), "f8", chunks=(50, 3), compression="gzip")
        data.id.write_direct_chunk((0, 0), bomb())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    text, peak = done.stdout.splitlines()
    assert text.startswith(f"{path}: ")
    assert float(peak) < 700, "megabytes"


def test_chunks_of_any_size_are_not_taken(path):
    with h5py.File(path, "a") as file:
        data = file.create_dataset("sources", (50, 3), "f8", chunks=(10**8, 3), maxshape=(None, 3))
        assert data.chunks == (10**8, 3)
    assert "/sources has chunks of 2.4e+09 bytes" in refusal(path)


def test_places_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "loop.h5").symlink_to("loop.h5")
    (tmp_path / "gone.h5").symlink_to("nothing")
    for name, part in [
        ("pipe.h5", "not a regular"),
        ("loop.h5", "symbolic links"),
        ("gone.h5", "no such file"),
    ]:
        assert part in refusal(tmp_path / name)
    for device in ("/dev/null", "/dev/zero", "/dev/stdin"):
        with pytest.raises(InputError):
            read(device)
    with pytest.raises(InputError, match="null"):
        read("in\0.h5")
    with pytest.raises(InputError, match="too long"):
        read("x" * 5000)


def test_a_file_that_changes_while_it_is_read(path, monkeypatch):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    rows = reading.InputFile._fill

    def fill_and_touch(*arguments):
        rows(*arguments)
        os.utime(path, (1, 1))

    monkeypatch.setattr(reading.InputFile, "_fill", fill_and_touch)
    assert "changed while it was read" in refusal(path)


def test_a_library_that_crashes_or_hangs_takes_only_its_own_process(path, monkeypatch, tmp_path):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    reader = (Path(datasets.__file__).parent / "reader.py").read_text()
    monkeypatch.setattr(datasets, "__file__", str(tmp_path / "datasets.py"))
    for what, part in [
        ("import signal; os.kill(os.getpid(), signal.SIGSEGV)", "the HDF5 library ended (-11)"),
        ("SECONDS = 0.5\nold = contents\ndef contents(file):\n    while True: pass", "takes too long"),
        ("def contents(file): sys.stdout.buffer.write(b'{'); os._exit(0)", "the HDF5 library ended (0)"),
        ("def contents(file): return np.zeros(10**10)\nimport numpy as np", "MemoryError"),
    ]:
        front, back = reader.split('if __name__ == "__main__":')
        (tmp_path / "reader.py").write_text(f'{front}\n{what}\nif __name__ == "__main__":{back}')
        assert part in refusal(path)


def test_nothing_is_left_running(path):
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    descriptors = os.listdir("/proc/self/fd") if Path("/proc").is_dir() else []
    for _ in range(3):
        read(path)
    with h5py.File(path, "a") as file:
        del file["charges"]
    refusal(path)
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert not [c for c in children if "reader.py" in Path(f"/proc/{c}/cmdline").read_text()]


def test_flips_and_cuts_everywhere(path):
    """A short form of ``python tests/fuzz.py hdf5``: an InputError, or the right numbers, or finite ones."""
    with h5py.File(path, "a") as file:
        file["sources"] = SOURCES
    image = path.read_bytes()
    for i in range(24):
        data = bytearray(image)
        if i % 3:
            for place in RNG.integers(0, min(len(data), 3000), 3):
                data[place] ^= 1 << RNG.integers(8)
        else:
            del data[RNG.integers(len(data)) :]
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            assert np.isfinite(read(path).sources).all()


def test_nothing_is_unpickled_or_evaluated():
    """Not in the whole package: plans, inputs and configurations are data."""
    forbidden_modules = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    for file in Path(taskfmm.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [(node.module or "").split(".")[0]]
            assert not forbidden_modules & set(names), f"{file}:{node.lineno}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile"), f"{file}:{node.lineno}"
                assert called not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"), (
                    file
                )
                assert not any(k.arg == "allow_pickle" for k in node.keywords), f"{file}:{node.lineno}"
                assert called not in ("np.load", "numpy.load"), f"{file}:{node.lineno}"


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join(9 * [f'*{p}'])}]\n" for p, c in itertools.pairwise("abcdefghijkl")
)


@each("read", [configurations.load, matrix.read])
@each(
    "text, part",
    [
        ("n: " + "[" * 2000, "more than 50 levels of nesting"),
        ("n: 2001-02-30", "cannot be read as YAML: day is out of range"),
        ("n: &a [*a]", "more than 10000 values"),
        (ALIASES, "more than 10000 values"),
        ("n: [1]\nn: [2]", "n stands twice"),
        ("- 1", "is not a YAML mapping"),
        ("n: !!python/name:os.system", "cannot be read as YAML"),
        ("n: '" + "x" * 10**6 + "'", "more than 1000000 bytes"),
    ],
)
def test_yaml_made_to_do_harm(read, text, part, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert part in str(caught.value)


FUZZED = {"hdf5": 150, "yaml": 100, "cli": 150, "plan": 150}
"""Seconds for each; ten minutes by hand when a reader has changed. The seed is another one every night."""


@pytest.mark.nightly
@pytest.mark.parametrize("what", FUZZED)
def test_fuzz(what, tmp_path):
    fuzz = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, fuzz, what, "--seconds", str(FUZZED[what]), "--keep", tmp_path]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout
