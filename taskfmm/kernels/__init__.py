"""Kernels: one file for each pair formula, one registry line here, and loops compiled once for each.

A kernel's module has ``KERNEL`` and five compiled functions. Arrays of charges and results have one row for
each component; coordinates are contiguous one-dimensional float64 arrays.

- ``potential(x, y, z, sx, sy, sz, q, out, i)``: sum over sources into ``out[:, i]``.
- ``gradient(...)``: the same, followed by the three derivatives with respect to the target.
- ``potential_both(x, y, z, charge, sx, sy, sz, q, out, i, back)`` and ``gradient_both(...)``: the same, and what
  charge ``charge[:, i]`` at the target does to every source into ``back``: both sides of a pair for one distance.
- ``spread(x, y, z, q, j, tx, ty, tz, out)``: one source into all targets.
"""

from taskfmm.kernels import laplace, one
from taskfmm.kernels.instances import gather_loops, spread_loops
from taskfmm.kernels.kernel import Kernel

MODULES = {"laplace": laplace, "one": one}

KERNELS: dict[str, Kernel] = {name: module.KERNEL for name, module in MODULES.items()}

OFFERED = tuple(name for name in KERNELS if name != "one")
"""Those that errors speak of; "one" is no user's, it proves that every source reaches every target."""

__all__ = ["KERNELS", "MODULES", "OFFERED", "Kernel", "gather_loops", "spread_loops"]
