"""What is measured and how: rates at best, the clocks, the shape of the reports. No timing is asserted."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from click.testing import CliRunner

import taskfmm
from taskfmm import bench, bounds
from taskfmm.bounds import Best
from taskfmm.cli import main
from taskfmm.cost.counts import Counts
from taskfmm.cost.rates import Rates
from taskfmm.forecast.effort import Effort
from taskfmm.generate import cloud
from taskfmm.runtime.threads import n_cores

OPERATORS = {"charges", "P2M", "M2M", "M2L", "L2L", "L2P", "P2P", "potential"}


@pytest.fixture(scope="module")
def planned():
    points, charges = cloud("cube", 4000, signed=True, seed=71)
    return taskfmm.Fmm(points, eps=1e-3, leaf_size=40), charges


BEST = Best(1e-9, 1.5e-9, 2e-9, 3e-9, 1e-10, 5e-11, 1e-11)


def test_best_rates_pay_for_pairs_products_and_copies_alone():
    counts = Counts(
        {
            "near_one": 10,
            "near_two_gradient": 100,
            "run": 7,
            "row": 7,
            "m2l_core": 7,
            "m2l_multiply_add_32": 1e3,
        },
        {"multiply_add": 1e4, "gathered": 1e5},
    )
    assert counts.seconds(BEST.rates) == pytest.approx(10e-9 + 300e-9 + 50e-9 + 1e-6 + 1e-6)
    efforts = [
        (("M2L", 2, 0), Effort(counts)),
        (("M2L", 3, 0), Effort(counts)),
        (("P2P", 0, 0), Effort(Counts())),
    ]
    assert bounds.by_operator(efforts, BEST) == {"M2L": pytest.approx(2 * 2360e-9), "P2P": 0.0}
    assert set(asdict(Rates())) >= set(counts.shared)


def test_rates_are_of_two_sides_and_two_operations():
    assert BEST.as_rates() == {
        "pair_rate": pytest.approx(2 / 1.5),
        "gemm_rate": pytest.approx(20),
        "gemm_rate_single": pytest.approx(40),
        "copy_rate": pytest.approx(1600),
    }
    # 30 ns for 10 points: 3 ns each, in which two pairs are served on both sides
    assert BEST.equivalents(30e-9, 10) == {
        "pairs_a_point": pytest.approx(4),
        "flops_a_point": pytest.approx(60),
    }
    other = replace(BEST, one=0.5e-9, copied=7.0)
    assert BEST.better(other) == other.better(BEST) == replace(BEST, one=0.5e-9)


def test_rates_are_measured():
    found = bounds.measure(1e-6, seconds=0.002)
    for name, seconds in asdict(found).items():
        assert 1e-12 < seconds < 1e-6, name


def test_pairs_are_counted(monkeypatch):
    """A pass that takes a second: seconds a pair are one over the pairs that the loops served."""
    monkeypatch.setattr(bounds, "least", lambda once, seconds: once() or 1.0)
    one, two = bounds.pairs("potential", 1e-6, 0.0)
    n = bounds.BOX * bounds.BOXES
    assert 1.0 / one == bounds.BOX * n
    # of all pairs of boxes, but for those of a box with itself
    assert 2.0 / two == n * n - bounds.BOXES * bounds.BOX**2


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
    # of every operator it is known what it takes at best
    assert all(row["least_cpu_seconds"] > 0 for row in found["operators"].values())


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
    for word in ("plan", "on 1 thread", "of best", "Gpairs/s", "GFLOP/s", "P2P", "M2L"):
        assert word in shown.output
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert (found["shape"], found["n"], found["eps"], found["seed"]) == ("sphere", 6000, 1e-3, 5)
    assert [run["threads"] for run in found["runs"]] == sorted({1, n_cores()})
    assert found["runs"][0]["pairs_a_point"] > 0
    assert found["runs"][0]["errors"]["potential"] < 1e-3


def test_command_says_what_is_wrong():
    failed = CliRunner().invoke(main, ["bench", "-n", "2000", "--eps", "1e-30"])
    assert failed.exit_code == 1
