"""Measuring an evaluation: what ``taskfmm bench`` and the scripts in benchmarks/ share.

Machines differ and are shared, so seconds stand beside what a core does at best, clocked in the same run
(`taskfmm.bounds`): its rates, and what each operator would take at these.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from statistics import median
from typing import Any, NamedTuple

import dask
import numpy as np

from taskfmm import bounds
from taskfmm.bounds import Best
from taskfmm.direct_sum import direct
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud, numbers
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.passes.given import Given
from taskfmm.profiling.profile import profile
from taskfmm.runtime.threads import n_cores

N_CHECK = 1000
"""Random targets of the error estimate."""

Charges = np.ndarray | Mapping[str, np.ndarray]
"""Of the first kind of source of a kernel, or of several kinds by the names of their arguments."""


class Run(NamedTuple):
    """One evaluation: results by output, seconds from charges to results, CPU seconds of the process, tasks."""

    results: dict[str, np.ndarray]
    seconds: float
    cpu_seconds: float
    tasks: int


def sources_of(kernel: Kernel, shape: str, n: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points of `taskfmm.generate.cloud`, and random signed numbers for every kind of source of a kernel.

    What is the product of two vectors is made of two random ones, so that codes that take only the vectors can be
    given the same.
    """
    points, charges = cloud(shape, n, signed=True, seed=seed)
    found = {}
    for i, kind in enumerate(kernel.sources):
        if kind.shape:
            one, other = (
                numbers((n, size), signed=True, seed=seed + 100 * i + side, is_complex=kind.complex)
                for side, size in enumerate(kind.shape)
            )
            found[kind.given_as] = one[:, :, None] * other[:, None, :]
        elif kind.of_one or kind.complex:
            found[kind.given_as] = numbers(
                (n, *kind.of_one), signed=True, seed=seed + 100 * i, is_complex=kind.complex
            )
        else:
            found[kind.given_as] = charges
    return points, found


def by_kind(kernel: Kernel, charges: Charges) -> Mapping[str, np.ndarray]:
    """Arrays by the names of the arguments."""
    return charges if isinstance(charges, Mapping) else {kernel.sources[0].given_as: charges}


def evaluate(
    fmm: Fmm,
    charges: Charges,
    outputs: Sequence[str] = ("potential",),
    threads: int | None = 1,
) -> Run:
    """One evaluation on exactly that many threads; with None, by the scheduler that Dask is configured for.

    A pool of its own, unlike ``num_workers``, keeps one Dask thread from giving all cores to the loops.
    """
    with ThreadPoolExecutor(threads) if threads else nullcontext() as pool:
        how: dict[str, Any] = {"scheduler": "threads", "pool": pool} if pool else {}
        wall, cpu = time.perf_counter(), time.process_time()
        arrays = fmm.evaluate(outputs=outputs, **by_kind(fmm.kernel, charges))
        found = dask.compute(*arrays.values(), **how)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tasks = {key for array in arrays.values() for key in array.__dask_graph__()}
    return Run(dict(zip(arrays, found, strict=True)), wall, cpu, len(tasks))


def accuracy(fmm: Fmm, charges: Charges, outputs: Sequence[str]) -> tuple[Accuracy, Kernel]:
    """What an evaluation of these outputs together uses, and the kernel with the kinds of sources that are given."""
    given = Given.checked(fmm.kernel, None, by_kind(fmm.kernel, charges), fmm.n_sources)
    last = fmm.kernel.last(outputs)
    return fmm._evaluator.chooser.accuracy(last, given, alone=len(outputs) == 1), given.kernel


def by_operator(recorded: profile) -> dict[str, dict[str, float]]:
    """Tasks, seconds and CPU seconds of each operator, in the order of the method."""
    return {
        row["operator"]: {name: row[name] for name in ("tasks", "seconds", "cpu_seconds")}
        for row in recorded.table(by="operator")
    }


def outside(recorded: profile, run: Run, threads: int) -> dict[str, float]:
    """Shares of the threads' time, and of the CPU time, of a recorded run that were spent in no task of ours."""
    spent = recorded.totals()
    return {
        "outside": 1.0 - spent["seconds"] / (threads * run.seconds),
        "outside_cpu": 1.0 - spent["cpu_seconds"] / run.cpu_seconds,
    }


