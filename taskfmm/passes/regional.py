"""What `taskfmm.passes.share` finds of gradients, region by region, where points never meet.

Charges are equal, or a single one: what lazy charges are taken for. What regions find adds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators.accuracy import Known, Share
from taskfmm.operators.radial import radial
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import FEW, RARE
from taskfmm.passes.share_loops import EACH, FAR, FIELD, LINE, PLUS
from taskfmm.plan.regional import Survey
from taskfmm.tree.essential import Essential

GRADIENT = "gradient"


def sums(found: Essential, known: np.ndarray, of_targets: bool = False) -> np.ndarray:
    """The sums over the sources, or the targets, of a region's own boxes, float64 [n_own, SUMS], see `sum_boxes`.

    known : of the boxes of its tree, zeros where they are not known
    """
    tree, own = found.tree, found.own
    ptr, points = (tree.target_ptr, tree.targets) if of_targets else (tree.source_ptr, tree.sources)
    return Places(tree, own).sums(ptr, points, np.ones(points.shape[1]), (~own, known))[own]


def reached(
    survey: Survey, kernel: Kernel, boxes: np.ndarray, targets: np.ndarray, above: np.ndarray
) -> np.ndarray:
    """What reaches the boxes of a region, float64 [n_boxes, 4], see `descend`.

    boxes, targets : the sums over the sources of all boxes of its tree, and over the targets of its own
    above : what reaches those above units, zeros elsewhere
    """
    tree, own = survey.essential.tree, survey.essential.own
    places = Places(tree, own)
    places.__dict__["targets"] = targets
    size = radial(kernel, kernel.sources[0], kernel.output(GRADIENT), tree.domain.half_width)
    how = boxes, size, np.zeros(tree.n_levels), kernel.degree or 0
    return places.reached(survey.lists, tree.level, *how, (~own, above))


@dataclass(frozen=True, slots=True)
class Part:
    """What a region, or several, know of gradients.

    far, even, smooth : squares, as `Share` has them
    n : targets
    weight, first, second : sums over the leaves, each weighed by its targets over its squared half-width, and
        of these times where the targets are in the mean, and how far that is from a corner of the cube, squared
    drawn : float64 [3, n], some targets
    does, largest : float64 [n] and [3, n], squared gradients by the source next to a target alone, and these targets
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


def part(survey: Survey, kernel: Kernel, found: np.ndarray, drawn: np.ndarray) -> Part:
    """Of one region.

    found : what reaches its boxes
    drawn : int64 [n], rows of its targets in their order in the tree
    """
    tree = survey.essential.tree
    places = Places(tree, survey.essential.own)
    leaves, widths = places.leaves, places.half_widths
    n_targets = np.diff(tree.target_ptr[leaves], axis=1)[:, 0]
    at = places.targets[leaves, PLUS : PLUS + 3]
    weight, of_leaf = n_targets / widths**2, found[leaves]
    squared_distance, _, target, isolated = places.close_pairs
    does = squared_distance[isolated] ** kernel.power(GRADIENT)
    few = np.argsort(does, kind="stable")[-FEW:]
    return Part(
        float(n_targets @ (of_leaf[:, FAR] + of_leaf[:, LINE] ** 2)),
        float(n_targets @ of_leaf[:, EACH] ** 2),
        float(n_targets @ (of_leaf[:, FIELD] / widths) ** 2),
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
    points: np.ndarray, sources: np.ndarray, kernel: Kernel, center: np.ndarray
) -> tuple[np.ndarray, float]:
    """What the sources of a region do at some points, and the distance of the farthest one from a center."""
    n, n_sources = points.shape[1], sources.shape[1]
    values = np.zeros((kernel.n_components(GRADIENT), n))
    runs = np.arange(n + 1), np.zeros(n, np.int64), np.full(n, n_sources)
    charges = np.ones((1, n_sources))
    where = 0, n, np.arange(n + 1), np.ascontiguousarray(points), *runs, sources, charges
    gather_loops(kernel, GRADIENT).points_to_points(*where, kernel.constants, values)
    offset = sources - center[:, None]
    return values[kernel.rows(GRADIENT)], float(np.sqrt((offset**2).sum(axis=0).max(initial=0.0)))


def known(found: Part, values: np.ndarray, farthest: float, many: bool) -> tuple[Known, Known]:
    """Of a single charge and of equal ones.

    values : gradients at the `Part.points`; farthest : distance of a source from the center
    many : whether errors of equal charges average
    """
    squares = (values**2).sum(axis=0)
    n = found.drawn.shape[1]
    kept = np.sort(squares[:n])
    if n < found.n:
        kept = kept[: round((1.0 - RARE) * n)]
    total = max(
        kept.mean() * found.n, squares[n:].sum() / (found.does.sum() / found.close) if found.close else 0.0
    )
    share = Share(*(float(np.sqrt(square)) for square in (total, found.far, found.even, found.smooth)))
    spread = found.second / found.weight - found.center @ found.center
    distance = farthest + np.sqrt(max(0.0, spread))
    alone = Share(total=1.0, far=0.0, smooth=float(distance * np.sqrt(found.weight / found.n)))
    return Known(many=False, gradient=alone), Known(many=many, gradient=share)


def added(parts: list[Part]) -> Part:
    """Those of all regions."""
    return reduce(Part.with_another, parts)
