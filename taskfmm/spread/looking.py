"""What is known of charges whose points never meet: `taskfmm.passes.regional`, a task for each region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.calibrated import is_calibrated
from taskfmm.operators.known import MANY, Known, Share
from taskfmm.passes import regional
from taskfmm.passes.expanded import Boxes, Expanded, Within
from taskfmm.passes.places import Places
from taskfmm.passes.regional import Seen
from taskfmm.passes.sampled import FEW, ONE_IN, SAMPLE, are_small
from taskfmm.passes.scaled import with_lengths
from taskfmm.passes.share import are_random, of_any_kernel, products_of_runs
from taskfmm.passes.share_loops import SUMS
from taskfmm.plan.regional import Survey
from taskfmm.spread import depot, stages
from taskfmm.spread.bringing import Brought
from taskfmm.spread.depot import Directory
from taskfmm.spread.run import run
from taskfmm.spread.stages import Facts
from taskfmm.tree.essential import TOP, Essential

RUN = 4096
"""Charges of a block, at whose ends regions are joined where charges are compared with random ones."""


@dataclass(frozen=True, slots=True)
class Looking:
    """At an output of some charges.

    kernel, close_by : without softening, and the kernel of pairs of points, where that is another one
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
    close_by: Kernel | None = None

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
    looking = Looking(facts, kernel, "gradient", path, at)
    _sum_boxes(looking)
    found, share = _look(looking)
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
    looking = Looking(facts, kernel.unsoftened, output, path, charges.at, charges, close_by=kernel)
    many = bool((squares**2 >= MANY * fourths).all())
    if not is_calibrated(kernel, output):
        return _of_any_kernel(looking, alone, many)
    many = many and facts.units.sources is None
    cancel, derived = weights[..., 2].min() < 0.0 < weights[..., 3].max(), output == "gradient"
    if not (cancel or derived):
        return Known(many)
    of_potential = replace(looking, output="potential")
    random = many and cancel and _are_random(facts, charges, path) and not _cancels(of_potential)
    cancel = cancel and not random
    if not (cancel or derived):
        return Known(many)
    _sum_boxes(looking)
    return Known(
        many,
        potential=_look(of_potential)[1] if cancel else None,
        gradient=_look(looking)[1] if derived else None,
    )


def _cancels(looking: Looking) -> bool:
    """As `taskfmm.passes.sampled.AtTargets.cancels`."""
    drawn = enumerate(_drawn(looking.facts, FEW))
    points = np.concatenate(run(targets_of, [(region, rows, looking.path) for region, rows in drawn]), axis=1)
    found = run(beside_random, [(region, points, looking) for region in _with_sources(looking.facts)])
    values, if_random = np.sum(found, axis=0)
    return are_small(values**2, if_random)


def targets_of(region: int, rows: np.ndarray, path: Path) -> np.ndarray:
    """Some targets of a region, float64 [3, n]."""
    return stages.points_of(region, path).targets[:, rows]


def beside_random(region: int, points: np.ndarray, looking: Looking) -> np.ndarray:
    """What the sources of a region do at some points, and its square on average over random signs: [2, n]."""
    sources = stages.points_of(region, looking.path).sources
    given = points, sources, looking.of(region, sources.shape[1])
    (values,) = regional.at_points(*given, looking.kernel, looking.output)
    return np.stack([values, regional.if_random(*given)])


