"""Which accuracy the evaluations of a plan take: what reaches eps for given charges, or for those nobody has seen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import numpy as np

from taskfmm.errors import AccuracyError
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.known import Known
from taskfmm.passes.given import Given
from taskfmm.passes.share import Places, look
from taskfmm.plan.planned import Planned
from taskfmm.runtime.threads import one_blas_thread


class Chooser:
    """Chooses for the evaluations of what was planned."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned
        self._usual_known: dict[str, Known] = {}

    @one_blas_thread()
    def accuracy(self, output: str, charges: Given | None = None, alone: bool = False) -> Accuracy:
        """What reaches eps for an output of these charges, which may be lazy, or of the usual ones.

        Lazy charges may be anything: a single one at the worst place of a box, or far from small leaves, or equal
        ones, whose gradients may cancel. Whether outputs before this one are asked for as well is told by ``alone``,
        see `look`. The usual charges are those that the caller has shown, else equal ones.
        Raises AccuracyError.
        """
        planned, asked = self.planned, self.planned.asked
        if asked.chosen or planned.plan is None or planned.plan.is_direct:
            # nothing hangs on it, or it is the same for all charges and outputs
            return asked.any_accuracy()
        kernel = asked.kernel.of_first if charges is None else charges.kernel
        if charges is not None and not charges.are_lazy:
            return planned.accuracy(output, self.look(charges, output, alone), kernel=kernel)
        is_first = kernel == asked.kernel.of_first
        if planned.like is not None and is_first and output in asked.kernel.usual:
            return planned.accuracy(output, planned.like)
        if not asked.calibrated(output, kernel):
            return self._for_any(kernel, output)
        if charges is None:
            return planned.accuracy(output, self.usual(output))
        derivative = asked.kernel.output(output).derivative
        lone = Known(many=False, gradient=self.places.lone_charge) if derivative else None
        return planned.accuracy(output, None, lone, self.usual(output))

    def reachable(self) -> dict[str, Accuracy]:
        """Accuracy by output, for the usual charges, of those outputs whose floor is not above eps.

        And of further kinds of sources, alone and with the others, where they need another one.
        """
        found, planned, kernel = {}, self.planned, self.planned.asked.kernel
        for output in kernel.usual:
            with suppress(AccuracyError):
                found[output] = self.accuracy(output)
        asked = planned.asked
        if asked.chosen or asked.calibrated(asked.first) or planned.plan is None or planned.plan.is_direct:
            return found
        further = [kernel.with_sources(kind) for kind in kernel.sources[1:]]
        for given, output in itertools.product([*further, kernel] if further else [], kernel.usual):
            with suppress(AccuracyError):
                accuracy = self._for_any(given, output)
                if accuracy not in found.values():
                    found[f"{output} of {' and '.join(kind.name for kind in given.sources)}"] = accuracy
        return found

    def _for_any(self, kernel: Kernel, output: str) -> Accuracy:
        """For sources of which nothing is known, where the kernel has no table.

        A kernel that dies away may leave targets far from all sources next to nothing, whatever these are: there
        sources of random signs tell what is needed.
        """
        if kernel.degree is not None:
            return self.planned.accuracy(output, None, kernel=kernel)
        rng = np.random.default_rng(self.planned.n_sources)
        signs = (rng.choice([-1.0, 1.0], shape) for shape in shapes(kernel, self.planned.n_sources))
        known = self.look(Given(kernel, tuple(signs)), output)
        return self.planned.accuracy(output, None, known, kernel=kernel)

    def usual(self, output: str) -> Known:
        if output not in self._usual_known:
            charges = np.ones(self.planned.n_sources)
            if self.planned.asked.box is not None:  # where they have to add up to zero
                charges[1::2] = -1.0
                charges -= charges.mean()
            equal = Given(self.planned.asked.kernel.of_first, (charges,))
            self._usual_known[output] = self.look(equal, output)
        return self._usual_known[output]

    def look(self, charges: Given, output: str, alone: bool = False) -> Known:
        assert self.planned.plan is not None
        plan, close = self.planned.plan, self.planned.asked.close
        return look(plan, charges.kernel, charges.arrays, output, self.places, alone, close)

    @cached_property
    def places(self) -> Places:
        assert self.planned.plan is not None
        return Places(self.planned.plan.tree)

    @one_blas_thread()
    def of_field(self, columns: Sequence[Given], outputs: Sequence[str]) -> Accuracy:
        """What multipoles of several charges need, for these outputs at targets as those of the plan."""
        last, alone = columns[0].kernel.last(outputs), len(outputs) == 1
        found = [self._elsewhere(last, each, alone) for each in columns]
        # if one is not better than another in all, what is best in any of them is
        return replace(
            max(found, key=lambda each: (each.dtypes == ("float64", "float64"), each.order)),
            basis_tol=min(each.basis_tol for each in found),
            m2l_tol=min(each.m2l_tol for each in found),
        )

    def _elsewhere(self, output: str, charges: Given, alone: bool) -> Accuracy:
        """As `accuracy`; where the targets are the sources, for others at which charges cancel as much as here."""
        if self.planned.asked.chosen or charges.are_lazy or not self.planned.same:
            return self.accuracy(output, charges, alone)
        known = replace(self.look(charges, output, alone), many=False)
        return self.planned.accuracy(output, known, kernel=charges.kernel)


def shapes(kernel: Kernel, n_sources: int) -> list[tuple[int, ...]]:
    return [(n_sources, *kind.of_one) for kind in kernel.kinds]
