"""What is known of charges whose points never meet: `taskfmm.passes.regional`, a task for each region."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import MANY, Known, Share
from taskfmm.passes import regional
from taskfmm.passes.regional import Part
from taskfmm.passes.sampled import ONE_IN, SAMPLE
from taskfmm.passes.share_loops import SUMS
from taskfmm.spread import depot, stages
from taskfmm.spread.bringing import Brought
from taskfmm.spread.run import run
from taskfmm.spread.stages import Facts
from taskfmm.tree.essential import TOP, Essential


@dataclass(frozen=True, slots=True)
class Looking:
    """At an output of some charges.

    charges : where those of each region are; None where all are one
    """

    facts: Facts
    kernel: Kernel
    output: str
    charges: Brought | None
    path: Path

    def of(self, region: int, n: int) -> np.ndarray:
        """The charges of a region, float64 [n]."""
        return np.ones(n) if self.charges is None else self.charges.of(region, self.path)[0]


def of_equal_charges(facts: Facts, kernel: Kernel, path: Path) -> tuple[Known, Known]:
    """What is known of the gradient of a single charge and of equal ones."""
    looking = Looking(facts, kernel, "gradient", None, path)
    found, share = _look(looking)
    center = found.center + facts.domain.lower
    distance = max(run(farthest, [(region, center, path) for region in _with_points(facts)]))
    alone = Known(many=False, gradient=regional.of_lone_charge(found, distance))
    n = int(facts.units.n_sources.sum())
    return alone, Known(many=facts.units.sources is None and n >= MANY, gradient=share)


def of_charges(facts: Facts, kernel: Kernel, charges: Brought, derivative: bool, path: Path) -> Known:
    """What is known of given charges: of their potential if they may cancel, and of their gradient if asked for."""
    weights = run(weigh, [(region, charges, path) for region in _with_points(facts)])
    moments = np.sum([each[:2] for each in weights], axis=0)
    many = facts.units.sources is None and bool(moments[0] ** 2 >= MANY * moments[1])
    cancel = min(each[2] for each in weights) < 0.0 < max(each[3] for each in weights)
    outputs = [*(["potential"] if cancel else []), *(["gradient"] if derivative else [])]
    shares = {output: _look(Looking(facts, kernel, output, charges, path))[1] for output in outputs}
    return Known(many, potential=shares.get("potential"), gradient=shares.get("gradient"))


def weigh(region: int, charges: Brought, path: Path) -> tuple[float, float, float, float]:
    """Sums of squares and of fourth powers of the charges of a region, the smallest and the largest."""
    q = charges.of(region, path)[0]
    squares = q**2
    return float(squares.sum()), float(squares @ squares), float(q.min()), float(q.max())


def _look(looking: Looking) -> tuple[Part, Share]:
    facts, everyone = looking.facts, range(looking.facts.units.n_regions)
    run(sums, [(region, looking) for region in everyone])
    run(top, [(looking,)] if len(facts.units.top) else [])
    found = regional.added(run(part, [(region, looking, rows) for region, rows in enumerate(_drawn(facts))]))
    values = run(at_points, [(region, found.points, looking) for region in _with_points(facts)])
    return found, regional.share(found, np.sum(values, axis=0))


def _with_points(facts: Facts) -> list[int]:
    """The regions that have sources."""
    return np.flatnonzero(facts.units.n_sources).tolist()


def _drawn(facts: Facts) -> list[np.ndarray]:
    """A sample of the targets, as that of `taskfmm.passes.sampled`: rows of each region."""
    points = facts.units.n_targets
    n = int(points.sum())
    size = min(n, int(np.clip(n // ONE_IN, *SAMPLE)))
    rows = np.sort(np.random.default_rng(n).choice(n, size, replace=False))
    first = np.concatenate([[0], np.cumsum(points)])
    ptr = np.searchsorted(rows, first)
    return [rows[a:b] - begin for a, b, begin in zip(ptr[:-1], ptr[1:], first[:-1], strict=True)]


def sums(region: int, looking: Looking) -> None:
    """The sums over the points of a region's boxes: file ``sums``."""
    found = stages.essential_tree(region, looking.facts, looking.path)
    nothing = np.zeros((found.tree.n_boxes, SUMS))
    charges = looking.of(region, found.tree.source_order.size)
    values = {
        "sources": regional.sums(found, nothing.copy(), charges),
        "targets": regional.sums(found, nothing),
    }
    depot.put(looking.path, "sums", region, values)


def top(looking: Looking) -> None:
    """The same of the boxes above units, and what reaches these: file ``sums`` of the `TOP`."""
    survey = stages.survey_of(TOP, looking.facts, looking.path)
    found = survey.essential
    sources, targets = (_table(found, name, looking.path) for name in ("sources", "targets"))
    for table in (sources, targets):
        table[found.own] = regional.sums(found, table.copy())
    nothing = np.zeros((found.tree.n_boxes, 4))
    above = regional.reached(survey, looking.kernel, looking.output, sources, targets, nothing)
    values = {"sources": sources[found.own], "reached": above[found.own]}
    depot.put(looking.path, "sums", TOP, values)


def part(region: int, looking: Looking, drawn: np.ndarray) -> Part:
    """What a region knows; drawn : rows of its targets"""
    survey = stages.survey_of(region, looking.facts, looking.path)
    found = survey.essential
    boxes, above = _table(found, "sources", looking.path), np.zeros((found.tree.n_boxes, 4))
    of_top = found.owner == TOP
    if of_top.any():
        known = depot.get(looking.path, "sums", TOP)
        boxes[of_top], above[of_top] = (known[name][found.row[of_top]] for name in ("sources", "reached"))
    targets = np.zeros_like(boxes)
    targets[found.own] = depot.get(looking.path, "sums", region)["targets"]
    how = survey, looking.kernel, looking.output
    reached = regional.reached(*how, boxes, targets, above)
    return regional.part(*how, looking.of(region, found.tree.source_order.size), reached, drawn)


def at_points(region: int, points: np.ndarray, looking: Looking) -> np.ndarray:
    """What the sources of a region do at some points."""
    sources = stages.points_of(region, looking.path).sources
    charges = looking.of(region, sources.shape[1])[None]
    found = regional.at_points(points, sources, charges, looking.kernel, looking.output)
    return found[looking.kernel.rows(looking.output)]


def farthest(region: int, center: np.ndarray, path: Path) -> float:
    """How far the farthest source of a region is from a center."""
    return regional.farthest(stages.points_of(region, path).sources, center)


def _table(found: Essential, name: str, path: Path) -> np.ndarray:
    """The sums of all boxes of a region's tree that are not above units; name : of sources or targets"""
    boxes = np.zeros((found.tree.n_boxes, SUMS))
    for owner in np.unique(found.owner[found.owner != TOP]).tolist():
        some = found.owner == owner
        boxes[some] = depot.get(path, "sums", owner)[name][found.row[some]]
    return boxes
