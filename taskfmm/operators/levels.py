"""The operators of every level."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakValueDictionary

from taskfmm.kernels import Kernel
from taskfmm.operators import expansions, size, store
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.expansions import Expansions

_lock = threading.Lock()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Operators:
    """One set of matrices for a homogeneous kernel, whose levels differ by a factor only; else one for each level.

    by_level : the sets, a single one where it serves every level
    """

    by_level: tuple[Expansions, ...]

    def at(self, level: int) -> Expansions:
        """The operators of boxes of a level."""
        return self.by_level[level if len(self.by_level) > 1 else 0]


_in_memory: WeakValueDictionary[tuple[Kernel, Accuracy], Operators] = WeakValueDictionary()


@lru_cache(maxsize=8)
def _load(kernel: Kernel, accuracy: Accuracy) -> Operators:
    found = Operators((store.kept(kernel, accuracy, lambda: expansions.build(kernel, accuracy)),))
    _in_memory[kernel, accuracy] = found
    return found


def peak_over_size(kernel: Kernel, accuracy: Accuracy) -> float:
    """What reading or building operators takes at its peak in a process without them, in units of their size."""
    return size.READING if store.is_kept(kernel, accuracy) else size.BUILDING


def least_to_load(kernel: Kernel, accuracy: Accuracy) -> tuple[int, int]:
    """Bytes that `load` will add to this process, at least, and at its peak; none if operators are in memory."""
    if (kernel, accuracy) in _in_memory:
        return 0, 0
    least = size.least_bytes(accuracy)
    return least, int(peak_over_size(kernel, accuracy) * least)


def load(kernel: Kernel, accuracy: Accuracy) -> Operators:
    """The operators of a kernel, read or made once in each process.

    A pure function of two small arguments: tasks call it where they run, so matrices never travel in a graph.
    """
    with _lock:
        return _load(kernel, accuracy)
