"""What was asked for and what was planned, each as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from taskfmm.geometry.cell import Box
from taskfmm.kernels import Kernel, with_roots, works_in_single
from taskfmm.operators import measured
from taskfmm.operators.accuracy import CLOSE, IN_SINGLE, Accuracy, of_order
from taskfmm.operators.calibrated import choose, is_calibrated, reach
from taskfmm.operators.known import Known
from taskfmm.operators.levels import UNIT, Matrices, Operators
from taskfmm.operators.radial import does_nothing
from taskfmm.plan.plan import Plan
from taskfmm.tree import octree
from taskfmm.tree.lists import TOP_LEVEL


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, apart from the points.

    dtype : of the results
    order : None where eps decides
    box : None where nothing is repeated
    """

    kernel: Kernel
    dtype: np.dtype
    eps: float
    order: int | None
    box: Box | None = None

    @property
    def chosen(self) -> bool:
        """Whether the accuracy is the same for all charges."""
        return bool(self.order or self.kernel.fixed_order)

    def calibrated(self, output: str, kernel: Kernel | None = None) -> bool:
        """Whether there is a table of errors for an output; else they are measured, for boxes as large as the plan's.

        kernel : with the kinds of sources that there are; only the first one, if left out
        """
        return is_calibrated(kernel or self.kernel.of_first, output)

    def reach(self, lengths: np.ndarray | None) -> np.ndarray | None:
        """The distance within which pairs are summed one by one, of each source, float64 [n]; None for any."""
        if lengths is None or self.kernel.softening is None:
            return None
        eps = min(self.eps, of_order(self.order).basis_tol) if self.order else self.eps
        return lengths * self.kernel.softening.reach(eps)

    @property
    def summed(self) -> Kernel:
        """The kernel, with reciprocal roots that are as rough as eps allows."""
        eps = min(self.eps, of_order(self.order).basis_tol) if self.order else self.eps
        return with_roots(self.kernel, eps)

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
            derivative, kernel = kernel.output(output).derivative, _of_outputs(kernel.unsoftened, output)
            rows = measured.rows(
                kernel, self.eps, lambda row: reach(row, derivative, cases), half_width, top, self.single
            )
        return choose(self.kernel, self.eps, output, self.dtype, self.order, cases, rows, self.single)

    @property
    def single(self) -> bool:
        """Whether all stages may be in float32."""
        return self.dtype == np.float32 and self.eps >= IN_SINGLE and works_in_single(self.kernel)

    @property
    def close(self) -> float | None:
        """From which distance pairs may be in float32, as `Accuracy` has it; None if nowhere."""
        return CLOSE / self.eps if self.single else None

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
    def lengths(self) -> np.ndarray | None:
        """Softening of the sources, float64 [n], in the caller's order and units; None where they have none."""
        return None if self.plan is None else self.plan.tree.original_lengths

    @property
    def kernel(self) -> Kernel:
        """The kernel as it was given, with the lengths of the sources."""
        lengths = self.lengths
        return self.asked.kernel if lengths is None else self.asked.kernel.with_lengths(lengths)

    @property
    def summed(self) -> Kernel:
        """The kernel of evaluations. Where all pairs are summed, roots have all digits: if they cancel, what is left
        is as good as that of any sum over pairs."""
        return self.asked.kernel if self.plan is None or self.plan.is_near else self.asked.summed

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
        cell = None if self.plan is None else self.plan.tree.domain.cell
        return Operators(self.asked.kernel, accuracy, self._half_width, cell)

    def matrices(self, accuracy: Accuracy) -> Matrices:
        """The same for all levels, here and now; none where nothing is approximated."""
        found = self.operators(accuracy)
        return found if isinstance(found, Matrices) else found.of(self._levels)

    @property
    def _half_width(self) -> float:
        if self.plan is None or self.asked.kernel.degree is not None:
            return UNIT
        return self.plan.tree.domain.half_width

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
        # boxes may be as wide as the softening
        return self.plan.tree.fullest if self.plan.tree.lengths is None else 0


def _of_outputs(kernel: Kernel, output: str) -> Kernel:
    """A kernel with the outputs that are measured for this one: it and those before it.

    Where a kind of source does nothing to it, as rotlets to the pressure, its errors are relative to what it does to
    outputs that are as many derivatives. Those are measured then as well.
    """
    of = kernel.output(output)
    if any(does_nothing(kernel, kind, of) for kind in kernel.sources):
        output = [each.name for each in kernel.outputs if each.derivative == of.derivative][-1]
    return kernel.up_to(output)


def _tree(planned: Planned) -> octree.Octree:
    assert planned.plan is not None
    return planned.plan.tree
