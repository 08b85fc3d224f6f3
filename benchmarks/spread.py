"""Points that never meet, on worker processes: seconds, memory and disk, beside one process with threads.

python -m benchmarks.spread --n 1e7 --chunks 20 --workers 2 --memory 3GiB
python -m benchmarks.spread --n 1e6 --chunks 4 --workers 2 --forecast
python -m benchmarks.spread --n 1e7 --kill 0.5
python -m benchmarks.spread --n 5e7 --chunks 50 --zarr /tmp/points --apart
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import click
import dask
import dask.array as da
import numpy as np
import psutil

import taskfmm
from benchmarks import fresh
from taskfmm.generate import SHAPES
from taskfmm.runtime.threads import n_cores
from taskfmm.spread import Ahead, Spread, forecast
from taskfmm.spread.foretold import DRAWN

TIMES = 2
"""Evaluations, of which the quickest counts."""


def points(chunk: int, n: int, shape: str) -> np.ndarray:
    """The same whenever a chunk is computed."""
    return SHAPES[shape](n, np.random.default_rng([chunk, n]))


def charges(chunk: int, n: int) -> np.ndarray:
    return np.random.default_rng([chunk, n, 1]).uniform(-1, 1, n)


def in_chunks(make: Any, n: int, n_chunks: int, width: tuple[int, ...], *args: Any) -> da.Array:
    size = n // n_chunks
    pieces = [
        da.from_delayed(dask.delayed(make)(chunk, size, *args), (size, *width), dtype=float)
        for chunk in range(n_chunks)
    ]
    return da.concatenate(pieces)


def written(array: da.Array, path: Path) -> da.Array:
    array.to_zarr(str(path), overwrite=True)
    return da.from_zarr(str(path))


def squares(found: da.Array) -> float:
    """The sum of squares: results are computed, and stay where they are."""
    others = list(range(1, found.ndim))
    sums = found.map_blocks(lambda b: np.array([np.vdot(b, b)]), chunks=(1,), drop_axis=others, dtype=float)
    return float(sums.compute().sum())


def peak() -> float:
    """GiB that this process has held, or the one that started it before it did."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forget_peak() -> None:
    """What this process has held so far does not count for `later_peak`."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def later_peak() -> float:
    """GiB that this process has held since `forget_peak`; since it began, where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20
    return peak()


def processor() -> float:
    """Seconds that this process has run on a core."""
    times = os.times()
    return times.user + times.system


def busy() -> float:
    """Seconds that all programs of this machine have run on its cores."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)


def size_of_graph(found: da.Array, given: da.Array) -> tuple[int, int]:
    """Tasks and edges of an evaluation, without those of its charges."""
    graph = dict(found.dask)
    own = [graph[key] for key in graph.keys() - given.dask.keys()]
    return len(own), sum(len(task.dependencies) for task in own)


def looked_at_gradients(plan: Spread, client: Any) -> None:
    """What the first gradient of a plan takes besides."""
    before, began = sum(client.run(processor).values()), time.perf_counter()
    plan.accuracy("gradient")
    took, ran = time.perf_counter() - began, sum(client.run(processor).values()) - before
    click.echo(f"looked at gradients in {took:.1f} s, {ran:.1f} s on cores")


def sent(dask_worker: Any) -> int:
    """Bytes that a worker has sent to others."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def evaluated(plan: Spread, q: da.Array, client: Any, output: str = "potential") -> dict[str, float]:
    """Tasks and edges of an evaluation, its seconds, those of its workers on cores, and cores that others took."""
    before, moved = client.run(processor), sum(client.run(sent).values())
    own, every, began = processor(), busy(), time.perf_counter()
    phi = plan.evaluate(q, output)[output]
    total = squares(phi)
    took = time.perf_counter() - began
    here, each = processor() - own, [after - before[name] for name, after in client.run(processor).items()]
    moved, ran = sum(client.run(sent).values()) - moved, sum(each)
    others = max(0.0, busy() - every - ran - here) / took
    tasks, edges = size_of_graph(phi, q)
    click.echo(
        f"{output} evaluated in {took:.1f} s, {ran:.1f} s on cores, {tasks:,} tasks, {edges:,} edges, "
        f"norm {total**0.5:.12g}"
    )
    click.echo(
        f"  client and scheduler {here:.1f} s on a core; {moved / 2**20:,.0f} MiB between workers; "
        f"the busiest worker {max(each) * len(each) / ran:.2f} times the mean"
    )
    return {"tasks": tasks, "edges": edges, "seconds": took, "seconds on cores": ran, "others": others}


