"""Choices of operators for a kernel without a calibration table: measured here, the cheapest first."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields, replace

import numpy as np

from taskfmm.files import numbers
from taskfmm.geometry.morton import MAX_LEVEL
from taskfmm.kernels import Kernel
from taskfmm.operators import probes, store, yardstick
from taskfmm.operators.accuracy import CUT_IN_SINGLE, MIXED, Accuracy, Yardstick, of_order
from taskfmm.operators.calibrated import Row
from taskfmm.operators.levels import Operators
from taskfmm.operators.radial import Radial, first_felt

logger = logging.getLogger("taskfmm")

ORDERS = range(3, 17)
"""Orders that are tried."""

DIGITS_OF_ORDER = 1
"""The search begins at an order of as many points as eps has digits, less this: no kernel was seen to need fewer."""

DEEPER = 3
"""Where each level has operators of its own, those of the first level whose boxes feel each other and of one so much
deeper are measured: kernels hardly change their form in smaller boxes."""

DEEPEST = 2 * DEEPER
"""Of a kernel that solves no equation a third level is measured: it may have a small length beside a large one."""

IN_FLOAT32 = 1e-5
"""From here M2L is in float32, where operators are in units of their boxes, in whatever unit the points are: it takes
half the time, and rounds to some 3e-7."""

AN_ORDER = 10.0
"""One order more divides the error by so much at most: orders that cannot be enough are left out."""

IMPROVES = 0.7
"""The search ends after two orders in a row whose error is more than this part of the best so far."""

MOST_BYTES = 2**30
"""Of the operators of boxes of one size. Those of waves are far larger than others of their order where many
wavelengths fit a box, and their errors hardly change up to an order that carries them: making them took 20 GB."""

GROWS = 4
"""Their bytes grow with this power of the order."""


def rows(
    kernel: Kernel,
    eps: float,
    reach: Callable[[Row], float],
    half_width: float,
    first: int,
    single: bool = False,
) -> Iterator[Row]:
    """Choices for a kernel, each better and dearer than the last, until they improve no more.

    eps : to which they are to come close; none is skipped that might be enough
    reach : the smallest eps that a choice keeps
    half_width : of the root box; `taskfmm.operators.levels.UNIT` where the kernel has a degree
    first : level with expansions
    single : whether all stages may be in float32
    """
    first = _first_felt(kernel, eps, half_width, first)
    order = int(np.clip(np.floor(-np.log10(eps)) - DIGITS_OF_ORDER, ORDERS[0], ORDERS[-1]))
    dtype = "float64" if kernel.degree is None else "float32" if eps >= IN_FLOAT32 else MIXED
    best, failed = np.inf, 0
    while order in ORDERS and failed < 2:
        row = _row(kernel, replace(of_order(order), m2l_dtype=dtype), half_width, first)
        if single and row.accuracy.basis_tol >= CUT_IN_SINGLE:
            faster = replace(row, accuracy=row.accuracy.single(eps))
            row = faster if reach(faster) <= eps else row
        yield row
        error = reach(row)
        failed = failed + 1 if not error < IMPROVES * best else 0
        best, last = min(best, error), order
        order += max(1, math.floor(math.log(error / eps, AN_ORDER)) if eps < error < math.inf else 1)
        if row.n_bytes * (order / last) ** GROWS > MOST_BYTES:
            return


def _first_felt(kernel: Kernel, eps: float, half_width: float, first: int) -> int:
    """The first level at which errors can be seen: where a kernel has died away between boxes, none counts."""
    if kernel.degree is not None:
        return first

    def least(size: Radial, half: float) -> float:
        return yardstick.decayed(kernel) * eps * size.at(probes.NEAREST * half)

    found = first_felt(kernel, half_width, range(first, MAX_LEVEL - DEEPEST), least)
    return first if found is None else found


def _row(kernel: Kernel, accuracy: Accuracy, half_width: float, first: int) -> Row:
    kernel, operators = kernel.measured, Operators(kernel, accuracy, half_width)
    levels: tuple[int, ...] = (0,)
    if kernel.degree is None:
        levels = (first, first + DEEPER, *(() if kernel.elliptic else (first + DEEPEST,)))
    # of all kinds together the worst source is the worst of any kind
    found = [
        _measured(kernel.with_sources(kind), operators, level) for kind in kernel.sources for level in levels
    ]
    worst = {field.name: max(getattr(each, field.name) for each in found) for field in fields(Yardstick)}
    at = operators.at(levels[0])
    return Row(accuracy, at.m2l.multiply_adds, Yardstick(**worst), at.n_bytes)


def _measured(kernel: Kernel, operators: Operators, level: int) -> Yardstick:
    """The yardstick of the boxes of a level, and of a kind of sources, kept beside their operators."""
    accuracy = operators.accuracy
    path = None
    with suppress(OSError):  # no place for a cache, of which the store has told
        path = store.path(kernel, accuracy, operators.half_width_at(level)).with_suffix(".json")
    if path is not None:
        with suppress(OSError, TypeError):
            return Yardstick(**numbers.read(path))
    below = None if kernel.degree is not None else operators.at(level + 1)
    logger.info("measuring the operators of kernel %s at order %d", kernel.name, accuracy.order)
    found = yardstick.measure(kernel, operators.at(level), below, probes.few())
    if path is not None:
        with suppress(OSError):
            numbers.write(path, asdict(found))
    return found
