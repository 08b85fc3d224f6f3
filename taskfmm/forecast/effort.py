"""What each task of an evaluation does, counted from the plan: how often each rate is paid, and bytes.

A count is named by the field of `taskfmm.cost.rates.Rates` that prices it. Nothing here knows of Dask; the
keys ``(operator, level, shard)`` are those of the graph, without its token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from taskfmm.cost.rates import Rates
from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.levels import Matrices
from taskfmm.passes import translations
from taskfmm.passes.drive import Place, drive
from taskfmm.plan.plan import Plan
from taskfmm.plan.works import (
    Chunk,
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

    shared : counts by rate, of loops that the Numba threads of a task divide among them
    alone : counts by rate, of what one thread does: copies and whole matrix products
    blocks : pieces of the shared loop
    work, result, scratch : bytes of its part of the plan, of what it returns, and of what it needs besides
    """

    shared: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    blocks: int = 1
    work: int = 0
    result: int = 0
    scratch: int = 0

    def seconds(self, rates: Rates, threads: int = 1) -> float:
        """Expected, on that many Numba threads."""
        at_once = self.blocks / math.ceil(self.blocks / threads)
        return _price(self.shared, rates) / at_once + _price(self.alone, rates)


def _price(counts: Mapping[str, float], rates: Rates) -> float:
    return sum(getattr(rates, name) * count for name, count in counts.items())


