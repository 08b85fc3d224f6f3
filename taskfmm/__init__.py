"""taskfmm: the fast multipole method as a Dask task graph of Numba kernels.

>>> import numpy as np, taskfmm
>>> rng = np.random.default_rng(1729)
>>> x, q = rng.random((1000, 3)), rng.uniform(-1, 1, 1000)
>>> phi = taskfmm.Fmm(x, eps=1e-4).potential(q)
>>> phi.compute().shape
(1000,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskfmm.errors import AccuracyError, InputError, TaskfmmError
from taskfmm.version import __version__

if TYPE_CHECKING:
    from taskfmm.direct_sum import direct
    from taskfmm.fmm import Fmm
    from taskfmm.live.dashboard import dashboard
    from taskfmm.profiling.profile import profile
    from taskfmm.profiling.progress import progress
    from taskfmm.sessions.schedulers import use
    from taskfmm.spread.files import dataset

__all__ = [
    "AccuracyError",
    "Fmm",
    "InputError",
    "TaskfmmError",
    "__version__",
    "dashboard",
    "dataset",
    "direct",
    "kernels",
    "plots",
    "profile",
    "progress",
    "use",
]

_HOME = {
    "Fmm": "taskfmm.fmm",
    "dashboard": "taskfmm.live.dashboard",
    "dataset": "taskfmm.spread.files",
    "direct": "taskfmm.direct_sum",
    "profile": "taskfmm.profiling.profile",
    "progress": "taskfmm.profiling.progress",
    "use": "taskfmm.sessions.schedulers",
}


def __getattr__(name: str) -> Any:
    """Import what needs Numba and Dask when it is first used: ``taskfmm --help`` should not wait for them."""
    if name in ("kernels", "plots", "spread"):  # modules, not names in one
        return import_module(f"taskfmm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'taskfmm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
