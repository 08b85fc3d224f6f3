"""The operators of every level."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

from taskfmm.kernels import KERNELS
from taskfmm.operators import expansions, store
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.expansions import Expansions

_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Operators:
    """One set of matrices for a homogeneous kernel, whose levels differ by a factor only; else one for each level.

    by_level : the sets, a single one where it serves every level
    """

    by_level: tuple[Expansions, ...]

    def at(self, level: int) -> Expansions:
        """The operators of boxes of a level."""
        return self.by_level[level if len(self.by_level) > 1 else 0]


@lru_cache(maxsize=8)
def _load(kernel: str, accuracy: Accuracy) -> Operators:
    facts = KERNELS[kernel]
    return Operators((store.kept(facts, accuracy, lambda: expansions.build(facts, accuracy)),))


def load(kernel: str, accuracy: Accuracy) -> Operators:
    """The operators of a kernel, read or made once in each process.

    A pure function of two small arguments: tasks call it where they run, so matrices never travel in a graph.
    """
    with _lock:
        return _load(kernel, accuracy)
