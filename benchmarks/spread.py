"""Points that never meet, on worker processes: seconds, memory and disk, beside one process with threads.

python -m benchmarks.spread --n 1e7 --chunks 20 --workers 2 --memory 3GiB
"""

from __future__ import annotations

import resource
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

CLUSTERS = {"cube": 0, "clusters": 40}


def points(chunk: int, n: int, clusters: int) -> np.ndarray:
    """The same whenever a chunk is computed; clusters of widths over three decades, or a cube."""
    rng = np.random.default_rng([chunk, n])
    if not clusters:
        return rng.random((n, 3))
    shared = np.random.default_rng(clusters)
    centers, widths = shared.random((clusters, 3)), 10.0 ** shared.uniform(-4, -1, clusters)
    which = rng.integers(clusters, size=n)
    return centers[which] + widths[which, None] * rng.normal(size=(n, 3))


def charges(chunk: int, n: int) -> np.ndarray:
    return np.random.default_rng([chunk, n, 1]).uniform(-1, 1, n)


def in_chunks(make: Any, n: int, n_chunks: int, width: tuple[int, ...], *args: Any) -> da.Array:
    size = n // n_chunks
    pieces = [
        da.from_delayed(dask.delayed(make)(chunk, size, *args), (size, *width), dtype=float)
        for chunk in range(n_chunks)
    ]
    return da.concatenate(pieces)


def squares(found: da.Array) -> float:
    """The sum of squares: results are computed, and stay where they are."""
    sums = found.map_blocks(lambda block: np.array([block @ block]), chunks=(1,), dtype=float)
    return float(sums.compute().sum())


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--n", type=fresh.Count(), default=10**7, help="Points.")
@click.option("--shape", type=click.Choice(list(CLUSTERS)), default="cube")
@click.option("--chunks", type=click.IntRange(min=1), default=20)
@click.option("--eps", type=float, default=1e-6)
@click.option("--workers", type=click.IntRange(min=1), default=2, help="Processes of one thread.")
@click.option("--memory", default="3GiB", help="Limit of each.")
@click.option("--region", type=fresh.Count(), help="Points of a region.")
@click.option("--beside/--alone", default=False, help="Also one process with as many threads.")
def main(
    n: int, shape: str, chunks: int, eps: float, workers: int, memory: str, region: int | None, beside: bool
) -> None:
    """Plan and evaluate twice; print seconds, peaks of memory, and what lies on the disk."""
    from distributed import Client, LocalCluster

    x = in_chunks(points, n, chunks, (3,), CLUSTERS[shape])
    q = in_chunks(charges, n, chunks, ())
    how = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": memory, "dashboard_address": None}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        plan = taskfmm.Fmm.from_dask(x, eps=eps, region=region)
        planned = time.perf_counter() - began
        disk = sum(path.stat().st_size for path in Path(plan.plan.depot.path).iterdir())
        click.echo(f"{plan}")
        click.echo(f"planned in {planned:.1f} s, {disk / n:.0f} bytes a point on the disk")
        for _ in range(2):
            began = time.perf_counter()
            phi = plan.potential(q)
            total = squares(phi)
            took = time.perf_counter() - began
            click.echo(f"evaluated in {took:.1f} s, {len(phi.dask):,} tasks, norm {total**0.5:.12g}")
        peaks = ", ".join(f"{each:.2f}" for each in client.run(peak).values())
        grown = (psutil.Process().memory_info().rss - before) / 2**20
        click.echo(f"peaks of workers {peaks} GiB; the client grew by {grown:.0f} MiB")
    if beside:
        with dask.config.set(scheduler="threads", num_workers=workers):
            began = time.perf_counter()
            whole = taskfmm.Fmm(x, eps=eps)
            click.echo(f"one process: planned in {time.perf_counter() - began:.1f} s")
            for _ in range(2):
                began = time.perf_counter()
                total = squares(whole.potential(q))
                click.echo(f"evaluated in {time.perf_counter() - began:.1f} s, norm {total**0.5:.12g}")
        click.echo(f"peak {peak():.2f} GiB")


if __name__ == "__main__":
    main()
