"""Kernels of which only a formula is known: one function of the offset from the source to the target.

The function is called at some offsets when its kernel is made. What expansions rest on is looked at there, in words
of the function; `taskfmm.kernels.declaration` then looks at the declaration that was made of it.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numba
import numpy as np

from taskfmm.errors import InputError
from taskfmm.kernels import function as functions
from taskfmm.kernels.declaration import CLOSE, PROBES, TURN, told, unit_of_length
from taskfmm.kernels.kernel import GRADIENT, POTENTIAL, Kernel
from taskfmm.kernels.real import real
from taskfmm.kernels.registry import register

logger = logging.getLogger("taskfmm")

EXPECTED = "value(dx, dy, dz) or value(dx, dy, dz, parameters)"

STEP = 1e-4
"""Of the differences that a gradient is compared with, as a part of the distance."""

LIKE_A_DERIVATIVE = 1e-5
"""How far a gradient may be from these differences."""

_told: set[str] = set()


def from_function(
    value: Callable[..., float],
    parameters: float | Iterable[float] = (),
    degree: int | None = None,
    name: str | None = None,
    elliptic: bool = False,
    gradient: Callable[..., tuple[float, float, float]] | None = None,
) -> Kernel:
    """The kernel that a function says: phi(x) = sum of q K(x - y) over all sources.

    Parameters
    ----------
    value : function
        ``value(dx, dy, dz)`` or ``value(dx, dy, dz, parameters)``: the kernel K at an offset from the source to the
        target, with all its constants, as one real number. Plain Python that Numba can compile, or a function that is
        compiled already, by `taskfmm.jit.formula` or `numba.njit`; functions that it calls are compiled. It must be
        the same at opposite offsets, and where axes are exchanged or reflected, as functions of the distance are. At
        distance zero it is finite, and what it is there counts: return 0.0 where r is 0 if K is infinite there.
    parameters : number or sequence of numbers
        The function gets them as a float64 array, lengths in the unit of the points.
    degree : int, optional
        d if K(a r) = a^d K(r) for any factor a, as -2 for 1 / r^2. Boxes of any size then have the same operators,
        and planning takes a fraction of the time. Left out, it is not used.
    name : str, optional
        An identifier, for messages, files and `taskfmm.kernels.find`; that of the function, if left out.
    elliptic : bool
        Whether K solves an elliptic differential equation away from the source, as 1 / r and exp(-r) / r do. Points
        on surfaces around boxes are then enough, and cost less. Where it does not, they are not enough at any order.
    gradient : function, optional
        With the same arguments, the derivatives of ``value`` by dx, dy and dz as a tuple of three numbers. The kernel
        then has the output "gradient" as well. At distance zero it must be zero.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: sources ``charges`` [n], output ``potential`` [m], and ``gradient``
        [m, 3] where there is one. Processes and workers import the function by its name, so it has to stand at the
        top level of a file that they find. Any other one works in this process, and the log says so once.

    Raises
    ------
    InputError
        The function cannot be compiled, or is not what is said above.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> def inverse_square(dx, dy, dz):
    ...     r2 = dx * dx + dy * dy + dz * dz
    ...     return 1.0 / r2 if r2 > 0.0 else 0.0
    >>> kernel = taskfmm.kernels.from_function(inverse_square, degree=-2)
    >>> taskfmm.direct([[0, 0, 0]], [3.0], targets=[[0, 2, 0]], kernel=kernel)
    array([0.75])
    """
    numbers = _numbers(parameters)
    given = {"value": value} if gradient is None else {"value": value, "gradient": gradient}
    for each, function in given.items():
        _check_arguments(each, function, numbers)
    if degree is not None and (isinstance(degree, bool) or not isinstance(degree, (int, np.integer))):
        raise InputError(f"degree is {degree!r}: give an integer, or leave it out where K has no such power")
    probe = _Probe(value, numbers)
    probe.check_symmetry()
    if degree is not None:
        probe.check_degree(int(degree))
    at_zero = probe.at_zero()
    if gradient is not None:
        probe.check_gradient(gradient)
    reference = " ".join(map(functions.reference, given.values()))
    called = name or _name(value, reference)
    if not (isinstance(called, str) and called.isidentifier()):
        raise InputError(f"name is {called!r}: give an identifier, such as 'my_kernel'")
    kernel = register(
        Kernel(
            called,
            reference,
            factor=1.0,
            degree=None if degree is None else int(degree),
            parameters=numbers,
            outputs=(POTENTIAL,) if gradient is None else (POTENTIAL, GRADIENT),
            counts_itself=at_zero != 0.0,
            surfaces="single" if elliptic else "filled",
            extra=2.0,  # of roots and divisions, somewhere between a power of the distance and an exponential
        )
    )
    if not functions.is_everywhere(reference) and called not in _told:
        _told.add(called)
        logger.warning(
            "kernel %s is made of a function that other processes cannot import: it works with threads only, until "
            "the function stands at the top level of a file that they find",
            called,
        )
    return kernel


def _numbers(parameters: Any) -> tuple[float, ...]:
    """Parameters as floats."""
    try:
        given = list(parameters)
    except TypeError:
        given = [parameters]
    found = tuple(map(real, given))
    if isinstance(parameters, (str, bytes, dict)) or not all(map(math.isfinite, found)):
        raise InputError(f"parameters are {parameters!r:.80}: give finite real numbers, as (1.0, 0.5)")
    return found


def _check_arguments(name: str, function: Any, numbers: tuple[float, ...]) -> None:
    """Raise InputError unless it is a function of an offset, and of parameters if there are some."""
    if not inspect.isfunction(functions.body(function)):
        raise InputError(f"{name} is {function!r:.60}: give a function, {EXPECTED.replace('value', name)}")
    n = len(inspect.signature(functions.body(function)).parameters)
    if n not in (functions.OFFSET, functions.OFFSET + 1):
        raise InputError(f"{name} has {n} arguments: give a function {EXPECTED.replace('value', name)}")
    if numbers and n == functions.OFFSET:
        raise InputError(
            f"{name} takes no parameters, and {len(numbers)} are given: give a function "
            f"{name}(dx, dy, dz, parameters), or no parameters"
        )


def _name(value: Any, reference: str) -> str:
    """The function's own; one of which there may be several gets some digits more."""
    own = re.sub(r"\W", "_", functions.body(value).__name__).strip("_")
    digits = reference.split()[0].partition("#")[2]
    return f"{own}_{digits}" if digits else own


