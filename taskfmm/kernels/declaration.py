"""Whether what a kernel declares is whole, and fits its formulas: asked once, when it is registered.

What is wrong here would be a wrong number later, without a word: a sign that the near field takes from the
declaration, a unit of length, a part of the symmetry that expansions are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from taskfmm.errors import InputError
from taskfmm.geometry.surface import ARRANGEMENTS
from taskfmm.kernels.instances import module_of
from taskfmm.kernels.kernel import Kernel, Output, Source

PROBES = 12
"""Offsets at which formulas are looked at."""

CLOSE = 1e-9
"""Relative difference of what should be equal; formulas may round, and seed roots in float32."""

ARGUMENTS = {"outputs", "output", "values", "n_samples", "seed", "sources", "targets", "kernel"}
"""Names of other arguments of the calls that take sources."""

UNITS = (1.0, *(10.0 ** (sign * power) for power in range(1, 13) for sign in (-1, 1)))
"""Lengths of the offsets that are tried: in the unit of a parameter, one may be anything."""

FADED = 1e-3
"""Where a kernel is this part of itself, or less, from one offset to the other, another length is taken."""

CLOSE_BY, ALIKE = 0.02, 0.05
"""Distance at which densities stand for a source, and how far what they do may differ from what it does."""

TURN = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""A rotation with a reflection that maps a cube onto itself, and no axis onto itself."""


def check(kernel: Kernel) -> None:
    """Raise InputError, which names the kernel and what to change, unless its declaration holds."""
    try:
        _check(kernel)
    except _Wrong as error:
        raise InputError(f"kernel {kernel.name!r}: {error}") from None


class _Wrong(Exception):
    pass


def _need(holds: bool, problem: str) -> None:
    if not holds:
        raise _Wrong(problem)


def _check_types(kernel: Kernel) -> None:
    real = (int, float, np.integer, np.floating)
    for name, some, kind in (
        ("sources", kernel.sources, Source),
        ("outputs", kernel.outputs, Output),
        ("parameters", kernel.parameters, real),
    ):
        told = getattr(kind, "__name__", "real number")
        _need(
            isinstance(some, tuple) and all(isinstance(each, kind) for each in some),
            f"{name} are {some!r:.80}, expected a tuple of {told}s, as ({told}(...),)",
        )
    _need(isinstance(kernel.factor, real) and kernel.factor != 0, "factor is no real number, or zero")
    _need(
        isinstance(kernel.expansion, Kernel) or (kernel.expansion is None and kernel.columns == 1),
        "expansion is no Kernel, as taskfmm.kernels.KERNELS['laplace'] is; 'columns' are those of an expansion",
    )


def _check(kernel: Kernel) -> None:
    _check_types(kernel)
    _need(
        kernel.surfaces in ARRANGEMENTS,
        f"surfaces are {kernel.surfaces!r:.40}, expected one of {', '.join(map(repr, ARRANGEMENTS))}",
    )
    _need(kernel.name.isidentifier(), "its name is no identifier, which file names and arguments are made of")
    _need(bool(kernel.sources and kernel.outputs), "it declares no sources or no outputs")
    names = [kind.name for kind in kernel.sources], list(kernel.names)
    _need(all(len(set(some)) == len(some) for some in names), "two sources or two outputs have one name")
    _need(bool(np.isfinite([kernel.factor, *kernel.parameters]).all()), "a factor or parameter is not finite")
    _check_names(kernel)
    _need(
        all(not kind.shape or math.prod(kind.shape) == kind.n_numbers for kind in kernel.sources),
        "the shape of a source has another size than its n_numbers",
    )
    _need(
        all(output.divisor in (None, *range(len(kernel.parameters))) for output in kernel.outputs),
        "an output is divided by a parameter that is not declared",
    )
    _need(0.0 not in kernel.divisors, "an output is divided by zero")
    _need(
        len({kind.complex for kind in kernel.sources}) == 1,
        "some sources are complex and others are not: declare all of them complex",
    )
    kinds = kernel.sources if kernel.density is None else (*kernel.sources, kernel.density)
    _need(
        all(kind.n_numbers == 3 for kind in kinds if kind.vector),
        "a vector has three numbers: mend 'vector' or 'n_numbers' of the source",
    )
    _need(
        all(output.shape == (3, 3) for output in kernel.outputs if output.symmetric),
        "a symmetric output has the shape (3, 3): mend 'symmetric' or 'shape' of the output",
    )
    derivatives = [output.derivative for output in kernel.outputs]
    _need(derivatives[0] == 0, "the first output has a derivative: check surfaces receive those without")
    _need(
        derivatives == sorted(derivatives), "outputs with more derivatives must stand after those with fewer"
    )
    _need(
        kernel.n_charge == kernel.n_potential,
        f"densities have {kernel.n_charge} numbers and check surfaces receive {kernel.n_potential}: expansions need "
        "as many",
    )
    probes = [_Probe(kernel, kind) for kind in kernel.sources]
    for probe in probes:
        probe.check()
    if kernel.expansion is None:
        dense = _Probe(kernel, kernel.dense)
        dense.check()
        dense.check_symmetry()
    else:
        _check_columns(kernel, probes)


