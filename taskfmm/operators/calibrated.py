"""From the requested eps to what the operators must be, by a table of measured errors.

``calibration/`` beside this file has a table for each kernel, written by ``benchmarks/calibrate.py``: each row is a
choice of order and cuts with its `Yardstick`, the errors that one source at the worst place of a box makes. `choose`
takes the cheapest row that is good enough for what is known of the charges.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np

from taskfmm.cost.rates import DEFAULT, SINGLE
from taskfmm.errors import AccuracyError
from taskfmm.geometry.surface import n_points
from taskfmm.kernels import CHARGE, Kernel
from taskfmm.operators.accuracy import (
    CUT_IN_SINGLE,
    MIXED,
    NOISE_OF_GRADIENT,
    Accuracy,
    Yardstick,
    of_order,
)
from taskfmm.operators.known import Known
from taskfmm.validate import with_article

AVERAGE, AVERAGE_OF_COARSE = 1.2, 1.6
"""Margins over the error at targets that fill the boxes, where it is a matter of many charges. The largest ratio of
true error and this one was 1.12, of neutral charges in a cluster. With the coarsest cuts, from `COARSE` on, what is
cut does not average as well, and it was 1.49."""

COARSE = 1e-3
"""Relative cut of the M2L cores."""

SPOT = 1.7
"""Margin over the error of a single charge at targets that fill a box, where they are at one spot of it: 1.07 was
seen of a potential at two clusters far from the charge, and 1.5 of a gradient on a circle around it."""

SHARE = 1.5
"""Margin over the error of a gradient that follows from its `Share`: true errors stay below it over the clouds,
grids, lines, planes, separate targets and heavy charges of ``tests/test_share.py``."""

FLOAT32_FLOOR = 1e-6
"""Results in float32 carry 6e-8 each; sums of signed charges lose another digit."""

SINGLE_M2L = 2.0**-24
"""What comes from a box whose charges have one sign is rounded so by M2L in float32, while all of it may cancel:
0.3 to 0.7 times this was seen of blocks and waves of either sign."""

ROUNDING, ROUNDING_OF_MANY = 1.7e-12, 2.5e-13
"""What rounding may add where one charge decides, and where many do. The first is what one between two clusters a
million widths apart erred by; in clouds of charges of random sign it was at most 1.8e-13."""

ROUNDING_OF_GRADIENT = 3.3e-11
"""The same of a gradient, where one charge decides: on a circle around it, four points of which lie on edges of
boxes, errors were 2.7e-11 to 4.9e-11 at orders 17 and 18, whatever the cuts."""

PASSES = 2.8
"""P2M and L2P, and 0.4 of each for the products with the matrices of the leaves."""

V_ENTRIES_A_POINT = 4.0
"""V-list entries for each point in a cloud with leaves of a good size; weighs M2L against the leaves."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a choice, its cost (M2L multiply-adds for a pair) and its errors.

    n_bytes : of the operators, where they were made
    """

    accuracy: Accuracy
    m2l_cost: float
    errors: Yardstick
    n_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Far-field seconds a point, roughly. By the default rates: no choice hangs on the machine."""
        leaves = PASSES * n_points(self.accuracy.order) * DEFAULT.surface_pair
        leaves *= SINGLE if self.accuracy.dtype == "float32" else 1.0
        rate = self.accuracy.in_double * DEFAULT.m2l_multiply_add_64
        if self.accuracy.m2l_dtype != "float64":
            rate += DEFAULT.m2l_multiply_add_32
        return leaves + V_ENTRIES_A_POINT * self.m2l_cost * rate

    def reach(self, derivative: int, known: Known | None) -> float:
        """The smallest eps that is kept for an output that is this derivative, for charges of which this is known.

        known : None for any single charge
        """
        many, order = known is not None and known.many, self.accuracy.order
        single = self.accuracy.dtype == "float32"
        noise = self.accuracy.noise(many)
        if many:
            margin = AVERAGE_OF_COARSE if self.accuracy.m2l_tol >= COARSE else AVERAGE
            potential = margin * math.hypot(self.errors.filled, noise, ROUNDING_OF_MANY)
            gradient = math.hypot(self.errors.faces, NOISE_OF_GRADIENT * noise)
        else:
            potential = math.hypot(SPOT * self.errors.potential, noise, ROUNDING)
            gradient = math.hypot(
                SPOT * self.errors.gradient, NOISE_OF_GRADIENT * noise, ROUNDING_OF_GRADIENT
            )
        if known is None:
            return max(potential, gradient) if derivative else potential
        if known.potential is not None:
            if known.all_told:
                potential = SHARE * known.potential.times(potential, order, self.errors.smooth, single)
            else:
                worst = math.hypot(self.errors.potential, noise, ROUNDING_OF_MANY if many else ROUNDING)
                rounded = SINGLE_M2L * self.accuracy.in_single_below
                share = known.potential.times(worst, order, self.errors.smooth, single, rounded)
                potential = max(potential, share)
        elif known.all_told:
            potential = 0.0
        if not derivative or known.gradient is None:
            return potential
        return max(potential, SHARE * known.gradient.times(gradient, order, self.errors.smooth, single))


