"""What an evaluation is given: an array for each kind of source, of one vector or of many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.kernels import Kernel, Output, Source

T = TypeVar("T")

AT_ONCE = 8
"""Vectors that are summed at once at most: more share the same distances, which by then are a small part of the work,
and take more memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """An array for each kind of source that is given.

    kernel : its ``sources`` are these kinds
    arrays : [n_sources, *kind.of_one] for each of its ``kinds``, NumPy or dask
    vectors : how many the arrays have as a last axis; None where they have no such axis, as in groups
    """

    kernel: Kernel
    arrays: tuple[Any, ...]
    vectors: int | None = None

    @classmethod
    def checked(
        cls, kernel: Kernel, charges: Any, others: Mapping[str, Any], n_sources: int, lazy: bool = False
    ) -> Given:
        """From what a caller gives.

        charges : of the kernel's first kind of source, or None
        others : of all kinds, by the names of their arguments
        lazy : whether a dask.array stays one

        Raises
        ------
        InputError
            A kind that the kernel does not have or that is given twice, none at all, or an array that does not fit.
        """
        arguments = [kind.given_as for kind in kernel.sources]
        for name in others:
            if name not in arguments:
                raise InputError(
                    f"{name} is no source of kernel {kernel.name}: its sources are {', '.join(arguments)}"
                )
        found = {name: array for name, array in others.items() if array is not None}
        if charges is not None:
            if arguments[0] in found:
                raise InputError(f"{arguments[0]} is given twice, by name and as the first argument")
            found[arguments[0]] = charges
        if not found:
            raise InputError(f"no sources were given: give at least one of {', '.join(arguments)}")
        kinds = [kind for kind in kernel.sources if kind.given_as in found]
        vectors = {name: _vectors(kind, found[name]) for kind in kinds if (name := kind.given_as)}
        if len(set(vectors.values())) > 1:
            told = ", ".join(
                f"{name} has {'no axis for them' if n is None else n}" for name, n in vectors.items()
            )
            raise InputError(f"sources have different numbers of vectors ({told}): give as many of each kind")
        n = vectors[kinds[0].given_as]
        for name, array in found.items():
            shape = _shape(array)
            if n is not None and len(shape) == 2 and shape[0] != n_sources == shape[1]:
                raise InputError(f"{name} has shape {shape}, sources has {n_sources}: did you mean {name}.T?")
        arrays = [of_kind(kind, found[kind.given_as], n_sources, kind.given_as, lazy, n) for kind in kinds]
        return cls(kernel.with_sources(*kinds), tuple(arrays), n)

    def refuse_charged(self, argument: str | None = None) -> None:
        """Raise InputError where charges of a periodic box do not add up to zero; of lazy ones tasks find out.

        argument : by which they are given, where that is another one
        """
        if self.are_lazy:
            return
        for kind, array in zip(self.kernel.sources, self.arrays, strict=True):
            if kind.name in CHARGED:
                all_axes = tuple(range(1 + len(kind.of_one)))
                net = np.trace(array, axis1=1, axis2=2) if kind.shape else array
                sums = np.atleast_1d(net.sum(axis=0)), np.atleast_1d(np.abs(array).sum(axis=all_axes))
                refuse_charged(*sums, self.kernel, self.vectors is not None, argument)

    @property
    def exact(self) -> Given:
        """The same for sums that results are compared with."""
        return replace(self, kernel=self.kernel.exact)

    @property
    def are_lazy(self) -> bool:
        """Whether some of them are not known yet."""
        return not all(isinstance(array, np.ndarray) for array in self.arrays)

    @property
    def parts(self) -> tuple[Given, ...]:
        """Itself, or the real and the imaginary parts of complex numbers, where the kernel knows only real ones.

        Outputs are linear in them, and `whole` puts them together.
        """
        if not any(array.dtype.kind == "c" for array in self.arrays) or self.kernel.sources[0].complex:
            return (self,)
        real, imaginary = (tuple(_part(array, name) for array in self.arrays) for name in ("real", "imag"))
        return Given(self.kernel, real, self.vectors), Given(self.kernel, imaginary, self.vectors)

    @property
    def columns(self) -> list[Given]:
        """Its vectors one by one; one of zeros, where there are none."""
        if self.vectors is None:
            return [self]
        return [
            Given(self.kernel, tuple(_vector(a, n) for a in self.arrays)) for n in range(self.vectors or 1)
        ]

    def in_groups_of(
        self, choose: Callable[[Given], T], most: int = AT_ONCE
    ) -> Iterator[tuple[list[int], Given, T]]:
        """Groups of vectors for which the same was chosen, and that: what stands beside a vector changes nothing but
        its last digits.

        choose : of one vector; of lazy ones the first stands for all
        """
        columns = self.columns
        chosen = [choose(each) for each in (columns[:1] if self.are_lazy else columns)]
        chosen *= len(columns) // len(chosen)
        for numbers, group in self.in_groups(chosen, most):
            yield numbers, group, chosen[numbers[0]]

    def in_groups(self, alike: Sequence[Any] = (), most: int = AT_ONCE) -> list[tuple[list[int], Given]]:
        """Vectors that are summed at once, at most so many, with their numbers.

        alike : of each vector something that is equal where they may be in one group; all may, if left out
        """
        columns, numbers = self.columns, defaultdict[Any, list[int]](list)
        for number, label in enumerate(alike or [None] * len(columns)):
            numbers[label].append(number)
        groups = [
            each[first : first + most] for each in numbers.values() for first in range(0, len(each), most)
        ]
        return [(group, _side_by_side([columns[number] for number in group])) for group in groups]


