"""How large a kernel is at a distance: a power of it, or a table made from the kernel's own formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from taskfmm.geometry import surface
from taskfmm.geometry.morton import MAX_LEVEL
from taskfmm.kernels import Kernel, Output, Source, fingerprint
from taskfmm.operators.matrix import value_matrix

PER_OCTAVE = 8
"""Distances of a table between a number and its double; between them its logarithm is interpolated. For exp(-r) that
is within 1 % as long as it falls by less than a factor e between two of them, and within 3 % for e^3."""

NOTICED = 1e-2
"""What is this part of eps, or less, goes unnoticed."""

LEAST, MOST = 1e-300, 1e300
"""Sizes are kept within these bounds before their logarithm is taken; the lower one is read back as zero."""

DIGITS = 12
"""Of the factor of a power: formulas round differently in different directions."""


@dataclass(frozen=True, slots=True, eq=False)
class Radial:
    """What one source of unit size does at a distance r, at most: the l2 norm of the rows of an output.

    It is ``factor * r**power``, or from the table where there is one.

    first, per_step : logarithm of the first distance, and steps for each unit of the logarithm
    logs : float64 [n], logarithms of sizes; empty where a power says all
    """

    factor: float
    power: int
    first: float = 0.0
    per_step: float = 0.0
    logs: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def numbers(self) -> tuple[float, int, float, float, np.ndarray]:
        """As `taskfmm.passes.share_loops` gets them."""
        return self.factor, self.power, self.first, self.per_step, self.logs

    def at(self, r: float) -> float:
        """The size at a distance."""
        if not self.logs.size:
            return float(self.factor * r**self.power)
        place = (np.log(r) - self.first) * self.per_step
        return _size(np.interp(place, np.arange(self.logs.size), self.logs))

    def beyond(self, r: float) -> float:
        """The largest size at this distance or a larger one, up to the last of the table."""
        first = int(np.clip((np.log(r) - self.first) * self.per_step, 0, self.logs.size - 1))
        return _size(self.logs[first:].max())


def _size(log: float) -> float:
    return 0.0 if log <= np.log(LEAST) else float(np.exp(log))


def radial(kernel: Kernel, kind: Source, output: Output, half_width: float) -> Radial:
    """Of a kind of source and an output; those with the same derivative count together, as their errors do.

    half_width : of the root box; distances are those between all its boxes
    """
    return _radial(kernel, kind, output, half_width, fingerprint(kernel))


@lru_cache(maxsize=64)
def _radial(kernel: Kernel, kind: Source, output: Output, half_width: float, formulas: str) -> Radial:
    """formulas : the kernel's fingerprint: other formulas have other sizes"""
    alike = [each.name for each in kernel.outputs if each.derivative == output.derivative]
    rows = slice(kernel.rows(alike[0]).start, kernel.rows(alike[-1]).stop)
    kernel = kernel.up_to(alike[-1])  # loops of others would be compiled for this alone
    if kernel.degree is not None:
        factor = round(float(_sizes(kernel, kind, rows, np.ones(1))[0]), DIGITS)
        return Radial(factor, kernel.power(output.name) - kind.derivative)
    octaves = MAX_LEVEL + 4
    r = 4.0 * half_width * 2.0 ** np.linspace(-octaves, 0.0, PER_OCTAVE * octaves + 1)
    logs = np.log(np.clip(_sizes(kernel, kind, rows, r), LEAST, MOST))
    return Radial(1.0, 0, float(np.log(r[0])), float(PER_OCTAVE / np.log(2.0)), logs)


def does_nothing(kernel: Kernel, kind: Source, output: Output) -> bool:
    """Whether an output is zero for a kind of source, as the pressure of a rotlet is."""
    return kernel.degree is not None and _does_nothing(kernel, kind, output, fingerprint(kernel))


@lru_cache(maxsize=64)
def _does_nothing(kernel: Kernel, kind: Source, output: Output, formulas: str) -> bool:
    return not _sizes(kernel.up_to(output.name), kind, kernel.rows(output.name), np.ones(1)).any()


def first_level(
    kernel: Kernel, eps: float, half_width: float, n_sources: int, close: float, first: int
) -> int:
    """The first level at which boxes that are not adjacent have anything to do with each other.

    Above it a kernel has died away: all sources together, at the distance of the nearest such boxes, do less than eps
    notices beside what the nearest source does to a target.

    half_width : of the root box
    close : usual distance between a target and its nearest source
    first : the level at which there are such boxes
    """
    if kernel.degree is not None:
        return first
    least = NOTICED * eps / n_sources
    found = first_felt(kernel, half_width, range(first, MAX_LEVEL), lambda size, half: least * size.at(close))
    return MAX_LEVEL if found is None else found


def first_felt(
    kernel: Kernel, half_width: float, levels: Iterable[int], least: Callable[[Radial, float], float]
) -> int | None:
    """The first of some levels at which a source does more than so much to a box that is not adjacent to its own.

    least : by what it does at a distance, and the half-width of the boxes
    """
    sizes = [radial(kernel, kind, output, half_width) for kind in kernel.sources for output in kernel.outputs]
    for level in levels:
        half = half_width * 0.5**level
        if any(size.beyond(2.0 * half) > least(size, half) for size in sizes):
            return level
    return None


def _sizes(kernel: Kernel, kind: Source, rows: slice, r: np.ndarray) -> np.ndarray:
    """The largest over directions and unit numbers, float64 [n]."""
    directions = surface.cube(5, 1.0)
    directions = directions / np.sqrt((directions**2).sum(axis=0))
    targets = (r[:, None] * directions[:, None, :]).reshape(3, -1)
    values = value_matrix(kernel.with_sources(kind), targets, np.zeros((3, 1)))[rows]
    with np.errstate(over="ignore"):
        return np.sqrt((values**2).sum(axis=0)).reshape(r.size, -1).max(axis=1)
