"""The regions of points that nobody has yet: how they are cut, what their tasks read, and what lies on the disk.

A small cloud of the same shape is cut by the rules for the whole (`taskfmm.plan.regional`). Where the whole has more
regions, each of the small cloud stands for several, which have more neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taskfmm.forecast.alike import Alike
from taskfmm.forecast.small import Cut, Small, Works
from taskfmm.geometry.domain import Domain
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.regional import How
from taskfmm.tree import units


@dataclass(frozen=True, slots=True)
class Regions:
    """What is expected of all regions.

    regions, units, n_levels, boxes, leaves : numbers of the whole
    counts : of rounds in which points of cells are counted
    works : of all
    seconds : by operator, of one core
    work_bytes : of the works of a point, on the disk
    met : sources that works of the near field hold, of other works, for each point
    """

    regions: int
    units: float
    n_levels: int
    boxes: float
    leaves: float
    counts: int
    works: Works
    seconds: Mapping[str, float]
    work_bytes: float
    met: float


def regions(
    found: Alike,
    smaller: Alike,
    n: int,
    leaf_size: int,
    domain: Domain,
    operators: BoxOperators,
    evaluated: BoxOperators,
    how: How,
    cap: int,
    most: int,
) -> Regions:
    """Of n points, from a cloud like theirs, and one with a level less, which tells what its border does.

    operators, evaluated : by which regions are planned, and of the evaluation
    cap, most : points of a unit and of a region, as of `taskfmm.tree.units.find`
    """
    inner = _each(Small(smaller, leaf_size, domain, operators, evaluated, how))
    small = Small(found, leaf_size, domain, operators, evaluated, how)
    n_regions = max(1, -(-n // most))
    seconds = {
        name: n * _without_border(inner[name], each, found.levels) for name, each in _each(small).items()
    }
    own, owner = small.cut(cap, n / n_regions, domain)
    growth = (n / n_regions) / (found.n_points / own.n_regions)
    n_top = int((owner == own.n_regions).sum())
    plan = Cut(small, owner, own.n_regions, growth)
    times = n_regions / own.n_regions
    works = Works().plus(plan.works(range(own.n_regions), times), times)
    if n_top:
        of_top = plan.works([own.n_regions])
        # shards grow before their number does
        full = n_top / (cost.FEWEST_BOXES * max(1.0, of_top.works["L2L"]))
        works = works.plus(of_top, 1.0 + (found.times - 1.0) * min(1.0, full))
    met, work_bytes = plan.bytes()
    tree = small.tree
    return Regions(
        n_regions,
        len(own.cells) * found.times,
        tree.n_levels + found.levels,
        tree.n_boxes * found.times,
        float(tree.is_leaf.sum()) * found.times,
        0 if n <= cap else rounds(int(own.cells.level.max()) + found.levels),
        works,
        seconds,
        work_bytes,
        met,
    )


def _each(small: Small) -> dict[str, float]:
    """Seconds of operators for each point."""
    return {name: float(each.sum()) / small.alike.n_points for name, each in small.priced.items()}


def _without_border(smaller: float, found: float, levels: int) -> float:
    """Of a number that differs by the share of boxes at the border, which halves with each level."""
    return max(0.5 * found, found + (found - smaller) * (1.0 - 0.5**levels))


def rounds(deepest: int) -> int:
    """In which points of cells are counted; deepest : the level of the smallest units"""
    return 1 + -(-deepest // units.STEP)
