"""Formulas that are made of one function: what `taskfmm.kernels.from_function` puts between a function and the loops.

The kernel's ``module`` is then no module's name but a reference, ``module:function``, from which any process that can
import the function makes the same module of formulas.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula

Function = Callable[..., Any]

OFFSET = 3
"""Arguments of a function before its parameters."""

FROZEN = (int, float, str, tuple, np.generic)
"""What a compiled function keeps of its surroundings, beside arrays and other compiled functions."""

_here: dict[str, Function] = {}
"""Functions that no import finds, by reference."""


def body(function: Function) -> Function:
    """The Python function that a compiled one was made of."""
    return getattr(function, "py_func", function)


def has_parameters(function: Function) -> bool:
    """Whether it takes parameters after the offset."""
    return len(inspect.signature(body(function)).parameters) > OFFSET


def reference(function: Function) -> str:
    """The name by which `module` finds a function again.

    It holds in every process that can import the function; in this one alone, and has a ``#``, where none can.
    """
    python = body(function)
    # `taskfmm.jit` puts the module into the qualified name as well
    name = f"{python.__module__}:{python.__qualname__.removeprefix(f'{python.__module__}.')}"
    if _imported(name) is not function:
        name = f"{name}#{digest([python])}"
        _here[name] = function
    return name


def is_everywhere(name: str) -> bool:
    """Whether processes that are started later can find what a reference names."""
    of_session = name.startswith("__main__:") and not hasattr(sys.modules["__main__"], "__file__")
    return "#" not in name and not of_session


def module(names: str) -> ModuleType:
    """The formulas of the functions of one reference, or of two with a space between them: value and gradient.

    Raises
    ------
    InputError
        This process cannot find one of them.
    """
    return _made(names, tuple(map(_find, names.split())))


def digest(functions: list[Function]) -> str:
    """Of functions, of all that they call, and of the numbers that they name: another one once any is edited.

    Where functions come from files, these count whole.
    """
    left, seen, parts = list(functions), set(), set()
    while left:
        function = left.pop()
        if function in seen:
            continue
        seen.add(function)
        code = function.__code__
        path = Path(code.co_filename)
        # of a notebook or a prompt there is no file
        parts.add(repr(path.read_bytes() if path.is_file() else (code.co_code, _plain(code.co_consts))))
        values = [function.__globals__.get(name) for name in code.co_names]
        for value in (*values, *(cell.cell_contents for cell in function.__closure__ or ())):
            within = (
                (getattr(value, name, None) for name in code.co_names)
                if isinstance(value, ModuleType)
                else ()
            )
            for each in (value, *within):
                if hasattr(each, "py_func"):
                    left.append(each.py_func)
                elif isinstance(each, FROZEN):
                    parts.add(repr(each))
                elif isinstance(each, np.ndarray):
                    parts.add(repr((each.shape, each.tobytes())))
    return hashlib.sha256(repr(sorted(parts)).encode()).hexdigest()[:12]


def _plain(constants: tuple[Any, ...]) -> list[Any]:
    return [each for each in constants if isinstance(each, (*FROZEN, type(None)))]


def _imported(name: str) -> Any:
    """What an import finds under a reference; None if nothing."""
    where, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(where)
    except ImportError:
        return None
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _find(name: str) -> Function:
    found = _here.get(name) or _imported(name)
    if found is None:
        raise InputError(
            f"a kernel is made of the function {name.partition('#')[0]}, which this process cannot import: define it "
            "at the top level of a file that all processes can import, or compute with threads"
        )
    return found


class _Text(importlib.abc.InspectLoader):
    """Makes a module of a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_source(self, fullname: str) -> str:
        return self.text


@cache
def _made(names: str, functions: tuple[Function, ...]) -> ModuleType:
    value, *gradient = functions
    label = "".join(c if c.isalnum() else "_" for c in body(value).__qualname__)
    text = f"def charge(dx, dy, dz, q, parameters):\n    value = q * value_of({_arguments(value)})\n"
    if gradient:
        text += f"    x, y, z = gradient_of({_arguments(*gradient)})\n    return value, q * x, q * y, q * z\n"
    else:
        text += "    return (value,)\n"
    name = f"{__name__}.{label}_{hashlib.sha256(names.encode()).hexdigest()[:6]}"
    spec = importlib.util.spec_from_loader(name, _Text(text))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    made.__file__ = __file__
    for name, each in zip(("value_of", "gradient_of"), functions, strict=False):
        setattr(made, name, formula(body(each)))
    spec.loader.exec_module(made)
    sys.modules[made.__name__] = made  # where Numba looks for it when it reads what it kept
    made.charge = formula(_of(made, "charge"))  # type: ignore[attr-defined]
    return made


def _of(made: ModuleType, name: str) -> FunctionType:
    return vars(made)[name]


def _arguments(function: Function) -> str:
    return "dx, dy, dz, parameters" if has_parameters(function) else "dx, dy, dz"
