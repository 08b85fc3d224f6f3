"""How much of an output of given charges comes through expansions: what an error there weighs.

Expansions err relative to what goes through them. Where close pairs make gradients large that is a small part; where
one charge outweighs all others it is all there is; and where gradients cancel, as within a line or a plane of equal
charges, or potentials far away from charges of both signs, it is more than what is left of them. So a few sums over
all targets are formed, in a pass over the boxes and a sample of the targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.calibrated import is_calibrated
from taskfmm.operators.known import Known, Share, are_many
from taskfmm.operators.radial import does_nothing
from taskfmm.passes.expanded import Boxes, Expanded
from taskfmm.passes.places import Places
from taskfmm.passes.sampled import FEW, SAMPLE, AtTargets
from taskfmm.passes.scaled import exponents, ranked
from taskfmm.plan.cost import TOP_LEVEL
from taskfmm.plan.plan import Plan

CANCELLED = 0.1
"""Where an output is less than this part of what makes it up, the sample is summed pair by pair: taking boxes
for points errs by more than what is left."""

LEFT, FINE_ERROR = 0.3, 1e-7
"""An output that is less than the first part of what far images in a periodic box would do if they did not cancel is
summed again with fine expansions of these, as those of the order `taskfmm.passes.sampled.ROUGH` err by a tenth of it.
Those of the order `FINE` err by the second part at most, which is taken off what they find."""

TELLING, DEVIATIONS = 8, 3.0
"""Of charges of random sign, sums over neighbouring runs are independent. Over all lengths of runs of which there are
eight pairs or more, squared correlations add up to chi squared: six of a thousand random vectors are `DEVIATIONS`
deviations or more above its mean."""


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
        found = _Outputs(plan, kernel, numbers, places, output, close)
        return of_any_kernel(found.kernel, output, alone, many, found.share)
    (q,) = numbers
    may_cancel = bool(q.size and q.min() < 0.0 < q.max())
    if output == "potential" and not may_cancel:
        return Known(many)
    found = _Outputs(plan, kernel, numbers, places, output, close)
    random = many and may_cancel and are_random(products_of_runs(q)[0])
    may_cancel = may_cancel and not (random and not found.at_targets.cancels())
    if output == "potential" and not may_cancel:
        return Known(many)
    return Known(
        many,
        potential=found.share("potential") if may_cancel else None,
        gradient=found.share("gradient") if output == "gradient" else None,
    )


def of_any_kernel(kernel: Kernel, last: str, alone: bool, many: bool, share: Callable[[str], Share]) -> Known:
    """What is known where there is no table: all outputs up to the last may cancel, or that alone.

    Of kernels that are no sum of potentials 1 / r it is not known whether the errors of many sources average.
    """
    end = kernel.names.index(last)
    outputs = [
        output
        for output in kernel.outputs[end if alone else 0 : end + 1]
        if not all(does_nothing(kernel, kind, output) for kind in kernel.sources)
    ]
    values, derivatives = (
        [share(each.name) for each in outputs if bool(each.derivative) == derived]
        for derived in (False, True)
    )
    return Known(
        many=many and kernel.expands.name == "laplace",
        potential=Share.worst(values) if values else None,
        gradient=Share.worst(derivatives) if derivatives else None,
        all_told=True,
    )


def are_random(products: np.ndarray) -> bool:
    """Whether no sums over charges show that their signs are not random; products : `products_of_runs`"""
    some = products[(products[:, 2] >= TELLING) & (products[:, 1] > 0.0)]
    chi_squared = (some[:, 0] ** 2 / some[:, 1]).sum()
    return bool(chi_squared <= len(some) + DEVIATIONS * np.sqrt(2.0 * len(some)))


def products_of_runs(charges: np.ndarray, longest: int = 2**62) -> tuple[np.ndarray, np.ndarray]:
    """Of charges in Morton order, by length of runs of 1, 2, 4 ... of them, whose points are neighbours.

    longest : of runs whose sums are not multiplied any more

    Returns
    -------
    products : float64 [n_lengths, 3], the sum of the products of the sums over two runs that follow each other, the
        sum of the squares of these products, and how many there are
    sums : float64 [n], over the longest runs
    """
    found, sums, length = [], charges, 1
    while sums.size > 1 and length < longest:
        odd, (first, second) = sums[sums.size // 2 * 2 :], (sums[: sums.size // 2 * 2].reshape(-1, 2).T)
        products = first * second
        found.append((products.sum(), products @ products, products.size))
        sums, length = np.append(first + second, odd), 2 * length
    return np.array(found).reshape(-1, 3), sums


class _Outputs:
    """Sums over all targets of the outputs of some charges.

    charges : float64 [n_numbers, n_sources], sorted, between -1 and 1
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
        boxes = Boxes.of(places, self.kernel, charges)
        self.expanded = Expanded(plan, self.kernel, charges, places, boxes, last)
        self.at_targets = AtTargets(plan, kernel, charges, boxes.plain, places, last, close)

    def share(self, output: str) -> Share:
        derivative = self.kernel.output(output).derivative
        sums = self.expanded.sums(self.kernel.output(output))
        far, even, smooth = sums.squares(self.kernel, self.calibrated)
        squares = (
            self.at_targets.sampled(output, self.at_targets.roughly, SAMPLE[1]) if self.calibrated else 0.0
        )
        if squares < CANCELLED**2 * max(far, even) or not self.calibrated:
            squares = self._exactly(self.at_targets, output)
        images = self.expanded.through_far_images(self.kernel.output(output))
        if squares < LEFT**2 * images:
            left = np.sqrt(self._exactly(self.at_targets.with_fine_images(), output))
            squares = max(0.0, left - FINE_ERROR * np.sqrt(images)) ** 2
        if self.calibrated and derivative:
            squares = max(squares, self._of_close_pairs(output))
        top = TOP_LEVEL if self.plan.is_direct else self.plan.top
        lost = sums.lost(self.kernel, self.kernel.output(output), self.plan.tree.domain, top) ** 2
        rounding = 0.0
        if self.close is not None:
            rounding = self.at_targets.sampled(output, self.at_targets.rounding, FEW)
            if derivative:
                rows = self._largest_by_nearest(output, *self.places.close_pairs[:3])[0]
                rounding = max(rounding, float(self.at_targets.rounding(rows, output).sum()))
                sum_at = self.at_targets.roughly if self.calibrated else self.at_targets.exactly
                squares = max(squares, float(sum_at(rows, output).sum()))
        return Share(*(float(np.sqrt(square)) for square in (squares, far, even, smooth, lost, rounding)))

    def _exactly(self, at_targets: AtTargets, output: str) -> float:
        """Sum over the targets of an output squared, by sums over all pairs at a sample of them."""
        found = at_targets.sampled(output, at_targets.exactly, at_targets.few)
        if self.calibrated:
            return found
        return max(found, float(at_targets.exactly(at_targets.around_largest(), output).sum()))

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
