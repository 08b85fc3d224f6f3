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

from taskfmm import foreign
from taskfmm.errors import InputError

REAL = np.dtype(np.float64)

MIN_ORDER = 2
"""The smallest cube surface with a point at every corner."""

MAX_ORDER = 20
"""Two orders of growth past where float64 stops gaining digits; the operators are dense in order**2."""

MAX_LEAF_SIZE = 2**31 - 1
"""Larger sizes mean the same, one box for everything, and must fit the tree's counters."""


def points(name: str, array: Any) -> np.ndarray:
    """Check coordinates and bring them to float64.

    Parameters
    ----------
    name : str
        What the caller calls the argument, for the messages.
    array : array_like, real, (n, 3)
        Any memory order, byte order and width; a dask.array is gathered. An empty list is no points.

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
    return _finite(name, found, np.dtype(np.float64))


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
        found = _charges(name, array, n_sources, of_one, np.dtype(dtype), vectors)
        return _finite(name, found, np.dtype(dtype), vectors)
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
    whole = np.empty((ptr[-1], *numbers), np.result_type(kind, np.float64))
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


def _charges(
    name: str, array: Any, n_sources: int, of_one: tuple[int, ...], dtype: np.dtype, vectors: int | None
) -> np.ndarray:
    found = foreign.numpy_array(name, array)
    of_numbers(name, found.dtype, dtype)
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.matrix)  # whose ravel has two axes
    flat = f"{name}.ravel()" if plain else f"np.asarray({name}).ravel()"
    charge_shape(found.shape, n_sources, flat, of_one, name, vectors)
    return found


def _finite(name: str, found: np.ndarray, dtype: np.dtype, vectors: int | None = None) -> np.ndarray:
    """Convert and check; always read-only, so that compiled loops see one type whatever came in."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.require(found, dtype, ["C", "A"])
    _refuse(name, converted, ~np.isfinite(converted), 0, "not finite", vectors=vectors)
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
