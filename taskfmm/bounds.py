"""What a core does at best, clocked in the same run as an evaluation, and what operators would take at that.

Operators are made of pairs of points, matrix products and copies. Each of these is clocked where nothing else is in
its way: pairs of boxes that stay in the nearest cache, products of large matrices, and copies of arrays that are in
no cache. The bound of an operator is what its counts (`taskfmm.cost.counts`) take at these rates. Where machines
differ, or are busy, seconds beside these rates tell more than seconds alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from taskfmm.cost.rates import Rates
from taskfmm.forecast.effort import Effort, Key
from taskfmm.kernels import KERNELS, gather_loops, with_roots
from taskfmm.runtime.threads import budget

BOX, BOXES = 64, 27
"""Points of a box, and boxes next to each other."""

PRODUCT = 768
"""Rows and columns of matrices: large ones are multiplied at the rate of the processor."""

MANY = 2**22
"""Numbers that are copied: far more than any cache holds."""

SECONDS = 0.05
"""For each rate."""


@dataclass(frozen=True)
class Best:
    """Seconds on one core: of a pair that serves one side, or both, without and with the gradient of 1 / r; of a
    multiply-add in each precision; and of a float64 that is copied."""

    one: float
    two: float
    one_gradient: float
    two_gradient: float
    double: float
    single: float
    copied: float

    @property
    def rates(self) -> Rates:
        """Where nothing is paid but pairs, products and copies."""
        none = Rates(**dict.fromkeys((field.name for field in fields(Rates)), 0.0))
        return replace(
            none,
            near_one=self.one,
            near_two=self.two,
            near_one_gradient=self.one_gradient,
            near_two_gradient=self.two_gradient,
            surface_pair=self.one,
            surface_pair_gradient=self.one_gradient,
            multiply_add=self.double,
            m2l_multiply_add_64=self.double,
            m2l_multiply_add_32=self.single,
            copied=self.copied,
            gathered=self.copied,
        )

    def better(self, other: Best) -> Best:
        """The lesser of each, of two measurements."""
        mine, its = asdict(self), asdict(other)
        return Best(**{name: min(value, its[name]) for name, value in mine.items()})

    def as_rates(self) -> dict[str, float]:
        """Gpairs/s that serve both sides, each of which counts; GFLOP/s; and GB/s that are read and written."""
        return {
            "pair_rate": 2e-9 / self.two,
            "gemm_rate": 2e-9 / self.double,
            "gemm_rate_single": 2e-9 / self.single,
            "copy_rate": 16e-9 / self.copied,
        }

    def equivalents(self, cpu_seconds: float, n: int) -> dict[str, float]:
        """How many pairs, and floating-point operations of products, a core does in the time that a point takes."""
        return {
            "pairs_a_point": 2.0 * cpu_seconds / self.two / n,
            "flops_a_point": 2.0 * cpu_seconds / self.double / n,
        }


def measure(eps: float = 1e-6, seconds: float = SECONDS) -> Best:
    """The rates of one core, by the clock of its thread; eps decides about the digits of roots."""
    one, two = pairs("potential", eps, seconds)
    one_gradient, two_gradient = pairs("gradient", eps, seconds)
    double, single = (product(PRODUCT, PRODUCT, PRODUCT, dtype, seconds) for dtype in "df")
    values, out = np.ones(MANY), np.empty(MANY)
    copied = least(lambda: np.copyto(out, values), seconds) / MANY
    return Best(one, two, one_gradient, two_gradient, double, single, copied)


def pairs(output: str, eps: float, seconds: float) -> tuple[float, float]:
    """Seconds of a pair of points of Laplace's kernel that serves one side, and of one that serves both."""
    kernel = with_roots(KERNELS["laplace"].of_first, eps).computing((output,))
    loops, n = gather_loops(kernel, output), BOX * BOXES
    rng = np.random.default_rng(1)
    points, q, out = rng.random((3, n)), rng.random((1, n)), np.zeros((kernel.n_components(output), n))
    ends, none, rest = BOX * np.arange(BOXES + 1), np.zeros(0, np.int64), (kernel.constants, out)
    row = ends[:2], *points[:, :BOX], np.array([0, 1]), np.array([0]), np.array([n]), *points, q
    met = [np.arange(box + 1, BOXES, dtype=np.int32) for box in range(BOXES)]
    block = np.array([0, BOXES]), ends, *points, q, np.zeros(BOXES + 1, np.int64), none, none, *points, q
    mutual = *block, np.cumsum([0, *map(len, met)]), np.concatenate(met)
    one = least(lambda: loops.points_to_points(0, 1, *row, *rest), seconds) / (BOX * n)
    two = least(lambda: loops.points_to_points_mutual(0, 1, *mutual, *rest), seconds)
    return one, two / (n * (n - BOX) / 2)


def product(m: int, k: int, n: int, dtype: Any, seconds: float) -> float:
    """Seconds of a multiply-add of a product of such matrices."""
    rng = np.random.default_rng(2)
    a, b, out = rng.random((m, k)).astype(dtype), rng.random((k, n)).astype(dtype), np.empty((m, n), dtype)
    with budget():
        return least(lambda: np.dot(a, b, out), seconds) / (m * k * n)


def least(once: Callable[[], Any], seconds: float) -> float:
    """The least CPU seconds of this thread, over passes for that many seconds after one that warms up."""
    once()
    found, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until or not np.isfinite(found):
        started = time.thread_time()
        once()
        found = min(found, time.thread_time() - started)
    return float(found)


def by_operator(efforts: Iterable[tuple[Key, Effort]], best: Best) -> dict[str, float]:
    """Seconds that the tasks of each operator would take on one core."""
    found: dict[str, float] = {}
    for (operator, *_), effort in efforts:
        found[operator] = found.get(operator, 0.0) + float(effort.counts.seconds(best.rates))
    return found
