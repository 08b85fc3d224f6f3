"""What it costs to cross from Python into compiled code: a vector through two steps, in several ways.

``python -m benchmarks.paper.boundary``. The paper times three ways of writing a tiny algorithm whose two steps work
on data that come from Python, and finds two of them a hundred times slower than the third. Its listing is not
repeated here; this is the same question in our words. The vector is held in a Numba typed dictionary (the ways 1 and
2, the steps called from Python and from compiled code) or passed as an array to one compiled function (way 3). More
rows: a Python list, which Numba copies in and out, and what a library pays that calls one loop from each task.
"""

from __future__ import annotations

import timeit
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numba
import numpy as np
from numba.core import types

from benchmarks.paper import published, report
from taskfmm.kernels import KERNELS, gather_loops

N = 1000


@numba.njit
def _first(data):
    values = data["values"]
    for i in range(values.size):
        values[i] = 0.5 * values[i] + 1.0


@numba.njit
def _second(data):
    values = data["values"]
    for i in range(values.size):
        values[i] = values[i] * values[i] - 1.0


@numba.njit
def _first_of_array(values):
    for i in range(len(values)):
        values[i] = 0.5 * values[i] + 1.0


@numba.njit
def _second_of_array(values):
    for i in range(len(values)):
        values[i] = values[i] * values[i] - 1.0


@numba.njit
def _compiled_dict(data):
    _first(data)
    _second(data)


@numba.njit
def _compiled_array(values):
    _first_of_array(values)
    _second_of_array(values)


def _python_dict(data: Any) -> None:
    _first(data)
    _second(data)


def _python_array(values: Any) -> None:
    _first_of_array(values)
    _second_of_array(values)


def _empty_near_field() -> Callable[[], Any]:
    """The near-field loop of a task, with all its arguments and nothing to do."""
    loop = gather_loops(KERNELS["laplace"].of_first, "potential").points_to_points
    ptr, entries, points = np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros((3, 0))
    args = (
        0,
        0,
        ptr,
        *points,
        ptr,
        entries,
        entries,
        *points,
        np.zeros((1, 0)),
        np.empty(0),
        np.zeros((1, 0)),
    )
    return lambda: loop(*args, threads=1)


def ways(n: int) -> dict[str, tuple[Callable[[], Any], float | None]]:
    """What is timed, and what was published for it."""
    data = numba.typed.Dict.empty(types.unicode_type, types.float64[::1])
    data["values"] = np.zeros(n)
    values = np.zeros(n)
    as_list = [0.0] * n
    first, second, third = published.BOUNDARY_MICROSECONDS
    return {
        "1 dictionary, steps called from Python": (lambda: _python_dict(data), first),
        "2 dictionary, steps called from compiled code": (lambda: _compiled_dict(data), second),
        "3 array, one compiled call": (lambda: _compiled_array(values), third),
        "list, steps called from Python": (lambda: _python_array(as_list), None),
        "array, steps called from Python": (lambda: _python_array(values), None),
        "a task's near-field loop, 8 arrays, no work": (_empty_near_field(), None),
    }


def microseconds(call: Callable[[], Any]) -> float:
    """Of one call: the best of five rounds of about 20 ms."""
    call()
    timer = timeit.Timer(call)
    number = max(1, int(timer.autorange()[0] // 10))
    return 1e6 * min(timer.repeat(5, number)) / number


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("-n", "n", type=click.IntRange(min=1), default=N, help="Length of the vector.")
@report.plot_option("boundary.png")
def main(n: int, plot: Path) -> None:
    """Time every way."""
    warnings.simplefilter("ignore", numba.NumbaPendingDeprecationWarning)  # lists: that is what is measured
    timed = [(name, microseconds(call), theirs) for name, (call, theirs) in ways(n).items()]
    click.echo(f"a vector of {n:,} numbers through two steps, microseconds")
    click.echo(report.table(("", "ours", "published"), timed))
    labels = ["1", "2", "3", "list,\nfrom Python", "array,\nfrom Python", "near field,\nno work"]
    series = {"here": [row[1] for row in timed], "published": [row[2] for row in timed]}
    report.bars(plot, labels, series, "microseconds", log=True)


if __name__ == "__main__":
    main()