def _are_random(facts: Facts, charges: Brought, path: Path) -> bool:
    """As `taskfmm.passes.share.are_random` has it of all charges, wherever regions end."""
    regions, n = _with_sources(facts), facts.units.n_sources
    first = np.cumsum(n) - n
    found = run(runs, [(region, int(first[region]), charges, path) for region in regions])
    n_blocks = -(-int(n.sum()) // RUN)
    sums = np.zeros(n_blocks)
    products = np.zeros((RUN.bit_length() - 1, 3))
    for each, begin, of_blocks, _, _ in found:
        products[: len(each)] += each
        sums[begin : begin + of_blocks.size] = of_blocks
    rows, ends = (np.concatenate([each[part] for each in found]) for part in (3, 4))
    inside, _ = products_of_runs(ends, RUN)
    products[: len(inside)] += inside
    np.add.at(sums, rows // RUN, ends)
    return are_random(np.concatenate([products, products_of_runs(sums)[0]]))


def runs(
    region: int, first: int, charges: Brought, path: Path
) -> tuple[np.ndarray, int, *tuple[np.ndarray, ...]]:
    """Runs of a region's charges, the first of which has this number among all.

    Returns
    -------
    products, begin, sums : of blocks of `RUN` charges that are whole in the region, see `products_of_runs`, and the
        number of the first block
    rows, ends : numbers of the charges before and after these, and the charges
    """
    (q,) = charges.of(region, path)
    begin = min(-first % RUN, q.size)
    end = begin + (q.size - begin) // RUN * RUN
    products, sums = products_of_runs(q[begin:end], RUN)
    ends = np.r_[0:begin, end : q.size]
    return products, (first + begin) // RUN, sums, first + ends, q[ends]


def _of_any_kernel(looking: Looking, alone: bool, many: bool) -> Known:
    def share(output: str) -> Share:
        return _look(replace(looking, output=output))[1]

    _sum_boxes(looking)
    many = many and looking.facts.units.sources is None
    return of_any_kernel(looking.kernel, looking.output, alone, many, share)


def weigh(region: int, charges: Brought, path: Path) -> np.ndarray:
    """Of each number in a region: sums of squares and of fourth powers, the smallest and the largest charge."""
    q = charges.of(region, path)
    return np.stack([(q**2).sum(axis=1), (q**4).sum(axis=1), q.min(axis=1), q.max(axis=1)], axis=1)


def _sum_boxes(looking: Looking) -> None:
    """Sums over all boxes, whatever the output is; those of boxes above units need the others."""
    run(sums, [(region, looking) for region in range(looking.facts.units.n_regions)])
    run(sums, [(TOP, looking)] if len(looking.facts.units.top) else [])


def _look(looking: Looking) -> tuple[Seen, Share]:
    facts, kernel, output = looking.facts, looking.kernel, looking.kernel.output(looking.output)
    most = SAMPLE[1] if is_calibrated(kernel, output.name) else FEW
    run(reach_top, [(looking,)] if len(facts.units.top) else [])
    drawn = enumerate(_drawn(facts, most))
    found = regional.added(run(see, [(region, looking, rows) for region, rows in drawn]))
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
    """The sums over the points of a region's boxes, or of those above units: file ``sums``."""
    found = stages.essential_tree(region, looking.facts, looking.path)
    tree, own = found.tree, found.own
    charges = looking.of(region, tree.source_order.size)
    known, targets = _read(found, looking, TOP) if region == TOP else _nothing(found, looking.kernel)
    places = Places(tree, own)
    boxes = Boxes.of(places, looking.kernel, charges, (~own, known))
    values = {name: tuple(each[own] for each in getattr(boxes, name)) for name in ("plain", "rising")}
    targets = places.sums_of_targets(~own, targets)
    depot.put(looking.at.value, "sums", region, {**values, "targets": targets[own]})


def reach_top(looking: Looking) -> None:
    """What reaches the boxes above units: file ``reached`` of the output."""
    survey = stages.survey_of(TOP, looking.facts, looking.path)
    expanded, region = _expanded(survey, looking, looking.of(TOP, 0))
    expanded.sums(looking.kernel.output(looking.output))
    depot.put(looking.at.value, f"reached-{looking.output}", TOP, {"reached": tuple(region.passed)})


def see(region: int, looking: Looking, drawn: np.ndarray) -> Seen:
    """What a region knows; drawn : rows of its targets"""
    survey = stages.survey_of(region, looking.facts, looking.path)
    charges = looking.of(region, survey.essential.tree.source_order.size)
    expanded, _ = _expanded(survey, looking, charges)
    return regional.seen(survey, expanded, looking.kernel.output(looking.output), charges, drawn)


def _expanded(survey: Survey, looking: Looking, charges: np.ndarray) -> tuple[Expanded, Within]:
    """What comes through expansions in a region; charges : float64 [n_numbers, n], of its own sources"""
    found = survey.essential
    boxes, targets = _read(found, looking)
    of_top = (found.owner == TOP) & ~found.own
    above: Sequence[np.ndarray] = ()
    if of_top.any():
        above = depot.get(looking.at.value, f"reached-{looking.output}", TOP)["reached"]
    region = Within(found.own, of_top, found.row[of_top], above)
    places = Places(found.tree, found.own, targets)
    plan = stages.RegionLists(found.tree, survey.lists)
    return Expanded(plan, looking.kernel, charges, places, boxes, looking.output, region), region


def at_points(region: int, points: np.ndarray, looking: Looking) -> np.ndarray:
    """What the sources of a region do at some points."""
    own = stages.points_of(region, looking.path)
    numbers = with_lengths(looking.of(region, own.sources.shape[1]), own.lengths)
    kernel = looking.close_by or looking.kernel
    found = regional.at_points(points, own.sources, numbers, kernel, looking.output)
    return found[kernel.rows(looking.output)]


def farthest(region: int, center: np.ndarray, path: Path) -> float:
    """How far the farthest source of a region is from a center."""
    return regional.farthest(stages.points_of(region, path).sources, center)


def _nothing(found: Essential, kernel: Kernel) -> tuple[Boxes, np.ndarray]:
    """As `_read`, where nothing is known yet."""
    numbers = [kind.derivative for kind in kernel.sources for _ in range(kind.n_numbers)]
    counts = len(numbers), np.count_nonzero(numbers)
    plain, rising = ([np.zeros((found.own.size, SUMS)) for _ in range(n)] for n in counts)
    return Boxes(plain, rising), np.zeros((found.own.size, SUMS))


def _read(found: Essential, looking: Looking, but: int | None = None) -> tuple[Boxes, np.ndarray]:
    """The sums over the sources of all boxes of a region's tree, and over the targets.

    but : a region that has none yet; its boxes get zeros
    """
    boxes, targets = _nothing(found, looking.kernel)
    for owner in set(np.unique(found.owner).tolist()) - {but}:
        some, known = found.owner == owner, depot.get(looking.at.value, "sums", owner)
        for mine, theirs in ((boxes.plain, "plain"), (boxes.rising, "rising")):
            for table, values in zip(mine, known[theirs], strict=True):
                table[some] = values[found.row[some]]
        targets[some] = known["targets"][found.row[some]]
    return boxes, targets
