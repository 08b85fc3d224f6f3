"""One measured case in a process of its own: a JSON object on standard input, another on the last line of output.

`benchmarks.evaluate` starts it with NUMBA_NUM_THREADS and the like set to the number of threads, so that plan,
loops and peers all keep to them.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks import memory, peers
from benchmarks.problem import kernel_of, points_and_charges
from taskfmm import bench, bounds
from taskfmm.direct_sum import direct
from taskfmm.fmm import Fmm

WARM_POINTS, WARM_LEAF = 3000, 100
"""A small cloud, cut so that it takes every operator."""


def taskfmm_case(case: dict[str, Any]) -> dict[str, Any]:
    """Plan and evaluations of taskfmm."""
    kernel, outputs, n, threads = kernel_of(case), case["outputs"], case["n"], case["threads"]
    options = {"kernel": kernel, "eps": case["eps"], "order": case["order"]}
    # the loops are compiled or read from the cache here
    small, few = points_and_charges(case, WARM_POINTS)
    bench.evaluate(Fmm(small, leaf_size=WARM_LEAF, **options), few, outputs, threads)
    baseline = memory.resident()

    sources, charges = points_and_charges(case, n)
    options["leaf_size"] = case["leaf_size"]
    memory.reset_peak()
    # the operators are made or read from the cache here: those of some kernels hang on the size of the boxes
    started = time.perf_counter()
    fmm = Fmm(sources, **options)
    plan_peak = memory.peak() - baseline
    bench.evaluate(fmm, charges, outputs, threads)
    first_seconds = time.perf_counter() - started
    peak = memory.peak() - baseline

    started = time.perf_counter()
    fmm = Fmm(sources, **options)
    plan_seconds = time.perf_counter() - started
    found = bench.timed_evaluations(fmm, charges, outputs, threads, case["repeats"])
    return found | {
        "operator_seconds": max(0.0, first_seconds - plan_seconds - found["evaluation_seconds"]),
        "plan_seconds": plan_seconds,
        "plan_peak_bytes": plan_peak,
        "peak_bytes": peak,
        "bytes_a_point": peak / n,
        "order": bench.accuracy(fmm, charges, outputs)[0].order,
        "leaf_size": fmm.leaf_size,
        "plan": fmm.facts(),
    }


def peer_case(case: dict[str, Any]) -> dict[str, Any]:
    """Setup and evaluations of a peer."""
    n = case["n"]
    sources, charges = points_and_charges(case, n)
    importlib.import_module(case["code"])
    baseline = memory.resident() - sources.nbytes - sum(array.nbytes for array in charges.values())
    memory.reset_peak()
    best = bounds.measure(case["eps"])
    started = time.perf_counter()
    evaluate = peers.make(sources, case)
    plan_seconds = time.perf_counter() - started
    evaluate(charges)
    peak = memory.peak() - baseline
    runs = []
    for i in range(case["repeats"]):
        given = bench.new_charges(charges, i)
        wall, cpu = time.perf_counter(), time.process_time()
        found = evaluate(given)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    best = best.better(bounds.measure(case["eps"]))
    rows = np.random.default_rng(0).choice(n, min(bench.N_CHECK, n), replace=False)
    exact = direct(sources, targets=sources[rows], kernel=kernel_of(case), outputs=case["outputs"], **given)
    seconds, cpu_seconds = map(median, zip(*runs, strict=True))
    measured = {
        "threads": case["threads"],
        "plan_seconds": plan_seconds,
        "evaluation_seconds": seconds,
        "evaluation_cpu_seconds": cpu_seconds,
        "evaluations": [wall for wall, _ in runs],
        "peak_bytes": peak,
        "bytes_a_point": peak / n,
        "errors": {name: bench.relative_error(found[name][rows], exact[name]) for name in exact},
    }
    return measured | bench.at_best(best, cpu_seconds, n)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """The case with what was measured."""
    found = taskfmm_case(case) if case["code"] == "taskfmm" else peer_case(case)
    return case | found


if __name__ == "__main__":
    result = json.dumps(run(json.load(sys.stdin)))
    print(f"\n{result}")
