"""Gravity of bodies that are softened by a length h: each attracts as if its mass were spread over a Plummer sphere.

With r = x - y from the source to the target, s = sqrt(|r|^2 + h^2) and a mass m, the formulas are

    potential = -G m / s,    acceleration = -G m r / s^3,    tide = G m (3 r r^T / s^5 - 1 / s^3)

The potential -1 / s solves no differential equation away from the body, unlike that of a point. So expansions have
points within boxes. Without softening they are those of the Laplace kernel, one column.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels import laplace
from taskfmm.kernels.kernel import Kernel, Output, Source
from taskfmm.kernels.laplace import inverse_distance
from taskfmm.kernels.real import real

KERNEL = Kernel(
    "gravity",
    __name__,
    factor=1.0,
    degree=None,
    parameters=(1.0, 1.0),
    sources=(Source("mass", argument="masses"),),
    outputs=(
        Output("potential"),
        Output("acceleration", (3,), 1, odd=True),
        Output("tide", (3, 3), 2, symmetric=True),
    ),
    surfaces="filled",
    extra=0.8,
)

NEWTON = replace(
    KERNEL,
    name="newton",
    degree=-1,
    parameters=(1.0, 0.0),
    expansion=laplace.KERNEL,
    surfaces="single",
)


def Gravity(softening: float, G: float = 1.0) -> Kernel:
    """The gravity of masses m, softened by the length h, with r = x - y from the source to the target:

        potential(x) = -G m / sqrt(|r|^2 + h^2)

    ``acceleration`` is its negative gradient, -G m r / (|r|^2 + h^2)^(3/2), and ``tide`` the derivative of the
    acceleration: tide[i, j] is that of its component i by coordinate j. A pair at zero distance adds nothing to any
    of them: no body acts on itself, nor on another at the very same place.

    Parameters
    ----------
    softening : float
        h, in the unit of the points, as in Plummer's sphere; 0 for the gravity of points.
    G : float
        The constant of gravity in your units, as 6.6743e-11 in m^3 / (kg s^2); 1 in N-body units.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: source ``masses`` [n], outputs ``potential`` [m], ``acceleration``
        [m, 3] and ``tide`` [m, 3, 3].

    Raises
    ------
    InputError
        softening is negative, or one of both is no finite number; G is 0.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> kernel = taskfmm.kernels.Gravity(softening=3.0)
    >>> points = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    >>> found = taskfmm.direct(points, masses=[10.0, 0.0], kernel=kernel, outputs=["potential", "acceleration"])
    >>> float(found["potential"][1]), np.round(found["acceleration"][1], 12) + 0.0
    (-2.0, array([-0.32,  0.  ,  0.  ]))
    """
    h, constant = real(softening), real(G)
    if not 0.0 <= h < np.inf:
        raise InputError(
            f"softening is {softening!r}: give a length in the unit of the points, or 0 where nothing is softened"
        )
    if not (np.isfinite(constant) and constant):
        raise InputError(f"G, the constant of gravity, is {G!r}: give a finite number, and not 0")
    return (KERNEL if h else NEWTON).with_parameters(constant, h)


@formula
def mass(dx, dy, dz, m, parameters):
    """The potential, the acceleration and the tide of a body."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2 + parameters[1] * parameters[1]) if r2 > 0.0 else 0.0
    square = inverse * inverse
    value = parameters[0] * m * inverse
    slope = value * square
    bend = 3.0 * slope * square
    x, y, z = bend * dx, bend * dy, bend * dz
    tide = x * dx - slope, x * dy, x * dz, y * dy - slope, y * dz, z * dz - slope
    return (-value, -(slope * dx), -(slope * dy), -(slope * dz), *tide)


@formula
def mass_columns(dx, dy, dz, m, parameters):
    """What an expansion in 1 / r receives."""
    return (m * inverse_distance(dx * dx + dy * dy + dz * dz),)


@formula
def columns(dx, dy, dz, m, parameters):
    """The outputs of densities: as those of bodies."""
    return mass(dx, dy, dz, m, parameters)
