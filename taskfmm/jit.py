"""How every numerical loop is compiled: one set of options, one body for one thread and for many.

Numba's disk cache tells two dispatchers apart by file, qualified name and line, neither by module (one file is
executed under several names, see `taskfmm.kernels.instances`) nor by ``parallel``. So both go into the name.
"""

from __future__ import annotations

import logging
import types as python_types
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

logger = logging.getLogger("taskfmm")

OPTIONS: dict[str, Any] = dict(cache=True, nogil=True, fastmath=True, error_model="numpy")

KEPT_IN_ORDER = {"nnan", "ninf", "nsz", "arcp", "contract", "afn"}
"""Fast math but for the order of sums and products."""


def _hint(body: Callable[..., Any]) -> Any:
    """Decorator for an intrinsic; with NUMBA_DISABLE_JIT the loops are plain Python, and a hint is nothing."""
    return (lambda: None) if numba.config.DISABLE_JIT else intrinsic(body)


@_hint
def wide_vectors(typingctx):  # type: ignore[no-untyped-def]
    """Let LLVM use 512-bit vectors in the function that calls this, where the processor has them.

    For some processors LLVM prefers 256 bits, out of care for mixed code; loops that do nothing but arithmetic
    run a quarter faster with 512. The hint has to stand in every function that such a loop may be inlined into.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        # llvmlite knows only keyword attributes; these are strings, which LLVM takes in the same place
        set.add(builder.function.attributes, '"prefer-vector-width"="512" "min-legal-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen


@_hint
def not_inlined(typingctx):  # type: ignore[no-untyped-def]
    """Keep the function that calls this as it is, whoever calls it.

    Inlined into the serial and into the parallel form of a loop, the same arithmetic may be put into another order
    by fast math, and round otherwise: results would hang on the number of threads.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.none(), codegen


def jit(body: Callable[..., Any]) -> Any:
    """Decorator for a function that other compiled functions call, or that one thread runs."""
    return _compiled(_named(body, "alone"))


def part(body: Callable[..., Any]) -> Any:
    """Decorator for what loops over pairs call: as `jit`, but it is kept as a part of the loops, not by itself.

    LLVM sees code that was read from a disk in another order, and with fast math another order is other rounding.
    """
    return _compiled(_named(body, "part"), cache=False)


def formula(body: Callable[..., Any]) -> Any:
    """Decorator for a kernel's formula, and for what it calls: as `part`, with sums and products in their order.

    A loop that is read from a disk was optimised once more than in the process that compiled it. What may be put into
    another order would then be rounded otherwise, and results would hang on who compiled the loop.
    """
    return _compiled(_named(body, "formula"), cache=False, fastmath=KEPT_IN_ORDER)


def jit_in_order(body: Callable[..., Any]) -> Any:
    """As `formula`, for arithmetic that is wrong in another order.

    Fast math may turn ``(x - hi) - lo`` into ``x - (hi + lo)``, which loses ``lo``. The instructions of this
    function keep their order, also where it is inlined into one with fast math.
    """
    return _compiled(_named(body, "formula"), fastmath=False, cache=False)


def _compiled(body: Callable[..., Any], **changed: Any) -> Any:
    """A dispatcher, with a disk cache if Numba finds a place for one; without, every process compiles again."""
    options = OPTIONS | changed
    try:
        return numba.njit(**options)(body)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        _say_once(f"compiled kernels cannot be kept, set NUMBA_CACHE_DIR to a directory of yours: {error}")
        return numba.njit(**options | {"cache": False})(body)


_said = False


def _say_once(text: str) -> None:
    global _said
    if not _said:
        logger.warning("%s", text)
    _said = True


class Loop:
    """A compiled loop in two forms made from the same body.

    The body iterates with ``numba.prange``. With one thread the serial form runs: no thread team is made, so
    it may be called from any number of threads at once and a later ``fork`` is safe. With more, the parallel
    form runs on that many Numba threads.
    """

    __slots__ = ("parallel", "serial")

    def __init__(self, body: Callable[..., Any]) -> None:
        self.serial = _compiled(_named(body, "serial"))
        self.parallel = _compiled(_named(body, "parallel"), parallel=True)

    @property
    def compiled(self) -> bool:
        """Whether the serial form has run in this process; with NUMBA_DISABLE_JIT nothing is left to compile."""
        return bool(getattr(self.serial, "signatures", True))

    def __call__(self, *args: Any, threads: int = 1) -> Any:
        if threads == 1:
            return self.serial(*args)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        return self.parallel(*args)


def _named(body: Callable[..., Any], form: str) -> Callable[..., Any]:
    twin = python_types.FunctionType(body.__code__, body.__globals__, body.__name__, body.__defaults__)
    twin.__module__ = body.__module__
    twin.__qualname__ = f"{body.__module__}.{body.__qualname__}.{form}"
    return twin


loop = Loop
"""Decorator for a loop over boxes or points that a task calls from Python."""
