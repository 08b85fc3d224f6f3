"""What the key of a task says, and the one colour of each operator."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

COLOURS = {
    "charges": "#7f7f7f",
    "P2M": "#2ca02c",
    "M2M": "#98df8a",
    "P2I": "#00602a",
    "I2L": "#aec7e8",
    "M2L": "#1f77b4",
    "P2L": "#17becf",
    "L2L": "#9467bd",
    "L2P": "#d62728",
    "M2P": "#e377c2",
    "P2P": "#ff9f40",
    "potential": "#4d4d4d",
    "gradient": "#8c564b",
}
"""Of every picture: far field from green through blue to red, near field orange, what frames them grey or brown."""

OTHER_OUTPUT = "#bcbd22"
"""The colour of outputs that are neither."""

OPERATORS = tuple(COLOURS)
"""The names that begin the keys of our tasks, in the order of the method; other outputs come last."""

LEVELED = tuple(name for name in COLOURS if name.isupper())
"""The operators of the method, by the field's names in capitals; their keys have a level."""

MARK = "fmm0"
"""Begins the token of every evaluation. With its digit Dask's tools see that it is no part of a task's name."""

SHARED = len(MARK) + 20
"""So much of a token names charges, their plan and the accuracy; what follows names outputs and targets."""

ASIDE = "fmm1"
"""The same in tasks that only bring lazy charges to their shards: profiles and forecasts leave them out."""


class Name(NamedTuple):
    """What a key says. evaluation : the token that all tasks of one evaluation share; level : None if it has none"""

    operator: str
    level: int | None
    evaluation: str


def colour(operator: str) -> str:
    """Of an operator or an output."""
    return COLOURS.get(operator, OTHER_OUTPUT)


def rank(operator: str) -> tuple[int, str]:
    """To sort operators and outputs in the order of the method."""
    return (OPERATORS.index(operator) if operator in OPERATORS else len(OPERATORS)), operator


def operator_of(key: Hashable) -> str | None:
    """The operator or output of a task's key ``("M2L-<token>", level, shard)``; None for the tasks of others."""
    operator, _, token = _first(key).partition("-")
    return operator if token.startswith(MARK) else None


def name_of(key: Hashable) -> Name | None:
    """Operator, level and evaluation of a task's key; None for the tasks of others."""
    operator = operator_of(key)
    if operator is None:
        return None
    leveled = isinstance(key, tuple) and len(key) > 1 and operator in LEVELED
    token = _first(key).split("-", 1)[1]
    return Name(operator, int(key[1]) if leveled else None, token[:SHARED])  # type: ignore[index]


def without_charges(key: Hashable) -> tuple | None:
    """A key of ours without what names charges: the same task has the same in every evaluation of a plan."""
    operator = operator_of(key)
    if operator is None:
        return None
    numbers = key[1:] if isinstance(key, tuple) else ()
    return (operator, _first(key).split("-", 1)[1][SHARED:], *numbers)


def _first(key: Hashable) -> str:
    name = key[0] if isinstance(key, tuple) and key else key
    return name if isinstance(name, str) else ""
