"""The Laplace kernel, phi(x) = q / (4 pi |x - y|): charges, masses, steady heat.

The pair functions leave out 1/(4 pi); ``factor`` puts it in once, at the end. A pair at zero distance adds
nothing. Every function has the protocol of `taskfmm.kernels`.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit
from taskfmm.kernels.kernel import Kernel

KERNEL = Kernel(name="laplace", factor=1.0 / (4.0 * np.pi), degree=-1)


@jit
def inverse_distance(r2):
    """1 / sqrt(r2), and 0 where r2 is 0."""
    return 1.0 / np.sqrt(r2) if r2 > 0.0 else 0.0


@jit
def potential(x, y, z, sx, sy, sz, q, out, i):
    """Add to out[0, i] the potential at (x, y, z) of all sources."""
    total = 0.0
    for j in range(sx.size):
        dx = x - sx[j]
        dy = y - sy[j]
        dz = z - sz[j]
        total += q[0, j] * inverse_distance(dx * dx + dy * dy + dz * dz)
    out[0, i] += total


@jit
def gradient(x, y, z, sx, sy, sz, q, out, i):
    """Add to out[:, i] the potential and its gradient, -q (x - y) / r^3, at (x, y, z)."""
    total = 0.0
    gx = 0.0
    gy = 0.0
    gz = 0.0
    for j in range(sx.size):
        dx = x - sx[j]
        dy = y - sy[j]
        dz = z - sz[j]
        inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
        value = q[0, j] * inverse
        slope = value * inverse * inverse
        total += value
        gx -= slope * dx
        gy -= slope * dy
        gz -= slope * dz
    out[0, i] += total
    out[1, i] += gx
    out[2, i] += gy
    out[3, i] += gz


@jit
def spread(x, y, z, q, j, tx, ty, tz, out):
    """Add to out[0, :] the potential of source j, charge q[0, j] at (x, y, z), at every target."""
    charge = q[0, j]
    for i in range(tx.size):
        dx = tx[i] - x
        dy = ty[i] - y
        dz = tz[i] - z
        out[0, i] += charge * inverse_distance(dx * dx + dy * dy + dz * dz)
