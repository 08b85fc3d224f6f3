"""Plans of points that never meet in one process.

Planning is a sequence of stages, each a task for every chunk or every region (`taskfmm.spread.stages`). What a stage
leaves lies in files that all workers see; this process holds the units, the numbers of shards, and which task reads
which: nothing that grows with points or boxes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from functools import reduce
from itertools import accumulate
from typing import Any

import dask
import numpy as np
from dask.delayed import delayed

from taskfmm import choices, foreign, kernels
from taskfmm.errors import InputError
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain, enclose
from taskfmm.graph import reference
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Operators
from taskfmm.plan import cost
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How, Numbers
from taskfmm.spread import faults, room, stages
from taskfmm.spread.depot import Depot, put
from taskfmm.spread.evaluation import Spread
from taskfmm.spread.plan import SpreadPlan, joined
from taskfmm.spread.room import Room
from taskfmm.tree import units
from taskfmm.tree.essential import TOP
from taskfmm.tree.lists import TOP_LEVEL
from taskfmm.tree.units import Cells, Held, Units, distinct

SAMPLE = 250_000
"""Points, taken evenly, from which cells are found whose points decide the leaves."""

UNITS = 4
"""Units of a region, about: where few are cut off from their neighbours, little is read from other regions."""

FULLEST = 6
"""Units may have so many times the square of the order in points: then boxes above them have more than a surface."""

SECONDS = 1e-6
"""Of an evaluation for each point, about: shards are cut by it."""


def from_dask(
    points: Any,
    kernel: str | Kernel = "laplace",
    eps: float = 1e-6,
    order: int | None = None,
    leaf_size: int | None = None,
    dtype: Any = np.float64,
    region: int | None = None,
) -> Spread:
    """Plan for points that no process holds all of.

    Tasks on the scheduler in use sort the points, build the tree in parts, and write down the work of each part.
    It lies in a directory that all workers see, and is removed with the plan. This process holds nothing that
    grows with the number of points.

    Parameters
    ----------
    points : dask.array, real, (n, 3)
        Sources, which are the targets as well, in chunks of known lengths. Each chunk is computed once.
    kernel : str or Kernel
        One with a degree, and without softening.
    eps, order, leaf_size, dtype
        As of `taskfmm.Fmm`. An eps is kept for outputs without a derivative, but for charges that cancel
        nearly everywhere, which are not looked at; other outputs take an order.
    region : int, optional
        Points that one task may hold, about. If left out, a million, or a half, a quarter, an eighth or a sixteenth
        of it, as the memory of the smallest worker allows for each of its threads. Last digits hang on it.

    Returns
    -------
    taskfmm.spread.Spread
        With the methods ``potential`` and ``evaluate`` of `taskfmm.Fmm`. Results have the chunks of the points.

    Raises
    ------
    InputError
        What cannot be planned so, or a point that is not finite, with its row and its chunk.
    AccuracyError
        As `taskfmm.Fmm`.
    MemoryLimitError
        The smallest worker has no memory for a small region, for the one asked for, or for a chunk.
    StorageError
        The directory cannot be written, or has no room, or a file in it was damaged.
    LostWorkersError
        Workers died again and again with one task, as when there is not enough memory.

    Examples
    --------
    >>> import dask.array as da, taskfmm
    >>> rng = np.random.default_rng(1729)
    >>> x, q = da.from_array(rng.random((4000, 3)), chunks=(1000, 3)), rng.uniform(-1, 1, 4000)
    >>> taskfmm.Fmm.from_dask(x, eps=1e-3).potential(q)
    dask.array<potential, shape=(4000,), dtype=float64, chunksize=(1000,), chunktype=numpy.ndarray>
    """
    given = kernels.find(kernel)
    asked = Asked(given, choices.dtype(dtype), choices.eps(eps), choices.order(order))
    if given.degree is None or given.softening is not None:
        raise InputError(
            f"kernel {given.name!r} has a length of its own, and such kernels cannot have points of a dask.array "
            "yet: give the points to taskfmm.Fmm as an array"
        )
    size, wanted = choices.leaf_size(leaf_size), choices.region(region)
    array = foreign.dask_array("points", points)
    if (
        array is None
        or array.ndim != 2
        or array.shape[1] != 3
        or np.isnan(array.shape[0])
        or not array.shape[0]
    ):
        raise InputError(
            f"points is {points!r}, expected a dask.array of one or more rows (n, 3), whose chunks have known lengths"
        )
    array = array.rechunk({1: -1})
    chunks = tuple(map(int, array.chunks[0]))
    reference.release()
    accuracy = asked.accuracy(asked.first, None)
    operators = Operators(asked.kernel, accuracy)
    space = room.of_workers(sum(chunks), max(chunks), wanted, operators)
    stage = _Stages(Depot(), chunks, space)
    how = How(
        cost.task(stage.n * SECONDS),
        TOP_LEVEL,
        asked.kernel.columns,
        cost.first(asked.kernel),
        asked.kernel.counts_itself,
    )
    try:
        size, domain = stage.look(array.to_delayed().ravel(), size, operators, how)
        found = stage.regions(domain, size, max(size, space.region // UNITS, FULLEST * accuracy.order**2))
        n_levels = stage.balance(found)
        return Spread(asked, size, stage.works(domain, found, operators, how, n_levels), chunks)
    except BaseException:
        stage.depot.published.remove()
        raise


class _Stages:
    """Runs the stages of a plan, each to its end before the next one begins."""

    def __init__(self, depot: Depot, chunks: tuple[int, ...], space: Room) -> None:
        self.depot, self.path, self.space = depot, depot.path, space
        self.first, self.chunks, self.n = list(accumulate(chunks, initial=0)), range(len(chunks)), sum(chunks)
        self.points: list[int] = []

    def run(self, stage: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
        """What a stage returns for each of some arguments; a task for each, on the scheduler in use."""
        name, calls = stage.__name__, list(calls)
        room.refuse_full(self.path, name, self.n)
        keys = f"{name}-{uuid.uuid4().hex}"
        tasks = [delayed(stage)(*args, dask_key_name=(keys, number)) for number, args in enumerate(calls)]
        with faults.told(name, keys, lambda number: self._place(stage, number, calls[number]), self.path):
            return list(dask.compute(*tasks))

    def _place(self, stage: Callable[..., Any], number: int, args: tuple[Any, ...]) -> str:
        """What a call of a stage works on."""
        if stage is stages.choose:
            return "the points that decide the leaves"
        if stage in (stages.look, stages.sort, stages.count):
            return f"chunk {number} of {self.first[number + 1] - self.first[number]:,} points"
        return (
            "the boxes above regions"
            if args[0] == TOP
            else f"region {args[0]} of {self.points[args[0]]:,} points"
        )

    def look(
        self, pieces: Iterable[Any], size: int | None, operators: Operators, how: How
    ) -> tuple[int, Domain]:
        """Check the points, and choose the leaf size and the cube around them."""
        every = max(1, self.n // SAMPLE)
        looked = self.run(
            stages.look,
            [(piece, number, self.first[number], every, self.path) for number, piece in enumerate(pieces)],
        )
        low = np.min([found.low for found in looked], axis=0)
        high = np.max([found.high for found in looked], axis=0)
        domain = enclose(np.stack([low, high]), np.empty((0, 3)))
        if size is not None:
            return size, domain
        cells = _some_cells(
            np.concatenate([found.sample for found in looked]), domain, self.space.chosen // every
        )
        some = [delayed(stages.pick)(number, domain, cells, self.path) for number in self.chunks]
        (chosen,) = self.run(stages.choose, [(some, self.n, domain, operators, how)])
        return chosen

    def regions(self, domain: Domain, size: int, cap: int) -> Units:
        """Find the units, and bring the points of each region together."""
        self.run(stages.sort, [(number, self.first[number], domain, self.path) for number in self.chunks])
        self.depot.drop("raw", self.chunks)

        def held(cells: Cells) -> Held:
            of_chunks = self.run(stages.count, [(number, cells, self.path) for number in self.chunks])
            return reduce(Held.with_others, of_chunks)

        found = units.find(held, self.n, cap, self.space.region)
        self.points = found.points.tolist()
        self.space.refuse_crowded(max(self.points))
        self.run(
            stages.gather,
            [(region, found, len(self.chunks), size, self.path) for region in range(found.n_regions)],
        )
        self.depot.drop("chunk", self.chunks)
        return found

    def balance(self, found: Units) -> int:
        """Split cells until nobody asks another region for more; returns the number of levels."""
        known = found.top[:0]
        demands = dict.fromkeys(range(found.n_regions), known)
        while demands:
            calls = [(region, found, cells, self.path) for region, cells in demands.items()]
            demands = stages.by_region(self.run(stages.balance, calls), known, found)
            known = distinct(known, *demands.values())
        return max(self.run(stages.settle, [(region, found, self.path) for region in range(found.n_regions)]))

    def works(
        self, domain: Domain, found: Units, operators: Operators, how: How, n_levels: int
    ) -> SpreadPlan:
        """Cut all regions, and the boxes above units, into shards, and write down their works."""
        everyone = [*range(found.n_regions), *([TOP] if len(found.top) else [])]
        facts = domain, found, operators, how
        cuts = self.run(stages.survey, [(region, *facts, self.path) for region in everyone])
        numbers = Numbers.of(dict(zip(everyone, cuts, strict=True)), n_levels)
        put(self.path, "facts", 0, dict(zip(stages.FACTS, (*facts, numbers), strict=True)))
        sketches = self.run(stages.works, [(region, *facts, numbers, self.path) for region in everyone])
        return joined(domain, self.depot, numbers, dict(zip(everyone, sketches, strict=True)), found)


def _some_cells(sample: np.ndarray, domain: Domain, wanted: int) -> Cells:
    """Some cells, drawn at random, that hold about so many points of a sample."""
    hi, lo = morton.keys(sample, domain)
    order = morton.sort(hi, lo)
    hi, lo = hi[order], lo[order]
    if len(sample) <= 2 * wanted:
        return Cells.root()
    found = units.find(lambda cells: Held.of(cells, hi, lo), len(sample), wanted // UNITS, len(sample))
    drawn = np.random.default_rng(len(sample)).permutation(len(found.cells))
    n = np.searchsorted(np.cumsum(found.count[drawn]), wanted) + 1
    return found.cells[np.sort(drawn[:n])]
