"""How much of an output of given charges comes through expansions: what an error there weighs.

Expansions err relative to what goes through them. Where close pairs make gradients large that is a small part; where
one charge outweighs all others it is all there is; and where gradients cancel, as within a line or a plane of equal
charges, or potentials far away from charges of both signs, it is more than what is left of them. So a few sums over
all targets are formed, in a pass over the boxes and a sample of the targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np

from taskfmm.geometry.domain import box_half_width
from taskfmm.kernels import Kernel, Output
from taskfmm.operators.accuracy import EVEN, Known, Share, are_many, is_calibrated
from taskfmm.operators.probes import NEAREST
from taskfmm.operators.radial import Radial, does_nothing, radial
from taskfmm.operators.yardstick import decayed
from taskfmm.passes.given import exponents, ranked
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import FEW, SAMPLE, AtTargets, sizes, with_images
from taskfmm.passes.share_loops import EACH, FAR, FIELD, LINE, PLUS, SPOT, WEIGHT
from taskfmm.plan.cost import TOP_LEVEL
from taskfmm.plan.plan import Plan

CANCELLED = 0.1
"""Where an output is less than this part of what makes it up, the sample is summed pair by pair: taking boxes
for points errs by more than what is left."""

SPOT_TO_SPOT = 2.0
"""What one source errs by at one target, over the margins that are taken anyway, where no equation tells the field in
a box from that on its surface: between two clusters in corners of their boxes, Gaussians three times as wide as these
are apart erred by 4.8 times what they do at targets that fill a box."""

RANDOM = 4.2
"""Squared sums of charges of random sign over n boxes of one level are the sum of their squares, within a factor of
exp(4.2 sqrt(2 / n)): 0.12 to 8 for the eight boxes of level 1, where two of a thousand are outside."""

ALIKE = 0.7
"""The same for any number of boxes: from a half to two."""

TELLING = 8
"""Boxes of a level that are enough to tell."""


def look(
    plan: Plan,
    kernel: Kernel,
    charges: Sequence[np.ndarray],
    output: str,
    places: Places | None = None,
    alone: bool = False,
    close: float | None = None,
) -> Known:
    """What there is to know of charges for an output.

    charges : float, in the caller's order and units: an array for each kind of the kernel's sources,
        [n_sources, *kind.of_one]
    output : with those before it
    places : of the plan's tree, if they are kept
    alone : where the kernel has no table, those before it may err: nobody asks for them
    close : as `taskfmm.operators.accuracy.Accuracy` has it, where the near field may be in float32
    """
    tree, places = plan.tree, places or Places(plan.tree)
    scale = tree.domain.scale
    numbers = ranked(charges, tree.source_order, kernel, scale, exponents(charges, kernel, scale))
    # charges seen from elsewhere may all look as if they were at one place
    many = tree.targets is tree.sources and all(are_many(number) for number in numbers)
    if not is_calibrated(kernel, output):
        return _of_any_kernel(_Outputs(plan, kernel, numbers, places, output, close), alone, many)
    (q,) = numbers
    may_cancel = bool(q.size and q.min() < 0.0 < q.max())
    if output == "potential" and not may_cancel:
        return Known(many)
    may_cancel = may_cancel and not (many and _are_random(plan, q))
    if output == "potential" and not may_cancel:
        return Known(many)
    found = _Outputs(plan, kernel, numbers, places, output, close)
    return Known(
        many,
        potential=found.share("potential") if may_cancel else None,
        gradient=found.share("gradient") if output == "gradient" else None,
    )


def _of_any_kernel(found: _Outputs, alone: bool, many: bool) -> Known:
    """Where there is no table: all outputs may cancel.

    Of kernels that are no sum of potentials 1 / r it is not known whether the errors of many sources average.
    """
    harmonic = found.kernel.expands.name == "laplace"
    last = found.kernel.names.index(found.last)
    outputs = [
        output
        for output in found.kernel.outputs[last if alone else 0 : last + 1]
        if not all(does_nothing(found.kernel, kind, output) for kind in found.kernel.sources)
    ]
    values, derivatives = (
        [found.share(each.name) for each in outputs if bool(each.derivative) == derived]
        for derived in (False, True)
    )
    return Known(
        many=many and harmonic,
        potential=Share.worst(values) if values else None,
        gradient=Share.worst(derivatives) if derivatives else None,
        all_told=True,
    )


def _are_random(plan: Plan, charges: np.ndarray) -> bool:
    """Whether charges add up in boxes of every size as those of random sign do, whose potential does not cancel where
    they are. Smooth waves may do so in boxes of one size, about as large as a wave is long.
    """
    tree = plan.tree
    sums, squares = (
        np.diff(np.append(0.0, each.cumsum())[tree.source_ptr])[:, 0] for each in (charges, charges**2)
    )
    first, count = tree.level_ptr[:-1], np.diff(tree.level_ptr)
    told = count >= TELLING
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.log(np.add.reduceat(sums**2, first) / np.add.reduceat(squares, first))[told]
    return bool(told.any() and (np.abs(apart) < np.maximum(ALIKE, RANDOM * np.sqrt(2.0 / count[told]))).all())


class _Outputs:
    """Sums over all targets of the outputs of some charges.

    charges : float64 [n_numbers, n_sources], sorted, between -1 and 1
    boxes : for each number, sums over the sources of each box, see `sum_boxes`
    last : the last of the outputs
    close : see `look`
    """

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        charges: np.ndarray,
        places: Places,
        last: str,
        close: float | None = None,
    ) -> None:
        self.plan, self.charges, self.places, self.last, self.close = plan, charges, places, last, close
        self.kernel, self.calibrated = kernel.unsoftened, is_calibrated(kernel, last)
        self.boxes = [places.sums(plan.tree.source_ptr, plan.tree.sources, q) for q in charges]
        self.at_targets = AtTargets(plan, kernel, charges, self.boxes, places, last, close)

    def share(self, output: str) -> Share:
        derivative = self.kernel.output(output).derivative
        n_targets = np.diff(self.plan.tree.target_ptr[self.places.leaves], axis=1)[:, 0]
        far, even, field = self._far(self.kernel.output(output), n_targets)
        smooth = 0.0
        if derivative:
            # the sign of other kernels may hang on the direction
            fields = field[None] if self.calibrated else self._field[:, self.places.leaves]
            widths = self.places.half_widths**derivative
            smooth = n_targets @ ((fields / widths) ** 2).sum(axis=0)
            if not self.kernel.elliptic:  # the yardstick's error is relative to no less than that
                reached = sum(found[0] for _, found in self._reached(self.kernel.outputs[0]))
                smooth = max(smooth, n_targets @ (reached / widths**2))
        if any(kind.derivative for kind in self.kernel.sources):
            smooth += n_targets @ (self._rising() / self.places.half_widths ** (2 * derivative))
        squares = (
            self.at_targets.sampled(output, self.at_targets.roughly, SAMPLE[1]) if self.calibrated else 0.0
        )
        if squares < CANCELLED**2 * max(far, even) or not self.calibrated:
            squares = self.at_targets.sampled(output, self.at_targets.exactly, self.at_targets.few)
        if not self.calibrated:
            squares = max(
                squares, float(self.at_targets.exactly(self.at_targets.around_largest(), output).sum())
            )
        elif derivative:
            squares = max(squares, self._of_close_pairs(output))
        lost = self._lost(self.kernel.output(output)) ** 2
        rounding = 0.0
        if self.close is not None:
            rounding = self.at_targets.sampled(output, self.at_targets.rounding, FEW)
            if derivative:
                rows = self._largest_by_nearest(output, *self.places.close_pairs[:3])[0]
                rounding = max(rounding, float(self.at_targets.rounding(rows, output).sum()))
                sum_at = self.at_targets.roughly if self.calibrated else self.at_targets.exactly
                squares = max(squares, float(sum_at(rows, output).sum()))
        return Share(*(float(np.sqrt(square)) for square in (squares, far, even, smooth, lost, rounding)))

    def _lost(self, output: Output) -> float:
        """At most what boxes do to each other that are too far to be planned for."""
        plan = self.plan
        if self.kernel.degree is not None or plan.top == TOP_LEVEL or plan.is_direct:
            return 0.0
        nearest = 2.0 * box_half_width(plan.tree.domain, plan.top - 1)
        of_one = np.array([size.beyond(nearest) for _, size in sizes(self.plan, self.kernel, output)])
        return float(of_one @ np.abs(self.charges).sum(axis=1) * np.sqrt(plan.tree.targets.shape[1]))

    def _far(self, output: Output, n_targets: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Squares of what comes through expansions, see `Share`, and the field in each leaf.

        Those of the numbers of a source add up as the components of a vector do, those of kinds of sources by size.
        """
        of_kind, field = np.zeros((len(self.kernel.sources), 2)), np.zeros(self.places.leaves.size)
        for kind, found in self._reached(output):
            of_kind[kind] += n_targets @ found[0], n_targets @ found[1]
            field += found[2]
        far, even = np.sqrt(of_kind).sum(axis=0) ** 2
        if not self.calibrated:
            far += self._at_spots(output, n_targets)
        if (
            not self.kernel.elliptic
        ):  # that equal charges err less with each order was seen of potentials 1 / r
            far += EVEN**2 * even
        return float(far), float(even), field

    def _at_spots(self, output: Output, n_targets: np.ndarray) -> float:
        """As ``even`` of `_far`, of boxes whose charges lie together: they err as one source."""
        found, worst = 0.0, 1.0 if self.kernel.elliptic else SPOT_TO_SPOT
        for boxes, (_, size) in zip(self.boxes, sizes(self.plan, self.kernel, output), strict=True):
            some = boxes.copy()
            some[:, WEIGHT : WEIGHT + 2] *= boxes[:, SPOT, None]
            found += np.sqrt(n_targets @ self._descended(some, size)[1])
        return float((worst * found) ** 2)

    def _reached(self, output: Output) -> Iterator[tuple[int, list[np.ndarray]]]:
        """What each number does to each leaf through expansions, see `descend`, with the number of its kind."""
        for boxes, (kind, size) in zip(self.boxes, sizes(self.plan, self.kernel, output), strict=True):
            yield kind, self._descended(boxes, size)

    def _descended(self, boxes: np.ndarray, size: Radial) -> list[np.ndarray]:
        """By leaf; boxes : sums over the sources of each box, of which one does as much as ``size`` says"""
        lists, level = self.plan.lists, self.plan.lists.images.with_own(self.plan.tree.level)
        how = level, with_images(self.plan, boxes), size, self._least(size), self.kernel.degree or 0
        found = self.places.reached(lists, *how)[self.places.leaves]
        return [found[:, FAR] + found[:, LINE] ** 2, found[:, EACH] ** 2, found[:, FIELD]]

    def _rising(self) -> np.ndarray:
        """In each leaf, squares of what charges do that are as large as dipoles over the half-width of their leaf."""
        tree, leaves = self.plan.tree, self.places.leaves
        order = np.argsort(tree.source_ptr[leaves, 0], kind="stable")
        n_sources = np.diff(tree.source_ptr[leaves[order]], axis=1)[:, 0]
        width = np.repeat(self.places.half_widths[order], n_sources)
        powers = [kind.derivative for kind in self.kernel.sources for _ in range(kind.n_numbers)]
        found = np.zeros(leaves.size)
        for q, power in zip(self.charges, powers, strict=True):
            if power:
                boxes = self.places.sums(tree.source_ptr, tree.sources, q / width**power)
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
        tree, lists = self.plan.tree, self.plan.lists
        last = [output.name for output in self.kernel.outputs if not output.derivative][-1]
        middles = self.places.targets[:, PLUS : PLUS + 3].T
        values = np.zeros((self.kernel.n_plain, tree.n_boxes))
        for csr in (lists.v, lists.x, lists.w):
            far = csr.idx.astype(np.int64)
            for place, charges in self.at_targets.points:
                self.at_targets.add(last, middles, csr.ptr, far, far + 1, place, charges, values)
        for first, end in pairwise(tree.level_ptr[1:]):
            values[:, first:end] += values[:, tree.parent[first:end]]
        return values

    def _of_close_pairs(self, output: str) -> float:
        """Sum over the targets that have one source next to them of an output squared, which may be most of it.

        Those of the largest outputs by that source alone stand for all of them: in another leaf there may be a
        second source, so near to it that both cancel at the target.
        """
        *pairs, isolated = self.places.close_pairs
        rows, part = self._largest_by_nearest(output, *(each[isolated] for each in pairs))
        return float(self.at_targets.roughly(rows, output).sum()) / part if part else 0.0

    def _largest_by_nearest(
        self, output: str, squared_distance: np.ndarray, source: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Of some targets those at which the source next to them does most, and their part of all squares of that."""
        does = (self.charges[:, source] ** 2).sum(axis=0) * squared_distance ** self.kernel.power(output)
        largest, total = np.argsort(does)[-FEW:], does.sum()
        return np.sort(target[largest]), float(does[largest].sum() / total) if total else 0.0