def _check_names(kernel: Kernel) -> None:
    """Of arguments and outputs: none may hide one that is there already."""
    given = [kind.given_as for kind in kernel.sources]
    _need(len(set(given)) == len(given), "two sources have one argument: give one of them another 'argument'")
    _need(
        not set(given[1:]) & {*ARGUMENTS, "charges"} and given[0] not in ARGUMENTS,
        "a source has an argument of a name that is taken: give it another 'argument', 'charges' for the first alone",
    )
    _need(
        all(name.isidentifier() and not name.isupper() and name != "charges" for name in kernel.names),
        "an output is called 'charges', or as an operator, in capitals: give it another name",
    )


def _check_columns(kernel: Kernel, probes: list[_Probe]) -> None:
    """Whether the expansions of another kernel can stand for the sources of this one."""
    other = kernel.expansion
    assert other is not None
    check(other)
    _need(
        kernel.columns >= 1 and other.expansion is None,
        "its expansion has an expansion itself, or no columns",
    )
    _need(
        not kernel.first_moment
        or (kernel.columns == 4 and other.n_charge == other.n_potential == 1 and other.degree is not None),
        "a first moment is the last of four columns of a scalar kernel with a degree",
    )
    _need(other.degree == kernel.degree, f"its expansion has degree {other.degree}, and it {kernel.degree}")
    n = kernel.columns * other.n_potential
    out = _Probe(kernel, kernel.dense)
    for probe, kind in zip(probes, kernel.onto_surfaces, strict=True):
        received = _Probe(kernel, kind, n, "all columns together")
        for each in (out, received):
            _need(
                bool(np.isfinite(each.matrices).all()),
                f"{each.kind.name} is not finite at ordinary distances",
            )
        _need(
            _stands_for(kernel, other, received, out, probe),
            f"{kind.name} followed by columns is not {probe.kind.name}",
        )


def _stands_for(kernel: Kernel, other: Kernel, received: _Probe, out: _Probe, probe: _Probe) -> bool:
    """Whether densities close to a source, whose potentials are its columns, do to targets what the source does.

    A charge, or a dipole, is as good as densities at a point and six others around it. First moments are those about
    the place of the source.
    """
    density = _Probe(other, other.dense)
    star = CLOSE_BY * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    at = [probe.offsets - place for place in star]
    potentials = [density._matrices(offsets)[:, : other.n_potential] for offsets in at]
    one = np.concatenate(potentials, axis=2)  # [n, n_potential, 7 * n_charge]
    many = np.einsum("ab,nij->naibj", np.eye(kernel.columns), one)
    many = many.reshape(-1, kernel.columns * one.shape[2])
    wanted = received.matrices.copy()
    if kernel.first_moment:
        wanted[:, 3] += np.einsum("na,nac->nc", probe.offsets, wanted[:, :3])
    wanted = wanted.reshape(len(many), -1)
    found = np.linalg.lstsq(many, wanted, rcond=None)[0]
    if np.abs(many @ found - wanted).max() > ALIKE * np.abs(wanted).max():
        return not kernel.first_moment  # of another kind: its columns cannot be judged here
    found = found.reshape(kernel.columns, len(star), other.n_charge, -1).swapaxes(0, 1)
    if kernel.first_moment:
        found[:, 3] -= np.einsum("sa,sa...->s...", star, found[:, :3])
    values = sum(out._matrices(o) @ f.reshape(-1, f.shape[-1]) for o, f in zip(at, found, strict=True))
    return bool(np.abs(values - probe.matrices).max() <= ALIKE * np.abs(probe.matrices).max())


