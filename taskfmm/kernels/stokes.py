"""The Stokes kernel: the slow flow of a viscous fluid around forces, stresslets and rotlets.

The formulas leave out 1/(8 pi) and the viscosity. They follow from four potentials of 1 / r (Tornberg and
Greengard, J. Comput. Phys. 227 (2008) 1613-1619): with phi_j of the forces f_j, and psi of y . f, where y is the
place of the force,

    u = phi - sum_j x_j grad phi_j + grad psi,  p = -2 div phi.

So expansions are four of the Laplace kernel's, with its operators, and the last is the first moment of the others.
"""

from __future__ import annotations

import math

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels import laplace
from taskfmm.kernels.kernel import Kernel, Output, Source
from taskfmm.kernels.roots import inverse_distance

KERNEL = Kernel(
    "stokes",
    __name__,
    factor=1.0 / (8.0 * np.pi),
    degree=-1,
    parameters=(1.0,),
    sources=(
        Source("force", 3, vector=True),
        Source("stresslet", 9, odd=True, derivative=1, shape=(3, 3), part=1),
        Source("rotlet", 9, odd=True, derivative=1, shape=(3, 3), part=-1),
    ),
    outputs=(
        Output("velocity", (3,), divisor=0),
        Output("pressure", (), 1, odd=True),
        Output("velocity_gradient", (3, 3), 1, odd=True, divisor=0),
    ),
    expansion=laplace.KERNEL.with_sources(*laplace.KERNEL.sources[:1]),
    columns=4,
    first_moment=True,
    lattices=(3,),
)


def Stokes(viscosity: float = 1.0) -> Kernel:
    """The kernel of Stokes flow without walls, with r = x - y from the source to the target, R = |r|:

        of a force f       u(x) = (f / R + r (r . f) / R^3) / (8 pi viscosity),        p(x) = r . f / (4 pi R^3)
        of a stresslet m n  u(x) = 3 r (r . m) (r . n) / (4 pi viscosity R^5),
                           p(x) = (3 (r . m) (r . n) / R^5 - m . n / R^3) / (2 pi)
        of a rotlet m n    u(x) = (m (r . n) - n (r . m)) / (4 pi viscosity R^3),      p(x) = 0

    ``velocity_gradient[:, i, j]`` is the derivative of u_i by x_j. A pair at zero distance adds nothing.

    Parameters
    ----------
    viscosity : float
        The dynamic viscosity, positive. With forces in newtons, lengths in metres and pascal seconds here, velocities
        are in metres per second and pressures in pascals.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: sources ``forces`` [n, 3], ``stresslets`` and ``rotlets``, each
        a pair of arrays m and n [n, 3], or their products m_i n_j as one array [n, 3, 3], in force times length;
        outputs ``velocity`` [m, 3], ``pressure`` [m] and ``velocity_gradient`` [m, 3, 3].
        Of the products of a stresslet only the symmetric part acts, of those of a rotlet only the antisymmetric one.

    Raises
    ------
    InputError
        The viscosity is no positive, finite number.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points, forces = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), np.array([[8 * np.pi, 0.0, 0.0], [0.0] * 3])
    >>> water = taskfmm.kernels.Stokes(viscosity=1e-3)
    >>> np.round(taskfmm.direct(points, kernel=water, forces=forces)[1], 9)
    array([1000.,    0.,    0.])
    """
    try:
        number = math.nan if isinstance(viscosity, NO_NUMBERS) else float(viscosity)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if 0.0 < number < math.inf:
        return KERNEL.with_parameters(number)
    raise InputError(f"viscosity is {viscosity!r}: give a positive number, such as 1.0")


NO_NUMBERS = (bool, np.bool, complex, np.complexfloating, str, bytes)
"""What Python would make a number of."""


@formula
def force(dx, dy, dz, fx, fy, fz, parameters):
    """The velocity, the pressure and the velocity gradient of a force."""
    return columns(dx, dy, dz, fx, fy, fz, 0.0, parameters)