def n_bytes(value: Any) -> int:
    """Bytes of the arrays in a nest of dataclasses and containers."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(n_bytes(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict):
        return sum(map(n_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(n_bytes, value))
    return 0


def efforts(
    plan: Plan, operators: Matrices, kernel: Kernel, outputs: tuple[str, ...], result_bytes: int = DOUBLE
) -> dict[Key, Effort]:
    """Every task of an evaluation.

    outputs : those asked for; result_bytes : of a number of the results
    """
    count = _Counting(plan, operators, kernel, kernel.last(outputs))
    found = {("charges", number, 0): count.charges(rows.size) for number, rows in enumerate(plan.charges)}

    def call(name: str, at: Place, work: Any, *inputs: Any) -> Key:
        found[name, *at] = getattr(count, name.lower())(at, work, *inputs)
        return (name, *at)

    drive(plan, list(found), call)
    for output in outputs:
        for number, chunk in enumerate(plan.chunks):
            found[output, number, 0] = count.collect(chunk, output, result_bytes)
    return found


class _Counting:
    """Counts what tasks do; one method for each operator."""

    def __init__(self, plan: Plan, operators: Matrices, kernel: Kernel, mode: str) -> None:
        self.plan = plan
        self.operators = operators
        self.kernel = kernel
        self.components = kernel.n_components(mode)
        self.suffix = "_gradient" if kernel.output(mode).derivative else ""
        self.tile = gather_loops(kernel, mode).TILE

    def charges(self, n: int) -> Effort:
        numbers = self.kernel.n_numbers * n
        return Effort(
            alone={"copied": 2 * numbers, "call": 1}, result=numbers * DOUBLE, scratch=numbers * DOUBLE
        )

    def p2m(self, at: Place, work: PointsToSurfaces, *_: Any) -> Effort:
        return self._to_surfaces(work, self.operators.at(at[0]))

    def p2l(self, at: Place, work: PointsToSurfaces, *_: Any) -> Effort:
        return self._to_surfaces(work, self.operators.at(at[0]))

    def m2m(self, at: Place, work: Translation, *_: Any) -> Effort:
        matrices = self.operators.at(at[0]).m2m
        return self._translation(work, *matrices.shape[1:])

    def l2l(self, at: Place, work: Translation | None, n_boxes: int, *_: Any) -> Effort:
        k = self.operators.at(at[0]).rank
        if work is None:
            return Effort(alone={"copied": 2 * n_boxes * k, "call": 1}, result=n_boxes * k * DOUBLE)
        return self._translation(work, self.operators.at(at[0] - 1).rank, k, 2 * n_boxes * k)

    def m2p(self, at: Place, work: SurfacesToPoints, *_: Any) -> Effort:
        return self._to_points(work, self.operators.at(at[0] + 1), 0)

    def l2p(self, at: Place, work: SurfacesToPoints, local: Any, from_m2p: Any) -> Effort:
        added = 0 if from_m2p is None else self.components * work.targets.shape[1]
        return self._to_points(work, self.operators.at(at[0]), added)

    def _to_surfaces(self, work: PointsToSurfaces, at: BoxOperators) -> Effort:
        n_surface, k = at.check_to_multipole.shape
        n_points = float((work.end - work.begin).sum())
        n = work.rows.size
        return Effort(
            shared={"surface_pair": n_points * n_surface, "run": n_points},
            alone={
                "multiply_add": n * n_surface * k,
                "gathered": work.charges.rows.size,
                "copied": n * n_surface + (n + work.n_rows) * k,
                "call": 1,
            },
            blocks=n,
            work=n_bytes(work),
            result=work.n_rows * k * DOUBLE,
            scratch=(n * (n_surface + k) + work.charges.rows.size) * DOUBLE,
        )

    def _translation(self, work: Translation, of: int, k: int, added: int = 0) -> Effort:
        n_entries = work.target.size
        halo = work.halo.rows.size * of
        return Effort(
            shared={"multiply_add": n_entries * of * k, "copied": n_entries * (of + 2 * k)},
            alone={"copied": halo + work.n_rows * k + added, "call": 1},
            blocks=len(work.code_ptr),
            work=n_bytes(work),
            result=work.n_rows * k * DOUBLE,
            scratch=(halo + translations.BATCH * (of + k)) * DOUBLE,
        )

    def m2l(self, at: Place, work: Siblings, *_: Any) -> Effort:
        level, number = at
        before = sum(shard.n_boxes for shard in self.plan.far[level][:number])
        first = int(self.plan.tree.level_ptr[level]) + before
        ptr, own = self.plan.lists.v.ptr, self.operators.at(level)
        n_pairs = float(ptr[first + work.n_rows] - ptr[first])
        halo, itemsize = work.halo.rows.size * own.rank, own.m2l.dtype.itemsize
        return Effort(
            shared=own.m2l.counts(work, n_pairs),
            alone={"copied": halo + work.n_rows * own.rank, "call": 1},
            blocks=len(work.code_ptr),
            work=n_bytes(work),
            result=work.n_rows * own.rank * itemsize,
            scratch=halo * itemsize + own.m2l.scratch,
        )

    def _to_points(self, work: SurfacesToPoints, at: BoxOperators, added: int) -> Effort:
        k, n_surface = at.local_to_density.shape
        n_targets = np.diff(work.target_ptr)
        halo = work.halo.rows.size
        values = self.components * work.targets.shape[1]
        pairs = float((n_targets * np.diff(work.ptr)).sum())
        return Effort(
            shared={f"surface_pair{self.suffix}": pairs * n_surface, "run": pairs},
            alone={
                "multiply_add": halo * k * n_surface,
                "copied": halo * (k + n_surface) + 3 * values + added,
                "call": 1,
            },
            blocks=len(n_targets),
            work=n_bytes(work),
            result=values * DOUBLE,
            scratch=(halo * (k + n_surface) + added) * DOUBLE,
        )

    def p2p(self, at: Place, work: PointsToPoints, *_: Any) -> Effort:
        n_targets = np.diff(work.target_ptr).astype(np.float64)
        one = _row_sums(work.ptr, (work.end - work.begin).astype(np.float64))
        two = np.zeros(1)
        blocks, own = len(n_targets), 0
        if work.mutual is not None:
            two = _row_sums(work.mutual.ptr, n_targets[work.mutual.idx])
            blocks, own = len(work.mutual.block_ptr) - 1, work.mutual.own.rows.size
        gathered = work.charges.rows.size + own
        values = self.components * work.targets.shape[1]
        buffers = 4 * min(self.tile, float(one.max())) + (4 + self.components) * float(two.max())
        return Effort(
            shared={
                f"near_one{self.suffix}": float((n_targets * one).sum()),
                f"near_two{self.suffix}": float((n_targets * two).sum()),
                "run": (1.0 + (work.mutual is not None)) * n_targets.sum(),
                "copied": 4.0 * one.sum() + (4.0 + 2.0 * self.components) * two.sum(),
            },
            alone={"gathered": gathered, "copied": values, "call": 1},
            blocks=blocks,
            work=n_bytes(work),
            result=values * DOUBLE,
            scratch=gathered * DOUBLE + int(buffers * DOUBLE),
        )

    def collect(self, chunk: Chunk, output: str, result_bytes: int) -> Effort:
        rows = chunk.end - chunk.begin
        wide = self.kernel.output(output).n_rows
        n_values = sum(part.rows.size for part in (*chunk.far.values(), *chunk.near.values()))
        numbers = wide * rows
        # the sum, the same times a factor, and for a gradient its transpose
        copies = 2 + (wide > 1)
        return Effort(
            alone={"gathered": wide * n_values, "copied": (copies + 1) * numbers, "call": 1},
            work=n_bytes(chunk),
            result=numbers * result_bytes,
            scratch=(copies - (result_bytes == DOUBLE)) * numbers * DOUBLE,
        )


def _row_sums(ptr: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum of values over each row of a list."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[ptr[1:]] - total[ptr[:-1]]
