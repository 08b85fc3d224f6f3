"""Write the table that turns eps into an order and cuts, of a kernel: taskfmm/operators/calibration/<kernel>.csv.

For every order and every cut (``scale * 10**(1 - order)``, of the basis and of the M2L cores alike: a coarser cut
of the cores is cheaper, but errs by it where all targets are far from all sources) evaluate potential and gradient
in several clouds and keep the largest relative l2 error of each; the same, apart, on regular grids. M2L runs in
float64 here: its rounding in float32 has a limit of its own in taskfmm/operators/accuracy.py. Plans are made once;
only the operators change from row to row.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

import taskfmm
from taskfmm import testing
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, expansions
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.hardness import GRID_LEAVES
from taskfmm.operators.levels import Operators
from taskfmm.passes import result, serial

OUTPUTS = ("potential", "gradient")
GRID_OUTPUTS = tuple(f"grid_{output}" for output in OUTPUTS)
COLUMNS = ("order", "basis_tol", "m2l_tol", "m2l_cost", *OUTPUTS, *GRID_OUTPUTS)
TABLES = Path(accuracy.__file__).with_name("calibration")
CLOUDS = {
    "uniform": 20_000,
    "sphere": 20_000,
    "plummer": 12_000,
    "two_clusters": 12_000,
    "half_duplicates": 8_000,
    "positive": 12_000,
    "far": 6_000,
}
"""Points of each cloud. Charges are of random sign but in "positive", a cube; "far" is a cube with its targets ten
widths away, where nothing but the far field counts; its charges happen to sum to a quarter of what is usual, so the
potential is small beside its parts. Its gradient is left out: `taskfmm.operators.hardness` sees to that."""

GRIDS = ((13, False), (13, True), (20, False), (20, True), (24, False), (30, False))
"""Points along an edge, and whether the last ones lie on the far faces of the cube."""

PLAN_ORDER = 5
LEAF_SIZE = 30
"""Smaller leaves than would be fast: as many boxes as possible meet in M2L, M2P and P2L."""

LOW = (10.0, 5.0, 3.0, 2.0, 1.0, 0.3)
HIGH = (100.0, 50.0, 30.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0)
HIGH_FROM = 8
"""The order from which coarser cuts are tried: the order alone would give more than they leave."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """A planned cloud with charges and what is true at some of its points."""

    name: str
    fmm: taskfmm.Fmm
    charges: np.ndarray
    rows: np.ndarray
    exact: dict[str, np.ndarray]

    def errors(self, operators: Operators, threads: int) -> dict[str, float]:
        """Relative l2 errors by output with these operators in place of the plan's own."""
        fmm, plan = self.fmm, self.fmm.plan
        ordered = self.charges[plan.tree.source_order][None]
        with threadpool_limits(1, user_api="blas"):
            values = serial.evaluate(plan, operators, fmm.kernel, ordered, "gradient", threads)
        found = {}
        for name in OUTPUTS:
            here = result.gather(plan, values, fmm.kernel, name, np.dtype(float))[self.rows]
            found[name] = float(np.linalg.norm(here - self.exact[name]) / np.linalg.norm(self.exact[name]))
        return found


