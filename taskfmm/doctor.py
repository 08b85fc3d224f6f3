"""What this machine is, as taskfmm sees it, and what could be better. Nothing is measured or changed."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import psutil
from dask.utils import format_bytes
from threadpoolctl import threadpool_info

from taskfmm.cost import rates
from taskfmm.errors import InputError
from taskfmm.files.cache import directory
from taskfmm.geometry import morton
from taskfmm.runtime import layout
from taskfmm.runtime.threads import cores, n_cores, threading_layer
from taskfmm.version import __version__

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "dask", "distributed", "h5py")

VECTORS = ("avx512f", "avx2", "sve", "neon", "sse2")
"""Sets of vector instructions, the widest first."""

BUSY = 0.25
"""Of the cores: with a load above that, seconds tell little."""

PLAIN_BLAS = ("generic", "prescott", "nehalem", "armv8")
"""Kernels of OpenBLAS for processors with short vectors, which it takes where it does not know the processor."""


def machine() -> dict[str, Any]:
    """Versions, processor, memory, threads, BLAS kernels, and where things are kept."""
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that loops call must be loaded to be listed

    memory = psutil.virtual_memory()
    return {
        "versions": {"taskfmm": __version__} | {name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu, as LLVM names it": llvmlite.binding.get_host_cpu_name(),
        "vector instructions": vectors(),
        "cores": n_cores(),
        "cores of the system": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "memory": f"{format_bytes(memory.available)} of {format_bytes(memory.total)} are free",
        "threads of an evaluation now": str(layout.current()),
        "threading layer of Numba": _or_why_not(threading_layer),
        "compiled loops": str(_loops() or "kept nowhere"),
        "blas": [
            f"{info['internal_api']} {info['version']}, kernels for {info.get('architecture', '?')}, "
            f"{info['num_threads']} threads outside tasks"
            for info in _blas()
        ],
        "operators": _or_why_not(_operators),
        "rates": _or_why_not(rates.path) if rates.is_kept() else "defaults: none measured here yet",
    }


def advice() -> list[str]:
    """What to do about what is not as it could be, whole sentences; none where all is well."""
    return list(_advice())


def _advice() -> Iterator[str]:
    if numba.config.DISABLE_JIT:
        yield "Loops are not compiled and take hundreds of times as long: unset NUMBA_DISABLE_JIT."
    if not rates.is_kept():
        yield "Plans and forecasts count with the rates of an ordinary core: run taskfmm calibrate once."
    if n_cores() < cores():
        yield f"Loops use {n_cores()} of {cores()} cores: NUMBA_NUM_THREADS limits them."
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY * cores():
        yield f"The load is {load:.1f} on {cores()} cores: while others run, compare CPU seconds, not seconds."
    for info in _blas():
        kernels = str(info.get("architecture", "")).lower()
        if kernels in PLAIN_BLAS and vectors() in ("avx512f", "avx2", "sve"):
            yield (
                f"BLAS runs its kernels for {info['architecture']}, which are slow here: update NumPy and SciPy, or "
                "set OPENBLAS_CORETYPE to your processor."
            )
    yield from _advice_on_places()


def _advice_on_places() -> Iterator[str]:
    try:
        if threading_layer() == "workqueue":
            yield "Only one loop at a time runs on several threads: pip install tbb, or install libgomp."
    except InputError as error:
        yield f"{error}."
    try:
        if not _is_writable(directory()):
            yield (
                f"Operators are made again in every process, as {directory()} cannot be written: set "
                "TASKFMM_CACHE_DIR to a directory of yours."
            )
    except OSError as error:
        yield f"Operators are made again in every process: {error}."
    if not numba.config.DISABLE_JIT and not _is_writable(_loops()):
        yield (
            "Loops are compiled again in every process, as they cannot be kept: set NUMBA_CACHE_DIR to a directory "
            "of yours."
        )


def vectors() -> str:
    """The widest vector instructions of the processor that LLVM knows of."""
    has = llvmlite.binding.get_host_cpu_features()
    return next((name for name in VECTORS if has.get(name)), "none")


def _blas() -> list[dict[str, Any]]:
    return [info for info in threadpool_info() if info["user_api"] == "blas"]


def _loops() -> Path | None:
    """Where Numba keeps compiled loops; None if nowhere."""
    found = getattr(morton.key, "stats", None)
    return None if found is None or found.cache_path is None else Path(found.cache_path)


def _operators() -> str:
    files = [file.stat().st_size for file in directory().glob("*.h5")]
    return f"{len(files)} files, {format_bytes(sum(files))}, in {directory()}"


def _is_writable(place: Path | None) -> bool:
    """Whether files can be put there, or the place can be made."""
    if place is None:
        return False
    there = next(each for each in (place, *place.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _or_why_not(place: Callable[[], Any]) -> str:
    try:
        return str(place())
    except (OSError, InputError) as error:
        return f"nowhere: {error}"


def text(facts: dict[str, Any], advised: list[str]) -> str:
    """Facts, one a line, and what to do."""
    lines = []
    for name, value in facts.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, dict)
            else "; ".join(value)
            if isinstance(value, list)
            else value
        )
        lines.append(f"{name:<30} {shown}")
    return "\n".join([*lines, "", *(advised or ["All is well."])])
