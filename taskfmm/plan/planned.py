"""From points to a plan; and what was planned, as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from taskfmm.errors import InputError
from taskfmm.geometry.domain import Domain, enclose
from taskfmm.geometry.resolution import refuse_unresolved
from taskfmm.kernels import Kernel
from taskfmm.operators import measured
from taskfmm.operators.accuracy import Accuracy, Known, choose, is_calibrated, of_order, reach
from taskfmm.operators.levels import UNIT, Matrices, Operators
from taskfmm.operators.radial import first_level
from taskfmm.plan import cost, tune
from taskfmm.plan.plan import Plan, build, sum_directly, within_reach, without_coincident
from taskfmm.tree import lists, octree
from taskfmm.tree.lists import TOP_LEVEL

FEW_POINTS = 300_000
"""Up to here a plan takes a tenth of a second on one thread, less than compiling what several threads need."""


WIDTHS = (1e-12, 1e15)
"""Half-widths of clouds that are summed in the caller's unit. Squares of all distances have to be float32 numbers,
and points should be allowed to be much closer to each other than the cloud is wide."""

FEW_TARGETS = 64
"""Targets whose nearest source is looked for, to tell how close points usually are."""


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

    def calibrated(self, output: str, kernel: Kernel | None = None) -> bool:
        """Whether there is a table of errors for an output; else they are measured, for boxes as large as the plan's.

        kernel : with the kinds of sources that there are; only the first one, if left out
        """
        return is_calibrated(kernel or self.kernel.of_first, output)

    @property
    def first(self) -> str:
        """The kernel's first output, for which leaves are chosen."""
        return self.kernel.names[0]

    def accuracy(
        self,
        output: str,
        *cases: Known | None,
        kernel: Kernel | None = None,
        half_width: float = UNIT,
        top: int = TOP_LEVEL,
    ) -> Accuracy:
        """What reaches eps for an output of charges of all these cases; raises AccuracyError below its floor.

        kernel : with the kinds of sources that there are; only the first one, if left out
        half_width : of the root box, for a kernel without a degree
        top : the first level with expansions
        """
        rows, kernel = None, kernel or self.kernel.of_first
        if not self.calibrated(output, kernel):
            derivative, kernel = kernel.output(output).derivative, kernel.up_to(output)
            rows = measured.rows(kernel, self.eps, lambda row: reach(row, derivative, cases), half_width, top)
        return choose(self.kernel, self.eps, output, self.dtype, self.order, cases, rows)

    def any_accuracy(self) -> Accuracy:
        """One that does for what hangs on no charges; no operators are measured for it."""
        if self.chosen or self.calibrated(self.first):
            return self.accuracy(self.first, Known(many=True))
        return of_order(int(np.clip(np.ceil(-np.log10(self.eps)), 3, 16)))


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
    brought: dict[str, Matrices] = field(default_factory=dict)
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

    def accuracy(self, output: str, *cases: Known | None, kernel: Kernel | None = None) -> Accuracy:
        """As that of `Asked`, for the boxes of this plan."""
        top = next(iter(self._levels), TOP_LEVEL)
        return self.asked.accuracy(output, *cases, kernel=kernel, half_width=self._half_width, top=top)

    def operators(self, accuracy: Accuracy) -> Operators | Matrices:
        """Those of an accuracy: that came with the plan, or are read or made where they are needed."""
        name = self.name_brought(accuracy)
        return self.brought[name] if name else self.made(accuracy)

    def made(self, accuracy: Accuracy) -> Operators:
        """Those of an accuracy that are read or made where they are needed."""
        return Operators(self.asked.kernel, accuracy, self._half_width)

    def matrices(self, accuracy: Accuracy) -> Matrices:
        """The same for all levels, here and now; none where nothing is approximated."""
        found = self.operators(accuracy)
        return found if isinstance(found, Matrices) else found.of(self._levels)

    @property
    def _half_width(self) -> float:
        return UNIT if self.plan is None else self.plan.tree.domain.half_width

    @property
    def _levels(self) -> range:
        """Those with expansions."""
        if self.plan is None or self.plan.is_direct:
            return range(0)
        return range(self.plan.top, len(self.plan.far))

    def name_brought(self, accuracy: Accuracy) -> str | None:
        """The name of those that came with the plan, if they are of this accuracy."""
        return next((name for name, found in self.brought.items() if found.accuracy == accuracy), None)

    def least_to_load(self, accuracy: Accuracy) -> tuple[int, int]:
        """Bytes that `operators` will add to this process, at least, and at its peak."""
        return (0, 0) if self.name_brought(accuracy) else self.made(accuracy).least_to_load(self._levels)

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

    accuracy : of the first output, where it is known before the points are
    targets : None where they are the sources
    leaf_size : None where the estimated cost decides
    """
    at = sources if targets is None else targets
    if not (len(sources) and len(at)):
        sources = sources.copy()
        return Planned(asked, leaf_size, None, points=(sources, sources if targets is None else at.copy()))
    threads = threads if len(sources) + len(at) > FEW_POINTS else 1
    scaled = asked.kernel.degree is not None
    smallest = enclose(sources, sources[:0] if targets is None else targets, scaled)
    if not (scaled or WIDTHS[0] <= smallest.half_width <= WIDTHS[1]):
        raise InputError(
            f"the points are {2 * smallest.half_width:.1e} wide, and lengths in kernel {asked.kernel.name!r} cannot "
            f"be rescaled: give points and parameters in another unit, in which they are {WIDTHS[0]:.0e} to "
            f"{WIDTHS[1]:.0e} wide"
        )
    if leaf_size is None and cost.is_surely_direct(
        len(sources), len(at), targets is None, asked.kernel, accuracy.order
    ):
        return _summed_directly(asked, sources, targets, smallest)
    top = _top_level(asked, sources, at, smallest.half_width)
    if not (asked.chosen or asked.calibrated(asked.first)):
        accuracy = asked.accuracy(asked.first, None, half_width=smallest.half_width, top=top)
    operators = Operators(asked.kernel, accuracy, smallest.half_width).at(top)
    columns, weights = asked.kernel.columns, cost.first(asked.kernel)
    leaf_size, domain = tune.choose(
        sources, targets, operators, smallest, scaled, leaf_size, threads, top, columns, weights
    )
    if leaf_size is None:
        return _summed_directly(asked, sources, targets, smallest)
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, domain.scale)
    tree = octree.build(sources, targets, leaf_size, domain, threads)
    found = lists.build(tree, threads)
    if not asked.kernel.counts_itself:
        found = without_coincident(tree, found)
    top = max(TOP_LEVEL, min(top, tree.n_levels - 1))
    found = within_reach(tree, found, top)
    return Planned(asked, leaf_size, build(tree, found, operators, top, columns, weights))


def _top_level(asked: Asked, sources: np.ndarray, targets: np.ndarray, half_width: float) -> int:
    """The first level with expansions."""
    if asked.kernel.degree is not None:
        return TOP_LEVEL
    from scipy.spatial import cKDTree  # here, as kernels with a degree have no need of it

    eps = of_order(asked.order).basis_tol if asked.order else asked.eps
    rows = np.random.default_rng(len(targets)).choice(
        len(targets), min(FEW_TARGETS, len(targets)), replace=False
    )
    points = cKDTree(sources, compact_nodes=False, balanced_tree=False)
    distance = points.query(targets[rows], 2)[0]  # to the source at the target as well, if there is one
    close = float(np.median(np.where(distance > 0.0, distance, np.inf).min(axis=1)))
    return first_level(asked.kernel, eps, half_width, len(sources), close, TOP_LEVEL)


def _summed_directly(
    asked: Asked, sources: np.ndarray, targets: np.ndarray | None, domain: Domain
) -> Planned:
    plan = sum_directly(sources, targets, domain, cost.first(asked.kernel))
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, plan.tree.domain.scale)
    return Planned(asked, None, plan)
