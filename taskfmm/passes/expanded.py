"""What comes through expansions, in sums over the targets: of a whole tree, or of a region, whose sums add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np

from taskfmm.geometry.domain import Domain, box_half_width
from taskfmm.kernels import Kernel, Output
from taskfmm.operators.calibrated import is_calibrated
from taskfmm.operators.known import EVEN
from taskfmm.operators.probes import NEAREST
from taskfmm.operators.radial import Radial, radial
from taskfmm.operators.yardstick import decayed
from taskfmm.passes.far_images import FarImages
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import add, sizes, two_points, with_images
from taskfmm.passes.share_loops import EACH, FAR, FIELD, LINE, PLUS, SPOT, WEIGHT, add_flat
from taskfmm.plan.cost import TOP_LEVEL
from taskfmm.plan.shards import Interactions
from taskfmm.tree.octree import Octree

SPOT_TO_SPOT = 2.0
"""What one source errs by at one target, over the margins that are taken anyway, where no equation tells the field in
a box from that on its surface: between two clusters in corners of their boxes, Gaussians three times as wide as these
are apart erred by 4.8 times what they do at targets that fill a box."""


class Listed(Protocol):
    """A tree and its lists: a `taskfmm.plan.plan.Plan`, or those of a region."""

    @property
    def tree(self) -> Octree: ...

    @property
    def lists(self) -> Interactions: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Of an output, over the targets of leaves.

    of_kind : float64 [n_kinds, 2], squares as `Share` has them in ``far`` and ``even``, by kind of source
    spots : float64 [n_numbers], as ``even``, of boxes whose charges lie together
    fields, reached : of an output that is a derivative, squares of the field over the half-width of the leaf, and of
        what reaches the leaf
    rising : squares of what charges do that are as large as dipoles over the half-width of their leaf
    weights : float64 [n_numbers], sums of the magnitudes of charges
    n : targets
    """

    of_kind: np.ndarray
    spots: np.ndarray
    fields: float
    reached: float
    rising: float
    weights: np.ndarray
    n: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Sums)))

    def squares(self, kernel: Kernel, calibrated: bool) -> tuple[float, float, float]:
        """``far``, ``even`` and ``smooth`` of `Share`, squared.

        What the numbers of a source do adds up as the components of a vector do, that of kinds of sources by size.
        """
        far, even = np.sqrt(self.of_kind).sum(axis=0) ** 2
        smooth = self.fields
        if not calibrated:
            far += ((1.0 if kernel.elliptic else SPOT_TO_SPOT) * np.sqrt(self.spots).sum()) ** 2
        if not kernel.elliptic:
            # that equal charges err less with each order was seen of potentials 1 / r
            far += EVEN**2 * even
            # the yardstick's error is relative to no less than that
            smooth = max(smooth, self.reached)
        return float(far), float(even), float(smooth + self.rising)

    def lost(self, kernel: Kernel, output: Output, domain: Domain, top: int) -> float:
        """At most what boxes do to each other that are too far to be planned for; top : the first level planned"""
        if kernel.degree is not None or top == TOP_LEVEL:
            return 0.0
        nearest = 2.0 * box_half_width(domain, top - 1)
        of_one = np.array([size.beyond(nearest) for _, size in sizes(domain, kernel, output)])
        return float(of_one @ self.weights * np.sqrt(self.n))


@dataclass
class Within:
    """A part of a tree, whose boxes have others above them.

    own : bool [n_boxes], its boxes
    of_top, rows : bool [n_boxes] and int64, the boxes above it, and their rows in what is known of them
    above : what reaches those, in the order in which it is asked for, float64 [n, 4] each, and the last one the field
    passed : the same of its own boxes
    """

    own: np.ndarray
    of_top: np.ndarray
    rows: np.ndarray
    above: Sequence[np.ndarray] = ()
    passed: list[np.ndarray] = field(default_factory=list)

    def known(self, n_columns: int) -> np.ndarray:
        """What is known of the boxes of the tree before the next step, float64 [n_boxes, n_columns]."""
        found = np.zeros((self.own.size, n_columns))
        if self.above:
            found[self.of_top] = self.above[len(self.passed)][self.rows]
        return found


