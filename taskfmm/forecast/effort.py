"""What each task of an evaluation does, counted from the plan: how often each rate is paid, and bytes.

`taskfmm.cost.counts` counts; here are the sizes of each task's work. Nothing here knows of Dask; the keys
``(operator, level, shard)`` are those of the graph, without its token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from taskfmm.cost import counts
from taskfmm.cost.counts import Counts
from taskfmm.cost.rates import Rates
from taskfmm.kernels import Kernel, gather_loops, weights
from taskfmm.operators.levels import Matrices
from taskfmm.passes import translations
from taskfmm.passes.drive import Place, downward, upward
from taskfmm.plan.cost import row_sums
from taskfmm.plan.plan import Plan
from taskfmm.plan.works import (
    Chunk,
    FarImages,
    Moments,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)

Key = tuple[str, int, int]

DOUBLE = 8
"""Bytes of a number."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What one task does.

    counts : besides the call
    blocks : pieces of the loops that threads share
    plan_bytes, result, scratch : bytes of its part of the plan, of what it returns, and of what it needs besides
    """

    counts: Counts
    blocks: int = 1
    plan_bytes: int = 0
    result: int = 0
    scratch: int = 0

    def seconds(self, rates: Rates, threads: int = 1) -> float:
        """Expected, on that many Numba threads."""
        at_once = self.blocks / math.ceil(self.blocks / threads)
        return self.counts.seconds(rates, at_once) + rates.call


def n_bytes(value: Any) -> int:
    """Bytes of the arrays in a nest of dataclasses and containers; of what several of them share, once."""
    total, end = 0, 0
    for first, last in sorted(map(byte_bounds, chain.from_iterable(map(_in_one_piece, _arrays(value))))):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


def _in_one_piece(array: np.ndarray) -> Iterable[np.ndarray]:
    """The parts of an array that lie in one piece: all of it, or its rows."""
    if not array.size:
        return []
    return [array] if array.flags.forc else array


def _arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _arrays(getattr(value, field.name))
    elif isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays(each)


def efforts(
    plan: Plan, operators: Matrices, kernel: Kernel, outputs: tuple[str, ...], result_bytes: int = DOUBLE
) -> dict[Key, Effort]:
    """Every task of an evaluation.

    outputs : those asked for; result_bytes : of a number of the results
    """
    count = _Counting(plan, operators, kernel.computing(outputs), kernel.last(outputs))
    found = {("charges", number, 0): count.charges(rows.size) for number, rows in enumerate(plan.charges)}
    entered, base, before = list(found), plan.base, None

    def call(name: str, at: Place, work: Any, *inputs: Any) -> Key:
        found[name, *at] = getattr(count, name.lower())(at, work, *inputs)
        return (name, *at)

    if base is not None:
        charges = {of_base_key(plan, ("charges", i, 0)): rows for i, rows in enumerate(base.plan.charges)}
        found |= {key: count.charges(rows.size) for key, rows in charges.items()}

        def call_base(name: str, at: Place, work: Any, *inputs: Any) -> Key:
            key = of_base_key(plan, (name, *at))
            found[key] = getattr(count, name.lower())(key[1:], work, *inputs)
            return key

        sent = upward(base.plan, list(charges), call_base)
        before = sent.called(partial(base.place, plan.far))
    downward(plan, entered, call, upward(plan, entered, call, before))
    for output in outputs:
        for number, chunk in enumerate(plan.chunks):
            found[output, number, 0] = count.collect(chunk, output, result_bytes)
    return found


def of_base_key(plan: Plan, key: Key) -> Key:
    """What a task of the plan's base is called among those of this plan."""
    name, level, number = key
    assert plan.base is not None
    if name == "P2I":
        return key
    if name == "charges":
        return (name, level + len(plan.charges) * (plan.base.up > 0), number)
    return (name, *plan.base.place(plan.far, level, number))


