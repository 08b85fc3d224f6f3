"""From points to a plan; and what was planned, as one object."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from taskfmm.errors import AccuracyError
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy, choose
from taskfmm.operators.levels import Operators, load
from taskfmm.plan import cost, tune
from taskfmm.plan import plan as planner
from taskfmm.plan.plan import Plan
from taskfmm.tree import lists, octree

FEW_POINTS = 300_000
"""Up to here a plan takes a tenth of a second on one thread, less than compiling the parallel loops."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, apart from the points.

    dtype : of the results
    order : None where eps decides
    """

    kernel: Kernel
    dtype: np.dtype
    eps: float
    order: int | None

    def accuracy(self, output: str, tree: octree.Octree | None = None) -> Accuracy:
        """What reaches eps for an output; raises AccuracyError where eps is below its floor.

        tree : of the points, which tells how hard their gradients are; they are taken for a regular grid without it
        """
        return choose(self.kernel, self.eps, output, self.dtype, self.order, tree)


@dataclass(frozen=True, slots=True)
class Planned:
    """Everything that an evaluation needs beside the charges.

    leaf_size : as given, or as chosen; None where all pairs are summed, as that costs least
    sources, targets : float64 [n, 3], in the caller's order and units; one array where the targets are the sources
    plan : None where there are no sources or no targets
    chosen : accuracy by output, so far; kept, as the rates of the machine, which help to choose, may change
    brought : operators by output, where they came with the plan; else they are those of this machine
    """

    asked: Asked
    leaf_size: int | None
    sources: np.ndarray
    targets: np.ndarray
    plan: Plan | None
    chosen: dict[str, Accuracy]
    brought: dict[str, Operators] = field(default_factory=dict)

    def accuracy(self, output: str) -> Accuracy:
        """Of "potential", or of "gradient"; raises AccuracyError where eps is below its floor."""
        if output not in self.chosen:
            tree = self.plan.tree if output == "gradient" and self.plan else None
            self.chosen[output] = self.asked.accuracy(output, tree)
        return self.chosen[output]

    def operators(self, output: str) -> Operators:
        """The matrices of `accuracy`; none of any level where nothing is approximated."""
        if self.plan is not None and self.plan.is_direct:
            return Operators(())
        return self.brought.get(output) or load(self.asked.kernel.name, self.accuracy(output))

    def reachable(self) -> dict[str, Accuracy]:
        """Accuracy by output, of those outputs whose floor is not above eps."""
        with suppress(AccuracyError):
            self.accuracy("gradient")
        return dict(self.chosen)

    @property
    def crowded(self) -> int:
        """Points of the fullest leaf, if they are more than a leaf should have: no box divides them; else 0."""
        if self.plan is None or self.leaf_size is None or self.plan.tree.fullest <= self.leaf_size:
            return 0
        return self.plan.tree.fullest


def make(
    asked: Asked,
    accuracy: Accuracy,
    sources: np.ndarray,
    targets: np.ndarray | None,
    leaf_size: int | None,
    threads: int = 1,
) -> Planned:
    """Choose the leaves, build the tree and its lists, and cut them into shards.

    accuracy : of potentials
    targets : None where they are the sources
    leaf_size : None where the estimated cost decides
    """
    at, chosen = (sources if targets is None else targets), {"potential": accuracy}
    if not (len(sources) and len(at)):
        return Planned(asked, leaf_size, sources, at, None, chosen)
    threads = threads if len(sources) + len(at) > FEW_POINTS else 1
    size = len(sources), len(at)
    if leaf_size is None and cost.direct(*size, targets is None) < cost.least(*size, accuracy.order):
        return Planned(asked, None, sources, at, planner.sum_directly(sources, targets), chosen)
    operators = load(asked.kernel.name, accuracy).at(0)
    leaf_size, domain = tune.choose(sources, targets, operators, leaf_size, threads)
    if leaf_size is None:
        return Planned(asked, None, sources, at, planner.sum_directly(sources, targets), chosen)
    tree = octree.build(sources, targets, leaf_size, domain, threads)
    found = lists.build(tree, threads)
    if not asked.kernel.counts_itself:
        found = planner.without_coincident(tree, found)
    return Planned(asked, leaf_size, sources, at, planner.build(tree, found, operators), chosen)
