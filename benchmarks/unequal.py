"""Very unequal sizes: a million sources and few targets, or the reverse, beside the sum over all pairs.

``python -m benchmarks.unequal``. Planning should take little more than reading the points, and an evaluation no more
than the direct sum, or the best tree, and Dask's few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np

import taskfmm

LEAVES = (1024, 4096, 16384)
"""Leaf sizes of the trees that are tried."""


def best(call: Callable[[], object], repeats: int) -> float:
    """Least milliseconds of some calls."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - started))
    return min(found)


def case(n_sources: int, n_targets: int, eps: float, repeats: int, seed: int) -> str:
    """One row of the table."""
    rng = np.random.default_rng(seed)
    sources, targets = rng.random((n_sources, 3)), rng.random((n_targets, 3))
    charges = rng.uniform(-1.0, 1.0, n_sources)

    def evaluation(fmm: taskfmm.Fmm) -> float:
        return best(lambda: fmm.potential(charges).compute(), repeats)

    reading = best(lambda: (np.isfinite(sources).all(), sources.copy(), targets.copy()), repeats)
    planning = best(lambda: taskfmm.Fmm(sources, targets, eps=eps), repeats)
    fmm = taskfmm.Fmm(sources, targets, eps=eps)
    ours = evaluation(fmm)
    direct = best(lambda: taskfmm.direct(sources, charges, targets), repeats)
    tree = min(evaluation(taskfmm.Fmm(sources, targets, eps=eps, leaf_size=size)) for size in LEAVES)
    method = "direct sum" if fmm.leaf_size is None else f"leaves {fmm.leaf_size}"
    return (
        f"{n_sources:>9,} {n_targets:>9,}  {method:<12} {reading:>8.1f} {planning:>8.1f} {ours:>8.1f} {direct:>8.1f} "
        f"{tree:>8.1f} {ours / min(direct, tree):>8.2f}"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=click.IntRange(min=1), default=1_000_000, help="Points on the side with many.")
@click.option(
    "--few",
    "few",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 10, 100, 1000),
    help="On the other.",
)
@click.option("--eps", type=float, default=1e-6)
@click.option("--repeats", type=click.IntRange(min=1), default=5)
@click.option("--seed", type=int, default=1)
def main(n: int, few: tuple[int, ...], eps: float, repeats: int, seed: int) -> None:
    """Plan and evaluate both ways round."""
    case(2000, 100, eps, 1, seed)  # compiles, or reads, the loops of the direct sum
    case(40_000, 20_000, eps, 1, seed)  # and those of a tree
    click.echo(
        f"potential, eps {eps:g}; least milliseconds of {repeats}; ratio: evaluation to the better of the last two"
    )
    click.echo(
        f"{'sources':>9} {'targets':>9}  {'chosen':<12} {'reading':>8} {'plan':>8} {'eval':>8} {'direct':>8} "
        f"{'tree':>8} {'ratio':>8}"
    )
    for count in few:
        click.echo(case(n, count, eps, repeats, seed))
        click.echo(case(count, n, eps, repeats, seed))


if __name__ == "__main__":
    main()
