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
from taskfmm import bench
from taskfmm.direct_sum import direct
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud


def taskfmm_case(case: dict[str, Any]) -> dict[str, Any]:
    """Plan and evaluations of taskfmm."""
    outputs = ("potential", "gradient") if case["gradient"] else ("potential",)
    n, eps, threads = case["n"], case["eps"], case["threads"]
    options = {"eps": eps, "order": case["order"]}
    small, small_charges = cloud("plummer", 3000, signed=True, seed=1)
    # The loops are compiled or read from the cache here; an eps of either side of 3e-7 uses the other M2L dtype.
    for loose in (1e-3, 1e-8):
        bench.evaluate(Fmm(small, eps=loose), small_charges, outputs, threads)
    baseline = memory.resident()

    sources, charges = cloud(case["shape"], n, signed=True, seed=case["seed"])
    memory.reset_peak()
    before = bench.reference_rate()
    started = time.perf_counter()
    bench.evaluate(Fmm(small, **options), small_charges, outputs, threads)
    operator_seconds = time.perf_counter() - started
    started = time.perf_counter()
    fmm = Fmm(sources, leaf_size=case["leaf_size"], **options)
    plan_seconds = time.perf_counter() - started
    plan_peak = memory.peak() - baseline
    bench.evaluate(fmm, charges, outputs, threads)
    peak = memory.peak() - baseline

    found = bench.timed_evaluations(fmm, charges, outputs, threads, case["repeats"])
    rate = before.mean(bench.reference_rate())
    return found | {
        "operator_seconds": operator_seconds,
        "plan_seconds": plan_seconds,
        "plan_peak_bytes": plan_peak,
        "peak_bytes": peak,
        "bytes_a_point": peak / n,
        **bench.pair_equivalents(found, rate, n),
        "order": fmm.accuracy(outputs[-1], charges).order,
        "leaf_size": fmm.leaf_size,
        "plan": fmm.facts(),
    }


def peer_case(case: dict[str, Any]) -> dict[str, Any]:
    """Setup and evaluations of a peer."""
    n = case["n"]
    sources, charges = cloud(case["shape"], n, signed=True, seed=case["seed"])
    importlib.import_module(case["code"])
    baseline = memory.resident() - sources.nbytes - charges.nbytes
    memory.reset_peak()
    before = bench.reference_rate()
    started = time.perf_counter()
    evaluate = peers.make(case["code"], sources, case["eps"], case["gradient"])
    plan_seconds = time.perf_counter() - started
    evaluate(charges)
    peak = memory.peak() - baseline
    runs = []
    for i in range(case["repeats"]):
        q = bench.new_charges(charges, i)
        wall, cpu = time.perf_counter(), time.process_time()
        found = evaluate(q)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    rate = before.mean(bench.reference_rate())
    rows = np.random.default_rng(0).choice(n, min(bench.N_CHECK, n), replace=False)
    exact = direct(sources, q, sources[rows], outputs=tuple(found))
    seconds, cpu_seconds = map(median, zip(*runs, strict=True))
    measured = {
        "threads": case["threads"],
        "plan_seconds": plan_seconds,
        "evaluation_seconds": seconds,
        "evaluation_cpu_seconds": cpu_seconds,
        "evaluations": [wall for wall, _ in runs],
        "peak_bytes": peak,
        "bytes_a_point": peak / n,
        "errors": {name: bench.relative_error(found[name][rows], exact[name]) for name in found},
    }
    return measured | bench.pair_equivalents(measured, rate, n)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """The case with what was measured."""
    found = taskfmm_case(case) if case["code"] == "taskfmm" else peer_case(case)
    return case | found


if __name__ == "__main__":
    result = json.dumps(run(json.load(sys.stdin)))
    print(f"\n{result}")