NEUTRAL = 1e-12
"""Charges whose sum is at most this part of that of their magnitudes add up to zero, but for rounding."""


CHARGED = ("charge", "stresslet")
"""Kinds of sources that have to add up to zero in a periodic box: charges, and traces of stresslets, which are
sources of fluid. Forces are balanced by a gradient of the pressure."""


def refuse_charged(
    total: np.ndarray,
    magnitudes: np.ndarray,
    kernel: Kernel,
    several: bool = False,
    argument: str | None = None,
) -> None:
    """Raise InputError where the sums of some vectors, beside those of their magnitudes, are not zero."""
    (charged,) = np.nonzero(np.abs(total) > NEUTRAL * magnitudes)
    if charged.size:
        worst = charged[0]
        of = f" of vector {worst}" if several else ""
        name = argument or ("traces of stresslets" if kernel.first_moment else kernel.sources[0].given_as)
        how = "m n - (m . n) / 3" if kernel.first_moment else f"{name} - {name}.mean(axis=0)"
        raise InputError(
            f"{name}{of} do not add up to zero, their sum is {total[worst] / magnitudes[worst]:.1e} of that of their "
            f"magnitudes: in a periodic box nothing is finite then. Subtract the mean in float64, {how}, or give "
            "those that are missing"
        )


def together(found: Mapping[tuple[int, ...], Any], output: Output, vectors: int) -> Any:
    """One output of all vectors, as its last axis, from those of groups by the numbers of their vectors."""
    axes = 2 + len(output.shape)  # a group of one has no axis of vectors
    arrays = [each if each.ndim == axes else each[..., None] for each in found.values()]
    whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)
    order = np.argsort([number for numbers in found for number in numbers])
    if not np.array_equal(order, np.arange(order.size)):
        whole = whole[..., order]
    return whole[..., :vectors]


def all_together(
    found: Mapping[tuple[int, ...], Mapping[str, Any]], given: Given, outputs: Sequence[str]
) -> dict[str, Any]:
    """The same of several outputs of the vectors of ``given``."""
    return {
        output: together(
            {numbers: group[output] for numbers, group in found.items()},
            given.kernel.output(output),
            given.vectors or 0,
        )
        for output in outputs
    }


def _side_by_side(columns: Sequence[Given]) -> Given:
    """Vectors as a group."""
    arrays = tuple(array for column in columns for array in column.arrays)
    return Given(columns[0].kernel.with_vectors(len(columns)), arrays)


def _vector(array: Any, number: int) -> Any:
    """One vector of an array, as an array that owns its numbers; zeros where there are no vectors."""
    if not array.shape[-1]:
        return np.zeros(array.shape[:-1], array.dtype)
    return np.ascontiguousarray(array[..., number]) if isinstance(array, np.ndarray) else array[..., number]


def whole(parts: Sequence[Any]) -> Any:
    """One output from those of `Given.parts`."""
    return parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]


def _part(array: Any, name: str) -> Any:
    """The real or the imaginary part of an array, as one that owns its numbers."""
    part = getattr(array, name)
    return np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part


def _vectors(kind: Source, given: Any) -> int | None:
    """How many vectors of sources are given, as a last axis; None where there is no such axis."""
    is_pair = isinstance(given, (tuple, list)) and len(given) == 2 and len(_shape(given[0])) > 1
    one = given[0] if is_pair else given
    shape = _shape(one)
    axes = 1 if one is not given else len(kind.of_one)
    return int(shape[-1]) if len(shape) == axes + 2 and shape[-1] == shape[-1] else None


def _shape(given: Any) -> tuple[int, ...]:
    """Of an array or of nested lists; () of what is neither, and is refused later."""
    shape = getattr(given, "shape", None)
    try:
        return shape if isinstance(shape, tuple) else np.shape(given) if shape is None else ()
    except ValueError:  # lists of different lengths
        return ()


def of_kind(
    kind: Source, given: Any, n_sources: int, name: str, lazy: bool = False, vectors: int | None = None
) -> Any:
    """What is given for one kind of source, [n_sources, *kind.of_one], from what a caller gives; see `Given.checked`.

    A pair of arrays of vectors stands for their products. name : of the argument
    vectors : where there is a last axis for several of them
    """
    dtype = np.complex128 if kind.complex or _is_complex(given) else np.float64
    check = partial(validate.charges_or_lazy if lazy else validate.charges, dtype=dtype, vectors=vectors)
    if _is_pair(kind, given, n_sources):
        sides = zip(given, kind.shape, strict=True)
        one, other = (
            check(each, n_sources, of_one=(size,), name=f"{name}[{side}]").astype(dtype)
            for side, (each, size) in enumerate(sides)
        )
        with np.errstate(over="ignore"):
            given = one[:, :, None] * other[:, None]
        name = f"the product of {name}[0] and {name}[1]"
    return check(given, n_sources, of_one=kind.of_one, name=name)


def _is_complex(given: Any) -> bool:
    """Of any array, also a lazy one, or of lists of numbers; what is neither is refused later."""
    if isinstance(given, (list, tuple)):
        return any(map(_is_complex, given))
    kind = getattr(getattr(given, "dtype", None), "kind", None)
    # of a delayed value the kind is delayed as well, and no string
    return isinstance(given, complex) or (isinstance(kind, str) and kind == "c")


def _is_pair(kind: Source, given: Any, n_sources: int) -> bool:
    """Whether a tuple or list has two arrays of vectors, and not what two sources have."""
    if len(kind.shape) != 2 or not isinstance(given, (tuple, list)) or len(given) != 2:
        return False
    return n_sources != 2 or any(_shape(each)[:2] != kind.shape for each in given)
