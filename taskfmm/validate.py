"""The boundary, as to arrays: what a caller hands over becomes what the numerics trust, or one clear error.

Nothing here changes its argument. Arrays come back read-only and, where the caller's array already has the
right form, without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from taskfmm import foreign
from taskfmm.choices import with_article
from taskfmm.errors import InputError

REAL = np.dtype(np.float64)


def points(name: str, array: Any, first_row: int = 0, where: str = "") -> np.ndarray:
    """Check coordinates and bring them to float64.

    Parameters
    ----------
    name : str
        What the caller calls the argument, for the messages.
    array : array_like, real, (n, 3)
        Any memory order, byte order and width; a dask.array is gathered. An empty list is no points.
    first_row, where : of a chunk, the points before it, and what messages say of where a row is

    Returns
    -------
    float64 [n, 3]
        C order, aligned, read-only; shares memory with ``array`` where nothing had to change.

    Raises
    ------
    InputError
        Another shape, a dtype that is not real, masked entries, or a coordinate that is NaN or infinite.
    MemoryLimitError
        A dask.array that does not fit into memory.
    """
    found = foreign.numpy_array(name, array)
    if found.shape == (0,):
        found = found.reshape(0, 3)
    of_numbers(name, found.dtype)
    point_shape(name, found.shape)
    return _finite(name, found, np.dtype(np.float64), None, first_row, where)


def charges(
    array: Any,
    n_sources: int,
    dtype: Any = np.float64,
    of_one: tuple[int, ...] = (),
    name: str = "charges",
    vectors: int | None = None,
) -> np.ndarray:
    """Check charges against the sources they belong to, to be used before the caller goes on.

    Parameters
    ----------
    array : array_like or dask.array, real, (n_sources, *of_one), or (n_sources, *of_one, vectors)
        A dask.array is gathered.
    n_sources : int
    dtype : float64, or complex128 where numbers may be complex
    of_one : tuple of int
        The shape of what one source has: () for a single number.
    name : str
        What the caller calls the argument, for the messages.
    vectors : int, optional
        How many there are along a last axis; left out, there is no such axis.

    Returns
    -------
    dtype, of that shape
        Read-only; shares memory with ``array`` where nothing had to change.

    Raises
    ------
    InputError
        Another length, a dtype of no such numbers, masked entries, or a charge that is NaN or infinite.
    """
    found = _charges(name, array, n_sources, of_one, np.dtype(dtype), vectors)
    return _finite(name, found, np.dtype(dtype), vectors)


def charges_or_lazy(
    array: Any,
    n_sources: int,
    dtype: Any = np.float64,
    of_one: tuple[int, ...] = (),
    name: str = "charges",
    vectors: int | None = None,
) -> Any:
    """As `charges`, but a dask.array stays as it is.

    Returns
    -------
    As `charges`, or the dask.array itself
        Of a dask.array the declared shape and dtype are checked here, its chunks by `chunks` when they are known.
    """
    lazy = foreign.dask_array(name, array)
    if lazy is None:
        return charges(array, n_sources, dtype, of_one, name, vectors)
    of_numbers(name, lazy.dtype, np.dtype(dtype))
    charge_shape(lazy.shape, n_sources, None, of_one, name, vectors)
    return lazy


def chunks(
    found: Sequence[Any],
    declared: Sequence[int],
    numbers: tuple[int, ...],
    kind: str,
    first: int = 0,
    row: int = 0,
    kind_of: str = "charges",
) -> np.ndarray:
    """Chunks of lazy charges in one piece, float64 or complex128, each checked against what was declared of it.

    Parameters
    ----------
    found : sequence of array
    declared, numbers, kind : the length of each, the shape of what follows in all of them, and the dtype
    first, row : number of the first of these chunks, and the sources before it
    kind_of : the name of their argument

    Raises
    ------
    InputError
        A chunk of another shape or of a dtype that is not real, masked entries, or a charge that is NaN or infinite.
    """
    ptr = np.cumsum([0, *declared])
    whole = np.empty((ptr[-1], *numbers), np.complex128 if np.dtype(kind).kind == "c" else np.float64)
    for i, (chunk, length) in enumerate(zip(found, declared, strict=True)):
        number = first + i
        name = f"chunk {number} of {kind_of}"
        array = foreign.numpy_array(name, chunk)
        shape = (length, *numbers)
        if array.shape != shape or array.dtype.kind not in NUMBERS[whole.dtype.kind]:
            raise InputError(
                f"{name} was declared as {kind} of shape {shape} and came as {array.dtype} of shape "
                f"{array.shape}: make the dask.array with the shape and dtype that its chunks have"
            )
        part = whole[ptr[i] : ptr[i + 1]]
        with np.errstate(over="ignore", invalid="ignore"):
            part[:] = array
        bad = ~np.isfinite(part)
        _refuse(kind_of, part, bad, row + int(ptr[i]), "not finite", f", in chunk {number}")
    return whole


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


def charge_shape(
    shape: tuple[int, ...],
    n_sources: int,
    flat: str | None = None,
    of_one: tuple[int, ...] = (),
    name: str = "charges",
    vectors: int | None = None,
) -> None:
    """Refuse a shape that is not (n_sources, *of_one), or with a last axis of so many vectors.

    flat : how to make one axis of two
    """
    expected = _shape(n_sources, of_one, vectors)
    if shape == expected:
        return
    if any(math.isnan(extent) for extent in shape):
        raise InputError(f"{name} has an unknown length: call its compute_chunk_sizes() first")
    problem = f"{name} has shape {shape}, expected {expected}{_for_vectors(vectors)}"
    if not of_one and vectors is None and len(shape) == 2 and 1 in shape and max(shape) == n_sources:
        raise InputError(f"{problem}: did you mean {flat or f'{name}.ravel()'}?")
    if len(expected) == 2 and shape == expected[::-1]:
        raise InputError(f"{problem}: did you mean {name}.T?")
    advice = f"give {_what_one_has(n_sources, of_one, vectors, name)}"
    if len(shape) != len(expected) or shape[1:] != expected[1:]:
        raise InputError(f"{problem}: {advice}")
    raise InputError(f"{name} has {shape[0]} rows, sources has {n_sources}: {advice}")


def _shape(n: int, of_one: tuple[int, ...], vectors: int | None) -> tuple[int, ...]:
    return (n, *of_one) if vectors is None else (n, *of_one, vectors)


def _for_vectors(vectors: int | None) -> str:
    return "" if vectors is None else f" for {vectors} vector{'' if vectors == 1 else 's'}"


def _what_one_has(n_sources: int, of_one: tuple[int, ...], vectors: int | None, name: str) -> str:
    of_each = "for each source" if vectors is None else "for each source and vector"
    if len(of_one) == 2:
        sides = " and ".join(str(_shape(n_sources, (size,), vectors)) for size in dict.fromkeys(of_one))
        numbers = "{} x {} numbers".format(*of_one)
        return f"{numbers} {of_each}, or a pair of arrays, {name}=(m, n), each of shape {sides}"
    return f"{of_one[0] if of_one else 'one'} {'numbers' if of_one else 'charge'} {of_each}"


NUMBERS = {"f": "iuf", "c": "iufc"}
"""Kinds of dtypes that can become real, or complex, numbers."""


def of_numbers(name: str, found: np.dtype, wanted: np.dtype = REAL) -> None:
    """Refuse a dtype whose entries are not real numbers, or complex ones where the wanted dtype is complex."""
    if found.kind in NUMBERS[wanted.kind]:
        return
    if found.kind == "c":
        raise InputError(f"{name} has dtype {found}, expected real numbers: give {name}.real or {name}.imag")
    raise InputError(
        f"{name} has dtype {found}, expected {'real' if wanted == REAL else 'complex'} numbers: convert it, for "
        f"example to {wanted}"
    )


def values(
    array: Any,
    n_targets: int,
    output: str,
    of_one: tuple[int, ...],
    dtype: np.dtype = REAL,
    vectors: int | None = None,
) -> np.ndarray:
    """Check the values of an output, [n_targets, *shape at one target] of the dtype, and of so many vectors.

    They may be infinite, where a result was too large for its dtype, but not NaN.
    """
    found = foreign.numpy_array("values", array)
    of_numbers("values", found.dtype, dtype)
    expected = _shape(n_targets, of_one, vectors)
    if found.shape != expected:
        raise InputError(
            f"values has shape {found.shape}, expected {expected}{_for_vectors(vectors)}: "
            f"give {with_article(output)}, or another output="
        )
    _refuse("values", found, np.isnan(found), 0, "NaN", vectors=vectors)
    return found.astype(dtype, copy=False)


def _charges(
    name: str, array: Any, n_sources: int, of_one: tuple[int, ...], dtype: np.dtype, vectors: int | None
) -> np.ndarray:
    found = foreign.numpy_array(name, array)
    of_numbers(name, found.dtype, dtype)
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.matrix)  # whose ravel has two axes
    flat = f"{name}.ravel()" if plain else f"np.asarray({name}).ravel()"
    charge_shape(found.shape, n_sources, flat, of_one, name, vectors)
    return found


def _finite(
    name: str,
    found: np.ndarray,
    dtype: np.dtype,
    vectors: int | None = None,
    first_row: int = 0,
    where: str = "",
) -> np.ndarray:
    """Convert and check; always read-only, so that compiled loops see one type whatever came in."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.require(found, dtype, ["C", "A"])
    _refuse(name, converted, ~np.isfinite(converted), first_row, "not finite", where, vectors)
    result = converted.view()
    result.flags.writeable = False
    return result


def _refuse(
    name: str,
    values: np.ndarray,
    bad: np.ndarray,
    first_row: int,
    what: str,
    where: str = "",
    vectors: int | None = None,
) -> None:
    """Raise InputError, with the first row and vector of them, if any values are bad, which is what they are."""
    if not bad.any():
        return
    rows = bad.any(axis=tuple(range(1, values.ndim)))
    row = int(np.argmax(rows))
    n_bad = int(np.count_nonzero(rows))
    more = "" if n_bad == 1 else f" ({n_bad} such rows)"
    of, one = "", values[row]
    if vectors is not None:
        vector = int(np.argmax(bad[row].reshape(-1, vectors).any(axis=0)))
        of, one = f" of vector {vector}", one[..., vector]
    raise InputError(f"{name} row {first_row + row}{of} is {what}: {one}{more}{where}")
