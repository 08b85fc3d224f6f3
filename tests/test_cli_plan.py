"""``taskfmm plan`` and ``taskfmm run --plan``: points are planned once, charges evaluated with the file."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from bounds import ROUNDING
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main

RNG = np.random.default_rng(6700417)
SOURCES, TARGETS, CHARGES = RNG.random((300, 3)), RNG.random((200, 3)), RNG.uniform(-1, 1, (3, 300))


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def write(name, **datasets):
    with h5py.File(name, "w") as file:
        file.update(datasets)
    return name


def read(name, dataset="potential"):
    with h5py.File(name) as file:
        return file[dataset][()]


@pytest.fixture(params=["self", "separate"])
def points(request, tmp_path, monkeypatch):
    """The datasets of an input file of points; plan.h5 was planned for them."""
    monkeypatch.chdir(tmp_path)
    found = dict(sources=SOURCES) | (dict(targets=TARGETS) if request.param == "separate" else {})
    write("points.h5", **found)
    call("plan", "points.h5", "-o", "plan.h5", "--order", "3", "--leaf-size", "20")
    return found


def test_a_plan_needs_points_only_and_a_run_charges_only(points):
    call(
        "run",
        write("whole.h5", charges=CHARGES[0], **points),
        "-o",
        "a.h5",
        "--order",
        "3",
        "--leaf-size",
        "20",
    )
    call("run", write("charges.h5", charges=CHARGES[0]), "-o", "b.h5", "--plan", "plan.h5")
    call("run", "whole.h5", "-o", "c.h5", "--plan", "plan.h5", "--gradient", "--check")
    np.testing.assert_array_equal(read("b.h5"), read("a.h5"))
    np.testing.assert_allclose(read("c.h5"), read("a.h5"), rtol=0, atol=ROUNDING * np.abs(read("a.h5")).max())
    assert read("c.h5", "gradient").shape == (len(read("a.h5")), 3)
    with h5py.File("a.h5") as one, h5py.File("b.h5") as other:
        assert dict(one.attrs) == dict(other.attrs)


def test_a_batch_on_a_plan(points):
    write("batch.h5", charges=CHARGES)
    call("run", "batch.h5", "-o", "batch_out.h5", "--plan", "plan.h5", "--charges-batch")
    fmm = taskfmm.Fmm.load("plan.h5")
    np.testing.assert_array_equal(read("batch_out.h5"), fmm.potential(CHARGES.T).compute().T)


def test_what_plan_says(points):
    found = json.loads(call("plan", "points.h5", "-o", "again.h5", "--eps", "1e-3", "--json").stdout)
    assert (found["n_sources"], found["eps"], found["output"]) == (300, 1e-3, "again.h5")
    assert found["save_seconds"] > 0
    text = call("plan", "points.h5", "-o", "again.h5", "--eps", "1e-3").output
    assert "written to   again.h5" in text
    assert "evaluation" not in text


@each(
    "datasets, message",
    [
        (dict(charges=CHARGES[0][:-1]), "charges has 299 rows, sources has 300"),
        (dict(charges=CHARGES[0], sources=SOURCES[::-1]), "/sources are not those of the plan"),
        (dict(charges=CHARGES[0], sources=SOURCES[:-1]), "/sources are not those of the plan"),
        (dict(charges=CHARGES[0], targets=TARGETS + 1), "/targets are not those of the plan"),
        (dict(sources=SOURCES), "expected at least one of /charges (n,), /dipoles (n, 3) for kernel laplace"),
    ],
)
def test_charges_of_other_points(points, datasets, message):
    write("in.h5", **datasets)
    assert message in call("run", "in.h5", "-o", "out.h5", "--plan", "plan.h5", code=1).output


def test_a_plan_comes_with_its_options(points):
    write("in.h5", charges=CHARGES[0])
    run = ("run", "in.h5", "-o", "out.h5", "--plan", "plan.h5")
    assert (
        "--eps, --kernel cannot be given with --plan"
        in call(*run, "--eps", 1e-6, "--kernel", "laplace", code=2).output
    )
    assert "memory_limit" in call(*run, "--memory-limit", "1MB", code=1).output


def test_files_that_are_no_plan(points):
    write("in.h5", charges=CHARGES[0])
    assert "cannot be read as a plan" in call("run", "in.h5", "-o", "o.h5", "--plan", "in.h5", code=1).output
    assert "No such file" in call("run", "in.h5", "-o", "o.h5", "--plan", "none.h5", code=1).output
    assert "is the input file" in call("run", "in.h5", "-o", "plan.h5", "--plan", "plan.h5", code=1).output
    assert "is the input file" in call("plan", "points.h5", "-o", "points.h5", code=1).output
    assert "/sources is missing" in call("plan", "in.h5", "-o", "o.h5", code=1).output


def test_a_plan_holds_its_points(points):
    """By the names of an input file: it can be planned again, as after a new version."""
    call("plan", "plan.h5", "-o", "again.h5", "--order", "3", "--leaf-size", "20")
    with open("plan.h5", "rb") as one, open("again.h5", "rb") as other:
        assert one.read() == other.read()
