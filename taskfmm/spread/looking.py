"""What is known of charges whose points never meet: `taskfmm.passes.regional`, a task for each region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import MANY, Known, Share, is_calibrated
from taskfmm.passes import regional
from taskfmm.passes.expanded import Boxes, Expanded, Region
from taskfmm.passes.places import Places
from taskfmm.passes.regional import Part
from taskfmm.passes.sampled import FEW, ONE_IN, SAMPLE
from taskfmm.passes.share import look_random, of_any_kernel
from taskfmm.passes.share_loops import SQUARES, SUMS, WEIGHT
from taskfmm.plan.regional import Survey
from taskfmm.spread import depot, stages
from taskfmm.spread.bringing import Brought
from taskfmm.spread.depot import Directory
from taskfmm.spread.run import run
from taskfmm.spread.stages import Facts
from taskfmm.tree.essential import TOP, Essential


@dataclass(frozen=True, slots=True)
class Looking:
    """At an output of some charges.

    path, at : directories of the plan and of this look
    charges : where those of each region are; None where all are alike
    signs : whether these have random signs, else they are one
    """

    facts: Facts
    kernel: Kernel
    output: str
    path: Path
    at: Directory
    charges: Brought | None = None
    signs: bool = False

    def of(self, region: int, n: int) -> np.ndarray:
        """The charges of a region, float64 [n_numbers, n]."""
        numbers = sum(kind.n_numbers for kind in self.kernel.sources)
        if self.charges is not None and n:
            return self.charges.of(region, self.path)
        if not (self.signs and n):
            return np.ones((numbers, n))
        return np.random.default_rng([n, region]).choice([-1.0, 1.0], (numbers, n))


def of_equal_charges(facts: Facts, kernel: Kernel, path: Path, at: Directory) -> tuple[Known, Known]:
    """What is known of the gradient of a single charge and of equal ones."""
    found, share = _look(Looking(facts, kernel, "gradient", path, at))
    center = found.center + facts.domain.lower
    distance = max(run(farthest, [(region, center, path) for region in _with_sources(facts)]))
    alone = Known(many=False, gradient=regional.of_lone_charge(found, distance))
    n = int(facts.units.n_sources.sum())
    return alone, Known(many=facts.units.sources is None and n >= MANY, gradient=share)


def of_random_signs(
    facts: Facts, kernel: Kernel, output: str, alone: bool, path: Path, at: Directory
) -> Known:
    """What is known of charges of random signs, of a kernel without a table.

    alone : see `taskfmm.passes.share.look`
    """
    n = int(facts.units.n_sources.sum())
    return _of_any_kernel(Looking(facts, kernel, output, path, at, signs=True), alone, n >= MANY)


def of_charges(facts: Facts, kernel: Kernel, charges: Brought, output: str, alone: bool, path: Path) -> Known:
    """What is known of given charges, as `taskfmm.passes.share.look` finds it."""
    weights = np.array(run(weigh, [(region, charges, path) for region in _with_sources(facts)]))
    squares, fourths = weights[..., 0].sum(axis=0), weights[..., 1].sum(axis=0)
    looking = Looking(facts, kernel, output, path, charges.at, charges)
    many = bool((squares**2 >= MANY * fourths).all())
    if not is_calibrated(kernel, output):
        return _of_any_kernel(looking, alone, many)
    many = many and facts.units.sources is None
    cancel = weights[..., 2].min() < 0.0 < weights[..., 3].max()
    if cancel and many:
        _sum_boxes(looking)
        cancel = not _are_random(looking)
    outputs = [*(["potential"] if cancel else []), *(["gradient"] if output == "gradient" else [])]
    shares = {each: _look(replace(looking, output=each))[1] for each in outputs}
    return Known(many, potential=shares.get("potential"), gradient=shares.get("gradient"))


def _of_any_kernel(looking: Looking, alone: bool, many: bool) -> Known:
    def share(output: str) -> Share:
        return _look(replace(looking, output=output))[1]

    many = many and looking.facts.units.sources is None
    return of_any_kernel(looking.kernel, looking.output, alone, many, share)


def weigh(region: int, charges: Brought, path: Path) -> np.ndarray:
    """Of each number in a region: sums of squares and of fourth powers, the smallest and the largest charge."""
    q = charges.of(region, path)
    return np.stack([(q**2).sum(axis=1), (q**4).sum(axis=1), q.min(axis=1), q.max(axis=1)], axis=1)


def _sum_boxes(looking: Looking) -> None:
    """Sums over all boxes, and what reaches those above units."""
    run(sums, [(region, looking) for region in range(looking.facts.units.n_regions)])
    run(top, [(looking,)] if len(looking.facts.units.top) else [])


def _are_random(looking: Looking) -> bool:
    """As that of `taskfmm.passes.share`, by the sums over the boxes of all regions and the top."""
    units = looking.facts.units
    everyone = [*range(units.n_regions), *([TOP] if len(units.top) else [])]
    found = run(levels, [(region, looking) for region in everyone])
    deepest = max(each.shape[1] for each in found)
    by_level = np.sum([np.pad(each, ((0, 0), (0, deepest - each.shape[1]))) for each in found], axis=0)
    some = by_level[2] > 0
    return look_random(*by_level[:, some])


def levels(region: int, looking: Looking) -> np.ndarray:
    """By level of a region's boxes: their squared sums, sums of squared charges, and how many they are, [3, n]."""
    cells = looking.facts.units.top if region == TOP else stages.boxes_of(region, looking.path).cells
    (boxes,) = depot.get(looking.at.value, "sums", region)["plain"]
    squared = (boxes[:, WEIGHT] - boxes[:, WEIGHT + 1]) ** 2
    return np.stack(
        [np.bincount(cells.level, each) for each in (squared, boxes[:, SQUARES], np.ones(len(boxes)))]
    )


