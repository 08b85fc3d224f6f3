"""Kernels: one file for each, and one registry line.

The module of a kernel has ``KERNEL``, the facts, and a compiled function for each kind of source, named as the kind:

    formula(dx, dy, dz, *numbers, parameters) -> tuple

It gives the rows of all outputs, without the kernel's ``factor``, at a target that lies (dx, dy, dz) from a source
with these numbers; what an evaluation does not need of them is not computed. The loops around it are generated.
"""

from taskfmm.kernels import examples
from taskfmm.kernels.biot_savart import BiotSavart
from taskfmm.kernels.from_function import from_function
from taskfmm.kernels.gravity import Gravity
from taskfmm.kernels.helmholtz import Helmholtz
from taskfmm.kernels.instances import (
    apart_loops,
    fingerprint,
    gather_loops,
    spread_loops,
    works_in_single,
)
from taskfmm.kernels.kernel import CHARGE, GRADIENT, HESSIAN, POTENTIAL, Kernel, Output, Source
from taskfmm.kernels.laplace import Laplace
from taskfmm.kernels.registry import CONSTRUCTORS, KERNELS, find, named, refuse_without_sum, register
from taskfmm.kernels.roots import with_roots
from taskfmm.kernels.stokes import Stokes
from taskfmm.kernels.weights import weights
from taskfmm.kernels.yukawa import Yukawa

CONSTRUCTORS |= {
    "gaussian": examples.Gaussian,
    "exponential": examples.Exponential,
    "matern": examples.Matern,
    "inverse_square": examples.InverseSquare,
    "thin_plate": examples.ThinPlate,
    "multiquadric": examples.Multiquadric,
}

__all__ = [
    "CHARGE",
    "GRADIENT",
    "HESSIAN",
    "KERNELS",
    "Gravity",
    "BiotSavart",
    "POTENTIAL",
    "Helmholtz",
    "Kernel",
    "Laplace",
    "Output",
    "Source",
    "Stokes",
    "Yukawa",
    "apart_loops",
    "examples",
    "find",
    "fingerprint",
    "from_function",
    "gather_loops",
    "named",
    "refuse_without_sum",
    "register",
    "spread_loops",
    "weights",
    "with_roots",
    "works_in_single",
]
