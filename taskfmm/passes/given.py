"""What an evaluation is given: the numbers of its sources, from the caller's units to those of the passes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.kernels import Kernel, Source


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """An array for each kind of source that is given.

    kernel : its ``sources`` are these kinds
    arrays : [n_sources, *kind.of_one] for each, NumPy or dask
    """

    kernel: Kernel
    arrays: tuple[Any, ...]

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
        arrays = [of_kind(kind, found[kind.given_as], n_sources, kind.given_as, lazy) for kind in kinds]
        return cls(kernel.with_sources(*kinds), tuple(arrays))

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
        return Given(self.kernel, real), Given(self.kernel, imaginary)


def whole(parts: Sequence[Any]) -> Any:
    """One output from those of `Given.parts`."""
    return parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]


def _part(array: Any, name: str) -> Any:
    """The real or the imaginary part of an array, as one that owns its numbers."""
    part = getattr(array, name)
    return np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part


def of_kind(kind: Source, given: Any, n_sources: int, name: str, lazy: bool = False) -> Any:
    """What is given for one kind of source, [n_sources, *kind.of_one], from what a caller gives; see `Given.checked`.

    A pair of arrays of vectors stands for their products. name : of the argument
    """
    dtype = np.complex128 if kind.complex or _is_complex(given) else np.float64
    check = partial(validate.charges_or_lazy if lazy else validate.charges, dtype=dtype)
    if _is_pair(kind, given, n_sources):
        sides = zip(given, kind.shape, strict=True)
        one, other = (
            check(each, n_sources, of_one=(size,), name=f"{name}[{side}]").astype(dtype)
            for side, (each, size) in enumerate(sides)
        )
        with np.errstate(over="ignore"):
            given = one[:, :, None] * other[:, None, :]
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
    return n_sources != 2 or any(np.shape(each) != kind.shape for each in given)


def exponent(arrays: Sequence[np.ndarray], kernel: Kernel, scale: float) -> int:
    """The power of two just above the largest magnitude; 0 if there is none, or one that is not finite.

    Passes get charges divided by it, see `ranked`. What they form on the way then stays within float64, and
    within float32 where M2L runs in that, whether charges are 1e-300 or 1e300.

    arrays : for each kind of the kernel's sources, in the caller's units
    scale : of the domain
    """
    return largest(power(array, kind, scale) for kind, array in zip(kernel.sources, arrays, strict=True))


def power(array: np.ndarray, kind: Source, scale: float) -> int | None:
    """What `exponent` is for some numbers of one kind; None if they are all zero or not finite."""
    array = kind.numbers(array) if array.dtype.kind == "c" else array
    size = max(array.max(initial=0.0), -array.min(initial=0.0))
    if not (size and np.isfinite(size)):
        return None
    return int(np.frexp(size)[1]) + kind.derivative * _power_of_two(scale)


def largest(powers: Iterable[int | None]) -> int:
    """Of all numbers from that of some of them."""
    return max((each for each in powers if each is not None), default=0)


def ranked(
    arrays: Sequence[np.ndarray], rows: np.ndarray, kernel: Kernel, scale: float, exponent: int
) -> np.ndarray:
    """The numbers of a shard of charges in the units of the passes, of all kinds, float64 [n_numbers, n].

    arrays : as for `exponent`
    rows : int64 [n], of the sources of the shard
    """
    return in_units([np.asarray(array)[rows] for array in arrays], kernel, scale, exponent)


def in_units(arrays: Sequence[np.ndarray], kernel: Kernel, scale: float, exponent: int) -> np.ndarray:
    """The numbers of some sources in the units of the passes, of all kinds, float64 [n_numbers, n].

    Exact, but for what is 1e-308 of the largest. A kind that is a derivative carries a length for each.

    arrays : of each kind, [n, *kind.of_one]
    """
    rows = []
    for kind, array in zip(kernel.sources, arrays, strict=True):
        powers, numbers = kind.derivative * _power_of_two(scale) - exponent, kind.numbers(array)
        rows.append((np.ldexp(numbers, powers) if powers else numbers).T)
    return np.ascontiguousarray(rows[0] if len(rows) == 1 else np.concatenate(rows))


def with_lengths(numbers: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """The numbers of some sources and, in a further row, their lengths, where they are softened."""
    return numbers if lengths is None else np.vstack([numbers, lengths])


def _power_of_two(scale: float) -> int:
    return math.frexp(scale)[1] - 1
