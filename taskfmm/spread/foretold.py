"""Forecasts of points that never meet, before there are any."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskfmm import choices, kernels, validate
from taskfmm.cost import rates
from taskfmm.errors import InputError, MemoryLimitError
from taskfmm.forecast.alike import alike, dimension
from taskfmm.forecast.regions import Regions, regions
from taskfmm.geometry.domain import enclose
from taskfmm.kernels import Kernel
from taskfmm.operators import size
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost, tune
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How
from taskfmm.runtime import memory
from taskfmm.spread import room
from taskfmm.spread.ahead import Ahead
from taskfmm.spread.graphs import beside
from taskfmm.spread.making import UNITS
from taskfmm.spread.planning import FULLEST, seconds_of_task
from taskfmm.spread.room import Room
from taskfmm.tree.lists import TOP_LEVEL

DRAWN = 300_000
"""Points, at most, that stand for all."""

SMALL = 4
"""Regions of the small cloud, at most."""

LEAVES = 6_000
"""Full leaves of the small cloud, at most."""

BOXES = 24_000
"""Boxes of all points, at most, that are cut as they are: their lists and trees take 2 kB each."""

TUNED = 1_000_000
"""Points of the cloud for which leaves are chosen, at most."""


CHUNK = 500_000
"""Points of a chunk where nobody says how many there are."""


def forecast(
    n_points: int,
    like: np.ndarray,
    workers: int = 1,
    memory_limit: Any = "4GiB",
    kernel: str | Kernel = "laplace",
    eps: float = 1e-6,
    order: int | None = None,
    leaf_size: int | None = None,
    dtype: Any = np.float64,
    region: int | None = None,
    chunks: int | None = None,
    threads: int = 1,
    cores: int | None = None,
    shape: str = "as given",
) -> Ahead:
    """Foretell `from_dask` and one evaluation of the kernel's first output before there are any points.

    Nothing is planned, and no cluster is needed: a small cloud is cut into regions in this process.

    Parameters
    ----------
    n_points : int
    like : float64 (m, 3)
        Some points of the same distribution, in random order: some hundred thousand, or all if there are fewer.
    workers, memory_limit : int, and bytes or a text such as "8GiB"
        Processes, and what each may hold.
    kernel, eps, order, leaf_size, dtype, region
        As of `from_dask`; regions are those that this memory allows.
    chunks : int, optional
        Of points and charges; half a million points in each, if left out.
    threads : int
        Tasks at once in each worker.
    cores : int, optional
        That all workers share, if they are fewer than their threads.
    shape : str
        What to call the distribution.

    Returns
    -------
    Ahead
        Its ``facts()`` are data; `taskfmm.spread.as_text.text` shows them.

    Raises
    ------
    InputError
        As `from_dask`.

    Examples
    --------
    >>> import taskfmm
    >>> some = np.random.default_rng(1729).random((100_000, 3))
    >>> taskfmm.spread.forecast(10**9, some, workers=64, memory_limit="8GiB").regions.regions
    954
    """
    n_points, workers, threads = (
        choices.number(name, value)
        for name, value in (("n_points", n_points), ("workers", workers), ("threads", threads))
    )
    cores = choices.number("cores", workers * threads if cores is None else cores)
    chunks = choices.number("chunks", -(-n_points // CHUNK) if chunks is None else chunks)
    like = np.array(validate.points("like", like)[:DRAWN])  # loops compile again for read-only arrays
    if not len(like):
        raise InputError("like has no points: give some hundred thousand of the distribution")
    given, limit = kernels.find(kernel), memory.parse_limit(memory_limit) or 2**63
    asked = Asked(given, choices.dtype(dtype), choices.eps(eps), choices.order(order))
    if given.degree is None or given.softening is not None:
        raise InputError(f"kernel {given.name!r} has a length of its own, for which there is no forecast yet")
    known = asked.chosen or asked.calibrated(asked.first)
    # charges are lazy, and regions are planned before there are any
    accuracy = asked.accuracy(asked.first, None) if known else asked.any_accuracy()
    planned, evaluated = (size.outline(given, each) for each in (asked.any_accuracy(), accuracy))
    chunks, wanted, refused = min(chunks, n_points), choices.region(region), ""
    try:
        used = size.least_bytes(given, planned.accuracy)
        space = room.of_memory(n_points, -(-n_points // chunks), wanted, used, limit, threads)
    except MemoryLimitError as error:
        space, refused = Room(wanted or room.LADDER[-1]), str(error)
    how = How(seconds_of_task(n_points), TOP_LEVEL, given.columns, cost.first(given), given.counts_itself)
    leaf, found = _regions(
        n_points, like, choices.leaf_size(leaf_size), planned, evaluated, how, space.region
    )
    kernel_one = given.of_first
    numbers, rows = kernel_one.n_numbers, given.output(asked.first).n_rows
    return Ahead(
        n_points, shape, given.name, asked.eps, asked.dtype, accuracy, leaf, leaf_size is None, space, refused,
        chunks, workers, threads, cores, limit, found,
        beside(n_points, numbers, rows).seconds(rates.current()),
        evaluated.n_bytes, numbers, rows, evaluated.rank * given.columns,
    )  # fmt: skip


def _regions(
    n: int,
    like: np.ndarray,
    leaf_size: int | None,
    operators: BoxOperators,
    evaluated: BoxOperators,
    how: How,
    most: int,
) -> tuple[int, Regions]:
    """The leaf size, and what is expected of regions; see `taskfmm.forecast.regions.regions`."""
    filled = dimension(like)
    domain = enclose(like, like[:0])
    some = alike(like, n, TUNED, filled)
    chosen, domain = tune.choose(
        some.points, None, operators, domain, True, leaf_size, 1, how.top, how.columns, how.weights,
        times=n / some.n_points, every=some.every,
    )  # fmt: skip
    leaf = chosen or tune.LARGEST
    small = alike(like, n, n, filled)
    if small.levels or small.tree(leaf, domain).n_boxes > BOXES:
        small = alike(like, n, min(SMALL * most, LEAVES * leaf), filled)
    smaller = alike(like, small.n_points / 2.0**filled, small.n_points, filled)
    cap = max(2 * leaf, most // UNITS, FULLEST * operators.accuracy.order**2)
    return leaf, regions(small, smaller, n, leaf, domain, operators, evaluated, how, cap, most)
