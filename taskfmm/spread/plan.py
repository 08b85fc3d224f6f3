"""What this process knows of a plan of points that never meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from operator import add
from typing import Any

import numpy as np

from taskfmm.plan.regional import Numbers
from taskfmm.plan.sketches import Sizes, Sketches
from taskfmm.spread.chunks import Piece
from taskfmm.spread.depot import Depot
from taskfmm.spread.stages import Facts


@dataclass(frozen=True)
class SpreadPlan:
    """What is known here of a plan: which tasks there are, and whose rows they read.

    far, near, chunks, charges : as of `taskfmm.plan.plan.Plan`; sketches of works, and nothing for rows. There is a
        chunk for each region
    pieces : the chunks of sources, and those of targets where these are others
    sizes : sizes of all regions; chosen : whether the size of leaves was, by planning
    """

    facts: Facts
    depot: Depot
    far: tuple[tuple[Any, ...], ...]
    near: tuple[Any, ...]
    chunks: tuple[Any, ...]
    charges: tuple[None, ...]
    pieces: tuple[Piece, ...]
    sizes: Sizes
    chosen: bool = False
    lengths: tuple[()] = ()
    moments: tuple[()] = ()

    @property
    def is_direct(self) -> bool:
        """Whether all pairs are summed."""
        return not any(self.far)

    @property
    def of_sources(self) -> list[Piece]:
        """The chunks of sources."""
        return [piece for piece in self.pieces if piece.name == "sources"]

    @property
    def of_targets(self) -> list[Piece]:
        """The chunks of targets, which may be those of the sources."""
        return [piece for piece in self.pieces if piece.name == "targets"] or self.of_sources

    @property
    def with_sources(self) -> list[int]:
        """The regions that have sources: each is a shard of charges."""
        return np.flatnonzero(self.facts.units.n_sources).tolist()

    @property
    def top(self) -> int:
        """The first level with expansions."""
        return self.facts.how.top

    @property
    def half_width(self) -> float:
        """As operators have it: of the root box, where the kernel has no degree."""
        return self.facts.operators.half_width

    @property
    def scale(self) -> float:
        """By which coordinates are multiplied."""
        return self.facts.domain.scale


def joined(
    facts: Facts,
    depot: Depot,
    numbers: Numbers,
    sketches: dict[int, Sketches],
    pieces: tuple[Piece, ...],
) -> SpreadPlan:
    """The sketches of all regions as those of one plan."""
    far: list[dict[int, Any]] = [{} for _ in range(numbers.n_levels)]
    near: dict[int, Any] = {}
    for region, sketch in sketches.items():
        depot.keep("works", region, sketch.names)
        near |= sketch.near
        for (level, number), shard in sketch.far.items():
            far[level][number] = shard
    sizes = facts.units.n_targets.tolist()
    chunks = tuple(
        replace(sketches[region].chunk, begin=first, end=first + n)
        for region, (first, n) in enumerate(zip(accumulate(sizes, initial=0), sizes, strict=False))
    )
    return SpreadPlan(
        facts,
        depot,
        tuple(tuple(shards[number] for number in range(len(shards))) for shards in far),
        tuple(near[number] for number in range(len(near))),
        chunks,
        (None,) * sum(cut.charge_ptr.size - 1 for cut in numbers.cuts.values()),
        pieces,
        reduce(add, (sketch.sizes for sketch in sketches.values())),
    )