@cache
def _compiled(python: Callable[..., Any]) -> Callable[..., Any]:
    """In exact arithmetic, where nothing is taken for granted of infinities and of what is not a number."""
    return numba.njit(error_model="numpy")(python)


class _Probe:
    """A function at some offsets; their lengths are those at which it does something.

    offsets : float64 [n, 3]; values : float64 [n]
    """

    def __init__(self, value: Any, numbers: tuple[float, ...]) -> None:
        self.value, self.numbers = value, np.array(numbers, np.float64)
        offsets = np.random.default_rng(1973).uniform(0.3, 1.0, (PROBES, 3))
        offsets *= np.random.default_rng(1974).choice([-1.0, 1.0], (PROBES, 3))
        self.unit = unit_of_length(lambda unit: self._at(unit * offsets))
        self.offsets = self.unit * offsets
        self.values = self._at(self.offsets)
        if not np.isfinite(self.values).all():
            wrong = self.offsets[~np.isfinite(self.values)][0]
            raise InputError(f"{self._told(wrong)}: the kernel must be finite wherever r is not 0")
        if not self.values.any():
            raise InputError("value is 0 at all offsets that were tried: is a parameter in another unit?")

    def _call(self, function: Any, offset: np.ndarray) -> Any:
        python = functions.body(function)
        arguments = (*map(float, offset), *([self.numbers] if functions.has_parameters(function) else []))
        if functions.has_parameters(function):
            self._in_python(python, arguments)
        try:
            return _compiled(python)(*arguments)
        except Exception as error:
            raise InputError(
                f"{python.__name__} cannot be compiled by Numba, or fails: {type(error).__name__}: {told(error)}"
            ) from None

    def _in_python(self, python: Any, arguments: tuple[Any, ...]) -> None:
        """Uncompiled, where a parameter that is not there is an error."""
        try:
            with np.errstate(all="ignore"):
                python(*arguments)
        except IndexError:
            raise InputError(
                f"{python.__name__} reads more parameters than the {len(self.numbers)} that are given"
            ) from None
        except Exception:
            return  # what is compiled is what counts

    def _at(self, offsets: np.ndarray) -> np.ndarray:
        found = [self._call(self.value, offset) for offset in offsets]
        if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in found):
            raise InputError(f"value returns {found[0]!r:.60}: a kernel is one real number")
        return np.array(found, np.float64)

    def _told(self, offset: np.ndarray, value: float | None = None) -> str:
        arguments = ", ".join(f"{x:.3g}" for x in offset)
        return f"value({arguments}) is {self._at(offset[None])[0] if value is None else value:.6g}"

    def check_symmetry(self) -> None:
        """Raise InputError unless it is the same at opposite offsets, and in all directions of the cube."""
        for other, why in (
            (-self.offsets, "a kernel must be the same at opposite offsets, K(r) = K(-r)"),
            (
                self.offsets @ TURN.T,
                "a kernel must be the same where axes are exchanged or reflected, as one of the distance alone is",
            ),
        ):
            found = self._at(other)
            wrong = np.abs(found - self.values) > CLOSE * np.abs(self.values).max()
            if wrong.any():
                at = int(wrong.argmax())
                raise InputError(f"{self._told(self.offsets[at])} and {self._told(other[at])}: {why}")

    def check_degree(self, degree: int) -> None:
        """Raise InputError unless it is homogeneous, of this degree."""
        double = self._at(2.0 * self.offsets)
        with np.errstate(all="ignore"):
            powers = np.log2(double / self.values)
        if np.abs(double - 2.0**degree * self.values).max() <= CLOSE * np.abs(double).max():
            return
        power = float(powers[0])
        same = np.isfinite(powers).all() and np.abs(powers - round(power)).max() <= CLOSE
        advice = f"it goes with degree={round(power)}" if same else "it goes with no power: leave degree out"
        raise InputError(f"degree is {degree}, and {self._told(self.offsets[0])}, at twice that offset "
                         f"{double[0]:.6g}: {advice}")  # fmt: skip

    def at_zero(self) -> float:
        """What it is at distance zero; raises InputError unless that is finite."""
        found = float(self._at(np.zeros((1, 3)))[0])
        if not math.isfinite(found):
            raise InputError(
                f"{self._told(np.zeros(3), found)}: where it is infinite or not defined return 0.0 for r2 = 0, as in "
                "'1.0 / r2 if r2 > 0.0 else 0.0'; a point then adds nothing at its own place"
            )
        return found

    def check_gradient(self, gradient: Any) -> None:
        """Raise InputError unless it is the derivative, and zero at distance zero."""
        found = [self._call(gradient, offset) for offset in (*self.offsets, np.zeros(3))]
        if not all(isinstance(each, tuple) and np.shape(each) == (3,) for each in found):
            raise InputError(f"gradient returns {found[0]!r:.60}: give a tuple of three real numbers")
        *slopes, here = np.array(found, np.float64)
        if here.any():  # not a number is true as well
            raise InputError(f"gradient(0, 0, 0) is {tuple(map(float, here))}: return zeros for r2 = 0")
        step = STEP * self.unit
        for axis in range(3):
            to = step * np.eye(3)[axis]
            difference = (self._at(self.offsets + to) - self._at(self.offsets - to)) / (2.0 * step)
            wrong = np.abs(np.array(slopes)[:, axis] - difference)
            if not wrong.max() <= LIKE_A_DERIVATIVE * np.abs(difference).max():
                at = int(np.nan_to_num(wrong, nan=np.inf).argmax())
                raise InputError(
                    f"gradient is not the derivative of value by d{'xyz'[axis]}: at offset "
                    f"({', '.join(f'{x:.3g}' for x in self.offsets[at])}) it is {slopes[at][axis]:.6g}, and "
                    f"differences of value give {difference[at]:.6g}"
                )