@formula
def stresslet(dx, dy, dz, xx, xy, xz, yx, yy, yz, zx, zy, zz, parameters):
    """The same of a stresslet."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    cube = inverse * square
    tx = 2.0 * xx * dx + (xy + yx) * dy + (xz + zx) * dz
    ty = (xy + yx) * dx + 2.0 * yy * dy + (yz + zy) * dz
    tz = (xz + zx) * dx + (yz + zy) * dy + 2.0 * zz * dz
    fifth = 3.0 * cube * square
    steep = (tx * dx + ty * dy + tz * dz) * fifth
    pressure = 2.0 * steep - 4.0 * (xx + yy + zz) * cube
    ax, ay, az = 2.0 * fifth * tx, 2.0 * fifth * ty, 2.0 * fifth * tz
    s = 5.0 * steep * square
    return (
        steep * dx, steep * dy, steep * dz, pressure,
        steep + dx * (ax - s * dx), dx * (ay - s * dy), dx * (az - s * dz),
        dy * (ax - s * dx), steep + dy * (ay - s * dy), dy * (az - s * dz),
        dz * (ax - s * dx), dz * (ay - s * dy), steep + dz * (az - s * dz),
    )  # fmt: skip


@formula
def rotlet(dx, dy, dz, xx, xy, xz, yx, yy, yz, zx, zy, zz, parameters):
    """The same of a rotlet, which has no pressure."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    twice = 2.0 * inverse * square
    a, b, c = twice * (xy - yx), twice * (xz - zx), twice * (yz - zy)
    ux, uy, uz = a * dy + b * dz, c * dz - a * dx, -(b * dx) - c * dy
    sx, sy, sz = 3.0 * square * dx, 3.0 * square * dy, 3.0 * square * dz
    return (
        ux, uy, uz, 0.0,
        -(ux * sx), a - ux * sy, b - ux * sz,
        -a - uy * sx, -(uy * sy), c - uy * sz,
        -b - uz * sx, -c - uz * sy, -(uz * sz),
    )  # fmt: skip


@formula
def force_columns(dx, dy, dz, fx, fy, fz, parameters):
    """What the four expansions receive: phi, and of psi the part that hangs on the offset."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    return inverse * fx, inverse * fy, inverse * fz, -(inverse * (dx * fx + dy * fy + dz * fz))


@formula
def stresslet_columns(dx, dy, dz, xx, xy, xz, yx, yy, yz, zx, zy, zz, parameters):
    """The same: phi_j is the potential of a dipole, twice the symmetric part."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    cube = inverse * inverse * inverse
    tx = cube * (2.0 * xx * dx + (xy + yx) * dy + (xz + zx) * dz)
    ty = cube * ((xy + yx) * dx + 2.0 * yy * dy + (yz + zy) * dz)
    tz = cube * ((xz + zx) * dx + (yz + zy) * dy + 2.0 * zz * dz)
    return tx, ty, tz, -(tx * dx + ty * dy + tz * dz)


@formula
def rotlet_columns(dx, dy, dz, xx, xy, xz, yx, yy, yz, zx, zy, zz, parameters):
    """The same: phi_j is the potential of a dipole, twice the antisymmetric part."""
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    cube = inverse * inverse * inverse
    a, b, c = cube * (xy - yx), cube * (xz - zx), cube * (yz - zy)
    return a * dy + b * dz, c * dz - a * dx, -(b * dx) - c * dy, 0.0


@formula
def columns(dx, dy, dz, fx, fy, fz, g, parameters):
    """The outputs of densities, one for each expansion: those of a force f, and the gradient of g / r.

    g : the first moment about the place of the density
    """
    inverse = inverse_distance(dx * dx + dy * dy + dz * dz)
    square = inverse * inverse
    cube = inverse * square
    along = dx * fx + dy * fy + dz * fz
    slope = cube * (along - g)
    s = 3.0 * square * slope
    hx, hy, hz = cube * fx, cube * fy, cube * fz
    return (
        inverse * fx + slope * dx, inverse * fy + slope * dy, inverse * fz + slope * dz,
        2.0 * cube * along,
        slope - s * dx * dx, dx * hy - hx * dy - s * dx * dy, dx * hz - hx * dz - s * dx * dz,
        dy * hx - hy * dx - s * dx * dy, slope - s * dy * dy, dy * hz - hy * dz - s * dy * dz,
        dz * hx - hz * dx - s * dx * dz, dz * hy - hz * dy - s * dy * dz, slope - s * dz * dz,
    )  # fmt: skip
