"""Outputs of given charges at a sample of targets, by near pairs exactly, or by all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.cell import N_CELLS
from taskfmm.geometry.domain import Domain
from taskfmm.kernels import Kernel, Output, gather_loops
from taskfmm.operators.levels import of_cubes
from taskfmm.operators.radial import Radial, radial
from taskfmm.passes.around import Around
from taskfmm.passes.places import Places
from taskfmm.passes.scaled import with_lengths
from taskfmm.passes.share_loops import MINUS, PLUS, SQUARES, WEIGHT, rounding, squares_if_random
from taskfmm.plan.plan import Plan

SAMPLE = (64, 256)
"""Fewest and most targets at which an output is summed."""

ONE_IN = 32
"""Between these bounds, the sample is one target in so many."""

FEW = 64
"""Targets of that sample."""

FEWEST, PAIRS = 16, 10**8
"""In a periodic box, where each of them meets all images nearby: at least so many, and so many pairs if there are."""

ROUGH, FINE = 4, 12
"""Orders of the expansions of far images in these sums: usually, and where what they do may cancel."""

CANCELLING = 0.5
"""Of charges of random sign, potentials are as large as what each charge does, added in quadrature. One of forty
random vectors has potentials half as large or smaller. Of 29,000 waves on planes that are cut in two along them 1,075
counted as random by their sums, and 3 of these were as large as that: one erred by 1.1 eps."""

RARE = 0.02
"""The share of the sample with the largest values, which is left out: some of them may be one of a kind, and would
stand for thousands."""


def sizes(domain: Domain, kernel: Kernel, output: Output) -> list[tuple[int, Radial]]:
    """Of what each number does to an output, with the number of its kind."""
    return [
        (number, radial(kernel, kind, output, domain.half_width))
        for number, kind in enumerate(kernel.sources)
        for _ in range(kind.n_numbers)
    ]


def with_images(plan: Any, boxes: np.ndarray) -> np.ndarray:
    """What is known of boxes, see `taskfmm.passes.share_loops.sum_boxes`, also of images."""
    images, cell = plan.lists.images, plan.tree.domain.cell
    found = images.with_own(boxes)
    if cell is not None:
        away = cell.shift(images.cell).T
        for place in (PLUS, MINUS):
            found[len(boxes) :, place : place + 3] += away
    return found


def two_points(plan: Any, of_numbers: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes as two points each for every number: places, and numbers of the kernel's sources.

    plan : with ``tree`` and ``lists``; of_numbers : what is known of its boxes, see `sum_boxes`
    """
    found = []
    for number, boxes in enumerate(with_images(plan, each) for each in of_numbers):
        for place, sign, weight in ((PLUS, 1.0, WEIGHT), (MINUS, -1.0, WEIGHT + 1)):
            charges = np.zeros((len(of_numbers), len(boxes)))
            charges[number] = sign * boxes[:, weight]
            if charges.any():
                found.append((np.ascontiguousarray(boxes[:, place : place + 3].T), charges))
    return found


def add(
    kernel: Kernel,
    output: str,
    targets: np.ndarray,
    ptr: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    points: np.ndarray,
    charges: np.ndarray,
    values: np.ndarray,
    close_by: Kernel | None = None,
    lengths: np.ndarray | None = None,
) -> None:
    """Add to the values at some targets, each a row, what their runs of points do there.

    close_by, lengths : the kernel of pairs of points, and lengths of the targets, where it is softened
    """
    constants = kernel.constants if lengths is None else np.append(kernel.constants, lengths)
    n = targets.shape[1]
    gather_loops(close_by or kernel, output).points_to_points(
        0,
        n,
        np.arange(n + 1),
        *np.ascontiguousarray(targets),
        ptr,
        begin,
        end,
        *points,
        charges,
        constants,
        values,
    )


