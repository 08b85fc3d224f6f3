"""Which accuracy reaches eps for given charges, where points never meet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.known import Known
from taskfmm.passes.given import Given
from taskfmm.plan.planned import Asked
from taskfmm.spread import looking
from taskfmm.spread.bringing import bring
from taskfmm.spread.depot import Directory
from taskfmm.spread.plan import SpreadPlan


@dataclass(eq=False)
class Chooser:
    """As `taskfmm.choosing.Chooser.accuracy`: charges of an array are looked at, lazy ones are not.

    plan : None where there are no points
    like : what is known of charges that lazy ones will resemble, or None
    """

    asked: Asked
    plan: SpreadPlan | None
    like: Known | None = None
    _signs: dict[tuple[Kernel, str, bool], Known] = field(default_factory=dict, repr=False)

    def accuracy(self, output: str, given: Given | None = None, alone: bool = False) -> Accuracy:
        """For an output of these charges, of one vector; of lazy ones, if left out. Raises AccuracyError.

        alone : see `taskfmm.passes.share.look`
        """
        asked, plan = self.asked, self.plan
        kernel = asked.kernel.of_first if given is None else given.kernel.of_one
        if asked.chosen or plan is None or plan.is_direct:
            return asked.any_accuracy()
        cases: tuple[Known | None, ...] = (None,)
        calibrated = asked.calibrated(output, kernel)
        if given is not None and not given.are_lazy:
            cases = (self.look(given, output, alone),)
        elif calibrated and self.like is not None:
            cases = (self.like,)
        elif calibrated and kernel.output(output).derivative:
            cases = (None, *self._of_any)
        elif kernel.degree is None:
            cases = (None, self._of_signs(plan, kernel, output, alone))
        # how near pairs in float32 round is not looked at
        looked_at = any(known and (known.potential or known.gradient) for known in cases)
        asked = replace(asked, dtype=np.dtype(np.float64)) if looked_at else asked
        return asked.accuracy(output, *cases, kernel=kernel, half_width=plan.half_width, top=plan.top)

    def look(self, given: Given, output: str, alone: bool = False) -> Known:
        """What is known of charges, for an output."""
        assert self.plan is not None
        charges = bring(self.plan, given)
        return looking.of_charges(self.plan.facts, given.kernel, charges, output, alone, self.plan.depot.path)

    def _of_signs(self, plan: SpreadPlan, kernel: Kernel, output: str, alone: bool) -> Known:
        """Of random signs: where a kernel has died away, only errors may be left."""
        case = kernel, output, alone
        if case not in self._signs:
            self._signs[case] = looking.of_random_signs(plan.facts, *case, *_places(plan))
        return self._signs[case]

    @cached_property
    def _of_any(self) -> tuple[Known, Known]:
        """Of gradients of a single charge, and of equal ones."""
        assert self.plan is not None
        return looking.of_equal_charges(self.plan.facts, self.asked.kernel.of_first, *_places(self.plan))


def _places(plan: SpreadPlan) -> tuple[Path, Directory]:
    """The directories of a plan and of what is looked at."""
    return plan.depot.path, plan.depot.directory("look")
