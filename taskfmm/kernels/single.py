"""Formulas in float32, made of those in float64.

A number that stands in a function, as in ``0.5 * r``, is a float64, and makes a float64 of what it meets. So a
formula is compiled once more with every such number in float32: those that it writes, those that it names, and those
of the functions that it calls. A function that only makes sense in float64 is replaced by the one beside it whose
name ends in ``_single``, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import CellType, FunctionType
from typing import Any

import numpy as np

from taskfmm.jit import formula

OFFSETS = 64
"""At which a formula in float32 is compared with that in float64."""

LIKE = 1e-5
"""Relative to the largest number that a formula gives at an offset, how much the two may differ."""


def single(function: Any) -> Any:
    """A compiled function in float32, compiled as formulas are."""
    return _remade(function, np.float32, formula, "single")


def with_twins(function: Any, twin: str) -> Any:
    """A compiled function that calls others whose names end so, where there are such; compiled as formulas are."""
    return _remade(function, float, formula, twin)


@cache
def _remade(function: Any, real: type, make: Callable[..., Any], twin: str) -> Any:
    """A compiled function with its numbers in a dtype; make : what is made of the new Python function."""
    body = function.py_func
    own = body.__globals__.get(f"{body.__name__}_{twin}")
    if own is not None:
        return make(own.py_func)

    def of(value: Any) -> Any:
        if isinstance(value, float):
            return real(value)
        return _remade(value, real, make, twin) if hasattr(value, "py_func") else value

    code = body.__code__
    named = {name: of(body.__globals__[name]) for name in code.co_names if name in body.__globals__}
    cells = tuple(CellType(of(cell.cell_contents)) for cell in body.__closure__ or ())
    code = code.replace(co_consts=tuple(map(of, code.co_consts)))
    made = FunctionType(code, body.__globals__ | named, body.__name__, body.__defaults__, cells)
    made.__module__, made.__qualname__ = body.__module__, body.__qualname__
    return make(made)


@cache
def has_twin(function: Any, twin: str) -> bool:
    """Whether a compiled function, or one that it calls, has another one beside it whose name ends so."""
    if not (twin and hasattr(function, "py_func")):
        return False
    body = function.py_func
    named = [body.__globals__.get(name) for name in body.__code__.co_names]
    named += [cell.cell_contents for cell in body.__closure__ or ()]
    return f"{body.__name__}_{twin}" in body.__globals__ or any(
        has_twin(each, twin)
        for each in named
        if hasattr(each, "py_func")  # others may not be hashable
    )


def is_alike(function: Any, n_numbers: int, parameters: np.ndarray) -> bool:
    """Whether a formula gives nearly the same in float32 at distances of 1/16 to 8; it is not compiled for this.

    n_numbers : of a source; parameters : float64
    """
    rng = np.random.default_rng(32)
    offsets = rng.uniform(-1.0, 1.0, (OFFSETS, 3)) * 2.0 ** rng.uniform(-4.0, 3.0, (OFFSETS, 1))
    given = np.hstack([offsets, rng.uniform(-1.0, 1.0, (OFFSETS, n_numbers))])

    def at(real: type) -> np.ndarray:
        python = _remade(function, real, _as_it_is, "single" if real is np.float32 else "")
        constants: np.ndarray = parameters.astype(real)
        with np.errstate(all="ignore"):
            return np.array([python(*map(real, each), constants) for each in given], np.float64)

    try:
        exact, rough = at(np.float64), at(np.float32)
    except Exception:  # compiled code may do what Python cannot
        return False
    return bool((np.abs(rough - exact).max(axis=1) <= LIKE * np.abs(exact).max(axis=1)).all())


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
