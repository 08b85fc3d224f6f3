"""Another revision of taskfmm beside this one: plans and evaluations of the same points.

``python -m benchmarks.revisions v1.0 --shape cube --eps 1e-6``. The other revision is taken out of git into a
temporary directory. Both take turns, each time in a fresh process with caches of its own, which a smaller case has
filled; the first plan and evaluation of a process do not count. Seconds are medians over all turns.
"""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks import fresh
from taskfmm.bench import N_CHECK
from taskfmm.generate import SHAPES

ROOT = Path(__file__).parents[1]

PROGRAM = """
import json, sys, time
import dask, numpy as np
import taskfmm
case = json.loads(sys.argv[1])
points, outputs, threads = np.load(case["points"]), tuple(case["outputs"]), case["threads"]
rng, n = np.random.default_rng(1), len(points)
how = dict(scheduler="synchronous") if threads == 1 else dict(scheduler="threads", num_workers=threads)
def plan(some, **more):
    return taskfmm.Fmm(some, eps=case["eps"], dtype=case["dtype"], **more)
def evaluate(fmm, charges):
    return dask.compute(fmm.evaluate(charges, outputs=outputs), **how)[0]
evaluate(plan(points[:20000], leaf_size=60), rng.uniform(-1, 1, min(n, 20000)))
plan(points)
started = time.perf_counter()
fmm = plan(points)
planned = time.perf_counter() - started
seconds = []
for _ in range(case["evaluations"] + 1):
    charges = rng.uniform(-1, 1, n)
    started = time.perf_counter()
    found = evaluate(fmm, charges)
    seconds.append(time.perf_counter() - started)
rows = rng.choice(n, min(n, case["checked"]), replace=False)
exact = taskfmm.direct(points, charges, points[rows], outputs=outputs)
error = max(float(np.linalg.norm(found[o][rows] - exact[o]) / np.linalg.norm(exact[o])) for o in outputs)
print(json.dumps({"plan": planned, "evaluation": seconds[1:], "leaf": fmm.leaf_size, "error": error}))
"""


def _clumps(n: int, rng: np.random.Generator) -> np.ndarray:
    """40 clumps whose widths span five decades, and a twentieth of the points evenly among them."""
    n_even = n // 20
    widths, centers = 10 ** rng.uniform(-6, np.log10(5e-2), 40), rng.random((40, 3))
    which = rng.integers(40, size=n - n_even)
    clumps = centers[which] + widths[which, None] * rng.normal(size=(n - n_even, 3))
    return np.concatenate([rng.random((n_even, 3)), clumps])


def _galaxy(n: int, rng: np.random.Generator) -> np.ndarray:
    """An exponential disc, a bulge and twelve satellites."""
    n_disc, n_bulge = round(0.6 * n), round(0.2 * n)
    radius, angle = rng.gamma(2.0, 3.0, n_disc), rng.uniform(0.0, 2 * np.pi, n_disc)
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0.0, 0.3, n_disc)], axis=1)
    bulge = 0.5 * SHAPES["plummer"](n_bulge, rng)
    centers, widths = rng.uniform(-60, 60, (12, 3)), 10 ** rng.uniform(-1.5, 0.0, 12)
    which = rng.integers(12, size=n - n_disc - n_bulge)
    satellites = centers[which] + widths[which, None] * rng.normal(size=(which.size, 3))
    return np.concatenate([disc, bulge, satellites])


CLOUDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = SHAPES | {
    "clumps": _clumps,
    "galaxy": _galaxy,
}


def take_out(revision: str, into: Path) -> Path:
    """The files of a revision."""
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True)
    if packed.returncode:
        raise click.BadParameter(packed.stderr.decode().strip(), param_hint="REVISION")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(into, filter="data")
    return into


def run(tree: Path, caches: Path, case: dict[str, Any]) -> dict[str, Any]:
    """What `PROGRAM` finds with the package in a tree."""
    own = {
        "NUMBA_CACHE_DIR": str(caches / "numba"),
        "TASKFMM_CACHE_DIR": str(caches),
        "PYTHONPATH": str(tree),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(case)],
        cwd=tree,
        env=fresh.environment(case["threads"]) | own,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(trees: dict[str, Path], scratch: Path, case: dict[str, Any], repeats: int) -> str:
    """A line of the table."""
    points = CLOUDS[case["shape"]](case["n"], np.random.default_rng(5))
    case = case | {"points": str(scratch / "points.npy"), "checked": N_CHECK}
    np.save(case["points"], points)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for _, (name, tree) in itertools.product(range(repeats), trees.items()):
        found[name].append(run(tree, scratch / name, case))
    line = f"{case['shape']:<9}{case['n']:>9.3g}{case['eps']:>8.0e}  {'+'.join(case['outputs']):<20}"
    for which in ("plan", "evaluation"):
        old, new = (median(np.ravel([each[which] for each in turns])) for turns in found.values())
        line += f"{old:>9.3f}{new:>9.3f}{new / old:>6.2f} "
    return line + "".join(f"{turns[0]['leaf']!s:>6}{turns[0]['error']:>9.1e}" for turns in found.values())


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("revision")
@click.option("--shape", "shapes", multiple=True, type=click.Choice(list(CLOUDS)), default=("cube",))
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**6,), help="Points.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-6,))
@click.option("--outputs", default="potential", help="Those of one evaluation, by commas.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64")
@click.option("--threads", type=click.IntRange(min=1), default=1)
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Turns, each a process.")
@click.option("--evaluations", type=click.IntRange(min=1), default=3, help="In each process.")
def main(
    revision: str,
    shapes: tuple[str, ...],
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    outputs: str,
    dtype: str,
    threads: int,
    repeats: int,
    evaluations: int,
) -> None:
    """Seconds of REVISION and of the files here, the ratio of new to old, leaf sizes and errors."""
    click.echo(
        f"{'shape':<9}{'N':>9}{'eps':>8}  {'outputs':<20}{'plan old':>9}{'new':>9}{'':>6} {'eval old':>9}{'new':>9}"
        f"{'':>6} {'leaf':>6}{'error':>9}{'leaf':>6}{'error':>9}"
    )
    how = dict(outputs=outputs.split(","), dtype=dtype, threads=threads, evaluations=evaluations)
    with tempfile.TemporaryDirectory() as scratch:
        trees = {"old": take_out(revision, Path(scratch) / "tree"), "new": ROOT}
        for shape, n, eps in itertools.product(shapes, sizes, accuracies):
            click.echo(measure(trees, Path(scratch), dict(shape=shape, n=n, eps=eps) | how, repeats))


if __name__ == "__main__":
    main()