def killed(plan: Spread, q: da.Array, client: Any, seconds: float, usual: float) -> None:
    """An evaluation of which one worker is killed after so many seconds, beside the usual time."""
    worker = sorted(client.run(os.getpid).values())[0]
    timer = threading.Timer(seconds, os.kill, (worker, signal.SIGKILL))
    began = time.perf_counter()
    timer.start()
    total = squares(plan.potential(q))
    took = time.perf_counter() - began
    timer.cancel()
    click.echo(
        f"a worker killed after {seconds:.1f} s: evaluated in {took:.1f} s, {took / usual:.2f} times as long, "
        f"norm {total**0.5:.12g}"
    )


def slowness(n: int, eps: float, shape: str) -> float:
    """How many times as long as its rates say this machine takes now: one process, on one thread."""
    with dask.config.set(scheduler="synchronous"):
        whole, q = taskfmm.Fmm(points(0, n, shape), eps=eps), charges(0, n)
        whole.potential(-q).compute()
        expected = whole.forecast().task_seconds
        before = processor()
        whole.potential(q).compute()
        return (processor() - before) / expected


def beside_forecast(ahead: Ahead, measured: dict[str, float], slow: float) -> None:
    """The forecast beside what was measured, and their ratio."""
    seconds = ahead.seconds
    expected = {
        "regions": ahead.regions.regions,
        **ahead.graph,
        "seconds": seconds["all"],
        "seconds on cores": seconds["arithmetic"],
        "peak of a worker, MiB": ahead.memory["peak"] / 2**20,
        "disk, bytes a point": ahead.disk_bytes / ahead.n_points,
    }
    free = min(float(ahead.at_once), max(0.1, n_cores() - measured["others"])) / ahead.at_once
    click.echo(
        f"\none process takes {slow:.2f} times as long on a core as the rates of this machine say; "
        f"other programs took {measured['others']:.1f} of {n_cores()} cores"
    )
    click.echo(
        f"{'':<22} {'expected':>10} {'measured':>10} {'measured / expected':>20}  at these rates and cores"
    )
    for name, value in expected.items():
        line = f"{name:<22} {value:>10,.5g} {measured[name]:>10,.5g} {measured[name] / value:>20.2f}"
        if name.startswith("seconds"):
            line += f"  {measured[name] / value / slow * (free if name == 'seconds' else 1.0):.2f}"
        click.echo(line)


def started(workers: int, memory: str, apart: bool) -> Any:
    """Processes of one thread; the scheduler is in this process, or in one of its own."""
    from distributed import LocalCluster

    how = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    if apart:
        from distributed.deploy.subprocess import SubprocessCluster

        return SubprocessCluster(**how, worker_kwargs={"memory_limit": memory})
    return LocalCluster(**how, memory_limit=memory)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--n", type=fresh.Count(), default=10**7, help="Points.")
