"""Arrays of other libraries, as NumPy or Dask arrays of plain numbers; and their units.

None of these libraries is required: objects are told apart by what they offer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import psutil

from taskfmm.errors import InputError, MemoryLimitError

DIMENSIONLESS = ("", "1", "dimensionless")
"""What is written for no unit."""


def dask_array(name: str, given: Any) -> Any | None:
    """The dask.array that an object is, or holds under labels or a unit; None where its numbers are in memory.

    Raises
    ------
    InputError
        Another collection of Dask, whose shape or dtype is not known.
    """
    found = _unwrapped(given)
    if not hasattr(found, "__dask_graph__"):
        return None
    if isinstance(getattr(found, "chunks", None), tuple) and isinstance(found.dtype, np.dtype):
        return found
    kind = type(found).__name__
    make = "its to_dask_array(lengths=True)"
    if kind.startswith("Delayed"):  # of which there are several classes
        kind, make = "Delayed", "dask.array.from_delayed"
    raise InputError(
        f"{name} is a {kind} of dask, expected an array: give {name}.compute(), or a dask.array made by {make}"
    )


def numpy_array(name: str, given: Any) -> np.ndarray:
    """The numbers of any array, gathered if they are lazy; the caller's memory where it is a NumPy array already.

    Raises
    ------
    InputError
        Masked entries, or no array at all.
    MemoryLimitError
        A dask.array that does not fit into memory.
    """
    lazy = dask_array(name, given)
    found = _unwrapped(given) if lazy is None else _gathered(name, lazy)
    if np.ma.is_masked(found):
        raise InputError(f"{name} has masked entries: drop those rows or fill them")
    try:
        array = np.asarray(found)
        if array.dtype == object and _has_real_columns(found):
            return found.to_numpy(np.float64, na_value=np.nan)
        return array
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}") from error


def same_unit(sources: Any, targets: Any, name: str = "targets") -> None:
    """Refuse sources and targets, or a box, with different units, or of which only one carries a unit."""
    if targets is None:
        return
    units = {"sources": unit_of(sources), name: unit_of(targets)}
    if not _equal(*units.values()):
        of = [
            f"{name} {'have no unit' if unit is None else f'are in {unit}'}" for name, unit in units.items()
        ]
        raise InputError(f"{', '.join(of)}: convert them to the same unit first")


def _unwrapped(given: Any) -> Any:
    """Without the labels of xarray and the unit of pint; of the type, since a Delayed has every attribute."""
    if hasattr(type(given), "__dask_graph__") and hasattr(type(given), "data"):
        given = given.data
    return given.magnitude if hasattr(type(given), "magnitude") else given


def _gathered(name: str, lazy: Any) -> Any:
    """A dask.array in memory; while it is put together its chunks are there as well."""
    n_bytes = lazy.nbytes * (1 if lazy.npartitions == 1 else 2)
    there = psutil.virtual_memory().total
    n_rows = (*lazy.shape, 1)[0]
    need = f"{name} has {n_rows:,} rows, which take {n_bytes / 1e9:,.1f} GB to gather"
    text = f"{need}, this machine has {there / 1e9:,.1f} GB: give fewer points"
    if n_bytes > there:
        raise MemoryLimitError(text)
    try:
        return lazy.compute()
    except MemoryError as error:
        raise MemoryLimitError(text) from error


def _has_real_columns(table: Any) -> bool:
    """Whether an object is a table whose columns all are of a real dtype, nullable ones of pandas among them."""
    dtypes = getattr(table, "dtypes", None)
    if dtypes is None or not hasattr(table, "to_numpy"):
        return False
    return all(getattr(each, "kind", None) in ("i", "u", "f") for each in np.atleast_1d(dtypes))


def unit_of(given: Any) -> Any:
    """What astropy calls ``unit``, others ``units``; None for pure numbers, and for a coordinate of that name."""
    for name in ("unit", "units"):
        found = getattr(given, name, None)
        if found is not None and not getattr(found, "ndim", 0) and str(found) not in DIMENSIONLESS:
            return found
    return None


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    with suppress(TypeError, ValueError):  # units of pint, of two registries
        if one == other:
            return True
    return str(one) == str(other)
