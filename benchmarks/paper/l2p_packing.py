"""L2P with everything packed into contiguous buffers against L2P that reads where the data lie.

``python -m benchmarks.paper.l2p_packing``: 32,768 leaves of a uniform cube, orders 6 to 10, one thread. All loops
sum the same pairs with the same formula. The naive one looks up its targets, in the caller's order, and moves the
surface anew for every target; all points are rows of (x, y, z). A second form of it keeps the surface in columns, so
that what is left is the packing alone. The packed one is taskfmm's own: its targets were packed once, with the plan,
and putting the result back into the caller's order is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks.paper import published, report
from taskfmm.geometry import surface
from taskfmm.jit import jit, wide_vectors
from taskfmm.kernels import KERNELS, gather_loops
from taskfmm.kernels.roots import inverse_distance


@jit
def naive(surface_points, ptr, rows, targets, centers, half_width, density, out):
    """out[rows] = sum over the surface; surface_points, targets, centers : [n, 3]."""
    wide_vectors()
    for leaf in range(ptr.size - 1):
        for i in range(ptr[leaf], ptr[leaf + 1]):
            row = rows[i]
            total = 0.0
            for s in range(surface_points.shape[0]):
                dx = targets[row, 0] - (centers[leaf, 0] + half_width * surface_points[s, 0])
                dy = targets[row, 1] - (centers[leaf, 1] + half_width * surface_points[s, 1])
                dz = targets[row, 2] - (centers[leaf, 2] + half_width * surface_points[s, 2])
                total += density[leaf, 0, s] * inverse_distance(dx * dx + dy * dy + dz * dz)
            out[0, row] = total


@jit
def columns(surface_points, ptr, rows, targets, centers, half_width, density, out):
    """As `naive`, but surface_points : [3, n], so that the inner loop reads consecutive numbers."""
    wide_vectors()
    x, y, z = surface_points[0], surface_points[1], surface_points[2]
    for leaf in range(ptr.size - 1):
        values = density[leaf, 0]
        for i in range(ptr[leaf], ptr[leaf + 1]):
            row = rows[i]
            total = 0.0
            for s in range(x.size):
                dx = targets[row, 0] - (centers[leaf, 0] + half_width * x[s])
                dy = targets[row, 1] - (centers[leaf, 1] + half_width * y[s])
                dz = targets[row, 2] - (centers[leaf, 2] + half_width * z[s])
                total += values[s] * inverse_distance(dx * dx + dy * dy + dz * dz)
            out[0, row] = total


def leaves(n: int, level: int, rng: np.random.Generator) -> dict[str, Any]:
    """Points in the unit cube and the leaves of a level, as both loops want them."""
    side = 2**level
    points = rng.random((n, 3))
    cell = np.ravel_multi_index(tuple((points * side).astype(int).T), (side,) * 3)
    order = np.argsort(cell, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=side**3))])
    centers = (np.indices((side,) * 3).reshape(3, -1).T + 0.5) / side
    return {"points": points, "order": order, "ptr": ptr, "centers": centers, "half_width": 0.5 / side}


def calls(cloud: dict[str, Any], order: int, rng: np.random.Generator) -> dict[str, Callable[[], np.ndarray]]:
    """The loops, ready to run; each gives the potentials in the caller's order."""
    ptr, half_width, by_leaf = cloud["ptr"], cloud["half_width"], cloud["order"]
    n_leaves, n = ptr.size - 1, by_leaf.size
    points = surface.cube(order, surface.OUTER)
    density = rng.uniform(-1.0, 1.0, (n_leaves, 1, points.shape[1]))
    by_rows = np.ascontiguousarray(points.T)
    packed_targets = np.ascontiguousarray(cloud["points"][by_leaf].T)
    hi = np.ascontiguousarray(cloud["centers"].T)
    lo = np.zeros_like(hi)
    each = np.arange(n_leaves + 1)
    idx = np.arange(n_leaves, dtype=np.int32)
    loop = gather_loops(KERNELS["laplace"].of_first, "potential").surfaces_to_points

    def run_unpacked(loop: Callable[..., None], surface_points: np.ndarray) -> np.ndarray:
        out = np.zeros((1, n))
        loop(
            surface_points,
            ptr,
            by_leaf,
            cloud["points"],
            cloud["centers"],
            half_width,
            density,
            out,
        )
        return out[0]

    def run_packed() -> np.ndarray:
        out = np.zeros((1, n))
        target = (ptr, *packed_targets, hi, lo, 1.0 / half_width)
        boxes = (each, idx, hi, lo, density)
        loop(0, n_leaves, points, *target, *boxes, np.empty(0), out, threads=1)
        potential = np.empty(n)
        potential[by_leaf] = out[0] / half_width
        return potential

    return {
        "naive": lambda: run_unpacked(naive, by_rows),
        "in columns": lambda: run_unpacked(columns, points),
        "packed": run_packed,
    }


def seconds(ready: dict[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turns so that all meet the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(repeats):
        for name, run in ready.items():
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
    return {name: median(times) for name, times in taken.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=click.IntRange(min=1), default=1_000_000, help="Targets.")
@click.option("--level", type=click.IntRange(1, 7), default=5, help="Of the leaves: 5 makes 32,768.")
@click.option("--order", "orders", type=int, multiple=True, default=(6, 7, 8, 9, 10))
@click.option("--repeats", type=click.IntRange(min=1), default=5)
@click.option("--seed", type=int, default=32768)
@report.plot_option("l2p_packing.png")
def main(n: int, level: int, orders: tuple[int, ...], repeats: int, seed: int, plot: Path) -> None:
    """Time the loops for every order."""
    rng = np.random.default_rng(seed)
    cloud = leaves(n, level, rng)
    rows, timed = [], []
    for order in orders:
        ready = calls(cloud, order, rng)
        results = [run() for run in ready.values()]
        wrong = max(float(np.linalg.norm(each - results[0])) for each in results) / np.linalg.norm(results[0])
        taken = seconds(ready, repeats)
        timed.append(taken)
        gains = [f"{taken[name] / taken['packed'] - 1.0:.0%}" for name in ("naive", "in columns")]
        rows.append([str(order), *taken.values(), *gains, f"{wrong:.0e}"])
    low, high = published.PACKING_GAIN
    click.echo(f"{8**level:,} leaves, {n:,} targets, one thread; published gain {low:.0%} to {high:.0%}")
    head = ("order", "naive s", "in columns s", "packed s", "gain on naive", "on columns", "difference")
    click.echo(report.table(head, rows))
    series = {name: [taken[name] for taken in timed] for name in timed[0]}
    report.bars(plot, orders, series, "seconds", "order")


if __name__ == "__main__":
    main()
