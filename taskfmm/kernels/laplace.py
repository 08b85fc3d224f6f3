"""The Laplace kernel, q / (4 pi |x - y|): charges and dipoles, masses, steady heat.

The formulas leave out 1/(4 pi); ``factor`` puts it in once, at the end. A pair at zero distance adds nothing.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels.kernel import CHARGE, DIPOLE, GRADIENT, HESSIAN, POTENTIAL, Kernel
from taskfmm.kernels.roots import inverse_distance

KERNEL = Kernel(
    "laplace",
    __name__,
    factor=1.0 / (4.0 * np.pi),
    degree=-1,
    sources=(CHARGE, DIPOLE),
    outputs=(POTENTIAL, GRADIENT, HESSIAN),
    lattices=(1, 2, 3),
)


def Laplace() -> Kernel:
    """The kernel of charges q and dipoles p, with r = x - y from the source to the target and R = |r|:

        phi(x) = (q + p . r / R^2) / (4 pi R)

    ``gradient`` and ``hessian`` are its derivatives by x. A pair at zero distance adds nothing.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`, as the name "laplace" is: sources ``charges`` [n] and ``dipoles``
        [n, 3], outputs ``potential`` [m], ``gradient`` [m, 3] and ``hessian`` [m, 3, 3].

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    >>> p = 4 * np.pi * np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    >>> taskfmm.direct(points, kernel=taskfmm.kernels.Laplace(), dipoles=p)
    array([0.  , 0.25])
    """
    return KERNEL


@formula
def charge(dx, dy, dz, q, parameters):
    """Of a charge: the potential q / r, its gradient -q d / r^3, and its Hessian q (3 d d / r^2 - 1) / r^3."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    value = q * inverse
    slope = value * square
    bend = 3.0 * slope * square
    return (
        value, -(slope * dx), -(slope * dy), -(slope * dz),
        bend * dx * dx - slope, bend * dx * dy, bend * dx * dz,
        bend * dy * dy - slope, bend * dy * dz, bend * dz * dz - slope,
    )  # fmt: skip


@formula
def dipole(dx, dy, dz, px, py, pz, parameters):
    """The same of a dipole, with the potential p . d / r^3."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    cube = inverse * square
    along = px * dx + py * dy + pz * dz
    steep = -3.0 * cube * square
    bend, slope = -5.0 * along * steep * square, along * steep
    return (
        along * cube, px * cube + slope * dx, py * cube + slope * dy, pz * cube + slope * dz,
        bend * dx * dx + steep * (2.0 * px * dx) + slope,
        bend * dx * dy + steep * (px * dy + py * dx),
        bend * dx * dz + steep * (px * dz + pz * dx),
        bend * dy * dy + steep * (2.0 * py * dy) + slope,
        bend * dy * dz + steep * (py * dz + pz * dy),
        bend * dz * dz + steep * (2.0 * pz * dz) + slope,
    )  # fmt: skip
