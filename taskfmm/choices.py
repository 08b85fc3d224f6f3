"""The boundary, as to what a caller chooses: numbers and names become what the rest trusts, or one clear error."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from taskfmm.errors import InputError

MIN_ORDER = 2
"""The smallest cube surface with a point at every corner."""

MAX_ORDER = 20
"""Two orders of growth past where float64 stops gaining digits; the operators are dense in order**2."""

MAX_LEAF_SIZE = 2**31 - 1
"""Larger sizes mean the same, one box for everything, and must fit the tree's counters."""


def eps(value: Any) -> float:
    """Check the accuracy: a relative l2 error between 0 and 1, both excluded."""
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 < number < 1.0:
        raise InputError(f"eps is {value!r}, expected a number between 0 and 1: give for example 1e-6")
    return number


def order(value: Any) -> int | None:
    """Check the order p, the points along an edge of a cube surface; None lets eps choose."""
    if value is None:
        return None
    number = _integer(value)
    if number is None or not MIN_ORDER <= number <= MAX_ORDER:
        raise InputError(
            f"order is {value!r}, expected an integer from {MIN_ORDER} to {MAX_ORDER}: "
            "leave it out to let eps choose"
        )
    return number


def leaf_size(value: Any) -> int | None:
    """Check the largest number of points in a leaf; None lets the library choose."""
    if value is None:
        return None
    number = _integer(value)
    if number is None or number < 1:
        raise InputError(
            f"leaf_size is {value!r}, expected an integer of at least 1: "
            "leave it out to let the library choose"
        )
    return min(number, MAX_LEAF_SIZE)


def columns(value: Any) -> int:
    """Check a number of vectors: a whole number from 1 on."""
    found = _integer(value)
    if found is None or found < 1:
        raise InputError(
            f"columns is {value!r}, expected an integer of at least 1, the vectors of an evaluation"
        )
    return found


def region(value: Any) -> int | None:
    """Check how many points a task may hold; None lets the library choose."""
    if value is None:
        return None
    found = _integer(value)
    if found is None or found < 1:
        raise InputError(
            f"region is {value!r}, expected an integer of at least 1, the points that one task may hold: "
            "leave it out to let the library choose"
        )
    return found


def number(argument: str, value: Any) -> int:
    """Check how many there are of something."""
    found = _integer(value)
    if found is None or found < 1:
        raise InputError(f"{argument} is {value!r}, expected an integer of at least 1")
    return found


def n_samples(value: Any) -> int:
    """Check how many targets an estimate looks at."""
    number = _integer(value)
    if number is None or number < 1:
        raise InputError(f"n_samples is {value!r}, expected an integer of at least 1: leave it out for 1000")
    return number


def generator(seed: Any) -> np.random.Generator:
    """The random numbers of a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(
            f"seed is {seed!r}, expected a non-negative integer: leave it out for another draw each time"
        ) from None


def with_article(name: str) -> str:
    """As a sentence has it: a potential, an acceleration."""
    return f"{'an' if name[:1].lower() in tuple('aeiou') else 'a'} {name}"


def output(name: Any, known: Sequence[str]) -> str:
    """Check the name of one output."""
    return _known("output", name, known)


def known_name(argument: str, name: Any, known: Iterable[str]) -> str:
    """Check a name against the known ones."""
    return _known(argument, name, sorted(known))


def outputs(names: Any, known: Sequence[str]) -> tuple[str, ...]:
    """Check which outputs are asked for; one name may stand alone, repeats count once."""
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, Iterable) or not (listed := tuple(listed)):
        raise InputError(f"outputs is {names!r}, expected at least one of {', '.join(known)}")
    return tuple(dict.fromkeys(_known("outputs", name, known) for name in listed))


def dtype(value: Any) -> np.dtype:
    """Check the working precision: float64 or float32, in this machine's byte order."""
    try:
        found = None if value is None else np.dtype(value)
    except TypeError:
        found = None
    # None first: NumPy calls it equal to float64.
    if found is None or found not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise InputError(f"dtype is {value!r}, expected float64 or float32")
    return found


def _integer(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _known(argument: str, name: Any, known: Sequence[str]) -> str:
    if isinstance(name, str):
        if name in known:
            return name
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        if near:
            raise InputError(f"{argument}: {name!r} is not known: did you mean {near[0]!r}?")
    raise InputError(f"{argument}: {name!r} is not known: choose from {', '.join(known)}")
