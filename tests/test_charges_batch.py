"""Many vectors on one plan: what is written, and that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.files import journal
from taskfmm.files.charges import Batch
from taskfmm.kernels import KERNELS

RNG = np.random.default_rng(7718203)
SOURCES = RNG.random((700, 3))
VECTORS = RNG.normal(size=(4, 700))
TARGETS = RNG.random((90, 3))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(taskfmm.__file__).parents[1])}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("in.h5", "w") as file:
        file["sources"], file["charges"], file["targets"] = SOURCES, VECTORS, TARGETS
    return tmp_path


def run(*options, code=0):
    arguments = ["run", "in.h5", "-o", "out.h5", "--charges-batch", "--eps", "1e-3", *options]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result


def values(name="potential"):
    with h5py.File("out.h5") as file:
        assert file.attrs["complete"]
        return file[name][()]


def test_every_row_is_what_it_is_alone(folder):
    report = json.loads(run("--gradient", "--check", "--json").stdout)
    assert (report["n_vectors"], report["n_found"], report["n_targets"]) == (4, 0, 90)
    assert report["error_estimate"] <= 1e-3
    assert sorted(os.listdir()) == ["in.h5", "out.h5"]
    fmm = taskfmm.Fmm(SOURCES, TARGETS, eps=1e-3)
    together = fmm.evaluate(VECTORS.T)
    for i, vector in enumerate(VECTORS):
        exact = taskfmm.direct(SOURCES, vector, TARGETS, outputs=("potential", "gradient"))
        for name in ("potential", "gradient"):
            np.testing.assert_array_equal(values(name)[i], together[name][..., i].compute())
            assert np.linalg.norm(values(name)[i] - exact[name]) <= 1e-3 * np.linalg.norm(exact[name])


def stopped(monkeypatch, after, *options):
    """A run that dies in vector number ``after``, as the disk may make it."""
    write = journal.Journal.write

    def dying(self, vector, *rest):
        if vector == after:
            raise KeyboardInterrupt
        write(self, vector, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "write", dying)
        run(*options, code=1)
    assert Path("out.h5.part").exists()
    assert not Path("out.h5").exists()


def nineteen():
    """Three blocks of vectors instead of the four vectors of the input."""
    vectors = RNG.normal(size=(19, 700))
    with h5py.File("in.h5", "a") as file:
        del file["charges"]
        file["charges"] = vectors
    return vectors


def test_finished_blocks_are_not_computed_again(folder, monkeypatch):
    many = nineteen()
    stopped(monkeypatch, 10)  # of the second of three blocks of eight
    evaluated = []
    evaluate = taskfmm.Fmm.evaluate
    monkeypatch.setattr(
        taskfmm.Fmm, "evaluate", lambda self, q, **rest: (evaluated.append(q), evaluate(self, q, **rest))[1]
    )
    assert json.loads(run("--json").stdout)["n_found"] == 8
    assert [q.shape for q in evaluated] == [(700, 8), (700, 3)]
    np.testing.assert_array_equal(np.hstack(evaluated), many[8:].T)
    interrupted = Path("out.h5").read_bytes()
    assert not Path("out.h5.part").exists()
    run()
    assert Path("out.h5").read_bytes() == interrupted


def test_another_run_is_not_mixed_in(folder, monkeypatch):
    stopped(monkeypatch, 1)
    before = Path("out.h5.part").read_bytes()
    for options, part in [(["--eps", "1e-4"], "eps 0.001, now 0.0001"), (["--gradient"], "outputs [")]:
        assert part in run(*options, code=1).stderr
    with h5py.File("in.h5", "a") as file:
        file["charges"][3, 5] += 1
    text = run(code=1).stderr
    assert text.count("\n") == 1
    assert "out.h5.part: is an unfinished run with other settings (input " in text
    assert "remove it, or give another output" in text
    assert Path("out.h5.part").read_bytes() == before
    Path("out.h5.part").write_bytes(b"[" * 5000)
    assert "is not what an unfinished run leaves" in run(code=1).stderr


def test_another_periodic_box_is_another_run(folder, monkeypatch):
    with h5py.File("in.h5", "a") as file:
        del file["charges"]
        file["charges"] = VECTORS - VECTORS.mean(axis=1, keepdims=True)
    stopped(monkeypatch, 0, "--box", "1")
    for other, part in [
        (["--box", "1", "--surroundings", "vacuum"], "surroundings conductor, now vacuum"),
        (["--box", "1", "--periodic", "xy"], "periodic xyz, now xy"),
        (["--box", "2"], "box [1.0, 1.0, 1.0], now [2.0, 2.0, 2.0]"),
        ([], "box [1.0, 1.0, 1.0], now None"),
    ]:
        assert part in run(*other, code=1).stderr
    run("--box", "1")
    with h5py.File("out.h5") as file:
        facts = file.attrs["box"].tolist(), file.attrs["periodic"], file.attrs["surroundings"]
    assert facts == ([1.0, 1.0, 1.0], "xyz", "conductor")


@pytest.mark.parametrize("place", ["values", "mark", "end"])
def test_a_damaged_vector_is_computed_again(folder, monkeypatch, place):
    nineteen()
    run()
    whole = Path("out.h5").read_bytes()
    Path("out.h5").unlink()
    stopped(monkeypatch, 17)
    data = bytearray(Path("out.h5.part").read_bytes())
    first = 2 * journal.PAGE
    if place == "end":
        del data[first + 800 :]
    else:
        data[first + 100 if place == "values" else journal.PAGE + 5] ^= 1
    Path("out.h5.part").write_bytes(data)
    assert json.loads(run("--json").stdout)["n_found"] == (1 if place == "end" else 15)
    assert Path("out.h5").read_bytes() == whole


def test_two_at_once_do_not_share_a_journal(folder, monkeypatch):
    with journal.Journal(Path("out.h5.part"), {}, 1, {"potential": ((9,), np.dtype(float))}):
        assert "another process is at this run" in run(code=1).stderr


def test_a_full_disk_is_said_before_anything_is_computed(folder):
    code = """
