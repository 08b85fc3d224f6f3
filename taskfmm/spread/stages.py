"""The stages of a plan whose points never meet: functions of one chunk or one region each, run as tasks.

Large arrays go from stage to stage through files of a `taskfmm.spread.depot`; what a stage returns is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from taskfmm import validate
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain
from taskfmm.operators.levels import Operators
from taskfmm.plan import regional, tune
from taskfmm.plan.regional import Cut, How, Numbers, Sketches, Survey
from taskfmm.plan.runs import list_runs, take_runs
from taskfmm.spread import depot
from taskfmm.tree import essential
from taskfmm.tree.essential import TOP, Essential
from taskfmm.tree.regional import Boxes, beside_top, boxes, close, crowded
from taskfmm.tree.units import Cells, Held, Units, distinct, index, points_in, runs_of

MIX, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
"""By which rows are taken into a sample: about every so many, whatever chunks they are in (Knuth, TAOCP 6.4)."""


FACTS = ("domain", "units", "operators", "how", "numbers")
"""What `works` takes beside the region and the directory."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to know of a chunk of points: the smallest and largest coordinates, and a sample, [n, 3]."""

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray


def look(chunk: np.ndarray, number: int, first: int, every: int, path: Path) -> Looked:
    """Check a chunk, and keep it in file ``raw``, so that all stages see the same points.

    first : the points before it; every : one point in about so many is in the sample
    """
    points = validate.points("points", chunk, first, f", in chunk {number}")
    depot.put(path, "raw", number, {"points": points})
    rows = np.arange(first, first + len(points), dtype=np.uint64)
    sample = points[(rows * MIX >> SHIFT) % np.uint64(every) == 0]
    return Looked(points.min(axis=0, initial=np.inf), points.max(axis=0, initial=-np.inf), sample)


def pick(number: int, domain: Domain, cells: Cells, path: Path) -> np.ndarray:
    """The points of a chunk in some cells, which do not overlap, float64 [n, 3]."""
    points = np.asarray(depot.get(path, "raw", number)["points"])
    hi, lo = morton.keys(points, domain)
    order = morton.sort(hi, lo)
    begin, end = runs_of(cells, hi[order], lo[order])
    return points[order[list_runs(begin, end)]]


def choose(
    picked: Sequence[np.ndarray], n: int, domain: Domain, operators: Operators, how: How
) -> tuple[int, Domain]:
    """The leaf size and the cube for n points, from some of them that fill cells."""
    points = np.concatenate(picked)
    size, found = tune.choose(
        points,
        None,
        operators.at(how.top),
        domain,
        top=how.top,
        columns=how.columns,
        weights=how.weights,
        times=n / len(points),
    )
    return size or tune.LARGEST, found


def sort(number: int, first: int, domain: Domain, path: Path) -> None:
    """The points of a chunk in Morton order, scaled, with their keys and rows: file ``chunk``."""
    points = np.asarray(depot.get(path, "raw", number)["points"])
    hi, lo = morton.keys(points, domain)
    order = morton.sort(hi, lo)
    values = {
        "hi": hi[order],
        "lo": lo[order],
        "points": points[order].T * domain.scale,
        "rows": first + order,
    }
    depot.put(path, "chunk", number, {name: np.ascontiguousarray(value) for name, value in values.items()})


def count(number: int, cells: Cells, path: Path) -> Held:
    """What each cell holds of a chunk."""
    found = depot.get(path, "chunk", number)
    return Held.of(cells, found["hi"], found["lo"])


def gather(region: int, units: Units, n_chunks: int, leaf_size: int, path: Path) -> None:
    """The points of a region from all chunks: file ``points``; its cells that are surely split: file ``split``."""
    pieces = []
    for number in range(n_chunks):
        found = depot.get(path, "chunk", number)
        begin, end = units.split(found["hi"], found["lo"])[region : region + 2].tolist()
        # copies, as pages of a file that stays mapped count as memory of this process
        pieces.append([np.array(found[name][..., begin:end]) for name in ("hi", "lo", "points", "rows")])
    hi, lo, points, rows = (np.concatenate(each, axis=-1) for each in zip(*pieces, strict=True))
    order = morton.sort(hi, lo)
    hi, lo, points, rows = hi[order], lo[order], np.ascontiguousarray(points[:, order]), rows[order]
    depot.put(path, "points", region, {"hi": hi, "lo": lo, "points": points, "rows": rows})
    split = distinct(crowded(units.of(region), hi, lo, leaf_size), beside_top(units, region, hi, lo))
    _put_cells(path, "split", region, split)


def balance(region: int, units: Units, demands: Cells, path: Path) -> Cells:
    """Split what others ask for and what follows from it; returns all that the region asks of others.

    The same again if it runs twice: what is balanced already asks for the same.
    """
    found = depot.get(path, "points", region)
    mine = demands[points_in(demands, found["hi"], found["lo"]) > 0]
    wanted = distinct(_split(path, region), mine)
    closed, asked = close(wanted, units, region, found["hi"], found["lo"])
    _put_cells(path, "split", region, closed)
    return asked