def _look(looking: Looking) -> tuple[Part, Share]:
    facts, kernel, output = looking.facts, looking.kernel, looking.kernel.output(looking.output)
    most = SAMPLE[1] if is_calibrated(kernel, output.name) else FEW
    _sum_boxes(looking)
    drawn = enumerate(_drawn(facts, most))
    found = regional.added(run(part, [(region, looking, rows) for region, rows in drawn]))
    values = np.sum(
        run(at_points, [(region, found.points, looking) for region in _with_sources(facts)]), axis=0
    )
    lost = found.sums.lost(kernel, output, facts.domain, facts.how.top)
    return found, regional.share(found, values, kernel, output, lost)


def _with_sources(facts: Facts) -> list[int]:
    """The regions that have sources."""
    return np.flatnonzero(facts.units.n_sources).tolist()


def _drawn(facts: Facts, most: int) -> list[np.ndarray]:
    """A sample of the targets, as that of `taskfmm.passes.sampled`: rows of each region."""
    points = facts.units.n_targets
    n = int(points.sum())
    size = min(most, n, int(np.clip(n // ONE_IN, *SAMPLE)))
    rows = np.sort(np.random.default_rng(n).choice(n, size, replace=False))
    first = np.concatenate([[0], np.cumsum(points)])
    ptr = np.searchsorted(rows, first)
    return [rows[a:b] - begin for a, b, begin in zip(ptr[:-1], ptr[1:], first[:-1], strict=True)]


def sums(region: int, looking: Looking) -> None:
    """The sums over the points of a region's boxes: file ``sums``."""
    found = stages.essential_tree(region, looking.facts, looking.path)
    tree, own = found.tree, found.own
    charges = looking.of(region, tree.source_order.size)
    n_rising = sum(kind.n_numbers for kind in looking.kernel.sources if kind.derivative)
    nothing = Boxes(*([np.zeros((tree.n_boxes, SUMS)) for _ in range(n)] for n in (len(charges), n_rising)))
    boxes = Boxes.of(Places(tree, own), looking.kernel, charges, (~own, nothing))
    targets = Places(tree, own).sums_of_targets(~own)
    _write(looking, region, found, boxes, targets)


def top(looking: Looking) -> None:
    """The same of the boxes above units, and what reaches these: file ``sums`` of the `TOP`."""
    survey = stages.survey_of(TOP, looking.facts, looking.path)
    found, tree = survey.essential, survey.essential.tree
    below, targets = _read(found, looking)
    nothing = looking.of(TOP, 0)
    places = Places(tree, found.own)
    boxes = Boxes.of(places, looking.kernel, nothing, (~found.own, below))
    targets = places.sums_of_targets(~found.own, targets)
    expanded, region = _expanded(survey, looking, nothing, boxes, targets)
    expanded.sums(looking.kernel.output(looking.output))
    passed = {str(number): each for number, each in enumerate(region.passed)}
    _write(looking, TOP, found, boxes, targets, **passed)


def part(region: int, looking: Looking, drawn: np.ndarray) -> Part:
    """What a region knows; drawn : rows of its targets"""
    survey = stages.survey_of(region, looking.facts, looking.path)
    found = survey.essential
    boxes, targets = _read(found, looking)
    charges = looking.of(region, found.tree.source_order.size)
    expanded, _ = _expanded(survey, looking, charges, boxes, targets)
    return regional.part(survey, expanded, looking.kernel.output(looking.output), charges, drawn)


def _expanded(
    survey: Survey, looking: Looking, charges: np.ndarray, boxes: Boxes, targets: np.ndarray
) -> tuple[Expanded, Region]:
    found = survey.essential
    of_top = (found.owner == TOP) & ~found.own
    above: Sequence[np.ndarray] = ()
    if of_top.any():
        known = depot.get(looking.at.value, "sums", TOP)
        above = [np.asarray(known[name]) for name in sorted(filter(str.isdigit, known.names()), key=int)]
    region = Region(found.own, of_top, found.row[of_top], above)
    places = Places(found.tree, found.own, targets)
    plan = stages.Planned(found.tree, survey.lists)
    return Expanded(plan, looking.kernel, charges, places, boxes, looking.output, region), region


def at_points(region: int, points: np.ndarray, looking: Looking) -> np.ndarray:
    """What the sources of a region do at some points."""
    sources = stages.points_of(region, looking.path).sources
    charges = looking.of(region, sources.shape[1])
    found = regional.at_points(points, sources, charges, looking.kernel, looking.output)
    return found[looking.kernel.rows(looking.output)]


def farthest(region: int, center: np.ndarray, path: Path) -> float:
    """How far the farthest source of a region is from a center."""
    return regional.farthest(stages.points_of(region, path).sources, center)


def _write(
    looking: Looking, region: int, found: Essential, boxes: Boxes, targets: np.ndarray, **more: np.ndarray
) -> None:
    own = {name: tuple(each[found.own] for each in getattr(boxes, name)) for name in ("plain", "rising")}
    depot.put(looking.at.value, "sums", region, {**own, "targets": targets[found.own], **more})


def _read(found: Essential, looking: Looking) -> tuple[Boxes, np.ndarray]:
    """The sums over the sources of all boxes of a region's tree that are known, and over the targets."""
    tables: dict[int, np.ndarray] = {}

    def fill(number: int, some: np.ndarray, values: np.ndarray) -> None:
        tables.setdefault(number, np.zeros((found.own.size, SUMS)))[some] = values

    counts = [0, 0]
    for owner in np.unique(found.owner).tolist():
        if owner == TOP and found.own[found.owner == TOP].any():
            continue  # not known yet
        some, known = found.owner == owner, depot.get(looking.at.value, "sums", owner)
        every = [*known["plain"], *known["rising"], known["targets"]]
        counts = [len(known["plain"]), len(known["rising"])]
        for number, values in enumerate(every):
            fill(number, some, values[found.row[some]])
    found_tables = [tables[number] for number in range(sum(counts) + 1)]
    return Boxes(found_tables[: counts[0]], found_tables[counts[0] : -1]), found_tables[-1]
