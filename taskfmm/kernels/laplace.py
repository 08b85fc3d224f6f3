"""The Laplace kernel, phi(x) = q / (4 pi |x - y|): charges, masses, steady heat.

The formula leaves out 1/(4 pi); ``factor`` puts it in once, at the end. A pair at zero distance adds nothing.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import Kernel

KERNEL = Kernel("laplace", __name__, factor=1.0 / (4.0 * np.pi), degree=-1)

NORMAL = np.float32(2.0**-126)
"""The smallest squared distance whose root can be seeded. Scaled coordinates (see `taskfmm.geometry.domain`) put
it at 1e-37 of the width of the cube: clouds with a closer pair are refused (`taskfmm.geometry.resolution`)."""


@formula
def inverse_distance(r2):
    """1 / sqrt(r2) to float64 accuracy, and 0 where r2 is 0.

    A reciprocal root in float32, 22 bits or more, then one third-order Newton step y (1 + e/2 + 3 e^2/8) with
    e = 1 - r2 y^2, which triples the bits: several times faster than a root and a division in float64.
    """
    low = np.float32(r2)
    y = np.float64(np.float32(1.0) / np.sqrt(low)) if low >= NORMAL else 0.0
    e = 1.0 - r2 * y * y
    return y * (1.0 + e * (0.5 + 0.375 * e))


@formula
def charge(dx, dy, dz, q, parameters):
    """The potential q / r and its gradient, -q (dx, dy, dz) / r^3, at (dx, dy, dz) from a charge q."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    value = q * inverse
    slope = value * (inverse * inverse)
    return value, -(slope * dx), -(slope * dy), -(slope * dz)
