"""What surrounds the arrays of a plan file: nests of the plan's dataclasses, told as JSON and made again from it.

Nothing is pickled or evaluated. Only the classes below are made, from exactly their fields, each of exactly its type;
whether the numbers inside arrays make sense is the business of `taskfmm.store.check`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from taskfmm.cost.counts import Weights
from taskfmm.csr import Csr
from taskfmm.geometry.cell import Box, Cell
from taskfmm.geometry.domain import Domain
from taskfmm.kernels import Kernel, Output, Source
from taskfmm.kernels.softening import Softening
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.directional import DirectionalM2L
from taskfmm.operators.known import Known, Share
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.operators.mixed import MixedM2L
from taskfmm.plan import works
from taskfmm.plan.regional import Cut, How, Numbers
from taskfmm.plan.shards import Interactions
from taskfmm.tree.images import Images
from taskfmm.tree.octree import Octree
from taskfmm.tree.units import Cells, Units

CLASSES = {
    kind.__name__: kind
    for kind in (
        *(Box, Cell, Csr, Domain, Images, Interactions, Octree),
        *(
            Accuracy,
            BoxOperators,
            Kernel,
            Known,
            DirectionalM2L,
            Matrices,
            MixedM2L,
            Output,
            Share,
            Softening,
        ),
        Source,
        *(Cells, Cut, How, Numbers, Operators, Units, Weights),
        *(found for found in vars(works).values() if isinstance(found, type) and is_dataclass(found)),
    )
}
"""What may occur in a file beside numbers, strings, None, tuples and dicts."""

DEEPEST = 16
"""Levels of nesting; plans have eight."""

PACKED = "shards"
"""The group of the datasets that hold many arrays, one after the other, one dataset for each dtype."""


class Outline:
    """The description of some values, and their arrays by the dataset that holds them.

    Parameters
    ----------
    values : mapping
    named : names of values whose arrays get datasets of their own, under their own names

    Examples
    --------
    >>> outline = Outline({"pair": (1, np.arange(3)), "order": np.arange(2)}, named=["order"])
    >>> outline.values
    {'pair': [1, {'array': ['shards/int64', 0, [3]]}], 'order': {'array': ['order', 0, [2]]}}
    """

    def __init__(self, values: Mapping[str, Any], named: Collection[str] = ()) -> None:
        self.arrays: dict[str, list[np.ndarray]] = {}
        self._size: dict[str, int] = {}
        self._places: dict[int, list[Any]] = {}
        self._placed: dict[tuple, np.ndarray] = {}
        self.values = {
            name: self._describe(value, name if name in named else None) for name, value in values.items()
        }

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for arrays in self.arrays.values() for array in arrays)

    def checksums(self) -> dict[str, int]:
        """Of the arrays of each value, see `checksum`."""
        return {name: checksum(described, self._at) for name, described in self.values.items()}

    def _at(self, name: str, first: int, shape: list[int]) -> np.ndarray:
        return self._placed[name, first, *shape]

    def _describe(self, value: Any, path: str | None) -> Any:
        """path : the dataset of the value if it is an array, None if that is packed"""

        def inner(name: object, part: Any) -> Any:
            return self._describe(part, path and f"{path}/{name}")

        if isinstance(value, np.ndarray):
            return {"array": self._place(value, path)}
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return [inner(i, item) for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {"pairs": [[inner(k, k), inner(k, v)] for k, v in value.items()]}
        kind = type(value)
        if is_dataclass(value) and CLASSES.get(kind.__name__) is kind:
            members = {field.name: inner(field.name, getattr(value, field.name)) for field in fields(value)}
            return {"is": kind.__name__, **members}
        raise TypeError(f"a {type(value).__name__} cannot be part of a plan file")

    def _place(self, array: np.ndarray, path: str | None) -> list[Any]:
        """Dataset, first element and shape; what is the same array has the same place."""
        if id(array) not in self._places:
            name = path or f"{PACKED}/{array.dtype.name}"
            first = self._size.get(name, 0)
            self._places[id(array)] = [name, first, list(array.shape)]
            self._placed[name, first, *array.shape] = array
            self._size[name] = first + array.size
            self.arrays.setdefault(name, []).append(array)
        return self._places[id(array)]


class Maker:
    """Makes values from their descriptions.

    arrays : the datasets, one-dimensional; an array that was described twice becomes one array again
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._made: dict[tuple, np.ndarray] = {}

    def make(self, described: Any, depth: int = 0) -> Any:
        """The value.

        Raises
        ------
        ValueError, TypeError, KeyError
            A description that no value has.
        """
        if depth > DEEPEST:
            raise ValueError("is nested too deep")
        if isinstance(described, list):
            return tuple(self.make(item, depth + 1) for item in described)
        if not isinstance(described, dict):
            return described
        if "array" in described:
            return self.array(*described["array"])
        if "pairs" in described:
            return {
                self.make(key, depth + 1): self.make(value, depth + 1) for key, value in described["pairs"]
            }
        kind = CLASSES[described["is"]]
        expected = _hints(kind)
        members = {name: self.make(value, depth + 1) for name, value in described.items() if name != "is"}
        if members.keys() != expected.keys():
            raise ValueError(f"a {kind.__name__} of other fields")
        for name, value in members.items():
            if not fits(value, expected[name]):
                raise ValueError(f"{kind.__name__}.{name} is of another type")
        return kind(**members)

    def array(self, name: str, first: int, shape: list[int]) -> np.ndarray:
        """One array, by its place."""
        place = (name, first, *shape)
        if place not in self._made:
            if not (len(shape) <= 4 and all(type(n) is int and n >= 0 for n in place[1:])):
                raise ValueError(f"an array at {first!r} of shape {shape!r}")
            size, whole = math.prod(shape), self._arrays[name]
            if first + size > whole.size:
                raise ValueError(f"an array beyond the end of {name}")
            self._made[place] = whole[first : first + size].reshape(shape)
        return self._made[place]


def checksum(described: Any, at: Callable[[str, int, list[int]], np.ndarray]) -> int:
    """The CRC-32 of all arrays of a value, one after the other; at : gives the array of a place."""
    crc = 0
    for place in places(described):
        crc = zlib.crc32(np.ascontiguousarray(at(*place)).reshape(-1).view(np.uint8).data, crc)
    return crc


def places(described: Any) -> Iterator[list[Any]]:
    """The places of the arrays of a value."""
    if isinstance(described, dict):
        if "array" in described:
            yield described["array"]
            return
        described = list(described.values())
    if isinstance(described, list):
        for part in described:
            yield from places(part)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of exactly a type.

    Examples
    --------
    >>> fits((1, 2), tuple[int, ...]), fits((1, 2.0), tuple[int, ...]), fits(True, int), fits(None, int | None)
    (True, False, False, True)
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(fits(value, each) for each in inner)
    if kind is dict:
        return type(value) is dict and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if kind is tuple:
        hints = inner[:1] * len(value) if inner[-1] is Ellipsis and type(value) is tuple else inner
        return (
            type(value) is tuple
            and len(value) == len(hints)
            and all(fits(each, of) for each, of in zip(value, hints, strict=True))
        )
    return type(value) is (NoneType if hint is None else hint)
