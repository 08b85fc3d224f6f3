"""Which kernels there are: those of this library, and those that users add."""

from __future__ import annotations

import math
from typing import Any

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.kernels import biot_savart, gravity, helmholtz, laplace, one, stokes, yukawa
from taskfmm.kernels.declaration import check
from taskfmm.kernels.instances import fingerprint
from taskfmm.kernels.kernel import Kernel

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        *(module.KERNEL for module in (laplace, yukawa, helmholtz, biot_savart, stokes, gravity, one)),
        gravity.NEWTON,
        gravity.SPLINE,
        gravity.PLUMMER,
    )
}

_checked: dict[str, str] = {}
"""Fingerprints of the formulas that were looked at: a module that is loaded again may have others."""

HIDDEN = ("one",)
"""For tests, not offered to users: with this one every target must receive the sum of all charges."""


CALLS = {
    "yukawa": ", as taskfmm.kernels.Yukawa(lam=2.0)",
    "helmholtz": ", as taskfmm.kernels.Helmholtz(k=2.0)",
    "stokes": ", as taskfmm.kernels.Stokes(viscosity=1.0)",
    "gravity": ", as taskfmm.kernels.Gravity(softening=0.1)",
    "newton": ", as taskfmm.kernels.Gravity(softening=0.0)",
    "spline_gravity": ', as taskfmm.kernels.Gravity(softening=0.1, kind="spline")',
    "plummer_gravity": ", as taskfmm.kernels.Gravity(softening=lengths)",
}
"""What returns kernels of a name."""


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
    found = KERNELS[validate.known_name("kernel", kernel, [name for name in KERNELS if name not in HIDDEN])]
    if found.parameters and found.module.startswith("taskfmm."):
        raise InputError(
            f"kernel {kernel!r} has {len(found.parameters)} parameter(s), which its name does not tell: give the "
            f"kernel itself{CALLS.get(found.name, '')}"
        )
    return found
