"""The first result of a fresh process: with no caches (kernels compiled, operators made), then with warm ones.

``python -m benchmarks.first``. Numba's cache and the operators' go to a temporary directory, empty at first; each
time is that of a whole process, from its start to its end, less what making the points takes.
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
import taskfmm
from taskfmm.generate import cloud
imported = time.perf_counter()
shape, n, eps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
points, charges = cloud(shape, n, signed=True, seed=1)
made = time.perf_counter()
fmm = taskfmm.Fmm(points, eps=eps)
planned = time.perf_counter()
fmm.potential(charges).compute()
done = time.perf_counter()
print(json.dumps({"import": imported - started, "points": made - imported, "plan": planned - made,
                  "evaluation": done - planned}))
"""


def fresh(shape: str, n: int, eps: float, caches: Path) -> dict[str, float]:
    """Seconds of the parts of a fresh process, and of all of it."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(caches / "numba"), "TASKFMM_CACHE_DIR": str(caches)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, shape, str(n), repr(eps)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    parts = json.loads(done.stdout)
    return parts | {"process": time.perf_counter() - started - parts["points"]}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=click.IntRange(min=1), default=100_000, help="Points.")
@click.option("--eps", type=float, default=1e-6)
@click.option("--shape", type=click.Choice(["cube", "sphere", "plummer"]), default="cube")
@click.option("--warm", type=click.IntRange(min=1), default=3, help="Processes with warm caches.")
def main(n: int, eps: float, shape: str, warm: int) -> None:
    """Start a process with empty caches, then some with the caches it filled."""
    click.echo(f"{n:,} points, {shape}, eps {eps:g}; seconds")
    click.echo(f"{'caches':<8}{'import':>8}{'plan':>8}{'evaluation':>12}{'process':>9}")
    with tempfile.TemporaryDirectory() as caches:
        for label in ("none", *["warm"] * warm):
            found = fresh(shape, n, eps, Path(caches))
            click.echo(
                f"{label:<8}{found['import']:>8.2f}{found['plan']:>8.2f}{found['evaluation']:>12.2f}"
                f"{found['process']:>9.2f}"
            )


if __name__ == "__main__":
    main()