def errors(fmm: Fmm, charges: Charges, found: dict[str, np.ndarray], seed: int = 0) -> dict[str, float]:
    """Relative l2 error of each output, against the direct sum at random targets."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(fmm.targets), min(N_CHECK, len(fmm.targets)), replace=False)
    given: dict[str, Any] = dict(by_kind(fmm.kernel, charges))
    exact = direct(fmm.sources, targets=fmm.targets[rows], kernel=fmm.kernel, outputs=tuple(found), **given)
    return {name: relative_error(found[name][rows], exact[name]) for name in found}


def relative_error(found: np.ndarray, exact: Any) -> float:
    """|found - exact| / |exact|, 0 if both are zero."""
    wrong = float(np.linalg.norm(found - np.asarray(exact)))
    return wrong / float(np.linalg.norm(exact)) if wrong else 0.0


def new_charges(charges: Any, number: int) -> Any:
    """Other charges of the same distribution: the given ones, an array or several by name, turned by some places."""
    if isinstance(charges, Mapping):
        return {name: new_charges(array, number) for name, array in charges.items()}
    return np.roll(charges, 7 * number + 1, axis=0)


def timed_evaluations(
    fmm: Fmm,
    charges: Charges,
    outputs: Sequence[str] = ("potential",),
    threads: int = 1,
    repeats: int = 3,
) -> dict[str, Any]:
    """Evaluate new charges on a finished plan, again and again; time it, look inside it, check it.

    Returns
    -------
    dict
        evaluation_seconds, evaluation_cpu_seconds (medians of the repeats), evaluations (each),
        first_evaluation_seconds, tasks; from one
        more run that is recorded: operators, with the seconds of each at best; outside and outside_cpu, what Dask and
        Python between the tasks take; errors by output; and what a core does at best, see `at_best`
    """
    best = bounds.measure(fmm.eps)
    first = evaluate(fmm, new_charges(charges, 0), outputs, threads)
    runs = [
        evaluate(fmm, new_charges(charges, i), outputs, threads)._replace(results={})
        for i in range(1, max(1, repeats) + 1)
    ]
    last = new_charges(charges, repeats + 1)
    with profile() as recorded:
        run = evaluate(fmm, last, outputs, threads)
    best, cpu_seconds = best.better(bounds.measure(fmm.eps)), median(run.cpu_seconds for run in runs)
    return {
        "threads": threads,
        "evaluation_seconds": median(run.seconds for run in runs),
        "evaluation_cpu_seconds": cpu_seconds,
        "evaluations": [run.seconds for run in runs],
        "first_evaluation_seconds": first.seconds,
        "tasks": runs[0].tasks,
        "operators": with_bounds(by_operator(recorded), fmm, charges, outputs, best),
        **outside(recorded, run, threads),
        "errors": errors(fmm, last, run.results),
        **at_best(best, cpu_seconds, fmm.n_sources),
    }


def at_best(best: Best, cpu_seconds: float, n: int) -> dict[str, float]:
    """Rates of a core, and how many pairs and operations it does at these in the time that each of n points takes."""
    return best.as_rates() | best.equivalents(cpu_seconds, n)


def with_bounds(
    operators: dict[str, dict[str, float]], fmm: Fmm, charges: Charges, outputs: Sequence[str], best: Best
) -> dict[str, dict[str, float]]:
    """The same, each with the CPU seconds that it would take at best."""
    foretold = fmm._evaluator.forecast(tuple(outputs), *accuracy(fmm, charges, outputs))
    least = bounds.by_operator(zip(foretold.keys, foretold.efforts, strict=True), best)
    return {name: row | {"least_cpu_seconds": least[name]} for name, row in operators.items()}


def table_of_operators(operators: dict[str, dict[str, float]]) -> str:
    """Text table: operator, tasks, seconds summed over tasks, share of all seconds, CPU share of the seconds, CPU
    seconds at best, and these over those that it took."""
    total = sum(row["seconds"] for row in operators.values()) or 1.0
    lines = [
        f"{'operator':<10} {'tasks':>6} {'seconds':>9} {'share':>7} {'on CPU':>7} {'at best':>9} {'of best':>7}"
    ]
    for name, row in operators.items():
        on_cpu = row["cpu_seconds"] / max(row["seconds"], 1e-9)
        share = row["seconds"] / total
        of_best = row["least_cpu_seconds"] / max(row["cpu_seconds"], 1e-9)
        lines.append(
            f"{name:<10} {row['tasks']:>6.0f} {row['seconds']:>9.4f} {share:>7.1%} {on_cpu:>7.1%} "
            f"{row['least_cpu_seconds']:>9.4f} {of_best:>7.0%}"
        )
    return "\n".join(lines)


def case(shape: str, n: int, eps: float, seed: int, repeats: int = 3) -> dict[str, Any]:
    """The short benchmark: plan a cloud, evaluate it on one thread and on all; all numbers as data."""
    sources, charges = cloud(shape, n, signed=True, seed=seed)
    with dask.config.set({"taskfmm.compile-ahead": False}):  # nothing else runs while this is timed
        Fmm(sources[:3000], eps=eps)  # operators and compiled loops are there when the plan is timed
    started = time.perf_counter()
    fmm = Fmm(sources, eps=eps)
    plan_seconds = time.perf_counter() - started
    runs = [
        timed_evaluations(fmm, charges, threads=threads, repeats=repeats)
        for threads in sorted({1, n_cores()})
    ]
    return {
        "shape": shape,
        "n": n,
        "eps": eps,
        "seed": seed,
        "order": fmm.accuracy("potential").order,
        "leaf_size": fmm.leaf_size,
        "plan_seconds": plan_seconds,
        "runs": runs,
    }


def text(found: dict[str, Any]) -> str:
    """What `case` found, to read."""
    lines = [
        f"{found['n']:,} points ({found['shape']}, random-sign charges, seed {found['seed']}), eps {found['eps']:g}, "
        f"order {found['order']}, leaf size {found['leaf_size'] or 'none: direct sum'}",
        "",
        f"plan              {found['plan_seconds']:8.3f} s",
    ]
    for run in found["runs"]:
        threads = f"{run['threads']} thread" + "s" * (run["threads"] > 1)
        lines.append(
            f"on {threads:<14} {run['evaluation_seconds']:8.3f} s   {run['outside']:.1%} outside tasks"
        )
    run = found["runs"][0]
    lines += [
        f"relative l2 error {run['errors']['potential']:8.1e}",
        "",
        "at best, one core does",
        f"pairs             {run['pair_rate']:8.2f} Gpairs/s; {run['pairs_a_point']:,.0f} in the time of a point",
        f"products          {run['gemm_rate']:8.2f} GFLOP/s; {run['flops_a_point']:,.0f} FLOP in the time of a point",
        f"in float32        {run['gemm_rate_single']:8.2f} GFLOP/s",
        f"copies            {run['copy_rate']:8.2f} GB/s",
        "",
        table_of_operators(run["operators"]),
    ]
    return "\n".join(lines)
