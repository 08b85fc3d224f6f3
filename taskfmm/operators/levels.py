"""The operators of every level."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakValueDictionary

from taskfmm.kernels import Kernel, fingerprint
from taskfmm.operators import box, size, store
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.box import BoxOperators

UNIT = 1.0
"""The half-width that stands for all, where a kernel has a degree: its levels differ by a factor only."""

_lock = threading.RLock()
_in_memory: WeakValueDictionary[tuple[Kernel, Accuracy, float], BoxOperators] = WeakValueDictionary()


@lru_cache(maxsize=8)
def _kept(kernel: Kernel, accuracy: Accuracy, formulas: str, mantissa: float) -> dict[float, BoxOperators]:
    """By half-width; those that were asked for.

    formulas : the kernel's fingerprint
    mantissa : of the half-width, which all levels of a tree share: of other trees no more than a few are kept
    """
    return {}


def load(kernel: Kernel, accuracy: Accuracy, half_width: float = UNIT) -> BoxOperators:
    """The operators of a kernel for boxes of one size, read or made once in each process."""
    kernel = kernel.expands
    with _lock:
        kept = _kept(kernel, accuracy, fingerprint(kernel), math.frexp(half_width)[0])
        if half_width not in kept:
            kept[half_width] = store.kept(
                kernel, accuracy, half_width, lambda: box.build(kernel, accuracy, half_width)
            )
            _in_memory[kernel, accuracy, half_width] = kept[half_width]
        return kept[half_width]


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of a kernel at an accuracy, by level: what tasks are given, as matrices never travel in a graph.

    kernel : that they are made of, which any kernel with these expansions stands for
    half_width : of the root box; `UNIT` where the kernel has a degree
    """

    kernel: Kernel
    accuracy: Accuracy
    half_width: float = UNIT

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", self.kernel.expands)

    def at(self, level: int) -> BoxOperators:
        """The operators of boxes of a level, read or made where they are first asked for."""
        return load(self.kernel, self.accuracy, self.half_width_at(level))

    def of(self, levels: Iterable[int]) -> Matrices:
        """All of them, for some levels."""
        if self.kernel.degree is not None:
            levels = [0] if list(levels) else []
        return Matrices({level: self.at(level) for level in levels})

    def half_width_at(self, level: int) -> float:
        """Of the boxes of a level, in the unit of their operators."""
        return UNIT if self.kernel.degree is not None else self.half_width * 0.5**level

    def least_to_load(self, levels: Iterable[int] = (0,)) -> tuple[int, int]:
        """Bytes that loading some levels adds to this process, at least, and at its peak; 0 for those in memory."""
        widths = {self.half_width_at(level) for level in levels}
        missing = [w for w in widths if (self.kernel, self.accuracy, w) not in _in_memory]
        least = size.least_bytes(self.kernel, self.accuracy)
        peaks = [(self.peak_over_size(width) - 1.0) * least for width in missing]
        return least * len(missing), int(least * len(missing) + max(peaks, default=0.0))

    def peak_over_size(self, half_width: float = UNIT) -> float:
        """What reading or building operators takes at its peak in a process without them, in units of their size."""
        is_kept = store.is_kept(self.kernel, self.accuracy, half_width)
        return size.READING if is_kept else size.BUILDING


@dataclass(frozen=True, slots=True)
class Matrices:
    """Operators by level; a single one, by level 0, where it serves all; none for a direct sum."""

    by_level: dict[int, BoxOperators]

    def at(self, level: int) -> BoxOperators:
        """The operators of boxes of a level."""
        return self.by_level[level if level in self.by_level else 0]

    @property
    def accuracy(self) -> Accuracy:
        """Of all of them."""
        return next(iter(self.by_level.values())).accuracy
