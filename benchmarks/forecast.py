"""Does what was foretold happen? Seconds and peak memory, expected and measured.

``python -m benchmarks.forecast`` runs every case in a fresh process, where small clouds warm up the loops first.
``--cluster`` runs on a LocalCluster of two processes instead of threads. Ratios are expected / measured for seconds
and measured / promised for memory. On a busy machine read the ratio of CPU seconds.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import click
import dask
import numpy as np

from benchmarks import fresh, memory
from benchmarks.problem import kernel_of, label, points_and_charges, with_kernel
from taskfmm import bench
from taskfmm.fmm import Fmm
from taskfmm.forecast.forecast import Forecast
from taskfmm.profiling.profile import profile

WARM_POINTS, WARM_LEAF = 3000, 100
"""A small cloud, cut so that it takes every operator."""

COLUMNS = (
    f"{'kernel, sources: outputs':<32} {'shape':<8}{'N':>9} {'eps':>7} {'on':>8} {'tasks':>6} {'plan s':>7} "
    f"{'expected':>9} {'measured':>9} {'ratio':>6} {'CPU exp.':>9} {'CPU':>9} {'ratio':>6} "
    f"{'promised':>9} {'peak MiB':>9} {'ratio':>6} {'load':>5}"
)


def in_threads(case: dict[str, Any]) -> dict[str, Any]:
    """On exactly that many threads of this process."""
    outputs = tuple(case["outputs"])
    small, charges = points_and_charges(case, WARM_POINTS)
    bench.evaluate(_planned(small, case, WARM_LEAF)[0], charges, outputs, case["threads"])
    sources, charges = points_and_charges(case, case["n"])
    fmm, plan_seconds = _planned(sources, case)
    with ThreadPoolExecutor(case["threads"]) as pool, dask.config.set(pool=pool):
        found = _foretold(fmm, charges, outputs)
    memory.reset_peak()
    bench.evaluate(fmm, charges, outputs, case["threads"])
    peak = memory.peak()
    runs = [
        bench.evaluate(fmm, bench.new_charges(charges, i), outputs, case["threads"])._replace(results={})
        for i in range(case["repeats"])
    ]
    with profile() as recorded:
        bench.evaluate(fmm, charges, outputs, case["threads"])
    return {
        "operators": bench.by_operator(recorded),
        "seconds": median(run.seconds for run in runs),
        "cpu_seconds": median(run.cpu_seconds for run in runs),
        "expected_cpu_seconds": found.task_seconds + found.prologue + found.epilogue,
        "peak": peak,
        "plan_seconds": plan_seconds,
        "forecast": found.facts(),
    }


def in_a_cluster(case: dict[str, Any]) -> dict[str, Any]:
    """On as many processes of one thread."""
    from distributed import Client, LocalCluster

    outputs = tuple(case["outputs"])
    sources, charges = points_and_charges(case, case["n"])
    fmm, plan_seconds = _planned(sources, case)
    options = dict(n_workers=case["threads"], threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        found = _foretold(fmm, charges, outputs)
        small, few = points_and_charges(case, WARM_POINTS)
        warm, _ = _planned(small, case, WARM_LEAF)
        if case["warm"]:
            dask.compute(*warm.evaluate(outputs=outputs, **few).values())
        runs = []
        for i in range(case["repeats"]):
            started = time.perf_counter()
            dask.compute(*fmm.evaluate(outputs=outputs, **bench.new_charges(charges, i)).values())
            runs.append(time.perf_counter() - started)
            if i == 0:
                peak = max(client.run(memory.peak).values())
    return {
        "seconds": median(runs),
        "cpu_seconds": None,
        "expected_cpu_seconds": None,
        "peak": peak,
        "plan_seconds": plan_seconds,
        "forecast": found.facts(),
    }


def _planned(sources: np.ndarray, case: dict[str, Any], leaf_size: int | None = None) -> tuple[Fmm, float]:
    started = time.perf_counter()
    fmm = Fmm(sources, kernel=kernel_of(case), eps=case["eps"], leaf_size=leaf_size)
    return fmm, time.perf_counter() - started


def _foretold(fmm: Fmm, charges: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Forecast:
    """For these kinds of sources, and for the order that the charges will need."""
    accuracy, kernel = bench.accuracy(fmm, charges, outputs)
    return fmm._evaluator.forecast(outputs, accuracy, kernel)


def run(case: dict[str, Any], timeout: float) -> dict[str, Any]:
    """A case in a fresh process."""
    return fresh.run("benchmarks.forecast", case, timeout)


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    where = f"{found['threads']} {'process' if found['cluster'] else 'thread'}"
    head = f"{label(found):<32} {found['shape']:<8}{found['n']:>9.3g} {found['eps']:>7.0e} {where:>8.8}"
    if "failed" in found:
        return f"{head} failed: {found['failed'][:90]}"
    told = found["forecast"]
    promised = told["memory"]["peak"]
    if found["cpu_seconds"] is None:
        cpu = f"{'-':>9} {'-':>9} {'-':>6}"
    else:
        ratio = found["expected_cpu_seconds"] / found["cpu_seconds"]
        cpu = f"{found['expected_cpu_seconds']:>9.4f} {found['cpu_seconds']:>9.4f} {ratio:>6.2f}"
    return (
        f"{head} {told['tasks']:>6} {found['plan_seconds']:>7.2f} {told['seconds']:>9.4f} {found['seconds']:>9.4f} "
        f"{told['seconds'] / found['seconds']:>6.2f} {cpu} {promised / 2**20:>9.1f} {found['peak'] / 2**20:>9.1f} "
        f"{found['peak'] / promised:>6.2f} {found['load']:>5.1f}"
    )


def operator_rows(results: list[dict[str, Any]]) -> list[str]:
    """Expected over measured seconds of each operator, where these are a twentieth of all or more."""
    timed = [found for found in results if found.get("operators")]
    names = list(dict.fromkeys(name for found in timed for name in found["operators"]))
    lines = [f"{'expected / measured seconds of':<56}" + "".join(f"{name:>9.8}" for name in names)]
    for found in timed:
        told, measured = found["forecast"]["operators"], found["operators"]
        total = sum(each["cpu_seconds"] for each in measured.values())
        shown = ""
        for name in names:
            own = measured.get(name, {}).get("cpu_seconds", 0.0)
            ratio = f"{told[name]['seconds'] / own:.2f}" if own >= 0.05 * total else "-"
            shown += f"{ratio:>9}"
        lines.append(f"{label(found)} {found['shape']} {found['n']:.3g} {found['eps']:.0e}".ljust(56) + shown)
    return lines if timed else []


def summary(results: list[dict[str, Any]]) -> str:
    """The worst of each."""
    good = [found for found in results if "failed" not in found]
    if not good:
        return "no case gave a result"
    seconds = [found["forecast"]["seconds"] / found["seconds"] for found in good]
    peaks = [found["peak"] / found["forecast"]["memory"]["peak"] for found in good]
    lines = [
        f"expected / measured seconds: {min(seconds):.2f} to {max(seconds):.2f}, median {median(seconds):.2f}",
        f"measured / promised memory:  {min(peaks):.2f} to {max(peaks):.2f}, median {median(peaks):.2f}",
    ]
    cpu = [found["expected_cpu_seconds"] / found["cpu_seconds"] for found in good if found["cpu_seconds"]]
    if cpu:
        lines.insert(
            1, f"the same of CPU seconds:     {min(cpu):.2f} to {max(cpu):.2f}, median {median(cpu):.2f}"
        )
    return "\n".join(lines)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@with_kernel
@click.option("--shape", "shapes", multiple=True, default=("cube", "sphere", "plummer"))
@click.option(
    "--n", "sizes", type=fresh.Count(), multiple=True, default=(10**4, 10**5, 10**6), help="Points."
)
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-3, 1e-6, 1e-9))
@click.option("--threads", type=click.IntRange(min=1), multiple=True, default=(1, 2))
@click.option("--cluster", is_flag=True, help="Processes of a LocalCluster instead of threads.")
@click.option("--warm/--cold", default=False, help="On a cluster: evaluate a small cloud first.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Evaluations; the median counts.")
@click.option("--seed", type=int, default=20240611, help="Of clouds and charges.")
@click.option("--timeout", type=float, default=600.0, help="Seconds a case may take.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="forecast.json")
@click.option("--case", is_flag=True, hidden=True, help="One case, from standard input, in this process.")
def main(
    wanted: list[dict[str, Any]],
    shapes: tuple[str, ...],
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    threads: tuple[int, ...],
    cluster: bool,
    warm: bool,
    repeats: int,
    seed: int,
    timeout: float,
    output: Path,
    case: bool,
) -> None:
    """Compare forecast and measurement for every combination of the options; writes JSON."""
    if case:
        one = json.load(sys.stdin)
        click.echo("\n" + json.dumps(in_a_cluster(one) if one["cluster"] else in_threads(one)))
        return
    click.echo(COLUMNS)
    results = []
    for problem, shape, n, eps, n_threads in itertools.product(wanted, shapes, sizes, accuracies, threads):
        one = {**problem, "shape": shape, "n": n, "eps": eps, "threads": n_threads, "seed": seed}
        one |= {"cluster": cluster, "warm": warm, "repeats": repeats, "load": os.getloadavg()[0]}
        results.append(run(one, timeout))
        click.echo(row(results[-1]))
        output.write_text(json.dumps(results, indent=1))
    click.echo("\n" + "\n".join(operator_rows(results)))
    click.echo(f"\n{summary(results)}\nwritten to {output}")


if __name__ == "__main__":
    main()
