"""Compile the loops once for each kernel, so that Numba can cache them on disk.

A compiled function that receives another one as an argument, or closes over it, is never found in Numba's
cache again. A module-level function that calls a module-level function is. So the loops are written once, as a
template module, and executed once more for each kernel under a module name of its own. Runs of points meet by
functions of another template, `taskfmm.kernels.one_vector` or, for many vectors, `taskfmm.kernels.tiles`, which is
executed with the innermost loops that `taskfmm.kernels.pairs` or `taskfmm.kernels.filling` write for the kernel.
Numba notices an edited loop but not an edited callee: the name carries a hash of the files of all that a formula
calls, which gives an edited formula a fresh cache entry.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from taskfmm.jit import formula, part, wide_vectors
from taskfmm.kernels import filling, function, pairs
from taskfmm.kernels.kernel import Kernel, Source
from taskfmm.kernels.single import has_twin, is_alike, single, with_twins
from taskfmm.kernels.softening import Softening

_lock = threading.RLock()


@cache
def _fingerprint(module: ModuleType, formula: Any) -> str:
    """Of all files that the formulas of a module come from, and of the numbers there that they name.

    formula : one of them, another one once the module has been loaded again
    """
    return function.digest([each.py_func for each in vars(module).values() if hasattr(each, "py_func")])


class _Loader(importlib.abc.ExecutionLoader):
    """Makes a module of a template and what is written for it, under the template's path: Numba keeps what it
    compiles beside a file that exists."""

    def __init__(self, path: Path, more: str) -> None:
        self.path, self.more = path, more

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_source(self, fullname: str) -> str:
        return f"{self.path.read_text()}\n\n{self.more}"


RUNS = ("gather_run", "gather_run_apart", "gather_run_mutual", "spread_run", "MUTUAL")
"""What templates of loops call."""


def instantiate(
    template: str,
    module: ModuleType,
    sources: tuple[Source, ...],
    odd_rows: tuple[bool, ...],
    softening: Softening | None = None,
    n_parameters: int = 0,
    first_row: int | None = None,
    dtype: str = "float64",
    roots: str = "",
) -> ModuleType:
    """The loops of a template, bound to the formulas of a module, in a dtype.

    roots : as `Kernel` has them
    first_row : for many vectors, see `taskfmm.kernels.filling.text`; for one, if left out
    Other arguments as of `taskfmm.kernels.pairs.text`.
    """
    facts = sources, odd_rows, softening, n_parameters
    runs = "one_vector" if first_row is None else "tiles"
    text = pairs.text(*facts) if first_row is None else filling.text(*facts, first_row)
    path = Path(__file__).with_name(f"{runs}.py")
    label = "_".join(
        (
            module.__name__.rsplit(".", 1)[-1],
            *(kind.name for kind in sources),
            str(len(odd_rows)),
            dtype + roots,
        )
    )
    more = hashlib.sha256(f"{module.__name__}{text}{path.read_text()}".encode()).hexdigest()[:6]
    label = f"{label}_{_fingerprint(module, getattr(module, sources[0].name))}_{more}"
    with _lock:
        called = {kind.name for kind in sources} | {pairs.formula_name(kind, softening) for kind in sources}
        formulas = {each: _formula(getattr(module, each), dtype, roots) for each in called}
        meeting = _module(f"{runs}_{label}", path, text, dtype, formulas)
        names = {name: getattr(meeting, name) for name in RUNS}
        return _module(f"{template}_{label}", Path(__file__).with_name(f"{template}.py"), "", dtype, names)


def _module(name: str, path: Path, text: str, dtype: str, names: Mapping[str, Any]) -> ModuleType:
    """A template with a text after it, where names mean what is given for them; made once."""
    name = f"taskfmm.kernels._{name}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _Loader(path, text))
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    vars(found).update(formula=formula, part=part, wide_vectors=wide_vectors, REAL=np.dtype(dtype).type)
    vars(found).update(names)
    spec.loader.exec_module(found)
    sys.modules[name] = found
    return found


def _formula(compiled: Any, dtype: str, roots: str) -> Any:
    """A user's may have been compiled in another way, and be cached."""
    if roots:
        return with_twins(compiled, roots)
    if dtype == "float32":
        return single(compiled)
    return formula(compiled.py_func) if hasattr(compiled, "py_func") else compiled


