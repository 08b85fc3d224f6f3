"""The kernel that is 1 everywhere: every target must receive the sum of all charges, exactly.

It proves tree, lists, shards and graph: with integer charges nothing is rounded. Unlike the physical kernels
it counts a pair at zero distance too.
"""

from __future__ import annotations

from taskfmm.jit import formula
from taskfmm.kernels.kernel import Kernel

KERNEL = Kernel("one", __name__, factor=1.0, degree=0, fixed_order=1, counts_itself=True)


@formula
def charge(dx, dy, dz, q, parameters):
    """The potential is the charge, wherever it is, and the gradient of a constant is zero."""
    return q, 0.0, 0.0, 0.0