@click.option("--shape", type=click.Choice(list(SHAPES)), default="cube")
@click.option("--chunks", type=click.IntRange(min=1), default=20)
@click.option("--eps", type=float, default=1e-6)
@click.option("--workers", type=click.IntRange(min=1), default=2, help="Processes of one thread.")
@click.option("--memory", default="3GiB", help="Limit of each.")
@click.option("--region", type=fresh.Count(), help="Points of a region.")
@click.option("--gradient", is_flag=True, help="Also its gradient, and the look at all points before it.")
@click.option(
    "--zarr", type=click.Path(path_type=Path), help="Write points and charges there, and read them."
)
@click.option("--kill", type=float, multiple=True, help="Kill a worker after this part of an evaluation.")
@click.option("--beside/--alone", default=False, help="Also one process with as many threads.")
@click.option("--apart", is_flag=True, help="The scheduler in a process of its own, as on machines.")
@click.option("--forecast", "is_forecast", is_flag=True, help="Print what was expected beside it.")
def main(
    n: int,
    shape: str,
    chunks: int,
    eps: float,
    workers: int,
    memory: str,
    region: int | None,
    gradient: bool,
    zarr: Path | None,
    kill: tuple[float, ...],
    beside: bool,
    apart: bool,
    is_forecast: bool,
) -> None:
    """Plan and evaluate twice; print seconds, peaks of memory, and what lies on the disk."""
    from distributed import Client

    x = in_chunks(points, n, chunks, (3,), shape)
    q = in_chunks(charges, n, chunks, ())
    if zarr is not None:
        with dask.config.set(scheduler="synchronous"):
            x, q = (written(array, zarr / name) for name, array in (("x.zarr", x), ("q.zarr", q)))
    slow = slowness(min(n, 300_000), eps, shape) if is_forecast else 1.0
    with started(workers, memory, apart) as cluster, Client(cluster) as client:
        client.wait_for_workers(workers)
        forget_peak()
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        plan = taskfmm.Fmm.from_dask(x, eps=eps, region=region)
        planned = time.perf_counter() - began
        disk = sum(path.stat().st_size for path in Path(plan.plan.depot.path).iterdir())
        click.echo(f"{plan}")
        click.echo(f"planned in {planned:.1f} s, {disk / n:.0f} bytes a point on the disk")
        arithmetic = plan.forecast().seconds["arithmetic"] / workers
        click.echo(f"arithmetic of {arithmetic:.1f} s of each worker, at the rates of this machine")
        found = [evaluated(plan, q, client) for _ in range(TIMES)]
        usual = min(each["seconds"] for each in found)
        for part in kill:
            killed(plan, q, client, part * usual, usual)
        if gradient:
            looked_at_gradients(plan, client)
            evaluated(plan, q, client, "gradient")
        peaks = list(client.run(peak).values())
        grown = (psutil.Process().memory_info().rss - before) / 2**20
        click.echo(f"peaks of workers {', '.join(f'{each:.2f}' for each in peaks)} GiB; ", nl=False)
        most = 1024 * later_peak() - before / 2**20
        click.echo(f"the client grew by {grown:.0f} MiB, by {most:.0f} MiB at most")
        if apart:
            click.echo(f"peak of the scheduler {1024 * client.run_on_scheduler(peak):.0f} MiB")
    if is_forecast:
        measured = min(found, key=lambda each: each["seconds"])
        measured |= {"regions": plan.n_regions, "disk, bytes a point": disk / n}
        measured |= {"peak of a worker, MiB": 1024 * max(peaks)}
        like = points(0, min(n, DRAWN), shape)
        ahead = forecast(
            n, like, workers, memory, eps=eps, region=region, chunks=chunks, cores=min(workers, n_cores())
        )
        beside_forecast(ahead, measured, (slow + slowness(min(n, 300_000), eps, shape)) / 2)
    if beside:
        one_process(x, q, eps, workers)


def one_process(x: da.Array, q: da.Array, eps: float, threads: int) -> None:
    """The same where this process has all points."""
    with dask.config.set(scheduler="threads", num_workers=threads):
        began = time.perf_counter()
        whole = taskfmm.Fmm(x.compute(), eps=eps)
        click.echo(f"one process: planned in {time.perf_counter() - began:.1f} s")
        for _ in range(TIMES):
            began = time.perf_counter()
            total = squares(whole.potential(q))
            click.echo(f"evaluated in {time.perf_counter() - began:.1f} s, norm {total**0.5:.12g}")
    click.echo(f"peak {peak():.2f} GiB")


if __name__ == "__main__":
    main()
