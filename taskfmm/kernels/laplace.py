"""The Laplace kernel, phi(x) = q / (4 pi |x - y|): charges, masses, steady heat.

The pair functions leave out 1/(4 pi); ``factor`` puts it in once, at the end. A pair at zero distance adds
nothing. Every function has the protocol of `taskfmm.kernels`.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import jit, wide_vectors
from taskfmm.kernels.kernel import Kernel

KERNEL = Kernel(name="laplace", factor=1.0 / (4.0 * np.pi), degree=-1)

NORMAL = np.float32(2.0**-126)
"""The smallest squared distance whose root can be seeded. Scaled coordinates (see `taskfmm.geometry.domain`) put
it at 1e-37 of the width of the cube: clouds with a closer pair are refused (`taskfmm.geometry.resolution`)."""


@jit
def inverse_distance(r2):
    """1 / sqrt(r2) to float64 accuracy, and 0 where r2 is 0.

    A reciprocal root in float32, 22 bits or more, then one third-order Newton step y (1 + e/2 + 3 e^2/8) with
    e = 1 - r2 y^2, which triples the bits: several times faster than a root and a division in float64.
    """
    low = np.float32(r2)
    y = np.float64(np.float32(1.0) / np.sqrt(low)) if low >= NORMAL else 0.0
    e = 1.0 - r2 * y * y
    return y * (1.0 + e * (0.5 + 0.375 * e))


@jit
def potential(x, y, z, sx, sy, sz, q, out, i):
    """Add to out[0, i] the potential at (x, y, z) of all sources."""
    wide_vectors()
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
    wide_vectors()
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
def potential_both(x, y, z, charge, sx, sy, sz, q, out, i, back):
    """As `potential`, and add to back[0, :] the potential at every source of charge[0, i] at (x, y, z)."""
    wide_vectors()
    own = charge[0, i]
    total = 0.0
    for j in range(sx.size):
        dx = x - sx[j]
        dy = y - sy[j]
        dz = z - sz[j]
        inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
        total += q[0, j] * inverse
        back[0, j] += own * inverse
    out[0, i] += total


@jit
def gradient_both(x, y, z, charge, sx, sy, sz, q, out, i, back):
    """As `gradient`, and add to back[:, :] what charge[0, i] at (x, y, z) does to every source."""
    wide_vectors()
    own = charge[0, i]
    total = 0.0
    gx = 0.0
    gy = 0.0
    gz = 0.0
    for j in range(sx.size):
        dx = x - sx[j]
        dy = y - sy[j]
        dz = z - sz[j]
        inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
        cube = inverse * inverse * inverse
        to_here = q[0, j] * cube
        to_there = own * cube
        total += q[0, j] * inverse
        gx -= to_here * dx
        gy -= to_here * dy
        gz -= to_here * dz
        back[0, j] += own * inverse
        back[1, j] += to_there * dx
        back[2, j] += to_there * dy
        back[3, j] += to_there * dz
    out[0, i] += total
    out[1, i] += gx
    out[2, i] += gy
    out[3, i] += gz


@jit
def spread(x, y, z, q, j, tx, ty, tz, out):
    """Add to out[0, :] the potential of source j, charge q[0, j] at (x, y, z), at every target."""
    wide_vectors()
    charge = q[0, j]
    for i in range(tx.size):
        dx = tx[i] - x
        dy = ty[i] - y
        dz = tz[i] - z
        out[0, i] += charge * inverse_distance(dx * dx + dy * dy + dz * dz)