def middles_of(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the charges of boxes are in the mean, float64 [3, n], and the sums of their squares; see `sum_boxes`."""
    weights = boxes[:, WEIGHT : WEIGHT + 2]
    total = weights.sum(axis=1, keepdims=True)
    part = weights[:, :1] / np.where(total > 0.0, total, 1.0)
    middles = part * boxes[:, PLUS : PLUS + 3] + (1.0 - part) * boxes[:, MINUS : MINUS + 3]
    return np.ascontiguousarray(middles.T), np.ascontiguousarray(boxes[:, SQUARES])


def are_small(squares: np.ndarray, if_random: np.ndarray) -> bool:
    """Whether an output cancels; squares, if_random : of it, and on average over random signs, float64 [n] each

    Targets with one source very near tell nothing of the others, and are left out.
    """
    kept = np.argsort(if_random, kind="stable")[: usual(if_random.size)]
    return bool(squares[kept].sum() < CANCELLING**2 * if_random[kept].sum())


def usual(n: int) -> int:
    """How many of a sample are not `RARE`."""
    return round((1.0 - RARE) * n)


class AtTargets:
    """Outputs of some charges at some targets, squared.

    kernel, close_by : without softening, and the kernel of pairs of points: where these are softened, boxes are too
        far away for it
    charges : float64 [n_numbers, n_sources], sorted, between -1 and 1
    boxes : for each number, sums over the sources of each box, see `sum_boxes`
    last : the last of the outputs
    close : see `taskfmm.passes.share.look`
    """

    def __init__(
        self,
        plan: Plan,
        kernel: Kernel,
        charges: np.ndarray,
        boxes: list[np.ndarray],
        places: Places,
        last: str,
        close: float | None,
    ) -> None:
        self.plan, self.charges, self.boxes, self.places = plan, charges, boxes, places
        self.kernel, self.close_by, self.last, self.close = kernel.unsoftened, kernel, last, close
        self._exact: dict[bytes, np.ndarray] = {}

    @cached_property
    def points(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `two_points`."""
        return two_points(self.plan, self.boxes)

    def sampled(self, output: str, sum_at: Callable[..., np.ndarray], most: int) -> float:
        """Sum over the targets of an output squared, from below, by a sample of them."""
        n, rows = self.plan.tree.targets.shape[1], self._drawn(most)
        found = sum_at(rows, output)
        if n == rows.size:
            return float(found.sum())
        return float(np.sort(found)[: usual(rows.size)].mean() * n)

    def _drawn(self, most: int) -> np.ndarray:
        """A sample of the targets, ascending rows."""
        n = self.plan.tree.targets.shape[1]
        size = min(n, most, int(np.clip(n // ONE_IN, *SAMPLE)))
        return np.arange(n) if n == size else np.sort(np.random.default_rng(n).choice(n, size, replace=False))

    def cancels(self) -> bool:
        """Whether potentials 1 / r are smaller than those of charges of random sign."""
        rows = self._drawn(SAMPLE[1])
        return are_small(self.roughly(rows, "potential"), self._if_random(rows))

    def _if_random(self, rows: np.ndarray) -> np.ndarray:
        """The average of `roughly` over random signs, float64 [n_rows]."""
        tree, (q,), (boxes,) = self.plan.tree, self.charges, self.boxes
        at, owner, seen, *near = self._near(rows)
        of_near = squares_if_random(seen, *near, tree.sources, q**2)
        found = np.bincount(owner, of_near, minlength=rows.size)
        middles, weights = middles_of(with_images(self.plan, boxes))
        targets = tree.targets[:, rows] - tree.domain.lower[:, None]
        for ptr, far in self._far(at):
            found += squares_if_random(targets, ptr, far, far + 1, middles, weights)
        return found

    def _far(self, at: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Boxes that reach some leaves through expansions, see `_entries`, list by list."""
        tree, lists = self.plan.tree, self.plan.lists
        reached = [lists.w, lists.v, lists.x]
        while (at > 0).any():
            for csr in reached:
                yield _entries(csr, at)
            at, reached = np.maximum(tree.parent[at], 0), [lists.v, lists.x]

    @cached_property
    def images(self) -> Around | None:
        """In a periodic box, sums over all images."""
        return self._around(ROUGH)

    def with_fine_images(self) -> AtTargets:
        """The same, with far images at the order `FINE`."""
        found = copy(self)
        found.images, found._exact = self._around(FINE), {}
        return found

    def _around(self, order: int) -> Around | None:
        tree, cell = self.plan.tree, self.plan.tree.domain.cell
        if cell is None:
            return None
        return Around(tree, cell, self.kernel, self.charges, *of_cubes(self.kernel, cell, order))

    @property
    def few(self) -> int:
        """How many targets are summed over all pairs."""
        if self.plan.tree.domain.cell is None:
            return FEW
        pairs = self.plan.tree.domain.cell.images.size * self.plan.tree.sources.shape[1]
        return int(np.clip(PAIRS // pairs, FEWEST, FEW))

    def exactly(self, rows: np.ndarray, output: str) -> np.ndarray:
        """As `roughly`, over all pairs; with the last output the others come for nothing."""
        key = rows.tobytes()
        if key not in self._exact:
            tree, n = self.plan.tree, rows.size
            if self.images is not None:
                self._exact[key] = self.images.near(self.last, rows) + self.images.far(self.last, rows)
                return self.exactly(rows, output)
            self._exact[key] = np.zeros((self.kernel.n_components(self.last), n))
            every = np.arange(n + 1), np.zeros(n, np.int64), np.full(n, self.charges.shape[1])
            charges, lengths = with_lengths(self.charges, tree.lengths), tree.lengths
            if lengths is not None:
                lengths = lengths[rows] if tree.targets is tree.sources else np.zeros(n)
            where = tree.targets[:, rows], *every, tree.sources, charges, self._exact[key]
            add(self.kernel, self.last, *where, close_by=self.close_by, lengths=lengths)
        return (self._exact[key][self.kernel.rows(output)] ** 2).sum(axis=0)

    def around_largest(self) -> np.ndarray:
        """Some targets in the leaf of the largest charge: if the kernel dies away, it may reach no others."""
        tree, leaves = self.plan.tree, self.places.leaves
        begin, end = tree.source_ptr[leaves].T
        largest = tree.n_wide + np.abs(self.charges[:, tree.n_wide :]).max(axis=0).argmax()
        first, last = tree.target_ptr[leaves[(begin <= largest) & (largest < end)][0]]
        return np.arange(first, min(last, first + FEW))

    def roughly(self, rows: np.ndarray, output: str) -> np.ndarray:
        """An output squared at some targets, float64 [n_rows]: near pairs exactly, other boxes as two points each."""
        tree = self.plan.tree
        at, owner, seen, ptr, begin, end = self._near(rows)
        of_seen = np.zeros((self.kernel.n_components(output), owner.size))
        add(self.kernel, output, seen, ptr, begin, end, tree.sources, self.charges, of_seen)
        values = np.zeros((len(of_seen), rows.size))
        np.add.at(values.T, owner, of_seen.T)
        targets = tree.targets[:, rows] - tree.domain.lower[:, None]  # as the places of boxes are
        for ptr, far in self._far(at):
            for place, charges in self.points:
                add(self.kernel, output, targets, ptr, far, far + 1, place, charges, values)
        if self.images is not None:
            values += self.images.far(output, rows)
        return (values[self.kernel.rows(output)] ** 2).sum(axis=0)

    def _near(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """What is next to some targets.

        Returns
        -------
        at : the leaves of the targets
        owner : int64 [n], ascending; the targets, each as often as there are cells in which it meets sources
        seen : float64 [3, n], where they are as seen from the cell itself
        ptr, begin, end : runs of sources of the cell that they meet
        """
        tree, at = self.plan.tree, self._leaves_of(rows)
        ptr, near = _entries(self.plan.lists.u, at)
        images, cell = self.plan.lists.images, tree.domain.cell
        begin, end = np.ascontiguousarray(images.with_own(tree.source_ptr)[near].T)
        if cell is None:
            return at, np.arange(rows.size), tree.targets[:, rows], ptr, begin, end
        case = N_CELLS * np.repeat(np.arange(rows.size), np.diff(ptr)) + images.cells(near, tree.n_boxes)
        order = np.argsort(case, kind="stable")
        case, first = np.unique(case[order], return_index=True)
        owner, ptr = case // N_CELLS, np.append(first, near.size)
        seen = tree.targets[:, rows[owner]] - cell.shift(case % N_CELLS)
        return at, owner, seen, ptr, begin[order], end[order]

    def _leaves_of(self, rows: np.ndarray) -> np.ndarray:
        """Those in which some targets are."""
        ends, leaves = self.plan.tree.target_ptr[:, 1], self.places.leaves
        leaves = leaves[np.argsort(ends[leaves], kind="stable")]
        return leaves[np.searchsorted(ends[leaves], rows, side="right")]

    def _half_widths(self, boxes: np.ndarray) -> np.ndarray:
        tree = self.plan.tree
        return np.ldexp(tree.domain.half_width, -tree.level[boxes].astype(np.int32))

    def rounding(self, rows: np.ndarray, output: str) -> np.ndarray:
        """What the near field in float32 errs by at some targets, squared, float64 [n_rows]."""
        tree = self.plan.tree
        at, owner, seen, *near = self._near(rows)
        half = self._half_widths(at[owner])
        where = np.ascontiguousarray(seen), half, self.close, *near, tree.sources
        of_numbers = (
            size for _, size in sizes(self.plan.tree.domain, self.kernel, self.kernel.output(output))
        )
        found = sum(
            rounding(*where, q, size.factor, size.power)
            for q, size in zip(self.charges, of_numbers, strict=True)
        )
        return np.bincount(owner, found, minlength=rows.size)


def _entries(csr: Csr, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lists of some boxes, one after the other, int64 [n + 1] and int64."""
    first, count = csr.ptr[rows], csr.ptr[rows + 1] - csr.ptr[rows]
    ptr = np.concatenate([[0], np.cumsum(count)])
    return ptr, csr.idx[np.arange(ptr[-1]) + np.repeat(first - ptr[:-1], count)].astype(np.int64)
