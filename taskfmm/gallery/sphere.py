"""A million charges on a sphere: plan, evaluate twice, check, and show where the time went.

``python -m taskfmm.gallery.sphere`` runs the case that Kailasa, Wang, Barba and Betcke time in their PyExaFMM
paper: order 6 and at most 150 points in a leaf.
"""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

import taskfmm
from taskfmm.generate import cloud, new_seed
from taskfmm.profiling.profile import profile
from taskfmm.profiling.progress import progress

N_CHECK = 1000


def _timed(lazy: Any) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    value = lazy.compute()
    return value, time.perf_counter() - started


@click.command()
@click.option("-n", "n", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Points.")
@click.option("--order", type=int, default=6, show_default=True, help="Order p.")
@click.option("--leaf-size", type=int, default=150, show_default=True, help="Most points in a leaf.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same charges.")
def main(n: int, order: int, leaf_size: int, seed: int | None) -> None:
    """Potentials of random charges on a sphere: time, error and the operator table."""
    seed = new_seed() if seed is None else seed
    sources, charges = cloud("sphere", n, signed=True, seed=seed)
    click.echo(f"{n} random-sign charges on a sphere, seed {seed}")
    click.echo(f"order {order} and leaf size {leaf_size} are given, so that no eps decides them")

    started = time.perf_counter()
    fmm = taskfmm.Fmm(sources, order=order, leaf_size=leaf_size)
    click.echo(f"plan                {time.perf_counter() - started:8.2f} s")
    with progress():
        _, seconds = _timed(fmm.potential(charges))
    click.echo(f"first evaluation    {seconds:8.2f} s")

    # New charges on the same plan, as a solver would: the keys differ, so nothing is reused but the plan.
    charges = charges[::-1].copy()
    with progress(), profile() as recorded:
        phi, seconds = _timed(fmm.potential(charges))
    click.echo(f"second evaluation   {seconds:8.2f} s")
    error = fmm.error_estimate(charges, phi, n_samples=min(n, N_CHECK))
    click.echo(f"relative l2 error   {error:8.1e}   (against the direct sum at {min(n, N_CHECK)} targets)")
    click.echo(f"\n{recorded}")


if __name__ == "__main__":
    main()
