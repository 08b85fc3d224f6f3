"""What a core takes for the few things that everything is made of, in seconds.

They weigh one operator against another: to choose orders and leaves, and to cut equal shards. No result depends
on them beyond those choices. The defaults are those of an ordinary core; ``taskfmm calibrate`` measures this
machine's and keeps them, and every later process uses those.
"""

from __future__ import annotations

import logging
import math
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from taskfmm.files import numbers
from taskfmm.files.cache import directory

logger = logging.getLogger("taskfmm")

BELIEVABLE = 30.0
"""A kept rate further than this factor from the default is not a measurement of this method."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds on one core.

    near_one, near_two : one distance in the near field that serves one side, or both
    surface_pair : one point and one surface point, in P2M, L2P, M2P and P2L
    ..._gradient : the same when the gradient is computed too
    multiply_add : one multiply-add of a float64 matrix product
    m2l_multiply_add_64, m2l_multiply_add_32 : one multiply-add of M2L, by its dtype
    m2l_core : one use of a matrix by a batch of pairs of parents
    m2l_meeting : one pair of children of such parents, where families are whole
    run : one point and one run of others that it meets, besides the pairs
    row : one box of P2M, L2P and the like, or one leaf of P2P, besides: its buffers and calls
    copied : one float64 copied or added in a row; gathered : one float64 from or to any place
    call : what a task costs besides: arguments, buffers, its share of the threads
    task, edge : what Dask takes for a task, and for one of its inputs, in threads of one process
    start : an evaluation besides: the graph, its order, the threads
    charge : one charge, before any task: checked, and hashed for the names of the tasks
    """

    near_one: float = 0.47e-9
    near_two: float = 0.6e-9
    near_one_gradient: float = 0.63e-9
    near_two_gradient: float = 1.1e-9
    surface_pair: float = 0.52e-9
    surface_pair_gradient: float = 0.83e-9
    multiply_add: float = 3.1e-11
    m2l_multiply_add_64: float = 3.8e-11
    m2l_multiply_add_32: float = 2.2e-11
    m2l_core: float = 0.25e-6
    m2l_meeting: float = 4e-9
    run: float = 40e-9
    row: float = 0.3e-6
    copied: float = 0.8e-9
    gathered: float = 3.5e-9
    call: float = 150e-6
    task: float = 120e-6
    edge: float = 5e-6
    start: float = 1.5e-3
    charge: float = 25e-9


SINGLE = 0.45
"""What loops over pairs take in float32, over what they take in float64."""

DEFAULT = Rates()


def path() -> Path:
    """The file of this machine's rates."""
    return directory() / f"rates-{platform.node() or 'machine'}.json"


@cache
def current() -> Rates:
    """The kept rates of this machine, or the defaults."""
    if not is_kept():
        return DEFAULT
    try:
        kept = numbers.read(path())
        if kept.keys() != asdict(DEFAULT).keys():
            raise OSError(f"{path()}: rates of another version")
    except OSError as error:
        logger.warning("kept machine rates are unusable, run taskfmm calibrate again: %r", error)
        return DEFAULT
    if not all(_believable(rate, getattr(DEFAULT, name)) for name, rate in kept.items()):
        logger.warning("machine rates in %s are out of range, run taskfmm calibrate again", path())
        return DEFAULT
    return Rates(**kept)


def is_kept() -> bool:
    """Whether there is a file of this machine's rates."""
    try:
        return path().exists()
    except OSError:
        return False


def keep(rates: Rates) -> Path:
    """Write this machine's rates; raises OSError where the cache cannot be written."""
    final = path()
    numbers.write(final, asdict(rates))
    current.cache_clear()
    return final


def _believable(rate: float, default: float) -> bool:
    return math.isfinite(rate) and default / BELIEVABLE <= rate <= default * BELIEVABLE
