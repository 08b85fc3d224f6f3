"""What is measured and how: the reference loop, the clocks, the shape of the reports. No timing is asserted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import taskfmm
from taskfmm import bench
from taskfmm.cli import main
from taskfmm.generate import cloud
from taskfmm.kernels import KERNELS
from taskfmm.runtime.threads import n_cores

OPERATORS = {"charges", "P2M", "M2M", "M2L", "L2L", "L2P", "P2P", "potential"}


@pytest.fixture(scope="module")
def planned():
    points, charges = cloud("cube", 4000, signed=True, seed=71)
    return taskfmm.Fmm(points, eps=1e-3, leaf_size=40), charges


def test_reference_loop_is_the_direct_sum():
    rng = np.random.default_rng(72)
    targets, sources, charges = rng.random((50, 3)), rng.random((300, 3)), rng.uniform(-1, 1, 300)
    out = np.empty(50)
    columns = [np.ascontiguousarray(column) for column in (*targets.T, *sources.T)]
    bench.reference_loop(*columns, charges, out)
    exact = np.asarray(taskfmm.direct(sources, charges, targets))
    np.testing.assert_allclose(out * KERNELS["laplace"].of_first.factor, exact, rtol=1e-11)


def test_reference_rate_is_a_rate():
    rate = bench.reference_rate(seconds=0.01)
    assert rate.wall > 1e6
    assert rate.cpu > 1e6
    assert bench.Rate(1.0, 2.0).mean(bench.Rate(3.0, 4.0)) == (2.0, 3.0)


def test_evaluation_gives_what_the_plan_gives(planned):
    fmm, charges = planned
    with taskfmm.profile() as recorded:
        run = bench.evaluate(fmm, charges, ("potential", "gradient"), threads=2)
    np.testing.assert_array_equal(run.results["gradient"], fmm.serial(charges, "gradient"))
    assert run.results["potential"].shape == (4000,)
    assert sum(row["tasks"] for row in bench.by_operator(recorded).values()) == run.tasks


def test_one_thread_is_one_thread(planned, monkeypatch):
    """The loops of a task get no threads of their own, or a time on one thread would be a time on all."""
    fmm, charges = planned
    seen = []
    from taskfmm.runtime import threads

    monkeypatch.setattr(threads, "numba_threads", lambda ask=threads.numba_threads: seen.append(ask()) or 1)
    bench.evaluate(fmm, charges, threads=1)
    assert set(seen) == {1}


def test_measurements_of_a_plan(planned):
    fmm, charges = planned
    found = bench.timed_evaluations(fmm, charges, threads=1, repeats=2)
    assert set(found["operators"]) >= OPERATORS - {"M2M"}
    assert len(found["evaluations"]) == 2
    assert found["errors"]["potential"] < 1e-3
    assert found["outside"] < 1.0
    assert found["outside_cpu"] < 1.0
    text = bench.table_of_operators(found["operators"])
    assert len(text.splitlines()) == len(found["operators"]) + 1


def test_new_charges_are_new_and_alike():
    charges = np.arange(100.0)
    for i in range(5):
        other = bench.new_charges(charges, i)
        assert not np.array_equal(other, charges)
        np.testing.assert_array_equal(np.sort(other), charges)


def test_command():
    arguments = ["bench", "-n", "6000", "--eps", "1e-3", "--shape", "sphere", "--seed", "5"]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    for word in ("plan", "on 1 thread", "pair-equivalents", "Gpairs/s", "P2P", "M2L"):
        assert word in shown.output
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert (found["shape"], found["n"], found["eps"], found["seed"]) == ("sphere", 6000, 1e-3, 5)
    assert [run["threads"] for run in found["runs"]] == sorted({1, n_cores()})
    assert found["pair_equivalents"] > 0
    assert found["runs"][0]["errors"]["potential"] < 1e-3


def test_command_says_what_is_wrong():
    failed = CliRunner().invoke(main, ["bench", "-n", "2000", "--eps", "1e-30"])
    assert failed.exit_code == 1
