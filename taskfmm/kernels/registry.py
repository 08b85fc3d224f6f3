"""Which kernels there are: those of this library, and those that users add."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskfmm import choices
from taskfmm.errors import InputError
from taskfmm.kernels import biot_savart, blunt, gravity, helmholtz, laplace, one, stokes, yukawa
from taskfmm.kernels.declaration import check
from taskfmm.kernels.instances import fingerprint
from taskfmm.kernels.kernel import Kernel

CONSTRUCTORS: dict[str, Callable[..., Kernel]] = {
    "laplace": laplace.Laplace,
    "yukawa": yukawa.Yukawa,
    "helmholtz": helmholtz.Helmholtz,
    "biot_savart": biot_savart.BiotSavart,
    "stokes": stokes.Stokes,
    "gravity": gravity.Gravity,
}
"""What users make the kernels of this library with, by their names; the arguments are the parameters. Those that are
made of one function come in `taskfmm.kernels`: their file needs this one."""

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        *(sys.modules[make.__module__].KERNEL for make in CONSTRUCTORS.values()),
        gravity.NEWTON,
        gravity.SPLINE,
        gravity.PLUMMER,
        blunt.SHARP,
        blunt.KERNEL,
        one.KERNEL,
    )
}
"""Of each name, a kernel with some parameters."""

_checked: dict[str, str] = {}
"""Fingerprints of the formulas that were looked at: a module that is loaded again may have others."""

HIDDEN = ("one", "newton", "spline_gravity", "plummer_gravity", "sharp", "blunt")
"""Not offered to users: one for tests, with which every target must receive the sum of all charges, what gravity is
without softening, or with one of each source, and what stands for triangles of meshes."""


def register(kernel: Kernel) -> Kernel:
    """Add a kernel, so that its name, or the kernel with other parameters, may be given to `taskfmm.Fmm`.

    Its declaration is checked against its formulas first. Plans of the kernel that are loaded from files, and other
    processes, need it too: there its module is imported by name.

    Parameters
    ----------
    kernel : Kernel

    Returns
    -------
    Kernel
        The same.

    Raises
    ------
    InputError
        The declaration is not whole or does not fit the formulas, or another kernel has this name.
    """
    known = KERNELS.get(kernel.name)
    bare = kernel.without_lengths
    if known is not None and known.with_parameters(*kernel.parameters) != bare:
        raise InputError(
            f"another kernel is called {kernel.name!r}: give this one a name of its own, or start Python again if it "
            "is the same with another declaration"
        )
    if known is None or _checked.get(kernel.name, fingerprint(kernel)) != fingerprint(kernel):
        check(kernel)
        KERNELS[kernel.name] = bare
        _checked[kernel.name] = fingerprint(kernel)
    elif bare != known:
        n, given = len(known.parameters), len(kernel.parameters)
        if n != given:
            raise InputError(f"kernel {kernel.name!r} has {n} parameters, got {given}: give as many numbers")
        if not all(map(math.isfinite, kernel.parameters)):
            raise InputError(f"a parameter of kernel {kernel.name!r} is not finite: {kernel.parameters}")
        if 0.0 in kernel.divisors:
            raise InputError(f"kernel {kernel.name!r} would divide results by zero: {kernel.parameters}")
    return kernel


def find(kernel: Any) -> Kernel:
    """A kernel by its name, or one that is given as it is.

    Raises
    ------
    InputError
        An unknown name, or as `register`.
    """
    if isinstance(kernel, Kernel):
        return register(kernel)
    if callable(kernel):
        name = getattr(kernel, "__name__", "it")
        raise InputError(f"kernel is a function: give what it returns, as taskfmm.kernels.{name}(...)")
    if isinstance(kernel, str) and kernel in HIDDEN:
        return KERNELS[kernel]
    name = choices.known_name("kernel", kernel, {*KERNELS, *CONSTRUCTORS} - {*HIDDEN})
    made = name in CONSTRUCTORS
    if name in KERNELS and not KERNELS[name].module.startswith("taskfmm."):
        return KERNELS[name]  # of a user
    if _arguments(name) if made else KERNELS[name].parameters:
        raise InputError(
            f"kernel {name!r} has parameters, which its name does not tell: give the kernel itself"
            f"{f', as {_call(name)}' if made else ''}"
        )
    return named(name, {}) if made else KERNELS[name]


def refuse_without_sum(kernel: Kernel, periodic: Sequence[bool]) -> None:
    """Raise InputError where the images of a box that is repeated along some axes cannot be summed for a kernel."""
    n = sum(periodic)
    if n not in kernel.lattices:
        able = [name for name, each in KERNELS.items() if n in each.lattices]
        raise InputError(
            f"kernel {kernel.name!r} has no sum over the images of a box that is periodic along {n} of three axes: "
            f"use {' or '.join(able)}{', or all three axes' if kernel.lattices else ''}, or leave box out"
        )


def named(name: str, parameters: Mapping[str, Any]) -> Kernel:
    """A kernel of this library by its name and its parameters, as ("yukawa", {"lam": 2.0}).

    Parameters
    ----------
    name : str
    parameters : mapping from names to numbers, or to a word, as the kind of a softening
        The arguments of the constructor; those that have a default may be left out.

    Raises
    ------
    InputError
        An unknown name, a parameter that the kernel does not have, one that is missing, or as the constructor.

    Examples
    --------
    >>> import taskfmm
    >>> taskfmm.kernels.named("yukawa", {"lam": 2.0}) == taskfmm.kernels.Yukawa(lam=2.0)
    True
    """
    arguments = _arguments(choices.known_name("kernel", name, CONSTRUCTORS))
    for each in parameters:
        if each not in arguments:
            raise InputError(
                f"kernel {name!r} has no parameter {each!r}: it has {', '.join(arguments) or 'none'}"
            )
        if isinstance(parameters[each], str) and not isinstance(arguments[each], str):
            raise InputError(
                f"{each} is {parameters[each]!r}: give a number, as 2.0, or for a complex one 2+0.5j"
            )
    missing = [each for each, default in arguments.items() if default is None and each not in parameters]
    if missing:
        raise InputError(f"kernel {name!r} needs {' and '.join(missing)}: give {missing[0]}=NUMBER")
    return CONSTRUCTORS[name](**parameters)


def _arguments(name: str) -> dict[str, Any]:
    """The parameters of a kernel of this library with their defaults, or None where there is none."""
    known = inspect.signature(CONSTRUCTORS[name]).parameters.values()
    return {each.name: None if each.default is each.empty else each.default for each in known}


def _call(name: str) -> str:
    """How to make a kernel of this library, with the parameters that must be given, or with all."""
    arguments = _arguments(name)
    must = [each for each, default in arguments.items() if default is None] or list(arguments)
    given = ", ".join(f"{each}={'...' if arguments[each] is None else arguments[each]}" for each in must)
    make = CONSTRUCTORS[name]
    return f"taskfmm.kernels.{'examples.' if make.__module__.endswith('.examples') else ''}{make.__name__}({given})"