import resource, sys
from taskfmm.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))
main(["run", "in.h5", "-o", "out.h5", "--charges-batch"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "out.h5.part: cannot be written, nothing was changed; .: File too large" in done.stderr


def test_what_is_no_batch(folder):
    with h5py.File("in.h5", "a") as file:
        del file["charges"]
        file["charges"] = VECTORS[0]
    assert "charges has shape (700,), expected (k, 700)" in run(code=1).stderr
    with h5py.File("in.h5", "a") as file:
        del file["charges"]
        file["charges"] = np.where(VECTORS[2, 9] == VECTORS, np.nan, VECTORS)
    assert "in.h5 (vector 2): charges row 9 is not finite" in run(code=1).stderr
    result = CliRunner().invoke(main, ["run", "in.h5", "-o", "out.h5"])
    assert "take --charges-batch" in result.stderr
    assert os.listdir() == ["in.h5"]


def test_no_vectors_and_no_targets(folder):
    for charges, targets in [(VECTORS[:0], TARGETS), (VECTORS, TARGETS[:0])]:
        with h5py.File("in.h5", "w") as file:
            file["sources"], file["charges"], file["targets"] = SOURCES, charges, targets
        run("--gradient")
        assert values().shape == (len(charges), len(targets))
        assert values("gradient").shape == (len(charges), len(targets), 3)


def test_a_vector_that_changes_during_the_run(folder):
    with Batch("in.h5", KERNELS["laplace"]) as batch:
        batch.vector(1)
        batch._vectors[1] = b""
        with pytest.raises(InputError, match="changed while the file was in use"):
            batch.vector(1)


def killed_at_random(folder: Path, kills: int, seed: int) -> None:
    """Kill the same command at random moments until it ends by itself; compare with one left alone."""
    command = [sys.executable, "-m", "taskfmm", "run", "in.h5", "--charges-batch", "--eps", "1e-3", "-o"]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    started = time.monotonic()
    subprocess.run([*command, "whole.h5"], check=True, **quiet)
    alone = time.monotonic() - started
    rng = random.Random(seed)
    for _ in range(kills):
        process = subprocess.Popen([*command, "out.h5"], **quiet, start_new_session=True)
        try:
            process.wait(alone * rng.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # What is under the name, at any moment, is nothing or all of it.
            assert not Path("out.h5").exists() or h5py.File("out.h5").attrs["complete"]
    subprocess.run([*command, "out.h5"], check=True, **quiet)
    assert Path("out.h5").read_bytes() == Path("whole.h5").read_bytes()
    assert not Path("out.h5.part").exists()


def many_vectors(n_vectors: int) -> None:
    with h5py.File("in.h5", "w") as file:
        file["sources"], file["charges"] = SOURCES, RNG.normal(size=(n_vectors, 700))


def test_killed_and_started_again_the_output_is_the_same(folder):
    many_vectors(40)
    killed_at_random(folder, 2, 88103)


@pytest.mark.nightly
def test_killed_many_times_the_output_is_the_same(folder):
    many_vectors(200)
    killed_at_random(folder, 25, 35509)
