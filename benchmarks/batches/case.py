"""One case of a matrix in a process of its own: a JSON object in a line of standard input, another as the last line
of output. `benchmarks.batches.run` starts it.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks import machine, memory
from benchmarks.batches.matrix import Case
from benchmarks.batches.scheduling import Config, scheduler
from taskfmm import bench, bounds, doctor
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud

WARM_POINTS, WARM_LEAF = 3000, 100
"""A small cloud, cut so that it takes every operator: left to itself it might be near field only."""

Process = tuple[str, int]
"""Host and number of a process."""


def everywhere(client: Any, function: Callable[[], float]) -> dict[Process, float]:
    """What the function gives in this process and in that of every worker."""

    def here() -> tuple[Process, float]:
        return (platform.node(), os.getpid()), function()

    return dict([here(), *(client.run(here).values() if client else [])])


def warm(kernel: str, eps: float, outputs: tuple[str, ...]) -> float:
    """Compile the loops of a case and load its operators, or find them in the caches; gives the seconds."""
    started = time.perf_counter()
    points, charges = cloud("plummer", WARM_POINTS, signed=True, seed=1)
    bench.evaluate(Fmm(points, kernel=kernel, eps=eps, leaf_size=WARM_LEAF), charges, outputs)
    return time.perf_counter() - started


def warm_everywhere(client: Any, *what: Any) -> float:
    """Here first, which fills the caches on disk, then in the workers: two processes must not fill one cache."""
    seconds = warm(*what)
    if client:
        workers = client.nthreads()
        client.gather([client.submit(warm, *what, workers=[worker], pure=False) for worker in workers])
    return seconds


def evaluation(
    fmm: Fmm, charges: np.ndarray, outputs: tuple[str, ...], client: Any
) -> tuple[bench.Run, float]:
    """One evaluation by the configured scheduler, and the CPU seconds of all processes."""
    before = everywhere(client, time.process_time)
    run = bench.evaluate(fmm, charges, outputs, threads=None)
    after = everywhere(client, time.process_time)
    return run, sum(after[process] - before.get(process, 0.0) for process in after)


def measure(case: Case, config: Config) -> dict[str, Any]:
    """Plan and evaluate one case as configured.

    Parameters
    ----------
    case : Case
    config : dict
        A Dask configuration that has the threads and workers of the case.

    Returns
    -------
    dict
        The measured columns of the table, and the facts of the machine.
    """
    # cores as the system has them last: to the doctor NUMBA_NUM_THREADS, which is the case's, is a limit
    facts = {"machine": doctor.machine() | machine.facts(), "host": platform.node()}
    outputs = tuple(case.outputs.split("+"))
    with scheduler(config) as client:
        if client:
            client.wait_for_workers(case.workers)
        operator_seconds = warm_everywhere(client, case.kernel, case.eps, outputs)
        baseline = everywhere(client, memory.resident)
        everywhere(client, lambda: memory.reset_peak() or 0.0)

        sources, charges = cloud(case.distribution, case.n, signed=True, seed=case.seed)
        best = bounds.measure(case.eps)
        started = time.perf_counter()
        fmm = Fmm(sources, kernel=case.kernel, eps=case.eps)
        plan_seconds = time.perf_counter() - started
        first, _ = evaluation(fmm, charges, outputs, client)
        peak = everywhere(client, memory.peak)
        peak_bytes = sum(peak[process] - baseline.get(process, 0.0) for process in peak)

        runs = []
        for i in range(case.repeats):
            last, cpu_seconds = evaluation(fmm, bench.new_charges(charges, i), outputs, client)
            runs.append((last.seconds, cpu_seconds))
        best = best.better(bounds.measure(case.eps))
    errors = bench.errors(fmm, bench.new_charges(charges, case.repeats - 1), last.results)
    seconds, cpu = map(median, zip(*runs, strict=True))
    found = {"threads": case.cores, "evaluation_seconds": seconds, "evaluation_cpu_seconds": cpu}
    return facts | {
        "operator_seconds": operator_seconds,
        "plan_seconds": plan_seconds,
        "first_evaluation_seconds": first.seconds,
        **found,
        "evaluations": [seconds for seconds, _ in runs],
        "errors": errors,
        "error": max(errors.values()),
        "peak_bytes": peak_bytes,
        "bytes_a_point": peak_bytes / case.n,
        "tasks": last.tasks,
        "order": fmm.accuracy(outputs[-1], charges).order,
        "leaf_size": fmm.leaf_size,
        **bench.at_best(best, cpu, case.n),
    }


def end_with_parent() -> None:
    """Kill this process and its children when the one that started it is gone: its end of the pipe closes then."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Read a case, measure it, print what was found or why not."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs inherit that it is ignored
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        found = measure(Case(**given["case"]), given["config"])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        found = {"reason": reason, "traceback": traceback.format_exc()}
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
