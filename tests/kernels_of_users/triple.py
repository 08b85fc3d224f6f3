"""Three charges at a point, each with its own potential q / r: numbers that do not turn as a vector does."""

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import Kernel, Output, Source

KERNEL = Kernel(
    "triple", __name__, 1.0, -1, sources=(Source("triple", 3),), outputs=(Output("potential", (3,)),)
)


@formula
def triple(dx, dy, dz, a, b, c, parameters):
    r = np.sqrt(dx * dx + dy * dy + dz * dz)
    inverse = 1.0 / r if r > 0.0 else 0.0
    return a * inverse, b * inverse, c * inverse
