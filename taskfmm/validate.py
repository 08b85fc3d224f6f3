"""The boundary: what a caller hands over becomes what the numerics trust, or one clear error.

Nothing here changes its argument. Arrays come back read-only and, where the caller's array already has the
right form, without a copy.
"""

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

OUTPUTS = ("potential", "gradient")


def points(name: str, array: Any) -> np.ndarray:
    """Check coordinates and bring them to float64.

    Parameters
    ----------
    name : str
        What the caller calls the argument, for the messages.
    array : array_like, real, (n, 3)
        Any memory order, byte order and width. An empty list is no points.

    Returns
    -------
    float64 [n, 3]
        C order, aligned, read-only; shares memory with ``array`` where nothing had to change.

    Raises
    ------
    InputError
        Another shape, a dtype that is not real, masked entries, or a coordinate that is NaN or infinite.
    """
    found = _as_array(name, array)
    if found.shape == (0,):
        found = found.reshape(0, 3)
    real_dtype(name, found.dtype)
    point_shape(name, found.shape)
    return _finite(name, found, np.dtype(np.float64))


def charges(array: Any, n_sources: int, dtype: Any = np.float64) -> Any:
    """Check charges against the sources they belong to.

    Parameters
    ----------
    array : array_like or dask.array, real, (n_sources,)
    n_sources : int
    dtype : float64 or float32
        The plan's dtype.

    Returns
    -------
    dtype [n_sources]
        Read-only. A Dask array stays lazy: its shape and dtype are checked here, its values by
        `finite_charges` inside the first task that sees them.
    """
    dtype = np.dtype(dtype)
    lazy = hasattr(array, "__dask_graph__") and hasattr(array, "shape")
    found = array if lazy else _as_array("charges", array)
    real_dtype("charges", found.dtype)
    charge_shape(found.shape, n_sources)
    return found.astype(dtype) if lazy else _finite("charges", found, dtype)


def finite_charges(values: np.ndarray, first_row: int = 0) -> np.ndarray:
    """Return ``values`` if every one is finite; for a chunk, ``first_row`` is its place in the whole."""
    _check_finite("charges", values, first_row)
    return values


def point_shape(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a shape that is not (n, 3)."""
    if len(shape) == 2 and shape[1] == 3:
        return
    problem = f"{name} has shape {shape}, expected (n, 3)"
    if len(shape) == 2 and shape[0] == 3:
        raise InputError(f"{problem}: did you mean {name}.T?")
    if shape == (3,):
        raise InputError(f"{problem}: for a single point write [{name}]")
    raise InputError(f"{problem}: give one row x, y, z for each point")


def charge_shape(shape: tuple[int, ...], n_sources: int) -> None:
    """Refuse a shape that is not (n_sources,)."""
    if shape == (n_sources,):
        return
    if any(math.isnan(extent) for extent in shape):
        raise InputError("charges has an unknown length: call its compute_chunk_sizes() first")
    if len(shape) == 2 and 1 in shape and max(shape) == n_sources:
        raise InputError(f"charges has shape {shape}, expected ({n_sources},): did you mean charges.ravel()?")
    if len(shape) != 1:
        raise InputError(
            f"charges has shape {shape}, expected ({n_sources},): give one charge for each source"
        )
    raise InputError(f"charges has {shape[0]} rows, sources has {n_sources}: give one charge for each source")


def real_dtype(name: str, found: np.dtype) -> None:
    """Refuse a dtype whose entries are not real numbers."""
    if found.kind in "iuf":
        return
    if found.kind == "c":
        raise InputError(f"{name} has dtype {found}, expected real numbers: give {name}.real or {name}.imag")
    raise InputError(f"{name} has dtype {found}, expected real numbers: convert it, for example to float64")


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


def kernel(name: Any, known: Iterable[str]) -> str:
    """Check a kernel's name against the known ones."""
    return _known("kernel", name, sorted(known))


def outputs(names: Any, known: Sequence[str] = OUTPUTS) -> tuple[str, ...]:
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


def _as_array(name: str, array: Any) -> np.ndarray:
    if np.ma.is_masked(array):
        raise InputError(f"{name} has masked entries: drop those rows or fill them")
    try:
        return np.asarray(array)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}") from error


def _finite(name: str, found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert and check; always read-only, so that compiled loops see one type whatever came in."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.require(found, dtype, ["C", "A"])
    _check_finite(name, converted, 0)
    result = converted.view()
    result.flags.writeable = False
    return result


def _check_finite(name: str, values: np.ndarray, first_row: int) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = ~finite if values.ndim == 1 else ~finite.all(axis=1)
    row = int(np.argmax(bad))
    n_bad = int(np.count_nonzero(bad))
    more = "" if n_bad == 1 else f" ({n_bad} such rows)"
    raise InputError(f"{name} row {first_row + row} is not finite: {values[row]}{more}")


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
