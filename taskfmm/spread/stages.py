"""The stages of a plan whose points never meet: functions of one region each, or of one chunk
(`taskfmm.spread.chunks`), run as tasks.

Large arrays go from stage to stage through files of a `taskfmm.spread.depot`; what a stage returns is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain
from taskfmm.geometry.resolution import unresolved_pair
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.levels import Operators
from taskfmm.operators.size import outline
from taskfmm.plan import regional
from taskfmm.plan.regional import Cut, How, Numbers, Survey
from taskfmm.plan.runs import take_runs
from taskfmm.plan.shards import Interactions
from taskfmm.plan.sketches import WORKS, Sizes, Sketches, sketched
from taskfmm.spread import depot
from taskfmm.spread.chunks import Piece
from taskfmm.tree import essential
from taskfmm.tree.essential import TOP, Essential, Points
from taskfmm.tree.octree import Octree
from taskfmm.tree.regional import Boxes, beside_top, boxes, close, crowded
from taskfmm.tree.units import Cells, Units, distinct, index, points_in


@dataclass(frozen=True, slots=True)
class Facts:
    """What all regions are planned by.

    evaluated : the accuracy of lazy charges of which nothing is known, or of others where these have none
    """

    domain: Domain
    units: Units
    operators: Operators
    how: How
    evaluated: Accuracy

    @property
    def by_name(self) -> dict[str, Any]:
        """As they are written into a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class RegionLists:
    """A region's tree and its lists."""

    tree: Octree
    lists: Interactions


def gather(
    region: int, units: Units, pieces: Sequence[Piece], leaf_size: int, apart: bool, path: Path
) -> None:
    """The points of a region from all chunks: files ``points`` and ``blocks``; its cells surely split: ``split``.

    With the points are the lengths of the sources, where these are softened.
    In ``blocks`` are the places of its sources, and of its targets if they are others, in the order of the tree,
    among those that come from one chunk after the other, and where the targets of each chunk begin; int32 all.

    apart : whether points that would count as one are refused
    """
    found: list[list[np.ndarray]] = []
    lengths: list[np.ndarray] = []
    for piece in pieces:
        chunk = depot.get(path, "chunk", piece.number)
        begin, end = depot.get(path, "order", piece.number)["ptr"][region : region + 2].tolist()
        # copies, as pages of a file that stays mapped count as memory of this process
        found.append([np.array(chunk[name][..., begin:end]) for name in ("hi", "lo", "points", "rows")])
        found[-1][-1] = found[-1][-1] + np.int64(piece.first)
        if "lengths" in chunk.names():
            lengths.append(np.array(chunk["lengths"][begin:end]))
    hi, lo, points, rows = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
    order = morton.sort(hi, lo)
    hi, lo, points, rows = hi[order], lo[order], np.ascontiguousarray(points[:, order]), rows[order]
    sizes = np.array([each[0].size for each in found])
    of_sources = np.array([piece.name == "sources" for piece in pieces])
    values = {"hi": hi, "lo": lo, "sources": points, "source_rows": rows}
    blocks = {"sources": order, "ptr": np.concatenate([[0], np.cumsum(sizes)])}
    before = None
    if not of_sources.all():
        n_sources = sizes[of_sources].sum()
        is_source = order < n_sources
        before = np.concatenate([[0], np.cumsum(is_source)])
        values |= {"before": before, "sources": points[:, is_source], "targets": points[:, ~is_source]}
        values |= {"source_rows": rows[is_source], "target_rows": rows[~is_source]}
        blocks = {"sources": order[is_source], "targets": order[~is_source] - n_sources}
        blocks["ptr"] = np.concatenate([[0], np.cumsum(sizes[~of_sources])])
    if lengths:
        values["lengths"] = np.concatenate(lengths)[blocks["sources"]]
    if apart:
        _refuse_unresolved(values)
    depot.put(path, "points", region, values)
    depot.put(path, "blocks", region, {name: each.astype(np.int32) for name, each in blocks.items()})
    surely = crowded(units.of(region), hi, lo, leaf_size, before, units.deepest)
    _put_cells(path, "split", region, distinct(surely, beside_top(units, region, hi, lo)))


