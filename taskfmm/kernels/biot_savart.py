"""The Biot-Savart kernel, w x r / (4 pi |r|^3): the velocity around vortices, the magnetic field around currents.

The formulas leave out 1/(4 pi). The velocity is the curl of the vector potential w / |r|, whose three components are
potentials of 1 / r: expansions are three of the Laplace kernel's, with its operators.
"""

from __future__ import annotations

import numpy as np

from taskfmm.jit import formula
from taskfmm.kernels import laplace
from taskfmm.kernels.kernel import Kernel, Output, Source
from taskfmm.kernels.roots import inverse_distance

KERNEL = Kernel(
    "biot_savart",
    __name__,
    factor=1.0 / (4.0 * np.pi),
    degree=-1,
    sources=(Source("vorticity", 3, argument="vorticity", vector=True),),
    outputs=(
        Output("vector_potential", (3,)),
        Output("velocity", (3,), 1, odd=True),
        Output("velocity_gradient", (3, 3), 2),
    ),
    expansion=laplace.KERNEL,
    columns=3,
)


def BiotSavart() -> Kernel:
    """The kernel of vortices, or of elements of a current, with r = x - y from the source to the target:

        velocity(x) = w x r / (4 pi |r|^3) = curl (w / (4 pi |r|))

    A pair at zero distance adds nothing. With w the vorticity times the volume of a particle, velocity is that of the
    fluid; with w = mu0 I dl it is the magnetic field.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: source ``vorticity`` [n, 3], outputs ``vector_potential`` [m, 3],
        w / (4 pi |r|), ``velocity`` [m, 3], and ``velocity_gradient`` [m, 3, 3], whose entry [i, j] is the derivative
        of the component i of the velocity along axis j, as the stretching of vortices needs it.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> w = np.array([[0.0, 0.0, 4 * np.pi], [0.0, 0.0, 0.0]])
    >>> kernel = taskfmm.kernels.BiotSavart()
    >>> np.round(taskfmm.direct(points, kernel=kernel, vorticity=w, outputs="velocity")["velocity"][1], 12) + 0.0
    array([0., 1., 0.])
    """
    return KERNEL


@formula
def vorticity(dx, dy, dz, wx, wy, wz, parameters):
    """The vector potential, the velocity and its gradient around a vortex."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    cube = inverse * square
    u, v, w = cube * (wy * dz - wz * dy), cube * (wz * dx - wx * dz), cube * (wx * dy - wy * dx)
    x, y, z = -3.0 * square * dx, -3.0 * square * dy, -3.0 * square * dz
    ax, ay, az = cube * wx, cube * wy, cube * wz
    return (
        inverse * wx, inverse * wy, inverse * wz,
        u, v, w,
        u * x, u * y - az, u * z + ay,
        v * x + az, v * y, v * z - ax,
        w * x - ay, w * y + ax, w * z,
    )  # fmt: skip


@formula
def vorticity_columns(dx, dy, dz, wx, wy, wz, parameters):
    """What the three expansions receive: the vector potential."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    return inverse * wx, inverse * wy, inverse * wz


@formula
def columns(dx, dy, dz, ax, ay, az, parameters):
    """The outputs of densities, one for each expansion: as those of a vortex."""
    return vorticity(dx, dy, dz, ax, ay, az, parameters)
