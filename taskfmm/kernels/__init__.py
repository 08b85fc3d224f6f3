"""Kernels: one file for each, and one registry line here.

The module of a kernel has ``KERNEL``, the facts, and a compiled function for each kind of source, named as the kind:

    formula(dx, dy, dz, *numbers, parameters) -> tuple

It gives the rows of all outputs, without the kernel's ``factor``, at a target that lies (dx, dy, dz) from a source
with these numbers; what an evaluation does not need of them is not computed. The loops around it are generated.
"""

from taskfmm.kernels import laplace, one
from taskfmm.kernels.instances import gather_loops, spread_loops
from taskfmm.kernels.kernel import Kernel, Output, Source

KERNELS: dict[str, Kernel] = {module.KERNEL.name: module.KERNEL for module in (laplace, one)}

OFFERED = tuple(name for name in KERNELS if name != "one")
"""Those that errors speak of; "one" is no user's, it proves that every source reaches every target."""

__all__ = ["KERNELS", "OFFERED", "Kernel", "Output", "Source", "gather_loops", "spread_loops"]
