"""New targets of evaluated sources: `taskfmm.Fmm.at`, alone and with a field that is kept, beside a plan made anew.

``python -m benchmarks.at -n 1e6 -m 1e5``. Medians of CPU seconds on one thread, all of them taken in turns, each time
with other targets; and relative l2 errors at random targets.
"""

from __future__ import annotations

from statistics import median

import click
import dask
import numpy as np

import taskfmm
from benchmarks.moved import seconds
from taskfmm.generate import cloud

SHAPES = ["inside", "plane", "around"]


def targets_of(shape: str, m: int, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random ones in the box of the points, in a plane through its middle, or in a box three times as wide."""
    low, high = points.min(axis=0), points.max(axis=0)
    unit = rng.random((m, 3))
    if shape == "plane":
        unit[:, 2] = 0.5
    return low + (high - low) * (3.0 * unit - 1.0 if shape == "around" else unit)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=float, default=1e6, help="Sources.")
@click.option("-m", "m", type=float, default=1e5, help="Targets.")
@click.option("--eps", type=float, default=1e-6)
@click.option("--shape", type=click.Choice(["cube", "sphere", "plummer", "clusters"]), default="cube")
@click.option("--targets", "where", type=click.Choice(SHAPES), default="inside")
@click.option("--output", type=click.Choice(["potential", "gradient"]), default="potential")
@click.option("--repeats", type=click.IntRange(min=1), default=5)
def main(n: float, m: float, eps: float, shape: str, where: str, output: str, repeats: int) -> None:
    """Evaluate sources, and then their field at other targets, again and again."""
    points, q = cloud(shape, int(n), signed=True, seed=1)
    rng = np.random.default_rng(2)
    with dask.config.set(scheduler="synchronous", **{"taskfmm.numba-threads": 1}):
        fmm = taskfmm.Fmm(points, eps=eps)
        fmm.evaluate(q, output)[output].compute()
        first = fmm.at(targets_of(where, int(m), points, rng))
        kept, field = seconds(lambda: first.field(q, output))
        taken: dict[str, list[float]] = {
            name: [] for name in ("at", "charges", "field", "new plan", "with it")
        }
        errors: dict[str, list[float]] = {name: [] for name in ("charges", "field", "with it")}
        for _ in range(repeats):
            there = targets_of(where, int(m), points, rng)
            took, probe = seconds(fmm.at, there)
            taken["at"].append(took)
            took, new = seconds(lambda: taskfmm.Fmm(points, there, eps=eps))  # noqa: B023
            taken["new plan"].append(took)
            for name, plan, given in (("charges", probe, q), ("field", probe, field), ("with it", new, q)):
                took, values = seconds(lambda: plan.evaluate(given, output)[output].compute())  # noqa: B023
                taken[name].append(took)
                errors[name].append(plan.error_estimate(q, values, 200, output=output))
    found = {name: median(each) for name, each in taken.items()}
    click.echo(f"{int(n):,} sources, {shape}; {int(m):,} targets, {where}; {output}, eps {eps:g}")
    click.echo("CPU seconds on one thread")
    click.echo(
        f"new plan {found['new plan']:.2f}, evaluation {found['with it']:.2f}, error {max(errors['with it']):.1e}"
    )
    anew = found["new plan"] + found["with it"]
    for name in ("charges", "field"):
        ratio = anew / (found["at"] + found[name])
        click.echo(
            f"at {found['at']:.2f}, evaluation of {name} {found[name]:.2f}, error {max(errors[name]):.1e}: "
            f"{ratio:.1f} times as fast"
        )
    click.echo(f"a field takes {kept:.2f} once, and {field.nbytes / 1e6:.0f} MB; {field!r}")


if __name__ == "__main__":
    main()