class _Counting:
    """Counts what tasks do; one method for each operator."""

    def __init__(self, plan: Plan, operators: Matrices, kernel: Kernel, last: str) -> None:
        self.plan = plan
        self.operators = operators
        self.kernel = kernel
        self.columns = kernel.columns
        self.components = kernel.n_values(last)
        self.weights = weights(kernel, last)
        if operators.by_level:
            self.weights = self.weights.of(operators.accuracy.dtype)
        self.tile = gather_loops(kernel, last).TILE

    def charges(self, n: int) -> Effort:
        numbers = (self.kernel.vectors * self.kernel.n_numbers + (self.kernel.softening is not None)) * n
        copied = Counts(alone={"copied": 2 * numbers})
        return Effort(copied, result=numbers * DOUBLE, scratch=numbers * DOUBLE)

    def p2m(self, at: Place, work: PointsToSurfaces, *_: Any) -> Effort:
        return self._to_surfaces(work, self.operators.at(at[0]).check_to_multipole)

    def p2l(self, at: Place, work: PointsToSurfaces, *_: Any) -> Effort:
        return self._to_surfaces(work, self.operators.at(at[0]).check_to_local)

    def m2m(self, at: Place, work: Translation, *_: Any) -> Effort:
        matrices = self.operators.at(at[0]).m2m
        return self._translation(work, *matrices.shape[1:])

    def l2l(self, at: Place, work: Translation | None, n_boxes: int, *_: Any) -> Effort:
        k = self.operators.at(at[0]).rank
        if work is None:
            n_rows = n_boxes * self.columns
            return Effort(counts.translation(0, 0, 0, k, k, 2 * n_rows), result=n_rows * k * DOUBLE)
        return self._translation(work, self.operators.at(at[0] - 1).rank, k, 2 * n_boxes)

    def m2p(self, at: Place, work: SurfacesToPoints, *_: Any) -> Effort:
        return self._to_points(work, self.operators.at(at[0] + 1).multipole_to_density, False)

    def l2p(self, at: Place, work: SurfacesToPoints, local: Any, from_m2p: Any) -> Effort:
        return self._to_points(work, self.operators.at(at[0]).local_to_density, from_m2p is not None)

    def _to_surfaces(self, work: PointsToSurfaces, matrix: np.ndarray) -> Effort:
        n_surface, k = matrix.shape
        n_points = float((work.end - work.begin).sum())
        n, n_rows, n_charges = (
            work.rows.size * self.columns,
            work.n_rows * self.columns,
            work.charges.rows.size,
        )
        return Effort(
            counts.to_surfaces(n_points, n_charges, n, n_rows, n_surface, k, self.weights),
            blocks=work.rows.size,
            plan_bytes=n_bytes(work),
            result=n_rows * k * DOUBLE,
            scratch=(n * (2 * n_surface + k) + n_charges + n_surface * k // 4) * DOUBLE,
        )

    def _translation(self, work: Translation, of: int, k: int, added: int = 0) -> Effort:
        n_entries, halo, n_rows = (
            self.columns * n for n in (work.target.size, work.halo.rows.size, work.n_rows)
        )
        return Effort(
            counts.translation(n_entries, halo, n_rows, of, k, self.columns * added),
            blocks=len(work.code_ptr),
            plan_bytes=n_bytes(work),
            result=n_rows * k * DOUBLE,
            scratch=(halo * of + translations.BATCH * (of + k)) * DOUBLE,
        )

    def m2l(self, at: Place, work: Siblings, *_: Any) -> Effort:
        level, number = at
        before = sum(shard.n_boxes for shard in self.plan.far[level][:number])
        first = int(self.plan.tree.level_ptr[level]) + before
        ptr, own = self.plan.lists.v.ptr, self.operators.at(level)
        n_pairs = float(ptr[first + work.n_rows] - ptr[first])
        halo, n_rows = self.columns * work.halo.rows.size, self.columns * work.n_rows
        itemsize = own.m2l.dtype.itemsize
        products = own.m2l.counts(self.columns * n_pairs, work.target.size, np.diff(work.code_ptr, axis=1))
        return Effort(
            counts.m2l(products, halo, n_rows, own.rank),
            blocks=len(work.code_ptr),
            plan_bytes=n_bytes(work),
            result=n_rows * own.rank * itemsize,
            scratch=halo * own.rank * itemsize + own.m2l.scratch,
        )

    def p2i(self, at: Place, work: Moments, *_: Any) -> Effort:
        n = work.points.shape[1]
        numbers = self.kernel.vectors * self.kernel.n_numbers * n
        copied = Counts(alone={"copied": 6 * n + 3 * numbers})
        return Effort(
            copied,
            plan_bytes=n_bytes(work),
            result=48 * self.kernel.vectors,
            scratch=(6 * n + 2 * numbers) * DOUBLE,
        )

    def i2l(self, at: Place, work: FarImages, *_: Any) -> Effort:
        k, pairs = self.operators.at(at[0]).rank, len(work.source) * work.n_rows * self.columns
        rows = (len(work.source) + 2 * work.n_rows) * self.columns
        return Effort(
            Counts(alone={"multiply_add": float(pairs * k * k), "copied": rows * k}),
            plan_bytes=n_bytes(work),
            result=work.n_rows * self.columns * k * DOUBLE,
            scratch=rows * k * DOUBLE,
        )

    def _to_points(self, work: SurfacesToPoints, matrix: np.ndarray, adds: bool) -> Effort:
        k, n_surface = matrix.shape
        n_targets, halo = work.targets.shape[1], self.columns * work.halo.rows.size
        boxes = np.diff(work.ptr)
        pairs, rows = float((np.diff(work.target_ptr) * boxes).sum()), np.count_nonzero(boxes)
        added = adds * n_targets
        return Effort(
            counts.to_points(
                pairs, n_targets, rows, halo, n_surface, k, added, self.components, self.weights
            ),
            blocks=boxes.size,
            plan_bytes=n_bytes(work),
            result=self.components * n_targets * DOUBLE,
            scratch=(halo * (k + 2 * n_surface) + n_surface * k // 4 + self.components * added) * DOUBLE,
        )

    def p2p(self, at: Place, work: PointsToPoints, *_: Any) -> Effort:
        n_targets = np.diff(work.target_ptr).astype(np.float64)
        one = row_sums(work.ptr, work.end - work.begin)
        two, blocks, sides, n_charges = np.zeros(1), len(n_targets), 1, work.charges.rows.size
        if work.mutual is not None:
            two = row_sums(work.mutual.ptr, n_targets[work.mutual.idx])
            blocks, sides = len(work.mutual.block_ptr) - 1, 2
            n_charges += work.mutual.own.rows.size
        n, c = work.targets.shape[1], self.components
        pairs = float((n_targets * one).sum()), float((n_targets * two).sum())
        buffers = 4 * min(self.tile, float(one.max())) + (4 + c) * float(two.max())
        if work.itself is not None:  # all coordinates, in another unit
            buffers += 3 * (n + work.points.shape[1])
        return Effort(
            counts.p2p(
                n, sides * len(n_targets), sides * n, *pairs, one.sum(), two.sum(), n_charges, c, self.weights
            ),
            blocks=blocks,
            plan_bytes=n_bytes(work),
            result=c * n * DOUBLE,
            scratch=n_charges * DOUBLE + int(buffers * DOUBLE),
        )

    def collect(self, chunk: Chunk, output: str, result_bytes: int) -> Effort:
        rows = chunk.end - chunk.begin
        wide = self.kernel.vectors * self.kernel.output(output).n_rows
        n_values = sum(part.rows.size for part in (*chunk.far.values(), *chunk.near.values()))
        numbers = wide * rows
        # the sum, the same times a factor, and for a gradient its transpose
        copies = 2 + (wide > 1)
        return Effort(
            Counts(alone={"gathered": wide * n_values, "copied": (copies + 1) * numbers}),
            plan_bytes=n_bytes(chunk),
            result=numbers * result_bytes,
            scratch=(copies - (result_bytes == DOUBLE)) * numbers * DOUBLE,
        )
