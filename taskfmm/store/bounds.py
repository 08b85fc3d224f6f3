"""What arrays of a plan look like, and the few questions that are asked of them before compiled loops trust them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.domain import Domain
from taskfmm.plan.shards import Interactions
from taskfmm.plan.works import (
    FarImages,
    Halo,
    Moments,
    MutualPairs,
    Part,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)
from taskfmm.tree.images import Images
from taskfmm.tree.octree import Octree

ARRAYS: dict[type, dict[str, str]] = {
    Csr: dict(ptr="int64 n+1", idx="int32 e"),
    Domain: dict(lower="float64 3", middle="float64 3", rest="float64 3"),
    Octree: dict(
        level_ptr="int64 l+1", level="int8 n", anchor="int64 n 3", parent="int32 n", child_ptr="int32 n+1",
        source_ptr="int64 n 2", target_ptr="int64 n 2", sources="float64 3 s", targets="float64 3 t",
        source_order="int64 s", target_order="int64 t",
    ),
    Interactions: dict(colleagues="int32 n 27"),
    Halo: dict(ptr="int64 s+1", rows="int32 n"),
    Translation: dict(code_ptr="int64 b 9", target="int32 e", source="int32 e"),
    Siblings: dict(
        code_ptr="int64 b 8", target="int32 e", source="int32 e", mirror="int8 e", target_child="int32 t 8",
        source_child="int32 s 8",
    ),
    PointsToSurfaces: dict(
        rows="int32 n", hi="float64 3 n", lo="float64 3 n", ptr="int64 n+1", begin="int64 e", end="int64 e",
        points="float64 3 p",
    ),
    SurfacesToPoints: dict(
        target_ptr="int64 n+1", targets="float64 3 t", hi="float64 3 n", lo="float64 3 n", ptr="int64 n+1",
        idx="int32 e", box_hi="float64 3 h", box_lo="float64 3 h",
    ),
    MutualPairs: dict(block_ptr="int64 b+1", ptr="int64 n+1", idx="int32 e"),
    PointsToPoints: dict(
        target_ptr="int64 n+1", targets="float64 3 t", ptr="int64 n+1", begin="int64 e", end="int64 e",
        points="float64 3 p",
    ),
    Images: dict(box="int32 n", cell="int8 n"),
    Moments: dict(center="float64 3", points="float64 3 n"),
    FarImages: dict(target="int64 n 3", source="int64 s 3"),
    Part: dict(columns="int32 n", rows="int32 n"),
}  # fmt: skip
"""Dtype and shape of every array; a letter is the same number throughout one object."""


class Unfit(ValueError):
    """A plan that cannot be run; the text says where and why."""


@contextmanager
def at(place: str) -> Iterator[None]:
    try:
        yield
    except Unfit as error:
        raise Unfit(f"{place}: {error}") from None


def need(good: Any, what: str) -> None:
    if not good:
        raise Unfit(what)


def shapes(found: Any, table: dict[str, str]) -> None:
    """Check the arrays of an object against their dtypes and shapes."""
    sizes: dict[str, int] = {}
    for name, text in table.items():
        array = getattr(found, name)
        dtype, *extents = text.split()
        need(array.dtype == dtype, f"{name} is {array.dtype}, expected {dtype}")
        need(array.ndim == len(extents), f"{name} has {array.ndim} dimensions, expected {len(extents)}")
        for n, extent in zip(array.shape, extents, strict=True):
            letter, _, more = extent.partition("+")
            expected = (
                int(letter)
                if letter.isdigit()
                else sizes.setdefault(letter, n - int(more or 0)) + int(more or 0)
            )
            need(
                n == expected and n >= int(more or 0),
                f"{name} has shape {array.shape}, expected {' x '.join(extents)}",
            )


def within(name: str, array: np.ndarray, low: int, high: int) -> None:
    """Every entry in low <= entry < high."""
    if array.size:
        least, most = int(array.min()), int(array.max())
        need(low <= least and most < high, f"{name} holds {least} to {most}, expected {low} to {high - 1}")


def ascends(name: str, ptr: np.ndarray, last: int, first: int = 0) -> None:
    need(ptr.size and ptr[0] == first and ptr[-1] == last, f"{name} does not span {first} to {last}")
    need((ptr[1:] >= ptr[:-1]).all(), f"{name} descends")


def distinct(name: str, values: np.ndarray, n: int) -> None:
    """Every entry in 0 <= entry < n, none of them twice."""
    within(name, values, 0, n)
    seen = np.zeros(n, bool)
    seen[values] = True
    need(np.count_nonzero(seen) == values.size, f"{name} repeats itself")


def arrays(found: Any) -> None:
    """Dtypes and shapes of an object and of all within it."""
    with at(type(found).__name__):
        shapes(found, ARRAYS.get(type(found), {}))
    for field in fields(found):
        inner = getattr(found, field.name)
        for each in inner.values() if type(inner) is dict else (inner,):
            if is_dataclass(each):
                arrays(each)
