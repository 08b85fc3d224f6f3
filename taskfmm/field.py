"""The field of given charges, for evaluations at one set of targets after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dask.utils import format_bytes

from taskfmm.errors import InputError
from taskfmm.evaluation import Evaluator
from taskfmm.operators.accuracy import Accuracy
from taskfmm.passes.given import Given

DOUBLE = 8
"""Bytes of a number."""


class Field:
    """Charges with their multipoles, which stay in memory as long as this object does. See `taskfmm.Fmm.field`."""

    def __init__(
        self, evaluator: Evaluator, given: Given, outputs: Sequence[str], memory_limit: int | None
    ) -> None:
        self._evaluator = evaluator.root
        # the caller may fill his arrays anew
        self._given = replace(given, arrays=tuple(map(_copied, given.arrays)))
        self.outputs = tuple(outputs)
        plan = self._evaluator.planned.plan
        # a direct sum has no multipoles
        self._kept = None
        if plan is not None and not plan.is_direct:
            chooses = self._evaluator if evaluator.base is None else evaluator
            self._kept = chooses.keep(self._given.parts, self.outputs, memory_limit)

    @property
    def accuracy(self) -> Accuracy | None:
        """Of the multipoles; None where all pairs are summed."""
        return None if self._kept is None else self._kept.accuracy

    @property
    def nbytes(self) -> int:
        """What is kept, in bytes: multipoles, and charges, those in memory in two orders."""
        planned = self._evaluator.planned
        total = sum(each.nbytes for each in self._given.arrays if isinstance(each, np.ndarray))
        if self._kept is None or planned.plan is None:
            return total
        operators = planned.matrices(self._kept.accuracy)
        for part in self._given.parts:
            kernel, vectors = part.kernel.of_one, part.vectors or 1
            for shards in planned.plan.far:
                for shard in shards:
                    if shard.p2m or shard.m2m:
                        of = operators.at(shard.level)
                        numbers = kernel.columns * of.rank * of.check_to_multipole.itemsize
                        total += vectors * shard.n_boxes * numbers
            rows = vectors * sum(kind.n_numbers for kind in kernel.sources)
            total += (rows + (kernel.softening is not None)) * planned.n_sources * DOUBLE
        return total

    @property
    def is_lost(self) -> bool:
        """Whether the multipoles are gone: they were on workers of a client that was closed or restarted."""
        return self._kept is not None and self._kept.is_lost

    def of(self, evaluator: Evaluator) -> Given:
        """The charges, for the plan that made this or one made from it by `at`; raises InputError for others."""
        if evaluator.root is not self._evaluator:
            raise InputError(
                "this field was made by another plan, whose boxes its multipoles belong to: make one by `field` of "
                "this plan, or evaluate it with that plan or a result of its `at`"
            )
        return self._given

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        """Raise InputError, wherever a field is given in the place of numbers."""
        raise InputError(
            "a taskfmm.Field is all sources of an evaluation of its plan: give it alone and first, as in "
            "fmm.evaluate(field), and elsewhere the numbers that it was made of"
        )

    def __repr__(self) -> str:
        planned = self._evaluator.planned
        vectors = "" if self._given.vectors is None else f"{self._given.vectors} vectors of "
        kinds = " and ".join(kind.given_as for kind in self._given.kernel.sources)
        order = "direct sum" if self.accuracy is None else f"order {self.accuracy.order}"
        return (
            f"<taskfmm.Field: {vectors}{kinds} of {planned.n_sources:,} sources, {order}, "
            f"{format_bytes(self.nbytes)}>"
        )


def _copied(charges: Any) -> Any:
    return charges.copy() if isinstance(charges, np.ndarray) else charges