@cache
def table(kernel: str = "laplace") -> tuple[Row, ...]:
    """The calibration of a kernel, each choice in float64 but for M2L in mixed precision or in float32, and all in
    float32."""
    with _calibration(kernel).open() as file:
        rows = list(csv.DictReader(file))
    errors = [field.name for field in fields(Yardstick)]
    return tuple(
        Row(
            Accuracy(int(row["order"]), float(row["basis_tol"]), float(row["m2l_tol"]), m2l_dtype, dtype),
            float(row["m2l_cost"]),
            Yardstick(**{name: float(row[name]) for name in errors}),
        )
        for row in rows
        for dtype, m2l_dtype in (("float64", MIXED), ("float64", "float32"), ("float32", "float32"))
        if dtype == "float64" or float(row["basis_tol"]) >= CUT_IN_SINGLE
    )


def is_calibrated(kernel: Kernel, output: str) -> bool:
    """Whether there is a table for an output of a kernel, for the kinds of sources that it has; else its operators
    are measured where they are made."""
    if kernel.fixed_order:
        return True
    return kernel.sources == (CHARGE,) and kernel.output(output).derivative < 2 and _has_table(kernel.name)


@cache
def _has_table(kernel: str) -> bool:
    return _calibration(kernel).is_file()


def _calibration(kernel: str) -> Traversable:
    return resources.files("taskfmm.operators").joinpath("calibration", f"{kernel}.csv")


Cases = tuple[Known | None, ...]
"""What is known of the charges, or several things that they may be; None stands for any single charge."""


def floor(rows: Iterable[Row], derivative: int, dtype: np.dtype, cases: Cases = (None,)) -> float:
    """The smallest eps that can be asked for, for charges of all of these cases."""
    best = min(reach(row, derivative, cases) for row in rows)
    return max(best, FLOAT32_FLOOR) if dtype == np.float32 else best


def reach(row: Row, derivative: int, cases: Cases) -> float:
    """The smallest eps that a choice keeps, for charges of all of these cases."""
    return max(row.reach(derivative, known) for known in cases)


def choose(
    kernel: Kernel,
    eps: float,
    output: str,
    dtype: np.dtype,
    order: int | None = None,
    cases: Cases = (None,),
    rows: Iterable[Row] | None = None,
    single: bool = False,
) -> Accuracy:
    """The cheapest choice that reaches eps for an output, or the one that goes with a given order.

    cases : what is known of the charges
    single : whether all stages may be in float32
    rows : where the kernel has no table, choices that are better and dearer one after the other

    Raises
    ------
    AccuracyError
        eps is below the floor.
    """
    if kernel.fixed_order or order:
        return of_order(kernel.fixed_order or order or 1, single)
    if rows is None:
        return _from_table(kernel, eps, output, dtype, cases, single)
    return _cheapest(kernel, eps, output, dtype, cases, rows)


@lru_cache(1024)
def _from_table(
    kernel: Kernel, eps: float, output: str, dtype: np.dtype, cases: Cases, single: bool
) -> Accuracy:
    """To go through the table takes as long as to sum some hundred charges."""
    return _cheapest(kernel, eps, output, dtype, cases, None, single)


def _cheapest(
    kernel: Kernel,
    eps: float,
    output: str,
    dtype: np.dtype,
    cases: Cases,
    rows: Iterable[Row] | None,
    single: bool = False,
) -> Accuracy:
    derivative, seen = kernel.output(output).derivative, []
    lowest = FLOAT32_FLOOR if dtype == np.float32 else 0.0
    if rows is None:
        seen = [row for row in table(kernel.name) if single or row.accuracy.dtype == "float64"]
        enough = [row for row in seen if reach(row, derivative, cases) <= eps]
    else:
        enough = []
        for row in rows:
            seen.append(row)
            if reach(row, derivative, cases) <= eps:
                enough.append(row)
                break
    if enough and eps >= lowest:
        found = min(enough, key=lambda row: row.seconds).accuracy
        return found.single(eps) if found.dtype == "float32" else found
    lowest = floor(seen, derivative, dtype, cases)
    looked_at = any(known and (known.potential or known.gradient) for known in cases)
    whose = " of any charges" if None in cases else " of these charges" if looked_at else ""
    advice = "give an eps at or above it, or an order to get the best it can do"
    if lowest >= 1.0:
        reason = "next to nothing is left at the targets, or too many wavelengths fit a box"
        advice = f"{reason}; taskfmm.direct sums exactly"
    raise AccuracyError(
        f"eps is {eps:g}, the floor for {with_article(output)}{whose} in {dtype} is {lowest:.1e}: {advice}"
    )
