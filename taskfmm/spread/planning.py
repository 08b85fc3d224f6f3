"""Plans of points that never meet in one process.

Planning is a sequence of stages, each a task for every chunk or every region (`taskfmm.spread.stages`). What a stage
leaves lies in files that all workers can read; this process holds the units, the numbers of shards, and which task
reads which: nothing that grows with points or boxes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import delayed

from taskfmm import choices, foreign, kernels, validate
from taskfmm.errors import InputError
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain, enclose
from taskfmm.graph import reference
from taskfmm.kernels import Kernel
from taskfmm.operators.levels import UNIT, Operators
from taskfmm.passes.given import AT_ONCE, Given, of_kind
from taskfmm.plan import cost
from taskfmm.plan.make import refuse_width
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How, Numbers
from taskfmm.runtime import cluster
from taskfmm.spread import faults, room, stages
from taskfmm.spread.choosing import Chooser
from taskfmm.spread.depot import Depot
from taskfmm.spread.evaluation import Spread
from taskfmm.spread.plan import SpreadPlan, joined
from taskfmm.spread.room import Room
from taskfmm.spread.stages import Facts, Piece
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

CHUNK = 2**20
"""Rows of a chunk of points that come as an array."""

SECONDS = 1e-6
"""Of an evaluation for each point, about: shards are cut by it."""


def from_dask(
    sources: Any,
    targets: Any = None,
    kernel: str | Kernel = "laplace",
    eps: float = 1e-6,
    order: int | None = None,
    leaf_size: int | None = None,
    dtype: Any = np.float64,
    region: int | None = None,
    like: Any = None,
    columns: int = 1,
) -> Spread:
    """Plan for points that no process holds all of.

    Tasks on the scheduler in use sort the points, build the tree in parts, and write down the work of each part.
    It lies in a directory that all workers see, or with each worker where there is none, and is removed with the
    plan. This process holds nothing that grows with the number of points.

    Parameters
    ----------
    sources, targets : dask.array, real, (n, 3)
        In chunks of known lengths. Each chunk is computed once. No targets where these are the sources; NumPy arrays
        do for one of them.
    kernel : str or Kernel
        One without softening.
    eps, order, leaf_size, dtype, columns
        As of `taskfmm.Fmm`. The first gradient of Laplace's kernel looks at all points once.
    region : int, optional
        Points that one task may hold, about. If left out, a million, or a half, a quarter, an eighth or a sixteenth
        of it, as the memory of the smallest worker allows for each of its threads. Last digits hang on it.
    like : dask.array or array_like, (n,), optional
        As of `taskfmm.Fmm`, for kernels with a table of errors.

    Returns
    -------
    taskfmm.spread.Spread
        With the methods ``potential``, ``evaluate``, ``accuracy`` and ``error_estimate`` of `taskfmm.Fmm`. Results
        have the chunks of the targets.

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
    if given.softening is not None:
        raise InputError(
            f"kernel {given.name!r} is softened, which is not there yet for points of a dask.array: give the points "
            "to taskfmm.Fmm as an array, as x.compute() is"
        )
    size, wanted = choices.leaf_size(leaf_size), choices.region(region)
    arrays = {"sources": _checked("sources", sources)}
    if targets is not None:
        arrays["targets"] = _checked("targets", targets)
        foreign.same_unit(sources, targets)
    shown = None if like is None else _like(asked, like, arrays["sources"].shape[0])
    pieces = Piece.of({name: tuple(map(int, array.chunks[0])) for name, array in arrays.items()})
    if not all(array.shape[0] for array in arrays.values()):
        return Spread(asked, size, None, pieces)
    reference.release()
    accuracy = asked.any_accuracy()
    if targets is not None and asked.calibrated(asked.first):
        accuracy = asked.accuracy(asked.first, None)
    sizes, operators = [piece.n for piece in pieces], Operators(asked.kernel, accuracy)
    if client := cluster.active_client():
        cluster.prepare(client, lambda: sum(sizes) * SECONDS)
    space = room.of_workers(sum(sizes), max(sizes), wanted, operators)
    stage = _Stages(Depot(), pieces, space)
    priced = asked.kernel.with_vectors(min(AT_ONCE, choices.columns(columns)))
    task, counts_itself = cost.task(stage.n * SECONDS), asked.kernel.counts_itself
    chunks = [arrays[piece.name][piece.first : piece.first + piece.n] for piece in pieces]
    try:
        domain, cells = stage.look(chunks, asked)
        top = TOP_LEVEL if given.degree is not None else stage.top_level(asked, domain, cells)
        if not (asked.chosen or asked.calibrated(asked.first)):
            accuracy = asked.accuracy(asked.first, None, half_width=domain.half_width, top=top)
        operators = Operators(asked.kernel, accuracy, UNIT if given.degree is not None else domain.half_width)
        how = How(task, top, priced.columns, cost.first(priced), counts_itself)
        if size is None:
            size, domain = stage.choose(domain, cells, operators, how)
        cap = max(2 * size, space.region // UNITS, FULLEST * accuracy.order**2)
        found = stage.regions(domain, size, cap, not counts_itself)
        n_levels = stage.balance(found)
        how = replace(how, top=max(TOP_LEVEL, min(top, n_levels - 1)))
        plan = stage.works(domain, found, operators, how, n_levels)
        known = (
            None
            if shown is None
            else Chooser(asked, plan).look(Given(asked.kernel.of_first, (shown,)), asked.kernel.usual[-1])
        )
    except BaseException:
        stage.depot.published.remove()
        raise
    return Spread(asked, size, plan, pieces, known)


def of_any(
    sources: Any,
    targets: Any = None,
    kernel: str | Kernel = "laplace",
    eps: float = 1e-6,
    order: int | None = None,
    leaf_size: int | None = None,
    dtype: Any = np.float64,
    memory_limit: Any = None,
    like: Any = None,
    columns: int = 1,
    box: Any = None,
    periodic: Any = True,
    wrap: bool = True,
    surroundings: str = "conductor",
) -> Spread:
    """As `taskfmm.Fmm` is called, where sources or targets are a dask.array."""
    for name, value in (("memory_limit", memory_limit), ("box", box)):
        if value is not None:
            raise InputError(
                f"{name} is {value!r}, which is not there yet for points of a dask.array: give the points "
                "to taskfmm.Fmm as an array, as x.compute() is"
            )
    return from_dask(sources, targets, kernel, eps, order, leaf_size, dtype, like=like, columns=columns)


def _like(asked: Asked, like: Any, n_sources: int) -> Any:
    """Charges that others will resemble, checked."""
    kind = asked.kernel.sources[0]
    if not asked.calibrated(asked.first):
        raise InputError(
            f"like is given, which is not there yet for kernel {asked.kernel.name} where points are dask.arrays"
        )
    shown = of_kind(kind, like, n_sources, "like", lazy=True)
    validate.of_numbers("like", shown.dtype, np.dtype(float))
    return shown


def _checked(name: str, points: Any) -> da.Array:
    """Points of a dask.array, or of any other array, in chunks of known lengths."""
    array = foreign.dask_array(name, points)
    if array is None:
        found = validate.points(name, points)
        # a copy, as the caller may fill his array anew before the plan is made
        return da.from_array(found.copy(), chunks=(CHUNK, 3))
    validate.point_shape(name, array.shape)
    if np.isnan(array.shape[0]):
        raise InputError(
            f"{name} has chunks of unknown lengths: {name}.compute_chunk_sizes() finds them, and {name}.compute() is "
            "an array"
        )
    return array.rechunk({1: -1})


class _Stages:
    """Runs the stages of a plan, each to its end before the next one begins.

    pieces : the chunks of sources, and those of targets where these are others
    """

    def __init__(self, depot: Depot, pieces: tuple[Piece, ...], space: Room) -> None:
        self.depot, self.path, self.pieces, self.space = depot, depot.path, pieces, space
        self.chunks, self.n = range(len(pieces)), sum(piece.n for piece in pieces)
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
        if stage in (stages.choose, stages.top_level):
            return "the points that decide the leaves"
        if stage in (stages.look, stages.sort, stages.count, stages.deal):
            piece = self.pieces[number]
            return f"chunk {piece.within} of {piece.name}, {piece.n:,} points"
        if args[0] == TOP:
            return "the boxes above regions"
        return f"region {args[0]} of {self.points[args[0]]:,} points"

    def look(self, chunks: Iterable[Any], asked: Asked) -> tuple[Domain, Cells]:
        """Check the points; returns the cube around them, and cells whose points stand for all of them."""
        every = max(1, self.n // SAMPLE)
        looked = self.run(
            stages.look,
            [(chunk, piece, every, self.path) for chunk, piece in zip(chunks, self.pieces, strict=True)],
        )
        low = np.min([found.low for found in looked], axis=0)
        high = np.max([found.high for found in looked], axis=0)
        domain = enclose(np.stack([low, high]), np.empty((0, 3)), asked.kernel.degree is not None)
        refuse_width(asked, domain)
        sample = np.concatenate([found.sample for found in looked])
        return domain, _some_cells(sample, domain, self.space.chosen // every)

    def _picked(self, domain: Domain, cells: Cells) -> tuple[list[Any], list[Any]]:
        """The sources and the targets in some cells, not computed yet; no targets where these are the sources."""
        some: dict[str, list[Any]] = {"sources": [], "targets": []}
        for piece in self.pieces:
            some[piece.name].append(delayed(stages.pick)(piece.number, domain, cells, self.path))
        return some["sources"], some["targets"]

    def top_level(self, asked: Asked, domain: Domain, cells: Cells) -> int:
        """The first level with expansions, of a kernel without a degree."""
        n_sources = sum(piece.n for piece in self.pieces if piece.name == "sources")
        (found,) = self.run(stages.top_level, [(*self._picked(domain, cells), n_sources, asked, domain)])
        return int(found)

    def choose(self, domain: Domain, cells: Cells, operators: Operators, how: How) -> tuple[int, Domain]:
        """The leaf size and the cube around the points."""
        (chosen,) = self.run(stages.choose, [(*self._picked(domain, cells), self.n, domain, operators, how)])
        return chosen

    def regions(self, domain: Domain, size: int, cap: int, apart: bool) -> Units:
        """Find the units, and bring the points of each region together."""
        self.run(stages.sort, [(number, domain, self.path) for number in self.chunks])
        self.depot.drop("raw", self.chunks)

        def held(cells: Cells, pieces: Iterable[Piece] = self.pieces) -> Held:
            of_chunks = self.run(stages.count, [(piece.number, cells, self.path) for piece in pieces])
            return reduce(Held.with_others, of_chunks)

        found = units.find(held, self.n, cap, self.space.region)
        self.points = np.add.reduceat(found.count, found.first[:-1]).tolist()
        self.space.refuse_crowded(max(self.points))
        of_sources = [piece for piece in self.pieces if piece.name == "sources"]
        if len(of_sources) < len(self.pieces):
            found = replace(found, sources=held(found.cells, of_sources).count)
        self.run(stages.deal, [(number, found, self.path) for number in self.chunks])
        self.run(
            stages.gather,
            [(region, found, self.pieces, size, apart, self.path) for region in range(found.n_regions)],
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
        facts = Facts(domain, found, operators, how)
        cuts = self.run(stages.survey, [(region, facts, self.path) for region in everyone])
        numbers = Numbers.of(dict(zip(everyone, cuts, strict=True)), n_levels)
        self.depot.put("facts", 0, {**facts.by_name, "numbers": numbers})
        sketches = self.run(stages.works, [(region, facts, numbers, self.path) for region in everyone])
        return joined(facts, self.depot, numbers, dict(zip(everyone, sketches, strict=True)), self.pieces)


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
