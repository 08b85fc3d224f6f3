"""Changes to plans for tests: every field by its path, and copies with another value there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from taskfmm.csr import Csr

Path = tuple[Any, ...]


def leaves(value: Any, path: Path = (), owner: str = "") -> Iterator[tuple[Path, str, Any]]:
    """Path, "Class.field" and value of everything that is no nest itself; of a halo "Halo of what.field"."""
    if is_dataclass(value):
        name = type(value).__name__
        name = f"Halo of {path[-1]}" if name == "Halo" and path else name
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name), f"{name}.{field.name}")
    elif isinstance(value, tuple) and (not value or not isinstance(value[0], int)):
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i), owner)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key), owner)
    elif value is not None:
        yield path, owner, value


def changed(value: Any, path: Path, new: Any) -> Any:
    """A copy that has ``new`` at a path and shares the rest."""
    if not path:
        return new
    first, rest = path[0], path[1:]
    if is_dataclass(value):
        return replace(value, **{first: changed(getattr(value, first), rest, new)})
    if isinstance(value, tuple):
        return (*value[:first], changed(value[first], rest, new), *value[first + 1 :])
    return {**value, first: changed(value[first], rest, new)}


def one_of_each(value: Any) -> dict[str, tuple[Path, Any]]:
    """For every field of every class one place with something in it."""
    found: dict[str, tuple[Path, Any]] = {}
    for path, owner, leaf in leaves(value):
        if owner not in found and np.size(leaf):
            found[owner] = path, leaf
    return found


def with_entry(array: np.ndarray, place: int, new: Any) -> np.ndarray:
    """A copy with one entry changed."""
    found = array.copy()
    found.ravel()[place] = new
    return found


def listed(csr: Csr, i: int) -> np.ndarray:
    """The entries of a row of a list."""
    return csr.idx[csr.ptr[i] : csr.ptr[i + 1]]
