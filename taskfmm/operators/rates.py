"""What a core takes for the few things that everything is made of, in seconds.

They weigh one operator against another: to choose orders and leaves, and to cut equal shards. No result depends
on them beyond those choices. The defaults are those of an ordinary core; ``taskfmm doctor`` measures this machine's
and keeps them, and every later process uses those.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from taskfmm import files
from taskfmm.operators.cache import directory

logger = logging.getLogger("taskfmm")

LARGEST = 2**16
"""Bytes of a file of rates; it has a few hundred."""

BELIEVABLE = 30.0
"""A kept rate further than this factor from the default is not a measurement of this method."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds on one core.

    near_pair : one pair of points in the near field
    surface_pair : one point and one surface point, in P2M, L2P, M2P and P2L
    multiply_add : one multiply-add of a float64 matrix product
    m2l_multiply_add_64, m2l_multiply_add_32 : one multiply-add of M2L, by its dtype
    m2l_pair : what a pair of boxes costs in M2L besides: gathering, scattering, calling BLAS
    box : what a box costs besides: list entries, buffers, calls
    """

    near_pair: float = 0.45e-9
    surface_pair: float = 0.52e-9
    multiply_add: float = 3.1e-11
    m2l_multiply_add_64: float = 5.0e-11
    m2l_multiply_add_32: float = 2.6e-11
    m2l_pair: float = 15e-9
    box: float = 2e-6

    def m2l_multiply_add(self, dtype: str) -> float:
        """By the name of the dtype in which M2L runs."""
        return self.m2l_multiply_add_32 if dtype == "float32" else self.m2l_multiply_add_64


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
        kept = json.loads(files.read_whole(path(), LARGEST))
        if kept["sha256"] != _digest(kept["rates"]):
            raise ValueError("changed since it was written")
        rates = Rates(**{field.name: float(kept["rates"][field.name]) for field in fields(Rates)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("kept machine rates are unusable, run taskfmm doctor again: %r", error)
        return DEFAULT
    if not all(_believable(getattr(rates, f.name), getattr(DEFAULT, f.name)) for f in fields(Rates)):
        logger.warning("machine rates in %s are out of range, run taskfmm doctor again", path())
        return DEFAULT
    return rates


def is_kept() -> bool:
    """Whether there is a file of this machine's rates."""
    try:
        return path().exists()
    except OSError:
        return False


def keep(rates: Rates) -> Path:
    """Write this machine's rates; raises OSError where the cache cannot be written."""
    final, found = path(), asdict(rates)
    files.write_whole(final, json.dumps({"rates": found, "sha256": _digest(found)}, indent=1).encode())
    current.cache_clear()
    return final


def _digest(found: dict[str, float]) -> str:
    """A flipped digit is a believable rate; it would move leaves, and last digits of results with them."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _believable(rate: float, default: float) -> bool:
    return math.isfinite(rate) and default / BELIEVABLE <= rate <= default * BELIEVABLE
