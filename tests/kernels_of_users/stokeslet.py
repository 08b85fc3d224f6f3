"""Forces f, with the velocity (f / r + r (r . f) / r^3) / 8 pi: three numbers in, three numbers out."""

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import Kernel, Output, Source

KERNEL = Kernel(
    "stokeslet",
    __name__,
    1 / (8 * np.pi),
    -1,
    sources=(Source("force", 3, vector=True),),
    outputs=(Output("velocity", (3,)),),
)


@formula
def force(dx, dy, dz, fx, fy, fz, parameters):
    r2 = dx * dx + dy * dy + dz * dz
    inverse = 1.0 / np.sqrt(r2) if r2 > 0.0 else 0.0
    along = (dx * fx + dy * fy + dz * fz) * inverse * inverse
    return inverse * (fx + along * dx), inverse * (fy + along * dy), inverse * (fz + along * dz)
