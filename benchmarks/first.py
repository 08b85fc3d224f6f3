"""The first result of a fresh process: with no caches (kernels compiled, operators made), then with warm ones.

``python -m benchmarks.first``. Numba's cache and the operators' go to a temporary directory, empty at first. Of each
process, *first* is the time from its start to its potentials, less what making the points takes; *gradient* is what
potentials and gradients of the same charges take then, or after ``--pause`` seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

PROGRAM = """
import json, sys, time
started = time.perf_counter()
import dask
import taskfmm
from taskfmm.generate import cloud
imported = time.perf_counter()
shape, n, eps, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
points, charges = cloud(shape, n, signed=True, seed=1)
made = time.perf_counter()
fmm = taskfmm.Fmm(points, eps=eps)
planned = time.perf_counter()
fmm.potential(charges).compute()
done = time.perf_counter()
ended = time.time()
time.sleep(pause)
paused = time.perf_counter()
dask.compute(fmm.evaluate(charges, outputs=("potential", "gradient")))
print(json.dumps({"import": imported - started, "points": made - imported, "plan": planned - made,
                  "evaluation": done - planned, "ended": ended, "gradient": time.perf_counter() - paused}))
"""


def fresh(shape: str, n: int, eps: float, pause: float, caches: Path) -> dict[str, float]:
    """Seconds of the parts of a fresh process, and of all of it."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(caches / "numba"), "TASKFMM_CACHE_DIR": str(caches)}
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, shape, str(n), repr(eps), repr(pause)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    parts = json.loads(done.stdout)
    return parts | {"first": parts["ended"] - started - parts["points"]}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=click.IntRange(min=1), default=100_000, help="Points.")
@click.option("--eps", type=float, default=1e-6)
@click.option("--shape", type=click.Choice(["cube", "sphere", "plummer"]), default="cube")
@click.option("--pause", type=click.FloatRange(min=0), default=0.0, help="Seconds between both results.")
@click.option("--warm", type=click.IntRange(min=1), default=3, help="Processes with warm caches.")
def main(n: int, eps: float, shape: str, pause: float, warm: int) -> None:
    """Start a process with empty caches, then some with the caches it filled."""
    click.echo(f"{n:,} points, {shape}, eps {eps:g}; seconds")
    click.echo(f"{'caches':<8}{'import':>8}{'plan':>8}{'evaluation':>12}{'first':>9}{'gradient':>10}")
    with tempfile.TemporaryDirectory() as caches:
        for label in ("none", *["warm"] * warm):
            found = fresh(shape, n, eps, pause, Path(caches))
            click.echo(
                f"{label:<8}{found['import']:>8.2f}{found['plan']:>8.2f}{found['evaluation']:>12.2f}"
                f"{found['first']:>9.2f}{found['gradient']:>10.2f}"
            )


if __name__ == "__main__":
    main()
