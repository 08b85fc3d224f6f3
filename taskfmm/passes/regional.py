"""What `taskfmm.passes.share` finds of an output, region by region, where points never meet; it adds up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from taskfmm.kernels import Kernel, Output
from taskfmm.operators.calibrated import is_calibrated
from taskfmm.operators.known import Share
from taskfmm.passes.expanded import Expanded, Sums
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import FEW, add, usual
from taskfmm.passes.scaled import targets_with_lengths
from taskfmm.passes.share_loops import PLUS, squares_if_random
from taskfmm.plan.regional import Survey


@dataclass(frozen=True, slots=True)
class Seen:
    """What a region, or several, know of an output.

    sums : of what comes through expansions
    weight, first, second : sums over the leaves, each weighed by its targets over its squared half-width, and
        of these times where the targets are in the mean, and how far that is from a corner of the cube, squared
    drawn : float64 [3, n], some targets, with a row more of their lengths where sources are softened; so are others
    does, largest : float64 [n] and [3, n], squared outputs by the source next to a target alone, and these targets
    close : sum of such squares, over more than those
    heaviest, around : the largest charge, and float64 [3, n], some targets in its leaf
    """

    sums: Sums
    weight: float
    first: np.ndarray
    second: float
    drawn: np.ndarray
    does: np.ndarray
    largest: np.ndarray
    close: float
    heaviest: float
    around: np.ndarray

    def with_another(self, other: Seen) -> Seen:
        """Both."""
        does = np.concatenate([self.does, other.does])
        few = np.argsort(does, kind="stable")[-FEW:]
        heavier = self if self.heaviest >= other.heaviest else other
        return Seen(
            self.sums + other.sums,
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            np.concatenate([self.drawn, other.drawn], axis=1),
            does[few],
            np.concatenate([self.largest, other.largest], axis=1)[:, few],
            self.close + other.close,
            heavier.heaviest,
            heavier.around,
        )

    @property
    def points(self) -> np.ndarray:
        """The targets whose outputs decide, float64 [3, n]."""
        return np.concatenate([self.drawn, self.largest, self.around], axis=1)

    @property
    def center(self) -> np.ndarray:
        """Of the leaves by their weight, from a corner of the cube."""
        return self.first / self.weight


def seen(survey: Survey, expanded: Expanded, output: Output, charges: np.ndarray, drawn: np.ndarray) -> Seen:
    """Of one region.

    expanded : of its tree; charges : float64 [n_numbers, n_sources]
    drawn : int64 [n], rows of its targets in their order in the tree
    """
    tree, kernel = survey.essential.tree, expanded.kernel
    places = Places(tree, survey.essential.own)
    leaves, widths = places.leaves, places.half_widths
    n_targets = np.diff(tree.target_ptr[leaves], axis=1)[:, 0]
    at, weight = places.targets[leaves, PLUS : PLUS + 3], n_targets / widths**2
    targets = targets_with_lengths(tree)
    does, largest, heaviest, around = np.empty(0), targets[:, :0], 0.0, targets[:, :0]
    if not expanded.calibrated:
        heaviest, around = _around_heaviest(places, charges, targets)
    elif output.derivative:
        squared_distance, source, target, isolated = places.close_pairs
        does = charges[0, source[isolated]] ** 2 * squared_distance[isolated] ** kernel.power(output.name)
        largest = targets[:, target[isolated]]
    few = np.argsort(does, kind="stable")[-FEW:]
    return Seen(
        expanded.sums(output),
        float(weight.sum()),
        weight @ at,
        float(weight @ (at**2).sum(axis=1)),
        targets[:, drawn],
        does[few],
        largest[:, few],
        float(does.sum()),
        heaviest,
        around,
    )


def _around_heaviest(places: Places, charges: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest charge, and some of the targets, in its leaf: if the kernel dies away, it may reach no others."""
    tree = places.tree
    sizes = np.abs(charges).max(axis=0, initial=0.0)
    if not sizes.size:
        return 0.0, targets[:, :0]
    begin, end = tree.source_ptr[places.leaves].T
    row = int(sizes.argmax())
    first, last = tree.target_ptr[places.leaves[(begin <= row) & (row < end)][0]]
    return float(sizes[row]), targets[:, first : min(last, first + FEW)]


def at_points(
    points: np.ndarray, sources: np.ndarray, charges: np.ndarray, kernel: Kernel, output: str
) -> np.ndarray:
    """What the sources of a region do at some points, float64 [n_rows, n], of all outputs up to this one.

    charges : float64 [n_numbers, n_sources], of all vectors
    Of softened sources both have a row more, the lengths.
    """
    n, n_sources = points.shape[1], sources.shape[1]
    values = np.zeros((kernel.vectors * kernel.n_components(output), n))
    runs = np.arange(n + 1), np.zeros(n, np.int64), np.full(n, n_sources)
    lengths = None if kernel.softening is None else points[-1]
    add(kernel, output, points[:3], *runs, sources, charges, values, lengths=lengths)
    return values


def if_random(points: np.ndarray, sources: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """See `squares_if_random`; parameters as of `at_points`, of charges whose potential is 1 / r"""
    n = points.shape[1]
    runs = np.arange(n + 1), np.zeros(n, np.int64), np.full(n, sources.shape[1])
    return squares_if_random(points, *runs, sources, charges[0] ** 2)


def farthest(sources: np.ndarray, center: np.ndarray) -> float:
    """The distance of the farthest source from a center."""
    offset = sources - center[:, None]
    return float(np.sqrt((offset**2).sum(axis=0).max(initial=0.0)))


def share(found: Seen, values: np.ndarray, kernel: Kernel, output: Output, lost: float) -> Share:
    """Of all regions.

    values : the output at the `Seen.points`, float64 [n_rows, n]; lost : see `Share`
    """
    calibrated = is_calibrated(kernel, output.name)
    n, end = found.drawn.shape[1], found.drawn.shape[1] + found.largest.shape[1]
    squares = (values**2).sum(axis=0)
    kept = np.sort(squares[:n])
    if n < found.sums.n:
        kept = kept[: usual(n)]
    total = max(kept.mean() * found.sums.n, squares[end:].sum())
    if found.close:
        total = max(total, squares[n:end].sum() / (found.does.sum() / found.close))
    far, even, smooth = np.sqrt(found.sums.squares(kernel, calibrated))
    return Share(float(np.sqrt(total)), float(far), float(even), float(smooth), lost)


def of_lone_charge(found: Seen, distance: float) -> Share:
    """As `taskfmm.passes.places.Places.lone_charge`; distance : of the farthest source from `Seen.center`"""
    spread = found.second / found.weight - found.center @ found.center
    distance += np.sqrt(max(0.0, spread))
    return Share(total=1.0, far=0.0, smooth=float(distance * np.sqrt(found.weight / found.sums.n)))


def added(parts: list[Seen]) -> Seen:
    """Those of all regions."""
    return reduce(Seen.with_another, parts)
