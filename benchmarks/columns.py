"""Many vectors at once beside one after the other, at the same eps and of the same points.

``python -m benchmarks.columns --n 1e5 --columns 8``. Both plans are in one process and take turns; the one for many
vectors has leaves for so many. Seconds of CPU, one thread; ratios are medians over the turns.
"""

from __future__ import annotations

import itertools
import time
from statistics import median
from typing import Any

import click
import dask
import numpy as np

from benchmarks import fresh
from taskfmm import bench
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud


def seconds(fmm: Fmm, charges: np.ndarray, output: str) -> tuple[float, Any]:
    """Of CPU, and the result."""
    with dask.config.set(scheduler="synchronous"):
        started = time.process_time()
        found = fmm.evaluate(charges, outputs=(output,))[output].compute()
        return time.process_time() - started, found


def measure(shape: str, n: int, eps: float, output: str, columns: int, repeats: int) -> str:
    """A line of the table."""
    sources, _ = cloud(shape, n, signed=True, seed=20240611)
    charges = np.random.default_rng(7).uniform(-1, 1, (n, columns))
    alone, many = Fmm(sources, eps=eps), Fmm(sources, eps=eps, columns=columns)
    one = charges[:, 0].copy()
    seconds(alone, one, output), seconds(many, charges, output)
    turns = []
    for _ in range(repeats):
        took, first = seconds(alone, one, output)
        at_once, found = seconds(many, charges, output)
        turns.append((columns * took, at_once))
    ratio = median(apart / at_once for apart, at_once in turns)
    apart, at_once = (median(each) for each in zip(*turns, strict=True))
    difference = bench.relative_error(found[..., 0], first)
    return (
        f"{shape:<9}{n:>9.3g}{eps:>8.0e}  {output:<10}{columns:>3}{apart:>10.3f}{at_once:>10.3f}{ratio:>7.2f}"
        f"{difference:>11.1e}{alone.leaf_size or 0:>7}{many.leaf_size or 0:>6}"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--shape", "shapes", multiple=True, default=("cube", "sphere"))
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**5, 10**6), help="Points.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-3, 1e-6, 1e-9))
@click.option("--output", "outputs", multiple=True, default=("potential", "gradient"))
@click.option("--columns", "numbers", type=click.IntRange(min=1), multiple=True, default=(8,))
@click.option("--repeats", type=click.IntRange(min=1), default=3)
def main(
    shapes: tuple[str, ...],
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    outputs: tuple[str, ...],
    numbers: tuple[int, ...],
    repeats: int,
) -> None:
    """Seconds of both, their ratio, and by how much the first vector differs, for every combination."""
    click.echo(
        f"{'shape':<9}{'N':>9}{'eps':>8}  {'output':<10}{'k':>3}{'apart s':>10}{'at once s':>10}{'ratio':>7}"
        f"{'difference':>11}{'leaf':>7}{'':>6}"
    )
    for case in itertools.product(shapes, sizes, accuracies, outputs, numbers):
        click.echo(measure(*case, repeats))


if __name__ == "__main__":
    main()