def cloud(name: str, n: int, kernel: str, n_check: int, rng: np.random.Generator) -> Cloud:
    """Plan a cloud and sum directly at some of its points."""
    points = testing.DISTRIBUTIONS.get(name, testing.uniform)(n, rng)
    charges = testing.charges("positive" if name == "positive" else "signed", n, rng)
    targets = rng.random((n // 3, 3)) + 10.0 if name == "far" else None
    return _cloud(name, points, targets, kernel, charges, LEAF_SIZE, n_check, rng)


def grid(
    edge: int, closed: bool, kernel: str, leaf_size: int, n_check: int, rng: np.random.Generator
) -> Cloud:
    """The same for a regular grid of ``edge ** 3`` points."""
    points = testing.grid(edge, closed)
    charges = testing.charges("signed", len(points), rng)
    return _cloud(f"grid of {edge}", points, None, kernel, charges, leaf_size, n_check, rng)


def _cloud(
    name: str,
    points: np.ndarray,
    targets: np.ndarray | None,
    kernel: str,
    charges: np.ndarray,
    leaf_size: int,
    n_check: int,
    rng: np.random.Generator,
) -> Cloud:
    fmm = taskfmm.Fmm(points, targets, kernel, order=PLAN_ORDER, leaf_size=leaf_size)
    rows = rng.choice(len(fmm.targets), min(len(fmm.targets), n_check), replace=False)
    exact = taskfmm.direct(points, charges, fmm.targets[rows], kernel, outputs=OUTPUTS)
    return Cloud(name, fmm, charges, rows, {output: np.asarray(exact[output]) for output in OUTPUTS})


def choices(order: int) -> Iterator[Accuracy]:
    """The cuts to try with an order."""
    for scale in LOW if order < HIGH_FROM else HIGH:
        tol = scale * 10.0 ** (1 - order)
        yield Accuracy(order, tol, tol)


def measure(chosen: Accuracy, clouds: list[Cloud], grids: list[Cloud], threads: int) -> dict[str, Any]:
    """A row of the table, and the errors by cloud under "clouds"."""
    built = expansions.build(clouds[0].fmm.kernel, chosen)
    by_cloud = {each.name: each.errors(Operators((built,)), threads) for each in clouds}
    on_grids = [each.errors(Operators((built,)), threads) for each in grids]
    worst = {
        output: max(
            errors[output] for name, errors in by_cloud.items() if (name, output) != ("far", "gradient")
        )
        for output in OUTPUTS
    }
    return {
        "order": chosen.order,
        "basis_tol": f"{chosen.basis_tol:.3g}",
        "m2l_tol": f"{chosen.m2l_tol:.3g}",
        "m2l_cost": f"{2.0 * built.rank * built.m2l.mean_rank:.1f}",
        **{output: f"{worst[output]:.3g}" for output in OUTPUTS},
        **{f"grid_{output}": f"{max(errors[output] for errors in on_grids):.3g}" for output in OUTPUTS},
        "clouds": by_cloud,
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--kernel", type=click.Choice([k.name for k in KERNELS.values() if not k.fixed_order]), default="laplace"
)
@click.option("--order", "orders", type=click.IntRange(3, 16), multiple=True, default=tuple(range(3, 17)))
@click.option("--cloud", "names", type=click.Choice(list(CLOUDS)), multiple=True, default=tuple(CLOUDS))
@click.option("--scale", type=float, default=1.0, help="Of the number of points in each cloud.")
@click.option(
    "--targets", type=click.IntRange(min=1), default=600, help="Points where the error is measured."
)
@click.option("--seed", type=int, default=20261)
@click.option("--threads", type=click.IntRange(min=1), default=2)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="[default: the table in the package]",
)
def main(
    kernel: str,
    orders: tuple[int, ...],
    names: tuple[str, ...],
    scale: float,
    targets: int,
    seed: int,
    threads: int,
    output: Path | None,
) -> None:
    """Measure errors for orders and cuts; write the table, row by row so that nothing is lost."""
    output = output or TABLES / f"{kernel}.csv"
    rng = np.random.default_rng(seed)
    clouds = [cloud(name, int(CLOUDS[name] * scale), kernel, targets, rng) for name in names]
    partial = output.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for order in sorted(orders):
            leaf_size = next(size for largest, size in GRID_LEAVES if order <= largest)
            grids = [grid(*each, kernel, leaf_size, targets, rng) for each in GRIDS]
            for chosen in choices(order):
                started = time.perf_counter()
                row = measure(chosen, clouds, grids, threads)
                table.writerow(row)
                file.flush()
                each = "  ".join(f"{name} {found['potential']:.0e}" for name, found in row["clouds"].items())
                facts = " ".join(str(row[column]) for column in COLUMNS)
                click.echo(f"{facts}   ({each}; {time.perf_counter() - started:.0f} s)")
    partial.replace(output)
    click.echo(f"wrote {output}")


if __name__ == "__main__":
    main()
