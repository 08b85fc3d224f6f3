"""From file to file for points that no process holds: HDF5 and Zarr, read and written by slices."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from boxes import l2_error
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.cli import spread as in_tasks
from taskfmm.errors import InputError
from taskfmm.files import datasets, zarr_output
from taskfmm.files.output import OutputFile
from taskfmm.files.slices import Slices
from taskfmm.spread import files, room

N, ROWS = 3000, 800
RNG = np.random.default_rng(550117)
X, Q = RNG.random((N, 3)), RNG.uniform(-1, 1, N)
needs_zarr = pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="without zarr")


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Chunks of some hundred rows, and several regions, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "BLOCK", 100)
    monkeypatch.setattr(files, "MOST_ROWS", ROWS)
    monkeypatch.setattr(room, "LADDER", (N // 3,))


def write(path: str, **arrays: np.ndarray) -> str:
    """An input file, of the format that its name says."""
    if not path.endswith(".zarr"):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
        return path
    import zarr

    group = zarr.create_group(path, overwrite=True)
    for name, array in arrays.items():
        group.create_array(name, data=array, chunks=(700, *array.shape[1:]))
    return path


def read(path: str) -> tuple[dict[str, np.ndarray], dict]:
    """The datasets of an output, and its attributes."""
    if not path.endswith(".zarr"):
        with h5py.File(path) as file:
            return {name: file[name][()] for name in file}, dict(file.attrs)
    import zarr

    group = zarr.open_group(path, mode="r")
    return {name: array[...] for name, array in group.arrays()}, dict(group.attrs)


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def lazy(array: np.ndarray) -> da.Array:
    return da.from_array(array, chunks=(ROWS, *array.shape[1:]))


def expected(**how) -> np.ndarray:
    return taskfmm.Fmm.from_dask(lazy(X), eps=1e-3, **how).potential(lazy(Q)).compute()


@needs_zarr
@each("source, output", [("in.h5", "out.zarr"), ("in.zarr", "out.h5")])
def test_values_are_those_of_from_dask_bit_for_bit(source, output):
    write(source, sources=X, charges=Q)
    options = ["--spread", "--eps", 1e-3, "--leaf-size", 40, "--json"]
    report = json.loads(call("run", source, "-o", output, *options).output)
    assert report["n_sources"] == report["n_targets"] == N
    assert report["n_regions"] > 1
    found, attributes = read(output)
    assert attributes == {"eps": 1e-3, "kernel": "laplace", "version": taskfmm.__version__, "complete": True}
    np.testing.assert_array_equal(found.pop("potential"), expected(leaf_size=40))
    assert not found
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_hdf5_needs_no_zarr(monkeypatch):
    def missing(name):
        raise datasets.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.setattr(datasets.importlib.metadata, "version", missing)
    write("in.h5", sources=X, charges=Q)
    call("run", "in.h5", "-o", "out.h5", "--spread", "--eps", 1e-3)
    np.testing.assert_array_equal(read("out.h5")[0]["potential"], expected())
    says = "Zarr needs the package zarr, 3.0 or newer: pip install 'taskfmm[zarr]'"
    assert f"out.zarr: {says}" in call("run", "in.h5", "-o", "out.zarr", code=1).stderr
    Path("in.zarr").mkdir()
    Path("in.zarr/zarr.json").touch()
    assert f"in.zarr: {says}" in call("run", "in.zarr", "-o", "out.h5", code=1).stderr
    assert sorted(os.listdir()) == ["in.h5", "in.zarr", "out.h5"]


@pytest.mark.parametrize("output", ["out.h5", pytest.param("out.zarr", marks=needs_zarr)])
def test_this_process_reads_and_plans_nothing(output, client, monkeypatch):
    """Workers do; of the results of HDF5 one block after the other passes through, of Zarr none."""
    sizes, usual = [], OutputFile.write

    def refuse(*_):
        pytest.fail("rows were read or written in this process")

    def counted(self, name, first, block):
        sizes.append(len(block))
        usual(self, name, first, block)

    monkeypatch.setattr(datasets.Datasets, "rows", refuse)
    monkeypatch.setattr(zarr_output, "_write", refuse)
    monkeypatch.setattr(OutputFile, "write", counted)
    write("in.h5", sources=X, charges=Q)
    call("run", "in.h5", "-o", output, "--spread", "--eps", 1e-3)
    assert max(sizes, default=0) <= ROWS
    np.testing.assert_array_equal(read(output)[0]["potential"], expected())


@needs_zarr
@needs_zarr
@each("output", ["out.h5", "out.zarr"])
def test_what_was_written_is_compared_with_the_direct_sum(output):
    write("in.h5", sources=X, charges=Q, targets=X[:900] + 0.01)
    options = ["--gradient", "--order", 5, "--eps", 1e-3, "--json"]
    found = json.loads(call("run", "in.h5", "-o", output, "--spread", "--check", *options).output)
    for name in ("potential", "gradient"):
        exact = taskfmm.direct(X, Q, X[:900] + 0.01, outputs=(name,))[name]
        written = read(output)[0][name]
        error = np.linalg.norm(written - exact) / np.linalg.norm(exact)
        told = found["error_estimate" + ("" if name == "potential" else "_gradient")]
        assert told == pytest.approx(error, rel=1e-6)  # of all targets, which are fewer than the sample


def test_vectors_and_complex_charges():
    many = RNG.normal(size=(N, 3)) + 1j * RNG.normal(size=(N, 3))
    write("in.zarr", sources=X, charges=many)
    call("run", "in.zarr", "-o", "out.h5", "--spread", "--eps", 1e-3)
    exact = taskfmm.Fmm.from_dask(lazy(X), eps=1e-3).potential(lazy(many)).compute()
    found = read("out.h5")[0]["potential"]
    assert (found.shape, found.dtype) == ((N, 3), np.complex128)
    np.testing.assert_array_equal(found, exact)


@needs_zarr
def test_forces_and_gradients_by_order():
    forces = RNG.normal(size=(N, 3))
    write("in.h5", sources=X, forces=forces)
    call("run", "in.h5", "-o", "out.zarr", "--spread", "--order", 4, "--kernel", "stokes")
    stokes = taskfmm.Fmm.from_dask(lazy(X), kernel=taskfmm.kernels.Stokes(1.0), order=4)
    np.testing.assert_array_equal(
        read("out.zarr")[0]["velocity"], stokes.evaluate(lazy(forces), "velocity")["velocity"].compute()
    )
    write("in.h5", sources=X, charges=Q)
    call("run", "in.h5", "-o", "out.zarr", "--spread", "--order", 4, "--gradient")
    found, _ = read("out.zarr")
    both = taskfmm.Fmm.from_dask(lazy(X), order=4).evaluate(lazy(Q), ("potential", "gradient"))
    for name, values in dask.compute(both)[0].items():
        np.testing.assert_array_equal(found[name], values)


@needs_zarr
def test_formats_do_not_decide_the_way():
    """Zarr is read and written by one process, too, and by a batch."""
    write("in.zarr", sources=X, charges=Q)
    assert "n_regions" not in json.loads(call("run", "in.zarr", "-o", "out.zarr", "--json").output)
    exact = taskfmm.Fmm(X).potential(Q).compute()
    np.testing.assert_array_equal(read("out.zarr")[0]["potential"], exact)
    write("in.zarr", sources=X, charges=np.stack([Q, -Q]))
    call("run", "in.zarr", "-o", "out.zarr", "--charges-batch")
    np.testing.assert_allclose(read("out.zarr")[0]["potential"], [exact, -exact], rtol=1e-9, atol=1e-12)


def test_large_files_stay_where_they_are(monkeypatch):
    write("in.h5", sources=X, charges=Q)
    n_bytes = 8 * 4 * N
    for memory, options, stays in [
        (10 * n_bytes, [], False),
        (10 * n_bytes, ["--spread"], True),
        (10 * n_bytes - 1, [], True),
        (10 * n_bytes - 1, ["--one-process"], False),
    ]:
        monkeypatch.setattr(in_tasks, "memory", lambda memory=memory: memory)
        report = json.loads(call("run", "in.h5", "-o", "out.h5", "--eps", 1e-3, "--json", *options).output)
        assert ("n_regions" in report) == stays
    call("plan", "in.h5", "-o", "plan.h5", "--eps", 1e-3)
    report = json.loads(call("run", "in.h5", "--plan", "plan.h5", "-o", "out.h5", "--json").output)
    assert "n_regions" not in report


@each(
    "arrays, says",
    [
        (dict(sources=np.where(np.arange(3 * N).reshape(N, 3) == 5101, np.nan, X), charges=Q),
         "in.h5: sources row 1700 is not finite: [0."),
        (dict(sources=X, charges=np.where(np.arange(N) == 1700, np.inf, Q)),
         "in.h5: charges row 1700 is not finite: inf, in chunk 2"),
        (dict(sources=X, charges=Q[:-1]), "in.h5: charges has 2999 rows, sources has 3000"),
        (dict(sources=X, charges=1.0), "in.h5: /charges is a single number"),
        (dict(sources=X), "in.h5: no source of kernel laplace is there; found /sources"),
        (dict(charges=Q), "in.h5: /sources is missing; found /charges"),
        (dict(sources=X.T, charges=Q), "did you mean sources.T?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_nothing_is_written(arrays, says):
    write("in.h5", **arrays)
    found = call("run", "in.h5", "-o", "out.h5", "--spread", "--eps", 1e-3, code=1).stderr
    assert says in found
    if "sources row" in says:
        assert found.endswith(", in chunk 2\n")
    assert os.listdir() == ["in.h5"]


@each(
    "options, says",
    [
        (["--memory-limit", "1GiB"], "--memory-limit cannot be given"),
        (["--box", 2], "--box cannot be given"),
        (["--plan", "plan.h5"], "--spread cannot be given with --plan"),
        (["--charges-batch"], "--spread cannot be given with --charges-batch"),
    ],
)
def test_options_that_it_does_not_have(options, says):
    write("in.h5", sources=X, charges=Q)
    assert says in call("run", "in.h5", "-o", "out.h5", "--spread", *options, code=2).stderr


def test_targets_of_a_file():
    write("in.h5", sources=X, charges=Q, targets=X[:70] + 0.01)
    report = json.loads(call("run", "in.h5", "-o", "out.h5", "--spread", "--eps", 1e-3, "--json").output)
    assert (report["n_sources"], report["n_targets"]) == (N, 70)
    exact = taskfmm.direct(X, Q, X[:70] + 0.01)
    assert l2_error(read("out.h5")[0]["potential"], exact) <= 1e-3


def test_what_from_dask_refuses_is_the_error(monkeypatch):
    def refuses(points, kernel, eps, order, leaf_size, targets=None):
        raise InputError("not today:\n give less")

    write("in.h5", sources=X, charges=Q)
    monkeypatch.setattr(taskfmm.Fmm, "from_dask", staticmethod(refuses))
    found = call("run", "in.h5", "-o", "out.h5", "--spread", code=1).stderr
    assert found == "Error: in.h5: not today: give less\n"
    assert os.listdir() == ["in.h5"]


@needs_zarr
def test_no_two_tasks_write_one_chunk(monkeypatch):
    """However a plan cuts its results."""

    class Odd:
        n_targets, n_regions = N, 1

        def evaluate(self, outputs, charges):
            return {"potential": da.from_array(Q, chunks=37)}

    written, usual = [], in_tasks.write_block
    monkeypatch.setattr(in_tasks, "write_block", lambda *args: (written.append(args[2:]), usual(*args)))
    monkeypatch.setattr(taskfmm.Fmm, "from_dask", staticmethod(lambda points, kernel, eps: Odd()))
    write("in.h5", sources=X, charges=Q)
    call("run", "in.h5", "-o", "out.zarr", "--spread")
    assert [(first, len(block)) for first, block in sorted(written, key=lambda each: each[0])] == [
        (0, ROWS), (ROWS, ROWS), (2 * ROWS, ROWS), (3 * ROWS, N - 3 * ROWS),
    ]  # fmt: skip
    np.testing.assert_array_equal(read("out.zarr")[0]["potential"], Q)


def test_slices_are_read_as_they_are_asked_for():
    write("in.h5", sources=X, **{"run/charges": Q})
    found = taskfmm.dataset("in.h5", "/run/charges")
    assert found.chunks == ((ROWS, ROWS, ROWS, N - 3 * ROWS),)
    np.testing.assert_array_equal(found.compute(), Q)
    points = taskfmm.dataset("in.h5", "sources", rows=1000)
    assert (points.chunks, points.dtype) == (((1000,) * 3, (3,)), np.dtype("f8"))
    for index in (
        np.s_[990:1010],
        np.s_[5],
        np.s_[-1, 2],
        np.s_[2500:100:-7, 1:],
        np.s_[10:10],
        np.s_[::900, 0],
    ):
        np.testing.assert_array_equal(Slices.at("in.h5", "sources")[index], X[index])
    np.testing.assert_array_equal(points[1500:100:-7, 1:].compute(), X[1500:100:-7, 1:])
    assert files.rows_of_chunks([10**9]) == 100


@each(
    "name, says",
    [
        ("none", "/none is missing; found /link, /one, /run, /sources"),
        ("", "is no name of a dataset"),
        ("a\nb", "is no name of a dataset"),
        ("link", "/link is a link to data elsewhere"),
        ("link/charges", "/link is a link to data elsewhere"),
        ("run", "/run is not a dataset"),
        ("one", "/one is a single number"),
    ],
)
def test_datasets_that_are_refused(name, says):
    write("in.h5", sources=X, one=np.float64(1.0), **{"run/charges": Q})
    with h5py.File("in.h5", "a") as file:
        file["link"] = h5py.SoftLink("/run")
    with pytest.raises(InputError) as caught:
        taskfmm.dataset("in.h5", name)
    assert says in str(caught.value)


def test_a_file_that_changes_between_tasks():
    write("in.h5", sources=X)
    found = taskfmm.dataset("in.h5", "sources")
    os.utime("in.h5", (1, 1))
    with pytest.raises(
        InputError, match=r"changed while it was read.* \(reading rows 800 to 1599 of /sources\)"
    ):
        found[ROWS : 2 * ROWS].compute()


def edit(path: str, **facts) -> None:
    found = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps(found | facts))


@needs_zarr
def test_zarr_that_is_refused():
    def refusal(name="sources"):
        with pytest.raises(InputError) as caught:
            taskfmm.dataset("in.zarr", name)[:5].compute()
        return str(caught.value)

    write("in.zarr", sources=X, charges=Q)
    assert "/none is missing; found /charges, /sources" in refusal("none")
    assert "is missing" in refusal("../in.zarr/sources")
    description = "in.zarr/sources/zarr.json"
    for facts, says in [
        (dict(codecs=[{"name": "numcodecs.pickle"}]), "is packed by 'numcodecs.pickle'"),
        (dict(codecs=[{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "odd"}]}}]), "by 'odd'"),
        (dict(data_type="string"), "holds string, expected numbers"),
        (dict(data_type={"name": "numpy.datetime64"}), "expected numbers"),
        (dict(node_type="group"), "is not an array but a group"),
        (dict(shape=[2**40, 3], chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2**40, 3]}}),
         "chunks of 2.6e+13 bytes"),
        (dict(shape="x" * 2**20), "a description of more than"),
        (dict(codecs=None), "cannot be read as Zarr"),
    ]:  # fmt: skip
        write("in.zarr", sources=X)
        edit(description, **facts)
        assert says in refusal()
    write("in.zarr", sources=X)
    Path(description).write_text("[" * 10**5)
    assert "cannot be read as Zarr" in refusal()
    write("in.zarr", sources=X)
    Path("in.zarr/sources").rename("elsewhere")
    Path("in.zarr/sources").symlink_to(Path("elsewhere").absolute())
    assert "/sources is a link to data elsewhere" in refusal()
    write("damaged.zarr", sources=X)
    chunk = next(path for path in Path("damaged.zarr/sources/c").rglob("*") if path.is_file())
    chunk.write_bytes(b"nothing that was ever packed")
    with pytest.raises(InputError, match=r"cannot be read as Zarr.*reading rows"):
        taskfmm.dataset("damaged.zarr", "sources").compute()


@needs_zarr
def test_zarr_of_version_2_that_unpickles_is_refused():
    """The codec would run what it reads."""
    import numcodecs
    import zarr

    group = zarr.create_group("in.zarr", zarr_format=2)
    group.create_array("sources", data=X, chunks=(700, 3), order="F")
    np.testing.assert_array_equal(taskfmm.dataset("in.zarr", "sources").compute(), X)
    edit("in.zarr/sources/.zarray", filters=[{"id": "pickle"}])
    assert numcodecs.get_codec({"id": "pickle"})
    with pytest.raises(InputError, match="is packed by 'pickle', which is not read"):
        taskfmm.dataset("in.zarr", "sources")


@needs_zarr
def test_only_results_are_replaced(monkeypatch):
    write("in.h5", sources=X, charges=Q)
    write("mine.zarr", sources=X)
    run = ["run", "in.h5", "--spread", "--eps", 1e-3, "-o"]
    assert "not a result of taskfmm" in call(*run, "mine.zarr", code=1).stderr
    Path("some.zarr").mkdir()
    assert "not a result of taskfmm" in call(*run, "some.zarr", code=1).stderr
    for other in ("mine.zarr", "mine.zarr/out.zarr"):
        found = call("run", "mine.zarr", "-o", other, "--spread", code=1).stderr
        assert "is the input, or one is inside the other" in found
    assert "cannot be written" in call(*run, "none/out.zarr", code=1).stderr
    call(*run, "out.zarr")
    before = read("out.zarr")[0]["potential"]
    monkeypatch.setattr(in_tasks, "write_block", fail)
    assert "no room" in call(*run, "out.zarr", code=1).stderr
    np.testing.assert_array_equal(read("out.zarr")[0]["potential"], before)
    assert sorted(os.listdir()) == ["in.h5", "mine.zarr", "out.zarr", "some.zarr"]


def fail(*_):
    raise OSError("no room")


@pytest.mark.parametrize("output", ["out.h5", pytest.param("out.zarr", marks=needs_zarr)])
def test_a_killed_run_leaves_nothing_under_the_name(output):
    """Killed while results are being written, which here takes for ever."""
    write("in.h5", sources=X, charges=Q)
    code = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
from taskfmm.cli import main, spread
spread.each_block = spread.each_block_in_tasks = lambda *_: print("writing", flush=True) or time.sleep(100)
main(["run", "in.h5", "-o", "{output}", "--spread", "--eps", "1e-3"])
"""
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
            assert "writing\n" in iter(running.stdout.readline, "")
            running.send_signal(number)
            assert running.wait(10) in (130, -signal.SIGKILL)
        assert not Path(output).exists()
        assert os.listdir() == ["in.h5"] or number == signal.SIGKILL


@pytest.mark.nightly
def test_memory_of_this_process_does_not_grow_with_the_points():
    """By less than the points alone would take; a plan in one process takes ten times that."""
    script = "import resource, sys; from taskfmm.cli import main\n"
    script += "if __name__ == '__main__':\n    main(sys.argv[1:], standalone_mode=False)\n"
    script += "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
    Path("run.py").write_text(script)
    Path("two.yaml").write_text("taskfmm: {cluster: {kind: local, n-workers: 2, threads-per-worker: 1}}\n")
    peaks, most = [], 4_000_000
    for n in (20_000, most):
        call("generate", "cube", "-n", n, "-o", "in.h5")
        command = [
            "run.py",
            "run",
            "in.h5",
            "-o",
            "out.h5",
            "--spread",
            "--eps",
            "1e-2",
            "--config",
            "two.yaml",
        ]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 24 * most
