"""Sums for functions that get points and sources in one call, and know neither plans nor floors of accuracy.

A call for few pairs sums them all, which takes less than planning. Else the plan is kept for the next calls, because
solvers call with the same points many times.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask
import numpy as np

import taskfmm

logger = logging.getLogger("taskfmm")

FEW = 30_000_000
"""Pairs that are summed, where no operators have to be made: that takes some 15 ms, as planning does."""

SOME = 1_000_000_000
"""Pairs that are summed where eps is below the floor: that takes some seconds."""

SMALL_EPS = 1e-10
"""Who asks for this or less wants what a float64 can give, and more than SOME pairs would take long."""


class Plan(NamedTuple):
    """A plan and what it was made of."""

    kernel: Any
    eps: float
    vectors: int
    sources: np.ndarray
    targets: np.ndarray | None
    fmm: taskfmm.Fmm


class Plans:
    """The last plans that were asked for, at most so many. Arrays of points are not to be changed afterwards."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Plan] = deque(maxlen=most)

    def fmm(
        self, kernel: Any, eps: float, sources: np.ndarray, targets: np.ndarray | None, vectors: int
    ) -> taskfmm.Fmm:
        """A plan for these points, which may be one that was kept."""
        for kept in tuple(self._kept):
            same = kept.kernel == kernel and kept.eps == eps and kept.vectors == vectors
            if same and _same(kept.sources, sources) and _same(kept.targets, targets):
                return kept.fmm
        fmm = taskfmm.Fmm(sources, targets, kernel=kernel, eps=eps, columns=vectors)
        self._kept.append(Plan(kernel, eps, vectors, sources, targets, fmm))
        return fmm

    def forget(self) -> None:
        """Let go of the plans, and of their memory."""
        self._kept.clear()


PLANS = Plans(2)
"""For the sources and for separate targets of one call."""


def evaluate(
    kernel: Any,
    eps: float,
    sources: np.ndarray,
    targets: np.ndarray | None,
    outputs: Sequence[str],
    given: Mapping[str, np.ndarray],
    vectors: int = 1,
    few: float = FEW,
    plans: Plans = PLANS,
) -> Mapping[str, np.ndarray]:
    """Outputs of a kernel at the targets, or at the sources where targets is None; each [m, ...].

    eps : the relative l2 error; from 1e-16 to 0.1, whatever else is asked for
    given : the sources by the names of their arguments
    few : pairs, times vectors, up to which all of them are summed
    """
    pairs = len(sources) * len(sources if targets is None else targets) * vectors
    eps = min(max(float(eps), 1e-16), 0.1)
    while pairs > few:
        try:
            fmm = plans.fmm(kernel, eps, sources, targets, vectors)
            (found,) = dask.compute(fmm.evaluate(outputs=outputs, **given))
            return found
        except taskfmm.AccuracyError as error:
            if pairs <= SOME or eps > SMALL_EPS:
                logger.info("all pairs are summed: %s", error)
                break
            logger.warning("%s; %g is taken", error, 10.0 * eps)
            eps *= 10.0
    exact: Any = taskfmm.direct(
        sources, targets=targets, kernel=kernel, outputs=outputs, **dict[str, Any](given)
    )
    return exact


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
