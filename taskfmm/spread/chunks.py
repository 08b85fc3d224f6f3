"""The stages of a plan that work on one chunk of points each, see `taskfmm.spread.stages`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain
from taskfmm.operators.levels import Operators
from taskfmm.plan import make, tune
from taskfmm.plan.planned import Asked
from taskfmm.plan.regional import How
from taskfmm.plan.runs import list_runs
from taskfmm.spread import depot
from taskfmm.tree.units import Cells, Held, Units, runs_of

MIX, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
"""By which rows are taken into a sample: about every so many, whatever chunks they are in (Knuth, TAOCP 6.4)."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to know of a chunk of points: the smallest and largest coordinates, and a sample, [n, 3].

    longest : the largest of the lengths of its sources, 0 without
    """

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of points.

    number : among all chunks; those of targets come after those of sources
    name : "sources", or "targets" where these are others
    within : its number among those of this name; first : points of this name before it; n : its own
    """

    number: int
    name: str
    within: int
    first: int
    n: int

    @classmethod
    def of(cls, chunks: dict[str, Sequence[int]]) -> tuple[Piece, ...]:
        """From the lengths of chunks by name."""
        found: list[Piece] = []
        for name, sizes in chunks.items():
            begins = accumulate(sizes, initial=0)
            found += [
                cls(len(found) + within, name, within, first, n)
                for within, (first, n) in enumerate(zip(begins, sizes, strict=False))
            ]
        return tuple(found)


def look(
    chunk: np.ndarray, piece: Piece, every: int, path: Path, lengths: np.ndarray | None = None
) -> Looked:
    """Check a chunk, and keep it in file ``raw``, so that all stages see the same points.

    every : one point in about so many is in the sample
    lengths : of its sources, where these are softened, checked
    """
    points = validate.points(piece.name, chunk, piece.first, f", in chunk {piece.within}")
    if len(points) != piece.n:
        raise InputError(
            f"chunk {piece.within} of {piece.name} was declared with {piece.n} rows and came with {len(points)}: "
            "make the dask.array with the shape that its chunks have, as compute_chunk_sizes() does"
        )
    of_sources = {} if lengths is None else {"lengths": np.array(lengths, np.float64)}
    depot.put(path, "raw", piece.number, {"points": points, **of_sources})
    rows = np.arange(piece.first, piece.first + len(points), dtype=np.uint64)
    sample = points[(rows * MIX >> SHIFT) % np.uint64(every) == 0]
    longest = max((float(each.max(initial=0.0)) for each in of_sources.values()), default=0.0)
    return Looked(points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf), sample, longest)


def pick(number: int, domain: Domain, cells: Cells, path: Path) -> np.ndarray:
    """The points of a chunk in some cells, which do not overlap, float64 [n, 3]."""
    points = np.asarray(depot.get(path, "raw", number)["points"])
    hi, lo = morton.keys(points, domain)
    order = morton.sort(hi, lo)
    begin, end = runs_of(cells, hi[order], lo[order])
    return points[order[list_runs(begin, end)]]


def top_level(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], n_sources: int, asked: Asked, domain: Domain
) -> int:
    """The first level with expansions, from points that fill cells; n_sources : of all"""
    some = np.concatenate(sources)
    return make.top_level(
        asked, some, np.concatenate(targets) if targets else some, domain.half_width, n_sources
    )


def choose(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    n: int,
    domain: Domain,
    operators: Operators,
    how: How,
    reach: float | None = None,
) -> tuple[int, Domain]:
    """The leaf size and the cube for n points, from some of them that fill cells.

    sources, targets : pieces of them; no targets where these are the sources
    reach : of softened sources, the largest
    """
    some, others = np.concatenate(sources), np.concatenate(targets) if targets else None
    n_some = len(some) + (0 if others is None else len(others))
    size, found = tune.choose(
        some,
        others,
        operators.at(how.top),
        domain,
        operators.kernel.degree is not None,
        top=how.top,
        columns=how.columns,
        weights=how.weights,
        reach=None if reach is None else np.full(len(some), reach),
        times=n / n_some,
    )
    return size or tune.LARGEST, found


def sort(number: int, domain: Domain, path: Path) -> None:
    """The points of a chunk in Morton order, scaled, with their keys and rows in the chunk: file ``chunk``."""
    raw = depot.get(path, "raw", number)
    points = np.asarray(raw["points"])
    hi, lo = morton.keys(points, domain)
    order = morton.sort(hi, lo)
    values = {"hi": hi[order], "lo": lo[order], "points": points[order].T * domain.scale}
    values["rows"] = order.astype(np.int32)
    if "lengths" in raw.names():
        values["lengths"] = raw["lengths"][order] * domain.scale
    depot.put(path, "chunk", number, {name: np.ascontiguousarray(value) for name, value in values.items()})


def count(number: int, cells: Cells, path: Path) -> Held:
    """What each cell holds of a chunk."""
    found = depot.get(path, "chunk", number)
    return Held.of(cells, found["hi"], found["lo"])


def deal(number: int, units: Units, path: Path) -> None:
    """In which order the rows of a chunk go to the regions, and where each region begins: file ``order``."""
    found = depot.get(path, "chunk", number)
    values = {"rows": np.asarray(found["rows"]), "ptr": units.split(found["hi"], found["lo"])}
    depot.put(path, "order", number, values)
