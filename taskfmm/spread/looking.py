"""What is known of the gradients of lazy charges: `taskfmm.passes.regional`, a task for each region."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import MANY, Known
from taskfmm.passes import regional
from taskfmm.passes.regional import Part
from taskfmm.passes.sampled import ONE_IN, SAMPLE
from taskfmm.passes.share_loops import SUMS
from taskfmm.spread import depot, stages
from taskfmm.spread.run import run
from taskfmm.spread.stages import Facts
from taskfmm.tree.essential import TOP, Essential


def look(facts: Facts, kernel: Kernel, path: Path) -> tuple[Known, Known]:
    """Of a single charge and of equal ones."""
    everyone = range(facts.units.n_regions)
    run(sums, [(region, facts, path) for region in everyone])
    run(top, [(facts, kernel, path)] if len(facts.units.top) else [])
    found = regional.added(
        run(part, [(region, facts, kernel, rows, path) for region, rows in enumerate(_drawn(facts))])
    )
    center = found.center + facts.domain.lower
    values = run(at_points, [(region, found.points, kernel, center, path) for region in everyone])
    total = sum((value for value, _ in values), np.zeros_like(values[0][0]))
    many = facts.units.sources is None and found.n >= MANY
    return regional.known(found, total, max(distance for _, distance in values), many)


def _drawn(facts: Facts) -> list[np.ndarray]:
    """A sample of the targets, as that of `taskfmm.passes.sampled`: rows of each region."""
    points = facts.units.n_targets
    n = int(points.sum())
    size = min(n, int(np.clip(n // ONE_IN, *SAMPLE)))
    rows = np.sort(np.random.default_rng(n).choice(n, size, replace=False))
    first = np.concatenate([[0], np.cumsum(points)])
    ptr = np.searchsorted(rows, first)
    return [rows[a:b] - begin for a, b, begin in zip(ptr[:-1], ptr[1:], first[:-1], strict=True)]


def sums(region: int, facts: Facts, path: Path) -> None:
    """The sums over the points of a region's boxes: file ``sums``."""
    found = stages.essential_tree(region, facts, path)
    nothing = np.zeros((found.tree.n_boxes, SUMS))
    values = {"sources": regional.sums(found, nothing.copy())}
    if facts.units.sources is not None:
        values["targets"] = regional.sums(found, nothing, of_targets=True)
    depot.put(path, "sums", region, values)


def top(facts: Facts, kernel: Kernel, path: Path) -> None:
    """The same of the boxes above units, and what reaches these: file ``sums`` of the `TOP`."""
    survey = stages.survey_of(TOP, facts, path)
    found = survey.essential
    tables = {"sources": _table(found, "sources", path)}
    if facts.units.sources is not None:
        tables["targets"] = _table(found, "targets", path)
    for name, table in tables.items():
        table[found.own] = regional.sums(found, table.copy(), name == "targets")
    boxes, targets = tables["sources"], tables.get("targets", tables["sources"])
    above = regional.reached(survey, kernel, boxes, targets, np.zeros((len(boxes), 4)))
    depot.put(path, "sums", TOP, {"sources": boxes[found.own], "reached": above[found.own]})


def part(region: int, facts: Facts, kernel: Kernel, drawn: np.ndarray, path: Path) -> Part:
    """What a region knows; drawn : rows of its targets"""
    survey = stages.survey_of(region, facts, path)
    found = survey.essential
    boxes, above = _table(found, "sources", path), np.zeros((found.tree.n_boxes, 4))
    of_top = found.owner == TOP
    if of_top.any():
        known = depot.get(path, "sums", TOP)
        boxes[of_top], above[of_top] = (known[name][found.row[of_top]] for name in ("sources", "reached"))
    targets = boxes
    if facts.units.sources is not None:
        targets = np.zeros_like(boxes)
        targets[found.own] = depot.get(path, "sums", region)["targets"]
    return regional.part(survey, kernel, regional.reached(survey, kernel, boxes, targets, above), drawn)


def at_points(
    region: int, points: np.ndarray, kernel: Kernel, center: np.ndarray, path: Path
) -> tuple[np.ndarray, float]:
    """What the sources of a region do at some points, and how far the farthest is from a center."""
    sources = np.array(depot.get(path, "points", region)["sources"])
    return regional.at_points(points, sources, kernel, center)


def _table(found: Essential, name: str, path: Path) -> np.ndarray:
    """The sums of all boxes of a region's tree that are not above units; name : of sources or targets"""
    boxes = np.zeros((found.tree.n_boxes, SUMS))
    for owner in np.unique(found.owner[found.owner != TOP]).tolist():
        some = found.owner == owner
        boxes[some] = depot.get(path, "sums", owner)[name][found.row[some]]
    return boxes