class _Probe:
    """A formula, named as a kind of source, at some offsets.

    n_rows, rows_of : that it gives, and what they are
    """

    def __init__(
        self, kernel: Kernel, kind: Source, n_rows: int | None = None, rows_of: str = "all outputs together"
    ) -> None:
        self.kernel = kernel
        self.kind = kind
        rng = np.random.default_rng(1973)
        self.offsets = rng.uniform(0.3, 1.0, (PROBES, 3)) * rng.choice([-1.0, 1.0], (PROBES, 3))
        self.formula = self._formula()
        self.n_rows = len(kernel.odd_rows) if n_rows is None else n_rows
        self.rows_of = rows_of
        self._in_python()
        if kernel.expansion is None:
            self.offsets = unit_of_length(lambda unit: self._matrices(unit * self.offsets)) * self.offsets
        self.matrices = self._matrices(self.offsets)

    def _in_python(self) -> None:
        """Uncompiled, where a parameter that is not there is an error."""
        numbers = [1.0] * self.kind.n_numbers
        try:
            self.formula.py_func(*map(float, self.offsets[0]), *numbers, self.kernel.constants)  # type: ignore[attr-defined]
        except IndexError:
            raise _Wrong(
                f"{self.kind.name} reads more parameters than the {len(self.kernel.parameters)} declared"
            ) from None
        except Exception:
            return  # what is compiled is what counts

    def _formula(self) -> Callable[..., tuple]:
        try:
            module = module_of(self.kernel)
        except ImportError as error:
            raise _Wrong(
                f"its module {self.kernel.module!r} cannot be imported by this name: {error}"
            ) from None
        formula = getattr(module, self.kind.name, None)
        _need(
            formula is not None,
            f"{self.kernel.module} has no function {self.kind.name!r}, the formula of this source",
        )
        _need(
            hasattr(formula, "py_func"),
            f"{self.kind.name} is not compiled: decorate it with taskfmm.jit.formula",
        )
        return cast(Callable[..., tuple], formula)

    def _call(self, offset: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        call = f"{self.kind.name}(dx, dy, dz, {self.kind.n_numbers} numbers, parameters)"
        try:
            found = self.formula(*map(float, offset), *map(float, numbers), self.kernel.constants)
        except Exception as error:
            raise _Wrong(f"{call} fails: {type(error).__name__}: {told(error)}") from None
        _need(
            isinstance(found, tuple) and not any(isinstance(row, complex) for row in found),
            f"{call} gives {found!r:.60}, expected a tuple of real numbers, as (value,)",
        )
        rows = np.array(found, np.float64)
        _need(
            rows.shape == (self.n_rows,),
            f"{call} gives {rows.size} rows, expected {self.n_rows}, of {self.rows_of}",
        )
        return rows

    def _matrices(self, offsets: np.ndarray) -> np.ndarray:
        """Rows by numbers at each offset, [n, n_rows, n_numbers]."""
        unit = np.eye(self.kind.n_numbers)
        return np.array([[self._call(offset, numbers) for numbers in unit] for offset in offsets]).transpose(
            0, 2, 1
        )

    def check(self) -> None:
        kernel, kind = self.kernel, self.kind
        _need(bool(np.isfinite(self.matrices).all()), f"{kind.name} is not finite at ordinary distances")
        _need(bool(self.matrices.any()), f"{kind.name} is zero everywhere")
        numbers = np.linspace(-1.0, 2.0, kind.n_numbers + 1)[1:]
        for some in (numbers, -numbers):
            _need(
                _equal(self._call(self.offsets[0], some), self.matrices[0] @ some),
                f"{kind.name} is not linear in its numbers",
            )
        here = self._matrices(np.zeros((1, 3)))
        _need(
            kernel.counts_itself or not here.any(),
            f"{kind.name} is not zero at distance zero: guard it with r2 > 0, or declare counts_itself",
        )
        opposite = self._matrices(-self.offsets)
        double = self._matrices(2.0 * self.offsets)
        for output in kernel.outputs:
            rows = kernel.rows(output.name)
            sign = -1.0 if output.odd != kind.odd else 1.0
            _need(
                _equal(opposite[:, rows], sign * self.matrices[:, rows]),
                f"{output.name} of {kind.name} does not have the {'other' if sign < 0 else 'same'} sign at the "
                f"opposite offset: mend 'odd' of the output or of the source",
            )
            if kernel.degree is not None:
                power = kernel.degree - output.derivative - kind.derivative
                _need(
                    _equal(double[:, rows], 2.0**power * self.matrices[:, rows]),
                    f"{output.name} of {kind.name} does not go with the power {power} of the distance: mend "
                    "'degree', None if there is no such number, or 'derivative' of the output or of the source",
                )

    def check_symmetry(self) -> None:
        """Of the kind that densities are made of."""
        checked = self.matrices[:, : self.kernel.n_potential]
        _need(
            _equal(self._matrices(-self.offsets)[:, : self.kernel.n_potential], checked.transpose(0, 2, 1)),
            f"{self.kind.name} is not symmetric: what a source does to a target, the target must do to the source",
        )
        turn = TURN if self.kind.vector else np.eye(self.kind.n_numbers)
        turned = self._matrices(self.offsets @ TURN.T)[:, : self.kernel.n_potential]
        _need(
            _equal(turned, turn @ checked @ turn.T),
            f"{self.kind.name} does not turn with space as {'a vector' if self.kind.vector else 'plain numbers'}, "
            "and expansions use the symmetry of the cube: mend 'vector' of the source",
        )


def unit_of_length(values_at: Callable[[float], np.ndarray]) -> float:
    """The length at which a kernel does something, the first of `UNITS` if that is so there.

    values_at : of the kernel at some offsets of a length, [n, ...]
    """
    found = None
    for unit in UNITS:
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = np.abs(values_at(unit)).reshape(PROBES, -1).max(axis=1)
        if not np.isfinite(sizes).all():
            if unit == UNITS[0]:
                break
            continue
        if sizes.min() > FADED * sizes.max():
            return unit
        if found is None and sizes.any():
            found = unit
    return found or UNITS[0]


def told(error: Exception) -> str:
    """The line of an error that says most: Numba's begin with where they were found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    clear = [line for line in lines if "name '" in line or line.startswith(("Cannot", "Invalid", "Unknown"))]
    return (clear or lines or [""])[0][:200]


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max(initial=0.0) <= CLOSE * np.abs(expected).max(initial=0.0))
