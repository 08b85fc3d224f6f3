"""Write the table that turns eps into an order and cuts, of a kernel: taskfmm/operators/calibration/<kernel>.csv.

For every order and every cut (of the basis and of the M2L cores alike) build the operators and measure what one
source at the worst place does (`taskfmm.operators.yardstick`). No cloud is evaluated, so a row takes seconds. M2L
runs in float64 here; what its rounding in float32 adds stands in taskfmm/operators/accuracy.py.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, box, yardstick
from taskfmm.operators.accuracy import Accuracy

COLUMNS = ("order", "basis_tol", "m2l_tol", "m2l_cost", "potential", "gradient", "filled", "faces", "smooth")
TABLES = Path(accuracy.__file__).with_name("calibration")

LOW = (10.0, 5.0, 3.0, 2.0, 1.0, 0.3)
HIGH = (100.0, 50.0, 30.0, 20.0, 10.0, 5.0, 3.0, 2.0, 1.0)
HIGH_FROM = 8
"""The order from which coarser cuts are tried: the order alone would give more than they leave."""

FINEST = (1e-13, 3e-14, 1e-14, 3e-15)
"""The cuts of the highest orders, down to where singular values are rounding."""

FINEST_FROM = 16


def choices(order: int) -> Iterator[Accuracy]:
    """The cuts to try with an order."""
    scaled = (float(f"{scale * 10.0 ** (1 - order):.3g}") for scale in (LOW if order < HIGH_FROM else HIGH))
    for tol in scaled if order < FINEST_FROM else FINEST:
        yield Accuracy(order, tol, tol)


def measure(kernel: str, chosen: Accuracy) -> dict[str, Any]:
    """A row of the table."""
    built = box.build(KERNELS[kernel], chosen)
    found = yardstick.measure(KERNELS[kernel].of_first.up_to("gradient"), built)
    return {
        "order": chosen.order,
        "basis_tol": f"{chosen.basis_tol:.3g}",
        "m2l_tol": f"{chosen.m2l_tol:.3g}",
        "m2l_cost": f"{built.m2l.multiply_adds:.1f}",
        "potential": f"{found.potential:.3g}",
        "gradient": f"{found.gradient:.3g}",
        "filled": f"{found.filled:.3g}",
        "faces": f"{found.faces:.3g}",
        "smooth": f"{found.smooth:.3g}",
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--kernel", type=click.Choice([k for k in KERNELS if k != "one"]), default="laplace")
@click.option("--order", "orders", type=int, multiple=True, default=tuple(range(3, 19)))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def main(kernel: str, orders: tuple[int, ...], output: Path | None) -> None:
    """Measure, print, and write the table; with some orders only, the rows of others stay."""
    path = output or TABLES / f"{kernel}.csv"
    kept = list(csv.DictReader(path.open())) if path.exists() else []
    rows = [row for row in kept if int(row["order"]) not in orders and set(row) == set(COLUMNS)]
    with threadpool_limits(1, user_api="blas"):
        for chosen in tqdm([each for order in orders for each in choices(order)], disable=None):
            row = measure(kernel, chosen)
            rows.append(row)
            click.echo(" ".join(str(value) for value in row.values()))
    rows.sort(key=lambda row: (int(row["order"]), -float(row["m2l_tol"])))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
