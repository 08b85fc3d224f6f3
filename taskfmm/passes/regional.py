"""What `taskfmm.passes.share` finds of an output, region by region, where points never meet; it adds up.

For kernels with a table of errors: of charges, a number each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators.accuracy import Share
from taskfmm.operators.radial import radial
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import FEW, RARE
from taskfmm.passes.share_loops import EACH, FAR, FIELD, LINE, PLUS
from taskfmm.plan.regional import Survey
from taskfmm.tree.essential import Essential


def sums(found: Essential, known: np.ndarray, charges: np.ndarray | None = None) -> np.ndarray:
    """The sums over the points of a region's own boxes, float64 [n_own, SUMS], see `sum_boxes`.

    known : of the boxes of its tree, zeros where they are not known
    charges : float64 [n_sources]; over the targets, if left out
    """
    tree, own = found.tree, found.own
    ptr, points = (tree.source_ptr, tree.sources) if charges is not None else (tree.target_ptr, tree.targets)
    charges = np.ones(points.shape[1]) if charges is None else charges
    return Places(tree, own).sums(ptr, points, charges, (~own, known))[own]


def reached(
    survey: Survey, kernel: Kernel, output: str, boxes: np.ndarray, targets: np.ndarray, above: np.ndarray
) -> np.ndarray:
    """What reaches the boxes of a region, float64 [n_boxes, 4], see `descend`.

    boxes, targets : the sums over the sources of all boxes of its tree, and over the targets of its own
    above : what reaches those above units, zeros elsewhere
    """
    tree, own = survey.essential.tree, survey.essential.own
    places = Places(tree, own)
    places.__dict__["targets"] = targets
    size = radial(kernel, kernel.sources[0], kernel.output(output), tree.domain.half_width)
    how = boxes, size, np.zeros(tree.n_levels), kernel.degree or 0
    return places.reached(survey.lists, tree.level, *how, (~own, above))


@dataclass(frozen=True, slots=True)
class Part:
    """What a region, or several, know of an output.

    far, even, smooth : squares, as `Share` has them
    n : targets
    weight, first, second : sums over the leaves, each weighed by its targets over its squared half-width, and
        of these times where the targets are in the mean, and how far that is from a corner of the cube, squared
    drawn : float64 [3, n], some targets
    does, largest : float64 [n] and [3, n], squared outputs by the source next to a target alone, and these targets
    close : sum of such squares, over more than those
    """

    far: float
    even: float
    smooth: float
    n: int
    weight: float
    first: np.ndarray
    second: float
    drawn: np.ndarray
    does: np.ndarray
    largest: np.ndarray
    close: float

    def with_another(self, other: Part) -> Part:
        """Both."""
        does = np.concatenate([self.does, other.does])
        few = np.argsort(does, kind="stable")[-FEW:]
        return Part(
            self.far + other.far,
            self.even + other.even,
            self.smooth + other.smooth,
            self.n + other.n,
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            np.concatenate([self.drawn, other.drawn], axis=1),
            does[few],
            np.concatenate([self.largest, other.largest], axis=1)[:, few],
            self.close + other.close,
        )

    @property
    def points(self) -> np.ndarray:
        """The targets whose gradients decide, float64 [3, n]."""
        return np.concatenate([self.drawn, self.largest], axis=1)

    @property
    def center(self) -> np.ndarray:
        """Of the leaves by their weight, from a corner of the cube."""
        return self.first / self.weight


def part(
    survey: Survey, kernel: Kernel, output: str, charges: np.ndarray, found: np.ndarray, drawn: np.ndarray
) -> Part:
    """Of one region.

    charges : float64 [n_sources]; found : what reaches its boxes
    drawn : int64 [n], rows of its targets in their order in the tree
    """
    tree = survey.essential.tree
    places = Places(tree, survey.essential.own)
    leaves, widths = places.leaves, places.half_widths
    n_targets = np.diff(tree.target_ptr[leaves], axis=1)[:, 0]
    at = places.targets[leaves, PLUS : PLUS + 3]
    weight, of_leaf = n_targets / widths**2, found[leaves]
    derivative = kernel.output(output).derivative
    squared_distance, source, target, isolated = places.close_pairs
    isolated &= bool(derivative)
    does = charges[source[isolated]] ** 2 * squared_distance[isolated] ** kernel.power(output)
    few = np.argsort(does, kind="stable")[-FEW:]
    return Part(
        float(n_targets @ (of_leaf[:, FAR] + of_leaf[:, LINE] ** 2)),
        float(n_targets @ of_leaf[:, EACH] ** 2),
        float(n_targets @ (of_leaf[:, FIELD] / widths) ** 2) if derivative else 0.0,
        int(n_targets.sum()),
        float(weight.sum()),
        weight @ at,
        float(weight @ (at**2).sum(axis=1)),
        tree.targets[:, drawn],
        does[few],
        tree.targets[:, target[isolated][few]],
        float(does.sum()),
    )


def at_points(
    points: np.ndarray, sources: np.ndarray, charges: np.ndarray, kernel: Kernel, output: str
) -> np.ndarray:
    """What the sources of a region do at some points, float64 [n_rows, n].

    charges : float64 [n_numbers, n_sources], of all vectors
    """
    n, n_sources = points.shape[1], sources.shape[1]
    values = np.zeros((kernel.vectors * kernel.n_components(output), n))
    runs = np.arange(n + 1), np.zeros(n, np.int64), np.full(n, n_sources)
    where = 0, n, np.arange(n + 1), np.ascontiguousarray(points), *runs, sources, charges
    gather_loops(kernel, output).points_to_points(*where, kernel.constants, values)
    return values


def farthest(sources: np.ndarray, center: np.ndarray) -> float:
    """The distance of the farthest source from a center."""
    offset = sources - center[:, None]
    return float(np.sqrt((offset**2).sum(axis=0).max(initial=0.0)))


def share(found: Part, values: np.ndarray) -> Share:
    """Of all regions; values : the output at the `Part.points`, float64 [n_rows, n]"""
    squares = (values**2).sum(axis=0)
    n = found.drawn.shape[1]
    kept = np.sort(squares[:n])
    if n < found.n:
        kept = kept[: round((1.0 - RARE) * n)]
    total = kept.mean() * found.n
    if found.close:
        total = max(total, squares[n:].sum() / (found.does.sum() / found.close))
    return Share(*(float(np.sqrt(square)) for square in (total, found.far, found.even, found.smooth)))


def of_lone_charge(found: Part, distance: float) -> Share:
    """As `taskfmm.passes.places.Places.lone_charge`; distance : of the farthest source from `Part.center`"""
    spread = found.second / found.weight - found.center @ found.center
    distance += np.sqrt(max(0.0, spread))
    return Share(total=1.0, far=0.0, smooth=float(distance * np.sqrt(found.weight / found.n)))


def added(parts: list[Part]) -> Part:
    """Those of all regions."""
    return reduce(Part.with_another, parts)
