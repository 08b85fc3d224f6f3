"""Compile the loops once for each pair formula, so that Numba can cache them on disk.

A compiled function that receives another one as an argument, or closes over it, is never found in Numba's
cache again. A module-level function that calls a module-level function is. So the loops are written once, as a
template module, and executed once more for each pair formula under a module name of its own. Numba notices an
edited loop but not an edited callee: the name carries a hash of the kernel's source, which gives an edited
formula a fresh cache entry.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_lock = threading.RLock()


@cache
def _fingerprint(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def _instantiate(template: str, kernel: ModuleType, label: str, **bound: Any) -> ModuleType:
    assert kernel.__file__ is not None
    short = kernel.__name__.rsplit(".", 1)[-1]
    name = f"taskfmm.kernels._{template}_{short}_{label}_{_fingerprint(kernel.__file__)}"
    with _lock:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{template}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        module.__dict__.update(bound)
        spec.loader.exec_module(module)
        sys.modules[name] = module
        return module


def _module(name: str) -> ModuleType:
    from taskfmm.kernels import MODULES

    return MODULES[name]


@cache
def gather_loops(kernel: str, output: str) -> Any:
    """The loops that end at points, for one kernel and output ("potential" or "gradient")."""
    module = _module(kernel)
    return _instantiate(
        "gather_loops",
        module,
        output,
        gather=getattr(module, output),
        gather_both=getattr(module, f"{output}_both"),
    )


@cache
def spread_loops(kernel: str) -> Any:
    """The loops that end on surfaces, for one kernel."""
    module = _module(kernel)
    return _instantiate("spread_loops", module, "potential", spread=module.spread)
