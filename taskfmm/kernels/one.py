"""The kernel that is 1 everywhere: every target must receive the sum of all charges, exactly.

It proves tree, lists, shards and graph: with integer charges nothing is rounded. Unlike the physical kernels
it counts a pair at zero distance too.
"""

from __future__ import annotations

from taskfmm.jit import jit
from taskfmm.kernels.kernel import Kernel

KERNEL = Kernel(name="one", factor=1.0, degree=0, fixed_order=1, counts_itself=True)


@jit
def potential(x, y, z, sx, sy, sz, q, out, i):
    """Add to out[0, i] the sum of all charges."""
    total = 0.0
    for j in range(sx.size):
        total += q[0, j]
    out[0, i] += total


@jit
def gradient(x, y, z, sx, sy, sz, q, out, i):
    """As `potential`; the gradient of a constant is zero."""
    potential(x, y, z, sx, sy, sz, q, out, i)


@jit
def potential_both(x, y, z, charge, sx, sy, sz, q, out, i, back):
    """As `potential`, and add charge[0, i] to back[0, :]."""
    potential(x, y, z, sx, sy, sz, q, out, i)
    for j in range(sx.size):
        back[0, j] += charge[0, i]


@jit
def gradient_both(x, y, z, charge, sx, sy, sz, q, out, i, back):
    """As `potential_both`."""
    potential_both(x, y, z, charge, sx, sy, sz, q, out, i, back)


@jit
def spread(x, y, z, q, j, tx, ty, tz, out):
    """Add charge j to out[0, :]."""
    charge = q[0, j]
    for i in range(tx.size):
        out[0, i] += charge
