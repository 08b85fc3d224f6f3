"""What the key of a task says, and the one colour of each operator."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

COLOURS = {
    "charges": "#7f7f7f",
    "p2m": "#2ca02c",
    "m2m": "#98df8a",
    "m2l": "#1f77b4",
    "p2l": "#17becf",
    "l2l": "#9467bd",
    "l2p": "#d62728",
    "m2p": "#e377c2",
    "near": "#ff9f40",
    "potential": "#4d4d4d",
    "gradient": "#8c564b",
}
"""Of every picture: far field from green through blue to red, near field orange, what frames them grey or brown."""

OPERATORS = tuple(COLOURS)
"""The names that begin the keys of our tasks, in the order of the method."""

_WITHOUT_LEVEL = ("charges", "potential", "gradient")


class Name(NamedTuple):
    """What a key says. evaluation : the token that all tasks of one evaluation share; level : None if it has none"""

    operator: str
    level: int | None
    evaluation: str


def operator_of(key: Hashable) -> str | None:
    """The operator of a task's key ``("m2l-<token>", level, shard)``; None for the tasks of others."""
    name = _first(key)
    operator = name.split("-", 1)[0] if "-" in name else ""
    return operator if operator in COLOURS else None


def name_of(key: Hashable) -> Name | None:
    """Operator, level and evaluation of a task's key; None for the tasks of others."""
    operator = operator_of(key)
    if operator is None:
        return None
    leveled = isinstance(key, tuple) and len(key) > 1 and operator not in _WITHOUT_LEVEL
    return Name(operator, int(key[1]) if leveled else None, _first(key).split("-", 1)[1])  # type: ignore[index]


def _first(key: Hashable) -> str:
    name = key[0] if isinstance(key, tuple) and key else key
    return name if isinstance(name, str) else ""
