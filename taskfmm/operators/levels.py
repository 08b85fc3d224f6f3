"""The operators of every level."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.kernels import Kernel, fingerprint
from taskfmm.operators import box, lattice, size, store
from taskfmm.operators.accuracy import Accuracy, of_order
from taskfmm.operators.box import BoxOperators

UNIT = 1.0
"""The half-width that stands for all, where a kernel has a degree: its levels differ by a factor only."""

T = TypeVar("T")

_lock = threading.RLock()
_in_memory: WeakValueDictionary[tuple[Kernel, Accuracy, float], BoxOperators] = WeakValueDictionary()


MOST = 2**32
"""Bytes of the operators that stay in memory: kernels with parameters, and those without a degree, have so many."""

_kept: OrderedDict[tuple, Any] = OrderedDict()
"""Those that were used last, by what they are made from."""


def _keep(case: tuple, make: Callable[[], T]) -> T:
    """What is in memory, else what is made, which then is."""
    with _lock:
        if case not in _kept:
            _kept[case] = make()
            size_of_all = sum(map(_n_bytes, _kept.values()))
            while size_of_all > MOST and len(_kept) > 1:
                size_of_all -= _n_bytes(_kept.popitem(last=False)[1])
        _kept.move_to_end(case)
        found: T = _kept[case]
        return found


def _n_bytes(kept: Any) -> int:
    if isinstance(kept, tuple):
        return sum(map(_n_bytes, kept))
    return int(kept.nbytes if isinstance(kept, np.ndarray) else kept.n_bytes)


def load(kernel: Kernel, accuracy: Accuracy, half_width: float = UNIT) -> BoxOperators:
    """The operators of a kernel for boxes of one size, read or made where they are not in memory."""
    kernel = kernel.expands
    case = (kernel, accuracy, fingerprint(kernel), half_width)
    found = _keep(case, lambda: _made(kernel, accuracy, half_width))
    _in_memory[kernel, accuracy, half_width] = found
    return found


def _made(kernel: Kernel, accuracy: Accuracy, half_width: float) -> BoxOperators:
    if accuracy != accuracy.stored:
        return load(kernel, accuracy.stored, half_width).single()
    return store.kept(kernel, accuracy, half_width, lambda: box.build(kernel, accuracy, half_width))


MANY = 8
"""Boxes along each axis of a periodic box, below which operators are better, see `Accuracy.coarse`. In a free cloud
boxes of the first two levels are next to all others. Here they are not, and what large boxes do to each other is the
largest part of the potential of random charges, which erred by up to 2.4 times eps. These levels have few boxes.
"""


def fine(cell: Cell) -> int:
    """The first level of a periodic box with `MANY` boxes along each axis; below that of the cubes."""
    fewest = min(n for n, repeated in zip(cell.cubes, cell.periodic, strict=True) if repeated)
    return cell.level + max(1, math.ceil(math.log2(MANY / fewest)))


EXACT, EXACT_MOMENTS = 16, 18
"""Order of the expansions that stand for far images where nothing else is approximated. First moments lose a digit,
so with them it is the second one."""


def of_cubes(kernel: Kernel, cell: Cell, order: int | None = None) -> tuple[BoxOperators, np.ndarray]:
    """Operators of the cubes of a cell, without M2L, and what far images do; order : the exact one, if left out."""
    order = order or (EXACT_MOMENTS if kernel.first_moment else EXACT)
    moments, kernel = kernel.first_moment, kernel.expands

    def make() -> tuple[BoxOperators, np.ndarray]:
        at = box.build(kernel, of_order(order), UNIT, across=False)
        return at, lattice.matrices(kernel, at, cell, moments)

    return _keep((kernel, order, cell.periodic, cell.cubes, moments), make)


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of a kernel at an accuracy, by level: what tasks are given, as matrices never travel in a graph.

    kernel : that they are made of, which any kernel with these expansions stands for
    half_width : of the root box; `UNIT` where the kernel has a degree
    cell : of a periodic box
    first_moment : of the kernel
    """

    kernel: Kernel
    accuracy: Accuracy
    half_width: float = UNIT
    cell: Cell | None = None
    first_moment: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "first_moment", self.first_moment or self.kernel.first_moment)
        object.__setattr__(self, "kernel", self.kernel.expands)

    def at(self, level: int) -> BoxOperators:
        """The operators of boxes of a level, read or made where they are first asked for."""
        if level == self.fine - 1:
            return self._between
        accuracy = self.accuracy if level >= self.fine else self.accuracy.coarse
        return load(self.kernel, accuracy, self.half_width_at(level))

    @property
    def fine(self) -> int:
        """The first level whose operators are of the accuracy itself."""
        return 0 if self.cell is None else fine(self.cell)

    def of(self, levels: Iterable[int]) -> Matrices:
        """All of them, for some levels."""
        if self.kernel.degree is not None:
            levels = sorted({0, max(0, self.fine - 1), self.fine}) if list(levels) else []
        return Matrices({level: self.at(level) for level in levels}, self.cell, self.images)

    @property
    def images(self) -> np.ndarray | None:
        """What far images do, see `taskfmm.operators.lattice.matrices`; None where there are none."""
        if self.cell is None:
            return None
        cell, kernel, accuracy, moments = (
            self.cell,
            self.kernel,
            self.accuracy.coarse.stored,
            self.first_moment,
        )
        case = (kernel, accuracy, cell.periodic, cell.cubes, moments)
        return _keep(case, lambda: lattice.matrices(kernel, load(kernel, accuracy), cell, moments))

    @property
    def _between(self) -> BoxOperators:
        """Those of the last level of better ones, whose boxes have children with others."""
        kernel, accuracy = self.kernel, self.accuracy
        both = load(kernel, accuracy.coarse), load(kernel, accuracy)
        return _keep((kernel, accuracy, fingerprint(kernel)), lambda: box.above(kernel, *both))

    def half_width_at(self, level: int) -> float:
        """Of the boxes of a level, in the unit of their operators."""
        return UNIT if self.kernel.degree is not None else self.half_width * 0.5**level

    def least_to_load(self, levels: Iterable[int] = (0,)) -> tuple[int, int]:
        """Bytes that loading some levels adds to this process, at least, and at its peak; 0 for those in memory."""
        cases = {(self.accuracy, self.half_width_at(level)) for level in levels}
        cases |= {(self.accuracy.coarse, UNIT)} if self.cell is not None else set()
        missing = [case for case in cases if (self.kernel, *case) not in _in_memory]
        least = [size.least_bytes(self.kernel, accuracy) for accuracy, _ in missing]
        peaks = [
            (self.peak_over_size(width) - 1.0) * each for (_, width), each in zip(missing, least, strict=True)
        ]
        return sum(least), int(sum(least) + max(peaks, default=0.0))

    def peak_over_size(self, half_width: float = UNIT) -> float:
        """What reading or building operators takes at its peak in a process without them, in units of their size."""
        is_kept = store.is_kept(self.kernel, self.accuracy.stored, half_width)
        return size.READING if is_kept else size.BUILDING


@dataclass(frozen=True, slots=True)
class Matrices:
    """Operators by the first level that they serve: a single one, by level 0, for all; none for a direct sum.

    cell, images : as `Operators` has them
    """

    by_level: dict[int, BoxOperators]
    cell: Cell | None = None
    images: np.ndarray | None = None

    def at(self, level: int) -> BoxOperators:
        """The operators of boxes of a level."""
        return self.by_level[max(first for first in self.by_level if first <= level)]

    @property
    def accuracy(self) -> Accuracy:
        """Of all of them, but for those of large boxes of a periodic box, see `MANY`."""
        return self.by_level[max(self.by_level)].accuracy
