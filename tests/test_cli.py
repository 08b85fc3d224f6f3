"""The command line: its files, its text, its exit codes, and that help stays quick."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import pytest
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import AccuracyError
from taskfmm.kernels import Laplace


class FakeFmm:
    """Answers known numbers, and remembers how it was made."""

    made: dict
    kernel = Laplace()

    def __init__(self, sources, **options):
        if options["eps"] < 1e-13:
            raise AccuracyError("eps is 1e-15, the floor is 1e-13:\n  ask for more")
        type(self).made = options
        targets = options["targets"]
        self.n = len(sources if targets is None else targets)

    def __str__(self):
        return "a plan"

    def explain(self):
        return "what would happen"

    def evaluate(self, charges, outputs):
        if np.all(charges == 13.0):
            raise RuntimeError("out of luck")
        known = {
            "potential": da.full(self.n, charges.sum()),
            "gradient": da.full((self.n, 3), 2 * charges.sum()),
        }
        return {name: known[name] for name in outputs}

    def error_estimate(self, charges, values, n_samples, output):
        assert isinstance(values, np.ndarray)
        assert values.shape == ((self.n, 3) if output == "gradient" else (self.n,))
        return 3.5e-7 if output == "potential" else 8e-7


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setattr(taskfmm, "Fmm", FakeFmm, raising=False)
    monkeypatch.chdir(tmp_path)
    with h5py.File("in.h5", "w") as file:
        file["sources"] = np.random.default_rng(90417).random((20, 3))
        file["charges"] = np.arange(20.0)
    return FakeFmm


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_run_writes_the_potential_and_its_settings(fake):
    result = call("run", "in.h5", "-o", "out.h5", "--eps", "1e-4", "--order", "5", "--leaf-size", "30")
    assert fake.made == dict(
        targets=None,
        kernel=Laplace(),
        eps=1e-4,
        order=5,
        leaf_size=30,
        memory_limit=None,
        **dict(box=None, periodic=True, wrap=True, surroundings="conductor"),
    )
    with h5py.File("out.h5") as file:
        assert set(file) == {"potential"}
        np.testing.assert_array_equal(file["potential"][()], np.full(20, 190.0))
        assert dict(file.attrs) == dict(
            eps=1e-4, kernel="laplace", version=taskfmm.__version__, complete=True
        )
    for part in ("sources      20", "eps          0.0001", "plan  ", "evaluation  ", "written to   out.h5"):
        assert part in result.output
    assert "error" not in result.output


def test_run_with_targets_gradient_check_and_json(fake):
    with h5py.File("in.h5", "a") as file:
        file["targets"] = np.zeros((4, 3))
    report = json.loads(call("run", "in.h5", "-o", "out.h5", "--gradient", "--check", "--json").output)
    assert fake.made["targets"].shape == (4, 3)
    assert report["n_targets"] == 4
    assert (report["error_estimate"], report["error_estimate_gradient"]) == (3.5e-7, 8e-7)
    assert report["evaluation_seconds"] > 0
    with h5py.File("out.h5") as file:
        np.testing.assert_array_equal(file["gradient"][()], np.full((4, 3), 380.0))
    text = call("run", "in.h5", "-o", "out.h5", "--gradient", "--check").output
    assert "error        3.50e-07 (potential," in text
    assert "error        8.00e-07 (gradient," in text
    assert "gradient" not in call("run", "in.h5", "-o", "out.h5", "--check").output


def test_errors_take_one_line_and_lose_nothing(fake):
    call("run", "in.h5", "-o", "out.h5")
    before = Path("out.h5").read_bytes()
    result = call("run", "in.h5", "-o", "out.h5", "--eps", "1e-15", code=1)
    assert result.stderr == "Error: eps is 1e-15, the floor is 1e-13: ask for more\n"
    assert result.stdout == ""
    with h5py.File("in.h5", "a") as file:
        file["charges"][...] = 13.0
    result = call("run", "in.h5", "-o", "out.h5", code=1)
    assert result.stderr == "Error: RuntimeError: out of luck (taskfmm --debug shows where)\n"
    result = CliRunner().invoke(main, ["--debug", "run", "in.h5", "-o", "out.h5"])
    assert isinstance(result.exception, RuntimeError)
    assert Path("out.h5").read_bytes() == before
    assert sorted(os.listdir()) == ["in.h5", "out.h5"]


def test_refused_before_anything_is_planned(fake, monkeypatch):
    monkeypatch.setattr(taskfmm, "Fmm", lambda *_, **__: pytest.fail("planned"))
    assert "no such file" in call("run", "none.h5", "-o", "out.h5", code=1).stderr
    Path("old.h5").touch()
    assert "no such file" in call("run", "none.h5", "-o", "old.h5", code=1).stderr
    assert "is the input file" in call("run", "in.h5", "-o", "./in.h5", code=1).stderr
    assert "cannot be written" in call("run", "in.h5", "-o", "none/out.h5", code=1).stderr
    with h5py.File("in.h5", "a") as file:
        file["charges"][3] = np.nan
    assert "in.h5: charges row 3 is not finite" in call("run", "in.h5", "-o", "out.h5", code=1).stderr


@each(
    "arguments",
    [
        ["run", "in.h5"],
        ["run", "in.h5", "-o", "out.h5", "--eps", "small"],
        ["generate", "torus", "-o", "out.h5"],
        ["generate", "cube", "-n", "-1", "-o", "out.h5"],
        ["walk"],
    ],
)
def test_a_wrong_command_line_is_2(fake, arguments):
    assert "Usage:" in call(*arguments, code=2).stderr


def test_explain(fake):
    assert call("explain", "in.h5").output == "a plan\n\nwhat would happen\n"
    found = json.loads(call("explain", "in.h5", "--json").output)
    assert (found["summary"], found["explain"]) == ("a plan", "what would happen")


def radii(name):
    with h5py.File(name) as file:
        return np.linalg.norm(file["sources"][()], axis=1)


def test_generated_shapes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for shape in ("sphere", "cube", "plummer", "clusters"):
        call("generate", shape, "-n", 4000, "-o", f"{shape}.h5", "--seed", 7741)
    np.testing.assert_allclose(radii("sphere.h5"), 1.0, rtol=1e-14)
    with h5py.File("sphere.h5") as file:
        # Each octant of a uniform sphere holds an eighth.
        octant = (file["sources"][()] > 0) @ [1, 2, 4]
        assert np.bincount(octant, minlength=8) == pytest.approx(np.full(8, 500), abs=100)
    with h5py.File("cube.h5") as file:
        np.testing.assert_allclose(file["sources"][()].min(axis=0), 0.0, atol=0.01)
        np.testing.assert_allclose(file["sources"][()].max(axis=0), 1.0, atol=0.01)
    # Half of Plummer's mass lies within 1.305 scale lengths.
    assert np.median(radii("plummer.h5")) == pytest.approx(1.305, rel=0.06)


def test_a_seed_makes_the_same_cloud_and_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("generate", "cube", "-n", 100, "-o", "a.h5")
    with h5py.File("a.h5") as a:
        call("generate", "cube", "-n", 100, "-o", "b.h5", "--seed", a.attrs["seed"])
        call("generate", "cube", "-n", 100, "-o", "c.h5", "--charges", "positive")
        with h5py.File("b.h5") as b, h5py.File("c.h5") as c:
            np.testing.assert_array_equal(a["sources"][()], b["sources"][()])
            np.testing.assert_array_equal(a["charges"][()], b["charges"][()])
            assert not np.array_equal(a["sources"][()], c["sources"][()])
            assert a["charges"][()].min() < 0 <= c["charges"][()].min()


def test_version():
    assert call("--version").output == f"taskfmm, version {taskfmm.__version__}\n"


def test_help_imports_nothing_slow():
    code = """
import sys
from taskfmm.cli import main
main(["--help"], standalone_mode=False)
slow = {"numba", "dask", "numpy", "h5py", "scipy"} & set(sys.modules)
sys.exit(f"imported {slow}" if slow else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("taskfmm.fmm") is None, reason="without the method")
def test_end_to_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call("generate", "sphere", "-n", 12_000, "-o", "in.h5")
    report = json.loads(call("run", "in.h5", "-o", "out.h5", "--gradient", "--check", "--json").output)
    assert report["error_estimate"] <= 1e-6
    with h5py.File("in.h5") as given, h5py.File("out.h5") as out:
        exact = taskfmm.direct(given["sources"][()], given["charges"][()])
        error = np.linalg.norm(out["potential"][()] - exact) / np.linalg.norm(exact)
        assert error <= 1e-6
        assert out["gradient"].shape == (12_000, 3)
