"""Runs the stages of a plan of points that never meet, on the scheduler in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from dask.delayed import delayed

from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain, enclose, with_room
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.levels import Operators
from taskfmm.plan.make import refuse_width
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How, Numbers
from taskfmm.spread import chunks, faults, room, stages
from taskfmm.spread.chunks import Piece
from taskfmm.spread.depot import Depot
from taskfmm.spread.plan import SpreadPlan, joined
from taskfmm.spread.room import Room
from taskfmm.spread.run import run
from taskfmm.spread.stages import Facts
from taskfmm.tree import units
from taskfmm.tree.essential import TOP
from taskfmm.tree.units import Cells, Held, Units, distinct

SAMPLE = 250_000
"""Points, taken evenly, from which cells are found whose points decide the leaves."""

UNITS = 4
"""Units of a region, about: where few are cut off from their neighbours, little is read from other regions."""


class Stages:
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

        def place(number: int) -> str:
            return self._place(stage, number, calls[number])

        return run(stage, calls, lambda keys: faults.told(name, keys, place, self.path))

    def _place(self, stage: Callable[..., Any], number: int, args: tuple[Any, ...]) -> str:
        """What a call of a stage works on."""
        if stage in (chunks.choose, chunks.top_level):
            return "the points that decide the leaves"
        if stage in (chunks.look, chunks.sort, chunks.count, chunks.deal):
            piece = self.pieces[number]
            return f"chunk {piece.within} of {piece.name}, {piece.n:,} points"
        if args[0] == TOP:
            return "the boxes above regions"
        return f"region {args[0]} of {self.points[args[0]]:,} points"

    def look(
        self, arrays: Iterable[Any], lengths: Iterable[Any], asked: Asked
    ) -> tuple[Domain, Cells, float | None]:
        """Check the points; returns the cube around them, cells whose points stand for all of them, and the furthest
        reach of a source.

        lengths : of the sources of each chunk, None where these are not softened
        """
        every = max(1, self.n // SAMPLE)
        given = zip(arrays, self.pieces, lengths, strict=True)
        looked = self.run(chunks.look, [(chunk, piece, every, self.path, own) for chunk, piece, own in given])
        low = np.min([found.low for found in looked], axis=0)
        high = np.max([found.high for found in looked], axis=0)
        domain = enclose(np.stack([low, high]), np.empty((0, 3)), asked.kernel.degree is not None)
        longest = max(found.longest for found in looked)
        reach = asked.reach(np.array([longest]))
        if reach is not None:
            domain = with_room(domain, longest)
        refuse_width(asked, domain)
        sample = np.concatenate([found.sample for found in looked])
        cells = _some_cells(sample, domain, self.space.chosen // every)
        return domain, cells, None if reach is None else float(reach[0])

    def _picked(self, domain: Domain, cells: Cells) -> tuple[list[Any], list[Any]]:
        """The sources and the targets in some cells, not computed yet; no targets where these are the sources."""
        some: dict[str, list[Any]] = {"sources": [], "targets": []}
        for piece in self.pieces:
            some[piece.name].append(delayed(chunks.pick)(piece.number, domain, cells, self.path))
        return some["sources"], some["targets"]

    def top_level(self, asked: Asked, domain: Domain, cells: Cells) -> int:
        """The first level with expansions, of a kernel without a degree."""
        n_sources = sum(piece.n for piece in self.pieces if piece.name == "sources")
        (found,) = self.run(chunks.top_level, [(*self._picked(domain, cells), n_sources, asked, domain)])
        return int(found)

    def choose(
        self, domain: Domain, cells: Cells, operators: Operators, how: How, reach: float | None
    ) -> tuple[int, Domain]:
        """The leaf size and the cube around the points."""
        args = *self._picked(domain, cells), self.n, domain, operators, how, reach
        (chosen,) = self.run(chunks.choose, [args])
        return chosen

    def regions(self, domain: Domain, size: int, cap: int, apart: bool, deepest: int) -> Units:
        """Find the units, and bring the points of each region together; see `taskfmm.tree.units.find`."""
        self.run(chunks.sort, [(number, domain, self.path) for number in self.chunks])
        self.depot.drop("raw", self.chunks)

        def held(cells: Cells, pieces: Iterable[Piece] = self.pieces) -> Held:
            of_chunks = self.run(chunks.count, [(piece.number, cells, self.path) for piece in pieces])
            return reduce(Held.with_others, of_chunks)

        found = units.find(held, self.n, cap, self.space.region, deepest)
        self.points = np.add.reduceat(found.count, found.first[:-1]).tolist()
        self.space.refuse_crowded(max(self.points), softened=deepest < morton.MAX_LEVEL)
        of_sources = [piece for piece in self.pieces if piece.name == "sources"]
        if len(of_sources) < len(self.pieces):
            found = replace(found, sources=held(found.cells, of_sources).count)
        self.run(chunks.deal, [(number, found, self.path) for number in self.chunks])
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
        self,
        domain: Domain,
        found: Units,
        operators: Operators,
        how: How,
        evaluated: Accuracy,
        n_levels: int,
    ) -> SpreadPlan:
        """Cut all regions, and the boxes above units, into shards, and write down their works; see `Facts`."""
        everyone = [*range(found.n_regions), *([TOP] if len(found.top) else [])]
        facts = Facts(domain, found, operators, how, evaluated)
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
