"""From the requested eps to what the operators must be, by a table of measured errors.

``calibration/`` beside this file has a table for each kernel, written by ``benchmarks/calibrate.py``: each row is a
choice of order and cuts, with the largest relative l2 errors of potential and gradient over several distributions of
charges of random sign, and over regular grids of points. `choose` takes the cheapest row that is good enough.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from taskfmm.errors import AccuracyError
from taskfmm.geometry.surface import n_points
from taskfmm.kernels import Kernel
from taskfmm.operators import rates
from taskfmm.operators.hardness import hardness
from taskfmm.tree.octree import Octree

MARGIN = 2.1
"""How far below eps the error of the calibration must lie. A cloud of many charges averages over the places in a
box; one charge that outweighs all others, at the worst place, errs twice as much."""

GRID_MARGIN = 1.5
"""The same for regular grids, of which the calibration holds a few sizes: others erred by up to 1.2 times as much."""

FLOAT32_FLOOR = 1e-6
"""Results in float32 carry 6e-8 each; sums of signed charges lose another digit."""

FLOAT32_M2L = 1e-6
"""The smallest eps at which M2L may run in float32: with it the error of 1e6 charges of random sign in a cube, at
order 8, went from 3.8e-7 to 4.6e-7."""

V_ENTRIES_A_POINT = 4.0
"""V-list entries for each point in a cloud with leaves of a good size; weighs M2L against the leaves."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The numbers that decide the error of the far field.

    order : points per edge of a surface
    basis_tol : relative cut of the singular values of the check-to-equivalent matrix
    m2l_tol : relative cut of the singular values of the M2L cores
    m2l_dtype : name of the dtype in which M2L runs
    """

    order: int
    basis_tol: float
    m2l_tol: float
    m2l_dtype: str = "float64"


@dataclass(frozen=True, slots=True)
class Calibration:
    """One row of the table: a choice, its cost (M2L multiply-adds for a pair), its errors by output.

    error : in random clouds; grid_error : on regular grids, where no two points are close and gradients are small
    """

    accuracy: Accuracy
    m2l_cost: float
    error: dict[str, float]
    grid_error: dict[str, float]

    def seconds(self, m2l_dtype: str) -> float:
        """Far-field seconds a point, roughly."""
        leaves = 2.0 * n_points(self.accuracy.order) * rates.current().surface_pair
        return leaves + V_ENTRIES_A_POINT * self.m2l_cost * rates.current().m2l_multiply_add(m2l_dtype)


@cache
def table(kernel: str = "laplace") -> tuple[Calibration, ...]:
    """The calibration of a kernel."""
    with resources.files("taskfmm.operators").joinpath("calibration", f"{kernel}.csv").open() as file:
        return tuple(
            Calibration(
                Accuracy(int(row["order"]), float(row["basis_tol"]), float(row["m2l_tol"])),
                float(row["m2l_cost"]),
                {output: float(row[output]) for output in ("potential", "gradient")},
                {output: float(row[f"grid_{output}"]) for output in ("potential", "gradient")},
            )
            for row in csv.DictReader(file)
        )


def of_order(order: int) -> Accuracy:
    """The cuts that go with an order when the order alone is to decide the error."""
    tol = 0.1 * 10.0 ** (1 - order)
    return Accuracy(order, tol, tol)


def floor(output: str, dtype: np.dtype, kernel: str = "laplace", hard: float = 0.0) -> float:
    """The smallest eps that can be asked for; of a gradient, at points so hard, by default in random clouds."""
    hard = hard if output == "gradient" else 1.0
    best = min(_reach(row, output, hard) for row in table(kernel))
    return max(best, FLOAT32_FLOOR) if dtype == np.float32 else best


def _reach(row: Calibration, output: str, hard: float) -> float:
    """The smallest eps that a row keeps at points so hard (see `hardness`)."""
    return max(MARGIN * row.error[output], GRID_MARGIN * hard * row.grid_error[output])


def choose(
    kernel: Kernel,
    eps: float,
    output: str,
    dtype: np.dtype,
    order: int | None = None,
    tree: Octree | None = None,
) -> Accuracy:
    """The cheapest choice that reaches eps for an output, or the one that goes with a given order.

    For a gradient ``tree`` tells how hard the points are; without one they count as a regular grid.

    Raises
    ------
    AccuracyError
        eps is below the floor.
    """
    if kernel.fixed_order or order:
        return of_order(kernel.fixed_order or order or 1)
    _refuse_below(floor(output, dtype, kernel.name), eps, f"a {output} in {dtype}")
    m2l_dtype = "float32" if eps >= FLOAT32_M2L else "float64"
    orders = {row.accuracy.order for row in table(kernel.name)}
    known = tree if output == "gradient" else None
    hard = dict.fromkeys(orders, 1.0) if known is None else hardness(known, orders)
    reach = [(_reach(row, output, hard[row.accuracy.order]), row) for row in table(kernel.name)]
    _refuse_below(min(smallest for smallest, _ in reach), eps, f"a {output} at these points")
    enough = [row for smallest, row in reach if smallest <= eps]
    return replace(min(enough, key=lambda row: row.seconds(m2l_dtype)).accuracy, m2l_dtype=m2l_dtype)


def _refuse_below(lowest: float, eps: float, what: str) -> None:
    if eps < lowest:
        raise AccuracyError(
            f"eps is {eps:g}, the floor for {what} is {lowest:.1e}: "
            "give an eps at or above it, or an order to get the best it can do"
        )
