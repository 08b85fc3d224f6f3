"""The rates that bound everything: what this machine does in a plain loop, our pair loops, BLAS and memory.

An operator cannot beat the rate it is made of, so these say what bounds a timing. One thread throughout.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import machine
from taskfmm import bench
from taskfmm.jit import jit
from taskfmm.kernels import KERNELS, gather_loops
from taskfmm.kernels.roots import ENOUGH, QUADRATIC

BOX, BOXES = 64, 27
"""Points of a box, and boxes next to each other."""


@jit
def _triad(a, b, c):
    for i in range(a.size):
        a[i] = b[i] + 3.0 * c[i]


def _best(once: Callable[[], Any], seconds: float) -> float:
    once()
    found, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        once()
        found = min(found, time.perf_counter() - started)
    return float(found)


def pairs(seconds: float) -> dict[str, float]:
    """Gpairs/s of the reference and of our loops; two-sided ones count a pair for each of its sides."""
    found = {"plain loop (the reference)": bench.reference_rate(seconds).wall}
    rng = np.random.default_rng(1)
    n = BOX * BOXES
    points, q, out = rng.random((3, n)), rng.random((1, n)), np.zeros((1, n))
    ends, none = BOX * np.arange(BOXES + 1), np.zeros(0, np.int64)
    row = ends[:2], points[:, :BOX].copy(), np.array([0, 1]), np.array([0]), np.array([n]), points, q
    pairs_of = [np.arange(box + 1, BOXES, dtype=np.int32) for box in range(BOXES)]
    pair_ptr = np.cumsum([0, *map(len, pairs_of)])
    block = np.array([0, BOXES]), ends, points, q, np.zeros(BOXES + 1, np.int64), none, none, points, q
    for roots, eps in (("", 0.0), (QUADRATIC, ENOUGH)):
        kernel = replace(KERNELS["laplace"].of_first, roots=roots)
        loops, rest = gather_loops(kernel, "potential"), (kernel.constants, out)
        one = bench.pair_rate(
            lambda loops=loops, rest=rest: loops.points_to_points(0, 1, *row, *rest), BOX * n, seconds
        )
        several = *block, pair_ptr, np.concatenate(pairs_of), *rest
        two = bench.pair_rate(
            lambda loops=loops, args=several: loops.points_to_points_mutual(0, 1, *args),
            n * (n - BOX),
            seconds,
        )
        found[f"one-sided, roots for eps of {eps:g} on"] = one.wall
        found[f"both sides at once, for eps of {eps:g} on"] = two.wall
    return {name: rate / 1e9 for name, rate in found.items()}


def gemm(seconds: float) -> dict[str, float]:
    """GFLOP/s of matrix products: large, and of the size that M2L makes."""
    found = {}
    rng = np.random.default_rng(2)
    for dtype in (np.float64, np.float32):
        for m, k, n in ((1024, 1024, 1024), (128, 150, 25)):
            a, b = rng.random((m, k)).astype(dtype), rng.random((k, n)).astype(dtype)
            out = np.empty((m, n), dtype)
            taken = _best(lambda a=a, b=b, out=out: np.dot(a, b, out), seconds)
            found[f"{np.dtype(dtype).name} {m} x {k} x {n}"] = 2e-9 * m * k * n / taken
    return found


def memory(seconds: float, n: int = 2**25) -> float:
    """GB/s of a triad over arrays far larger than any cache, counting what the loop reads and writes."""
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    return 24e-9 * n / _best(lambda: _triad(a, b, c), seconds)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seconds", type=float, default=0.5, help="For each rate.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(seconds: float, as_json: bool) -> None:
    """Measure the reference loop, our pair loops, GEMM and memory bandwidth on one thread."""
    with threadpool_limits(1, user_api="blas"):
        found = {"machine": machine.facts(), "pairs": pairs(seconds), "gemm": gemm(seconds)}
    found["memory"] = memory(seconds)
    if as_json:
        click.echo(json.dumps(found))
        return
    facts = found["machine"]
    click.echo(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_average'][0]:.1f}")
    for library in facts["blas"]:
        click.echo(
            f"BLAS {library['internal_api']} {library['version']}, kernels for {library['architecture']}"
        )
    for title, unit in (("pairs", "Gpairs/s"), ("gemm", "GFLOP/s")):
        click.echo(f"\n{unit}")
        for name, rate in found[title].items():
            click.echo(f"  {name:<38} {rate:8.2f}")
    click.echo(f"\nmemory, GB/s{found['memory']:36.2f}")


if __name__ == "__main__":
    main()
