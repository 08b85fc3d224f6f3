"""Whether what a kernel declares is whole, and fits its formulas: asked once, when it is registered.

What is wrong here would be a wrong number later, without a word: a sign that the near field takes from the
declaration, a unit of length, a part of the symmetry that expansions are made of.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

import numpy as np

from taskfmm.errors import InputError
from taskfmm.kernels.kernel import Kernel, Source

PROBES = 12
"""Offsets at which formulas are looked at."""

CLOSE = 1e-9
"""Relative difference of what should be equal; formulas may round, and seed roots in float32."""

ARGUMENTS = {"outputs", "output", "values", "n_samples", "seed", "sources", "targets", "kernel"}
"""Names of other arguments of the calls that take sources."""

TASKS = {"charges", "given", "power", "exponent", "piece", "taken"}
"""Names of tasks that are no operator's, see `taskfmm.profiling.names`."""

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


def _check(kernel: Kernel) -> None:
    _need(kernel.name.isidentifier(), "its name is no identifier, which file names and arguments are made of")
    _need(bool(kernel.sources and kernel.outputs), "it declares no sources or no outputs")
    names = [kind.name for kind in kernel.sources], list(kernel.names)
    _need(all(len(set(some)) == len(some) for some in names), "two sources or two outputs have one name")
    _need(bool(np.isfinite([kernel.factor, *kernel.parameters]).all()), "a factor or parameter is not finite")
    _check_names(kernel)
    kinds = kernel.sources if kernel.density is None else (*kernel.sources, kernel.density)
    _need(
        all(kind.n_numbers == 3 for kind in kinds if kind.vector),
        "a vector has three numbers: mend 'vector' or 'n_numbers' of the source",
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
        all(name.isidentifier() and not name.isupper() and name not in TASKS for name in kernel.names),
        "an output has a name that operators or tasks of the library have: give it another",
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
    _need(other.degree == kernel.degree, f"its expansion has degree {other.degree}, and it {kernel.degree}")
    n = kernel.columns * other.n_potential
    out = _Probe(kernel, kernel.dense)
    potential = _Probe(other, other.dense).matrices[:, : other.n_potential]
    for probe, kind in zip(probes, kernel.onto_surfaces, strict=True):
        received = _Probe(kernel, kind, n, "all columns together")
        for each in (out, received):
            _need(
                bool(np.isfinite(each.matrices).all()),
                f"{each.kind.name} is not finite at ordinary distances",
            )
        # where the columns are densities at the source itself, they must do to targets what the source does
        unit = np.kron(np.eye(kernel.columns), potential[0])
        columns = np.linalg.lstsq(unit, received.matrices[0], rcond=None)[0]
        at_source = all(
            _equal(np.kron(np.eye(kernel.columns), here) @ columns, rows)
            for here, rows in zip(potential, received.matrices, strict=True)
        )
        _need(
            not at_source or _equal(out.matrices @ columns, probe.matrices),
            f"{kind.name} followed by columns is not {probe.kind.name}",
        )


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
        self.matrices = self._matrices(self.offsets)

    def _formula(self) -> Callable[..., tuple]:
        try:
            module = importlib.import_module(self.kernel.module)
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
            problem = str(error).strip().splitlines()[:1]
            raise _Wrong(
                f"{call} fails: {type(error).__name__}{': ' if problem else ''}{''.join(problem)}"
            ) from None
        rows = np.atleast_1d(np.array(found, np.float64))
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
        numbers = np.linspace(-1.0, 2.0, kind.n_numbers + 1)[1:]
        _need(
            _equal(self._call(self.offsets[0], numbers), self.matrices[0] @ numbers),
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


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max(initial=0.0) <= CLOSE * np.abs(expected).max(initial=0.0))
