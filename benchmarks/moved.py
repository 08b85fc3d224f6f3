"""Points that moved a little: a plan made anew beside `taskfmm.Fmm.moved`, and evaluations with both.

``python -m benchmarks.moved --shape plummer``. Each point moves by a part of the mean width of a leaf, at random.
Medians of CPU seconds on one thread, both taken in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import click
import dask
import numpy as np

import taskfmm
from taskfmm.generate import cloud


def seconds(once: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    started = time.process_time()
    found = once(*args)
    return time.process_time() - started, found


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=float, default=1e6, help="Points.")
@click.option("--eps", type=float, default=1e-6)
@click.option("--shape", type=click.Choice(["cube", "sphere", "plummer", "clusters"]), default="cube")
@click.option("--part", type=float, default=0.01, help="Of the mean width of a leaf, by which points move.")
@click.option("--repeats", type=click.IntRange(min=1), default=5)
def main(n: float, eps: float, shape: str, part: float, repeats: int) -> None:
    """Plan, move, and plan again."""
    points, q = cloud(shape, int(n), signed=True, seed=1)
    rng = np.random.default_rng(2)
    with dask.config.set(scheduler="synchronous", **{"taskfmm.numba-threads": 1}):
        fmm = taskfmm.Fmm(points, eps=eps)
        tree = fmm.plan.tree
        leaves = tree.level[tree.is_leaf].astype(float)
        width = float((2.0 * tree.domain.half_width / tree.domain.scale * 0.5**leaves).mean())
        fmm.potential(q).compute()
        taken: dict[str, list[float]] = {name: [] for name in ("anew", "moved", "with new", "with old")}
        for _ in range(repeats):
            points = points + part * width * rng.uniform(-1.0, 1.0, points.shape)
            took, new = seconds(partial(taskfmm.Fmm, eps=eps), points)
            taken["anew"].append(took)
            took, moved = seconds(fmm.moved, points)
            taken["moved"].append(took)
            taken["with new"].append(seconds(new.potential(q).compute)[0])
            taken["with old"].append(seconds(moved.potential(q).compute)[0])
    found = {name: median(each) for name, each in taken.items()}
    click.echo(
        f"{int(n):,} points, {shape}, eps {eps:g}, moved by {part:g} of a leaf; CPU seconds on one thread"
    )
    ratio = found["moved"] / found["anew"]
    click.echo(f"plan         anew {found['anew']:.3f}, moved {found['moved']:.3f}: {ratio:.2f}")
    click.echo(f"evaluation   anew {found['with new']:.3f}, moved {found['with old']:.3f}")


if __name__ == "__main__":
    main()