@dataclass(frozen=True, slots=True)
class Boxes:
    """Sums over the sources of each box, float64 [n_boxes, SUMS], see `sum_boxes`.

    plain : for each number of the sources
    rising : for each that is a derivative, of its charges over the half-width of their leaf
    """

    plain: list[np.ndarray]
    rising: list[np.ndarray]

    @classmethod
    def of(
        cls,
        places: Places,
        kernel: Kernel,
        charges: np.ndarray,
        known: tuple[np.ndarray, Boxes] | None = None,
    ) -> Boxes:
        """known : of which boxes they are known, and these"""
        tree, found = places.tree, Boxes([], [])

        def sums(q: np.ndarray, place: list[np.ndarray], of_known: Sequence[np.ndarray]) -> None:
            start = None if known is None else (known[0], of_known[len(place)])
            place.append(places.sums(tree.source_ptr, tree.sources, q, start))

        powers = [kind.derivative for kind in kernel.sources for _ in range(kind.n_numbers)]
        for q, power in zip(charges, powers, strict=True):
            sums(q, found.plain, known[1].plain if known else ())
            if power:
                sums(q / places.width_at_sources**power, found.rising, known[1].rising if known else ())
        return found


class Expanded:
    """What comes through expansions of some charges.

    charges : float64 [n_numbers, n_sources], sorted, between -1 and 1
    last : the last of the outputs
    region : where the tree is a part of one
    """

    def __init__(
        self,
        plan: Listed,
        kernel: Kernel,
        charges: np.ndarray,
        places: Places,
        boxes: Boxes,
        last: str,
        region: Within | None = None,
    ) -> None:
        self.plan, self.charges, self.places, self.boxes = plan, charges, places, boxes
        for each in (*boxes.plain, *boxes.rising):
            add_flat(plan.tree.parent, each)
        self.kernel, self.calibrated = kernel, is_calibrated(kernel, last)
        self.region = region

    def sums(self, output: Output) -> Sums:
        """Over the targets of all leaves."""
        derivative, widths = output.derivative, self.places.half_widths**output.derivative
        n_targets = np.diff(self.plan.tree.target_ptr[self.places.leaves], axis=1)[:, 0]
        of_kind, field = np.zeros((len(self.kernel.sources), 2)), np.zeros(self.places.leaves.size)
        for kind, found in self._reached(output):
            of_kind[kind] += n_targets @ found[0], n_targets @ found[1]
            field += found[2]
        spots = self._at_spots(output, n_targets) if not self.calibrated else np.zeros(len(self.boxes.plain))
        fields = reached = rising = 0.0
        if derivative:
            # the sign of other kernels may hang on the direction
            parts = field[None] if self.calibrated else self._field[:, self.places.leaves]
            fields = float(n_targets @ ((parts / widths) ** 2).sum(axis=0))
            if not self.kernel.elliptic:
                of_values = sum(found[0] for _, found in self._reached(self.kernel.outputs[0]))
                reached = float(n_targets @ (of_values / widths**2))
        if any(kind.derivative for kind in self.kernel.sources):
            rising = float(n_targets @ (self._rising() / widths**2))
        weights = np.abs(self.charges).sum(axis=1)
        return Sums(of_kind, spots, fields, reached, rising, weights, int(n_targets.sum()))

    def _at_spots(self, output: Output, n_targets: np.ndarray) -> np.ndarray:
        """Of boxes whose charges lie together: they err as one source."""
        found = []
        for boxes, (_, size) in zip(self.boxes.plain, self._sizes(output), strict=True):
            some = boxes.copy()
            some[:, WEIGHT : WEIGHT + 2] *= boxes[:, SPOT, None]
            found.append(n_targets @ self._descended(some, size)[1])
        return np.array(found)

    def _reached(self, output: Output) -> Iterator[tuple[int, list[np.ndarray]]]:
        """What each number does to each leaf through expansions, see `descend`, with the number of its kind."""
        for boxes, (kind, size) in zip(self.boxes.plain, self._sizes(output), strict=True):
            yield kind, self._descended(boxes, size)

    def _sizes(self, output: Output) -> list[tuple[int, Radial]]:
        return sizes(self.plan.tree.domain, self.kernel, output)

    def _descended(self, boxes: np.ndarray, size: Radial) -> list[np.ndarray]:
        """By leaf; boxes : sums over the sources of each box, of which one does as much as ``size`` says"""
        lists, level = self.plan.lists, self.plan.lists.images.with_own(self.plan.tree.level)
        how = level, with_images(self.plan, boxes), size, self._least(size), self.kernel.degree or 0
        known = None if self.region is None else (~self.region.own, self.region.known(4))
        found = self.places.reached(lists, *how, known)
        if self.region is not None:
            self.region.passed.append(found[self.region.own])
        found = found[self.places.leaves]
        if self._far_images is not None:
            more = self._far_images.descended(boxes, size)[self._far_images.cube_of(self.places.leaves)]
            found[:, [FAR, LINE, EACH]] += more
        return [found[:, FAR] + found[:, LINE] ** 2, found[:, EACH] ** 2, found[:, FIELD]]

    def through_far_images(self, output: Output) -> float:
        """The part of ``far`` that is of far images, squared: 0 without a periodic box."""
        images, total = self._far_images, 0.0
        if images is None:
            return total
        n_targets = np.diff(self.plan.tree.target_ptr[images.cubes], axis=1)[:, 0]
        for boxes, (_, size) in zip(self.boxes.plain, self._sizes(output), strict=True):
            found = images.descended(boxes, size)
            total += float(n_targets @ (found[:, FAR] + found[:, LINE] ** 2))
        return total

    @cached_property
    def _far_images(self) -> FarImages | None:
        tree = self.plan.tree
        return None if tree.domain.cell is None else FarImages(tree, tree.domain.cell)

    def _rising(self) -> np.ndarray:
        """In each leaf, squares of what charges do that are as large as dipoles over the half-width of their leaf."""
        found = np.zeros(self.places.leaves.size)
        for boxes in self.boxes.rising:
            found += self._descended(boxes, self._of_densities)[0]
        return found

    @property
    def _of_densities(self) -> Radial:
        """What equivalent densities of unit size do."""
        kernel = self.kernel.expands
        return radial(kernel, kernel.sources[0], kernel.outputs[0], self.plan.tree.domain.half_width)

    def _least(self, size: Radial) -> np.ndarray:
        """What errors of the operators of each level are relative to at least, see `DECAYED`."""
        levels = range(self.plan.tree.n_levels)
        if self.kernel.degree is not None:
            return np.zeros(len(levels))
        widths = (box_half_width(self.plan.tree.domain, level) for level in levels)
        return np.array([decayed(self.kernel) * size.at(NEAREST * width) for width in widths])

    @cached_property
    def _field(self) -> np.ndarray:
        """The potential that comes through expansions in each box, float64 [n_plain, n_boxes]."""
        tree, lists, region = self.plan.tree, self.plan.lists, self.region
        last = [output.name for output in self.kernel.outputs if not output.derivative][-1]
        middles = self.places.targets[:, PLUS : PLUS + 3].T
        values = np.zeros((self.kernel.n_plain, tree.n_boxes))
        points = two_points(self.plan, self.boxes.plain)
        for csr in (lists.v, lists.x, lists.w):
            far = csr.idx.astype(np.int64)
            for place, charges in points:
                add(self.kernel, last, middles, csr.ptr, far, far + 1, place, charges, values)
        own = np.ones(tree.n_boxes, bool)
        if region is not None:
            own = region.own
            values += region.known(self.kernel.n_plain).T
        for first, end in pairwise(tree.level_ptr[1:]):
            some = first + np.flatnonzero(own[first:end])
            values[:, some] += values[:, tree.parent[some]]
        if region is not None:
            region.passed.append(values[:, own].T)
        return values