def settle(region: int, units: Units, path: Path) -> int:
    """The boxes of a region, once the tree is balanced: file ``boxes``; returns the number of levels."""
    found = depot.get(path, "points", region)
    made = boxes(_split(path, region), units.of(region), found["hi"], found["lo"])
    _put_cells(path, "boxes", region, made.cells, begin=made.begin, end=made.end)
    return int(made.cells.level.max(initial=0)) + 1


def survey(region: int, domain: Domain, units: Units, operators: Operators, how: How, path: Path) -> Cut:
    """How a region is cut into shards."""
    return _survey(region, domain, units, operators, how, path).cut


def works(
    region: int, domain: Domain, units: Units, operators: Operators, how: How, numbers: Numbers, path: Path
) -> Sketches:
    """The works of a region: file ``works``; returns what the graph has to know of them."""
    found = _survey(region, domain, units, operators, how, path)
    runs, pieces = found.runs, [np.empty((3, 0))]
    for owner in np.unique(runs.region).tolist():
        some = runs.region == owner
        pieces.append(
            take_runs(depot.get(path, "points", owner)["points"], runs.begin[some], runs.end[some])[0]
        )
    full = essential.with_points(found.essential, found.boxes, runs, np.concatenate(pieces, axis=1))
    made = regional.works(replace(found, essential=full), region, numbers, operators.at(how.top), how)
    values = {
        f"far/{level}/{number}/{name.upper()}": getattr(shard, name)
        for (level, number), shard in made.far.items()
        for name in regional.OPERATORS
    }
    values |= {f"near/{number}": work for number, work in made.near.items()}
    if region != TOP:
        rows = np.asarray(depot.get(path, "points", region)["rows"])
        for number, (begin, end) in enumerate(
            pairwise(found.cut.charge_ptr.tolist()), numbers.charges[region]
        ):
            values[f"sources/{number}"] = rows[begin:end]
        by_row = np.argsort(rows)
        values |= {f"chunk/{region}": made.chunk, f"places/{region}": by_row, f"rows/{region}": rows[by_row]}
    values = {name: value for name, value in values.items() if value is not None}
    depot.put(path, "works", region, values, apart=True)
    return regional.sketched(made, tuple(values))


def mend(path: Path, region: int) -> None:
    """Write the works of a region again, by what the client has left in file ``facts``.

    Raises
    ------
    StorageError
        A file that it needs is damaged or gone as well.
    """
    facts = depot.get(path, "facts", 0)
    domain, units, operators, how, numbers = (facts[name] for name in FACTS)
    works(region, domain, units, operators, how, numbers, path)


def rows_of(first: int, n: int, rows: Sequence, places: Sequence, values: Sequence[np.ndarray]) -> np.ndarray:
    """Results at the points of a chunk, from those of all regions.

    rows, places : of each region, its rows in the caller's order, ascending, and where among its results they are
    """
    out = np.empty((n, *values[0].shape[1:]), values[0].dtype)
    for own, at, found in zip(rows, places, values, strict=True):
        own, at = own.value, at.value
        begin, end = np.searchsorted(own, [first, first + n])
        out[own[begin:end] - first] = found[at[begin:end]]
    return out


def _survey(region: int, domain: Domain, units: Units, operators: Operators, how: How, path: Path) -> Survey:
    return regional.survey(_essential(region, domain, units, path), operators.at(how.top), how)


def _essential(region: int, domain: Domain, units: Units, path: Path) -> Essential:
    own = units.top if region == TOP else _boxes(path, region).cells
    children_of = essential.needed(units, region, own)
    others = {number: _boxes(path, number) for number in essential.neighbours(units, region, children_of)}
    points, rows = np.empty((3, 0)), np.empty(0, np.int64)
    if region != TOP:
        found = depot.get(path, "points", region)
        points, rows = np.array(found["points"]), np.array(found["rows"])
    return essential.build(domain, units, region, points, rows, others, children_of)


def _boxes(path: Path, region: int) -> Boxes:
    found = depot.get(path, "boxes", region)
    cells = Cells(*(np.asarray(found[name]) for name in ("level", "hi", "lo")))
    return Boxes(cells, np.asarray(found["begin"]), np.asarray(found["end"]))


def _put_cells(path: Path, stage: str, region: int, cells: Cells, **more: np.ndarray) -> None:
    depot.put(path, stage, region, {"level": cells.level, "hi": cells.hi, "lo": cells.lo, **more})


def _split(path: Path, region: int) -> Cells:
    found = depot.get(path, "split", region)
    return Cells(*(np.array(found[name]) for name in ("level", "hi", "lo")))


def by_region(asked: Sequence[Cells], known: Cells, units: Units) -> dict[int, Cells]:
    """What regions ask for that nobody has asked for before, by the region that has it."""
    every = distinct(*asked)
    fresh = every[index(known, every) < 0]
    owner = units.owner(fresh)
    return {int(region): fresh[owner == region] for region in np.unique(owner)}
