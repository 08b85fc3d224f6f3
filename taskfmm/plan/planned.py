"""From points to a plan; and what was planned, as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from taskfmm.geometry.resolution import refuse_unresolved
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy, Known, choose
from taskfmm.operators.levels import Operators, least_to_load, load
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

    @property
    def chosen(self) -> bool:
        """Whether the accuracy is the same for all charges."""
        return bool(self.order or self.kernel.fixed_order)

    def accuracy(self, output: str, *cases: Known | None) -> Accuracy:
        """What reaches eps for an output of charges of all these cases; raises AccuracyError below its floor."""
        return choose(self.kernel, self.eps, output, self.dtype, self.order, cases)


@dataclass(frozen=True, slots=True)
class Planned:
    """Everything that an evaluation needs beside the charges.

    leaf_size : as given, or as chosen; None where all pairs are summed, as that costs least
    plan : None where there are no sources or no targets
    like : what is known of lazy charges, or None
    brought : operators that came with the plan, by a name of theirs; all others are those of this machine
    points : sources and targets, float64 [n, 3], one array where they are the same; None where only the tree has them
    """

    asked: Asked
    leaf_size: int | None
    plan: Plan | None
    like: Known | None = None
    brought: dict[str, Operators] = field(default_factory=dict)
    points: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def sources(self) -> np.ndarray:
        """float64 [n, 3], in the caller's order and units.

        Only the tree keeps points: the caller may change his own, and a second copy would be a tenth of the plan's
        memory. Nothing is rounded on the way back, since the tree scales by a power of two; what would be lost is
        smaller than 1e-300 of the cloud's width.
        """
        return self.points[0] if self.points else _tree(self).original("source")

    @property
    def targets(self) -> np.ndarray:
        """As `sources`."""
        return self.points[1] if self.points else _tree(self).original("target")

    @property
    def same(self) -> bool:
        """Whether the targets are the sources."""
        sources, targets = self.points or (_tree(self).sources, _tree(self).targets)
        return targets is sources

    @property
    def n_sources(self) -> int:
        return len(self.points[0]) if self.points else _tree(self).source_order.size

    @property
    def n_targets(self) -> int:
        return len(self.points[1]) if self.points else _tree(self).target_order.size

    def operators(self, accuracy: Accuracy) -> Operators:
        """The matrices of an accuracy; none of any level where nothing is approximated."""
        if self.plan is not None and self.plan.is_direct:
            return Operators(())
        name = self.name_brought(accuracy)
        return self.brought[name] if name else load(self.asked.kernel, accuracy)

    def name_brought(self, accuracy: Accuracy) -> str | None:
        """The name of those that came with the plan, if they are of this accuracy."""
        return next((name for name, found in self.brought.items() if found.at(0).accuracy == accuracy), None)

    def least_to_load(self, accuracy: Accuracy) -> tuple[int, int]:
        """Bytes that `operators` will add to this process, at least, and at its peak."""
        return (0, 0) if self.name_brought(accuracy) else least_to_load(self.asked.kernel, accuracy)

    @property
    def crowded(self) -> int:
        """Points of the fullest leaf, if they are more than a leaf should have: no box divides them; else 0."""
        if self.plan is None or self.leaf_size is None or self.plan.tree.fullest <= self.leaf_size:
            return 0
        return self.plan.tree.fullest


def _tree(planned: Planned) -> octree.Octree:
    assert planned.plan is not None
    return planned.plan.tree


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
    at = sources if targets is None else targets
    if not (len(sources) and len(at)):
        sources = sources.copy()
        return Planned(asked, leaf_size, None, points=(sources, sources if targets is None else at.copy()))
    threads = threads if len(sources) + len(at) > FEW_POINTS else 1
    if leaf_size is None and cost.is_surely_direct(len(sources), len(at), targets is None, accuracy.order):
        return _summed_directly(asked, sources, targets)
    operators = load(asked.kernel, accuracy).at(0)
    leaf_size, domain = tune.choose(sources, targets, operators, leaf_size, threads)
    if leaf_size is None:
        return _summed_directly(asked, sources, targets)
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, domain.scale)
    tree = octree.build(sources, targets, leaf_size, domain, threads)
    found = lists.build(tree, threads)
    if not asked.kernel.counts_itself:
        found = planner.without_coincident(tree, found)
    return Planned(asked, leaf_size, planner.build(tree, found, operators))


def _summed_directly(asked: Asked, sources: np.ndarray, targets: np.ndarray | None) -> Planned:
    plan = planner.sum_directly(sources, targets)
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, plan.tree.domain.scale)
    return Planned(asked, None, plan)
