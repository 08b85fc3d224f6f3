"""taskfmm: the fast multipole method as a Dask task graph of Numba kernels.

>>> import numpy as np, taskfmm
>>> rng = np.random.default_rng(1729)
>>> x, q = rng.random((1000, 3)), rng.uniform(-1, 1, 1000)
>>> phi = taskfmm.Fmm(x, eps=1e-4).potential(q)
>>> phi.compute().shape
(1000,)
"""

from taskfmm.direct import direct
from taskfmm.errors import AccuracyError, InputError, TaskfmmError
from taskfmm.fmm import Fmm
from taskfmm.runtime.progress import progress
from taskfmm.version import __version__

__all__ = ["AccuracyError", "Fmm", "InputError", "TaskfmmError", "__version__", "direct", "progress"]
