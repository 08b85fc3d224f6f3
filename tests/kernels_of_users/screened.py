# screened.py
import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels import Kernel

KERNEL = Kernel("screened", __name__, factor=1 / (4 * np.pi), degree=None, parameters=(1.5,))


@formula
def charge(dx, dy, dz, q, parameters):
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    value = q * np.exp(-parameters[0] * r) / r if r > 0.0 else 0.0
    slope = value * (1.0 + parameters[0] * r) / (r * r) if r > 0.0 else 0.0
    return value, -slope * dx, -slope * dy, -slope * dz