def _refuse_unresolved(values: dict[str, np.ndarray]) -> None:
    """As `taskfmm.geometry.resolution.refuse_unresolved`, within a region."""
    sources = values["sources"].T
    targets = values["targets"].T if "targets" in values else sources
    pair = unresolved_pair(sources, targets, 1.0)
    if pair is not None:
        name = "targets" if "targets" in values else "sources"
        rows = values["source_rows"][pair[0]], values[f"{name.removesuffix('s')}_rows"][pair[1]]
        raise InputError(
            f"sources row {rows[0]} and {name} row {rows[1]} are so close together that they would count as one "
            "point: give points that are in one place, or more than 1e-37 of the width of all points apart"
        )


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
    before = np.asarray(found["before"]) if "before" in found.names() else None
    made = boxes(_split(path, region), units.of(region), found["hi"], found["lo"], before)
    _put_cells(path, "boxes", region, made.cells, sources=made.sources, targets=made.targets)
    return int(made.cells.level.max(initial=0)) + 1


def survey(region: int, facts: Facts, path: Path) -> Cut:
    """How a region is cut into shards."""
    return survey_of(region, facts, path).cut


def works(region: int, facts: Facts, numbers: Numbers, path: Path) -> Sketches:
    """The works of a region: file ``works``; returns what the graph has to know of them."""
    found, how = survey_of(region, facts, path), facts.how
    runs, pieces = found.runs, [np.empty((3, 0))]
    for owner in np.unique(runs.region).tolist():
        some = runs.region == owner
        pieces.append(
            take_runs(depot.get(path, "points", owner)["sources"], runs.begin[some], runs.end[some])[0]
        )
    full = essential.with_points(found.essential, found.boxes, runs, np.concatenate(pieces, axis=1))
    made = regional.works(replace(found, essential=full), region, numbers, facts.operators.at(how.top), how)
    values = {
        f"far/{level}/{number}/{name.upper()}": getattr(shard, name)
        for (level, number), shard in made.far.items()
        for name in WORKS
    }
    values |= {f"near/{number}": work for number, work in made.near.items()}
    if region != TOP:
        values[f"chunk/{region}"] = made.chunk
    values = {name: value for name, value in values.items() if value is not None}
    n_bytes = depot.put(path, "works", region, values, apart=True)
    evaluated = outline(facts.operators.kernel, facts.evaluated)
    return sketched(made, tuple(values), Sizes.of(found, made, n_bytes, evaluated, how))


def survey_of(region: int, facts: Facts, path: Path) -> Survey:
    """A region's tree with its lists, and how it is cut into shards."""
    return regional.survey(essential_tree(region, facts, path), facts.operators.at(facts.how.top), facts.how)


def mend(path: Path, region: int) -> None:
    """Write the works of a region again, by what the client has left in file ``facts``.

    Raises
    ------
    StorageError
        A file that it needs is damaged or gone as well.
    """
    found = depot.get(path, "facts", 0)
    works(region, Facts(*(found[field.name] for field in fields(Facts))), found["numbers"], path)


def essential_tree(region: int, facts: Facts, path: Path) -> Essential:
    """The tree that a region needs, without the points of others."""
    units = facts.units
    own = units.top if region == TOP else boxes_of(region, path).cells
    children_of = essential.needed(units, region, own)
    others = {number: boxes_of(number, path) for number in essential.neighbours(units, region, children_of)}
    points = Points.none() if region == TOP else points_of(region, path)
    return essential.build(facts.domain, units, region, points, others, children_of)


def points_of(region: int, path: Path) -> Points:
    """The sources and targets of a region, and the lengths of softened sources."""
    found = depot.get(path, "points", region)
    sources, rows = np.array(found["sources"]), np.array(found["source_rows"])
    lengths = np.array(found["lengths"]) if "lengths" in found.names() else None
    if "targets" not in found.names():
        return Points(sources, sources, rows, rows, lengths)
    return Points(sources, np.array(found["targets"]), rows, np.array(found["target_rows"]), lengths)


def boxes_of(region: int, path: Path) -> Boxes:
    """The boxes of a region."""
    found = depot.get(path, "boxes", region)
    cells = Cells(*(np.asarray(found[name]) for name in ("level", "hi", "lo")))
    return Boxes(cells, np.asarray(found["sources"]), np.asarray(found["targets"]))


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
