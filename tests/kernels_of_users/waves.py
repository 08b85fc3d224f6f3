import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels import POTENTIAL, Kernel

KERNEL = Kernel("waves", __name__, factor=1.0, degree=None, parameters=(1.0,), outputs=(POTENTIAL,))


@formula
def charge(dx, dy, dz, q, parameters):
    """Standing waves, which solve the Helmholtz equation."""
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    return (q * np.cos(parameters[0] * r) / r if r > 0.0 else 0.0,)