def module_of(kernel: Kernel) -> ModuleType:
    """The module with a kernel's formulas; made from a function where the kernel names one."""
    name = kernel.module
    return function.module(name) if ":" in name else sys.modules.get(name) or importlib.import_module(name)


def _loops(
    template: str,
    kernel: Kernel,
    sources: tuple[Source, ...],
    odd_rows: tuple[bool, ...],
    dtype: Any,
    softening: Softening | None = None,
    first_row: int = 0,
) -> ModuleType:
    """Asked for by each task: the formulas that a module has now tell whether it was loaded again."""
    module = module_of(kernel)
    now = tuple(getattr(module, kind.name) for kind in sources)
    n_parameters = len(kernel.parameters) if softening else 0
    return _instantiated(
        template,
        module,
        now,
        sources,
        odd_rows,
        softening,
        n_parameters,
        first_row if kernel.vectors > 1 else None,
        np.dtype(dtype).name,
        kernel.roots if dtype == np.float64 and any(has_twin(each, kernel.roots) for each in now) else "",
    )


@cache
def _instantiated(
    template: str,
    module: ModuleType,
    formulas: tuple[Any, ...],
    sources: tuple[Source, ...],
    odd_rows: tuple[bool, ...],
    softening: Softening | None,
    n_parameters: int,
    first_row: int | None,
    dtype: str,
    roots: str,
) -> ModuleType:
    facts = sources, odd_rows, softening, n_parameters, first_row, dtype, roots
    found = instantiate(template, module, *facts)
    if template == "apart_loops":
        exactly = instantiate("gather_loops", module, sources, odd_rows, first_row=first_row)
        vars(found)["gather_run_exactly"] = vars(exactly)["gather_run"]
    return found


def gather_loops(kernel: Kernel, output: str, dtype: Any = np.float64) -> Any:
    """The loops that end at points, for the sources of a kernel, and for an output and those before it."""
    softening = kernel.softening and kernel.softening.bare
    rows = kernel.odd_rows[: kernel.n_components(output)]
    return _loops("gather_loops", kernel, kernel.sources, rows, dtype, softening, kernel.first_row)


def apart_loops(kernel: Kernel, output: str) -> Any:
    """The near field in float32, for the sources of a kernel, and for an output and those before it."""
    rows = kernel.odd_rows[: kernel.n_components(output)]
    return _loops("apart_loops", kernel, kernel.sources, rows, np.float32, None, kernel.first_row)


def spread_loops(kernel: Kernel, dtype: Any = np.float64) -> Any:
    """The loops that end on surfaces, for the sources of a kernel."""
    rows = (False,) * (
        kernel.of_one.columns * kernel.n_potential
    )  # one-sided: no row is seen from the other side
    return _loops("spread_loops", kernel, kernel.onto_surfaces, rows, dtype)


@cache
def works_in_single(kernel: Kernel) -> bool:
    """Whether loops over pairs of a kernel may run in float32.

    It must have a degree, so that distances are in units of boxes, and formulas in which nothing cancels.
    """
    if kernel.degree is None or kernel.fixed_order or kernel.counts_itself or kernel.softening:
        return False
    module, kinds = module_of(kernel), (*kernel.sources, *kernel.onto_surfaces, kernel.dense)
    return all(is_alike(getattr(module, kind.name), kind.n_numbers, kernel.constants) for kind in kinds)


def fingerprint(kernel: Kernel) -> str:
    """Of a kernel's formulas, with all that they call, and of its expansion's: another one once they are edited."""
    module = module_of(kernel)
    own = _fingerprint(module, getattr(module, kernel.dense.name))
    return own if kernel.expansion is None else f"{own}-{fingerprint(kernel.expansion)}"
