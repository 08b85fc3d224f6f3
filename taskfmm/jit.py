"""How every numerical loop is compiled: one set of options, the same machine code for one thread and for many.

Numba's disk cache tells two dispatchers apart by file, qualified name and line, but not by module, and one file is
executed under several names (see `taskfmm.kernels.instances`). So the module goes into the name.
"""

from __future__ import annotations

import logging
import sys
import types as python_types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

logger = logging.getLogger("taskfmm")

OPTIONS: dict[str, Any] = dict(
    cache=True,
    nogil=True,
    fastmath=True,
    error_model="numpy",
    no_cfunc_wrapper=True,  # a twentieth of the time to compile, and nothing calls it
)

KEPT_IN_ORDER = {"nnan", "ninf", "nsz", "arcp", "contract", "afn"}
"""Fast math but for the order of sums and products."""


WIDE = '"prefer-vector-width"="512" "min-legal-vector-width"="512"'
"""Attributes of LLVM."""


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
        set.add(builder.function.attributes, WIDE)
        return context.get_dummy_value()

    return types.none(), codegen


@_hint
def _call(typingctx, address, first, last, args):  # type: ignore[no-untyped-def]
    """Call the compiled loop that lies at an address; whether it has failed."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        where, *bounds, packed = values
        given = [*signature.args[1:3], *signature.args[3].types]
        function = context.call_conv.get_function_type(types.none, given)
        callee = builder.inttoptr(where, function.as_pointer())
        unpacked = cgutils.unpack_tuple(builder, packed)
        status, _ = context.call_conv.call_function(builder, callee, types.none, given, [*bounds, *unpacked])
        return status.is_error

    return types.boolean(address, first, last, args), codegen


def _on_threads(address, first, last, threads, args):  # type: ignore[no-untyped-def]
    n, failures = last - first, 0
    for thread in numba.prange(threads):
        begin, end = first + thread * n // threads, first + (thread + 1) * n // threads
        failures += _call(address, begin, end, args)
    return failures


def jit(body: Callable[..., Any]) -> Any:
    """Decorator for a function that other compiled functions call, or that one thread runs."""
    return _compiled(_named(body))


def part(body: Callable[..., Any]) -> Any:
    """Decorator for what loops over pairs call: as `jit`, but it is kept as a part of the loops, not by itself.

    LLVM sees code that was read from a disk in another order, and with fast math another order is other rounding.
    """
    return _compiled(_named(body), cache=False)


def formula(body: Callable[..., Any]) -> Any:
    """Decorator for a kernel's formula, and for what it calls: as `part`, with sums and products in their order.

    A loop that is read from a disk was optimised once more than in the process that compiled it. What may be put into
    another order would then be rounded otherwise, and results would hang on who compiled the loop. Long formulas are
    inlined as well: a loop with a call in it would not use vectors, or only once it is read from a disk.
    """
    return _compiled(_named(body), cache=False, fastmath=KEPT_IN_ORDER, forceinline=True)


def jit_in_order(body: Callable[..., Any]) -> Any:
    """As `formula`, for arithmetic that is wrong in another order.

    Fast math may turn ``(x - hi) - lo`` into ``x - (hi + lo)``, which loses ``lo``. The instructions of this
    function keep their order, also where it is inlined into one with fast math.
    """
    return _compiled(_named(body), fastmath=False, cache=False)


interpreted: tuple[str, ...] = ()
"""Rooms and modules whose loops stay plain Python in this process. To be set before they are imported."""


def _compiled(body: Callable[..., Any], **changed: Any) -> Any:
    """A dispatcher, with a disk cache if Numba finds a place for one; without, every process compiles again."""
    if body.__module__.startswith(interpreted):
        return body
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
    """A compiled loop over rows: ``loop(first, last, *args, threads=1)``.

    The body takes the rows to work on, ``first`` and ``last``, and writes nothing that another row reads or writes.
    With one thread it is called once, and no thread team is made: any number of threads may do so at the same time,
    and a later ``fork`` is safe. With more, that many Numba threads call it, each with a part of the rows. All run
    the same machine code, so the number of threads changes no bit, and more threads cost no compilation but that of
    `_on_threads`, once for all loops with arguments of the same types.
    """

    __slots__ = ("_addresses", "body")

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = _compiled(_named(body))
        self._addresses: dict[tuple[Any, ...], int] = {}

    @property
    def compiled(self) -> bool:
        """Whether it has run in this process; with NUMBA_DISABLE_JIT nothing is left to compile."""
        return bool(getattr(self.body, "signatures", True))

    def kept(self) -> bool | None:
        """Whether Numba's cache has it, for arguments of some types, if not of all; None where there is no cache."""
        code = self.body.py_func.__code__
        where, source = self.body.stats.cache_path, Path(code.co_filename)
        if where is None:
            return None
        python = f"py{sys.version_info.major}{sys.version_info.minor}"
        found = Path(where).glob(f"*.{self.body.py_func.__qualname__}-{code.co_firstlineno}.{python}*.nbi")
        return any(index.stat().st_mtime >= source.stat().st_mtime for index in found)

    def __call__(self, first: int, last: int, *args: Any, threads: int = 1) -> None:
        # one without rows would make its buffers for nothing
        threads = min(threads, last - first, numba.config.NUMBA_NUM_THREADS)
        if threads <= 1 or numba.config.DISABLE_JIT:
            self.body(first, last, *args)
            return
        numba.set_num_threads(threads)
        if _call_on_threads(self._address(args), first, last, threads, args):
            raise MemoryError(f"no memory for the buffers of {self.body.py_func.__name__}")

    def _address(self, args: tuple[Any, ...]) -> int:
        """Where the machine code for arguments of these types lies, in this process."""
        # typeof takes six microseconds an array, and a task may last a hundred
        kinds = tuple((a.dtype, a.ndim, a.flags.num) if isinstance(a, np.ndarray) else type(a) for a in args)
        if kinds not in self._addresses:
            signature = (types.int64, types.int64, *map(numba.typeof, args))
            self.body.compile(signature)
            found = self.body.overloads[signature]
            self._addresses[kinds] = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
        return self._addresses[kinds]


def _named(body: Callable[..., Any]) -> Callable[..., Any]:
    twin = python_types.FunctionType(
        body.__code__, body.__globals__, body.__name__, body.__defaults__, body.__closure__
    )
    twin.__module__ = body.__module__
    twin.__qualname__ = f"{body.__module__}.{body.__qualname__}"
    return twin


_call_on_threads = _compiled(_named(_on_threads), parallel=True)


loop = Loop
"""Decorator for a loop over rows that a task calls from Python."""
