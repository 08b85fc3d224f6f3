"""Evaluations in float32 beside those in float64, at the same eps and of the same points.

``python -m benchmarks.single --n 1e6 --eps 1e-3``. Both plans are in one process and take turns, so that a busy
machine slows both; ratios are medians over the turns. One thread.
"""

from __future__ import annotations

import itertools
from statistics import median

import click
import numpy as np

from benchmarks import fresh
from taskfmm import bench
from taskfmm.direct_sum import direct
from taskfmm.fmm import Fmm
from taskfmm.generate import cloud

DTYPES = ("float64", "float32")


def measure(shape: str, n: int, eps: float, output: str, repeats: int) -> str:
    """A line of the table."""
    sources, charges = cloud(shape, n, signed=True, seed=20240611)
    sources = sources.astype(np.float32)
    plans = {dtype: Fmm(sources, eps=eps, dtype=dtype) for dtype in DTYPES}
    seconds: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    for fmm in plans.values():
        bench.evaluate(fmm, charges, (output,), 1)
    for _, (dtype, fmm) in itertools.product(range(repeats), plans.items()):
        seconds[dtype].append(
            bench.timed_evaluations(fmm, charges, (output,), 1, 1)["evaluation_cpu_seconds"]
        )
    found = plans["float32"].evaluate(charges, outputs=(output,))[output].compute()
    rows = np.random.default_rng(0).choice(n, min(n, bench.N_CHECK), replace=False)
    exact = direct(sources, charges, sources[rows], outputs=(output,))
    ratio = median(a / b for a, b in zip(seconds["float64"], seconds["float32"], strict=True))
    both = "".join(f"{median(seconds[dtype]):>10.4f}" for dtype in DTYPES)
    in_single = plans["float32"].accuracy(output, charges).dtype
    error = bench.relative_error(found[rows], exact[output])
    return f"{shape:<9}{n:>9.3g}{eps:>8.0e}  {output:<10}{both}{ratio:>8.2f}{error:>10.1e}  {in_single}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--shape", "shapes", multiple=True, default=("cube", "sphere", "plummer"))
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**5, 10**6), help="Points.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-2, 1e-3, 1e-4))
@click.option("--output", "outputs", multiple=True, default=("potential", "gradient"))
@click.option("--repeats", type=click.IntRange(min=1), default=5)
def main(
    shapes: tuple[str, ...],
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    outputs: tuple[str, ...],
    repeats: int,
) -> None:
    """Seconds of both, their ratio, and the error of float32, for every combination of the options."""
    click.echo(
        f"{'shape':<9}{'N':>9}{'eps':>8}  {'output':<10}{'float64':>10}{'float32':>10}{'ratio':>8}{'error':>10}"
    )
    for case in itertools.product(shapes, sizes, accuracies, outputs):
        click.echo(measure(*case, repeats))


if __name__ == "__main__":
    main()
