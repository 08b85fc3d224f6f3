"""Gravity of bodies that are softened by a length h: each attracts as if its mass were spread over a Plummer sphere.

With r = x - y from the source to the target, s = sqrt(|r|^2 + h^2) and a mass m, the formulas are

    potential = -G m / s,    acceleration = -G m r / s^3,    tide = G m (3 r r^T / s^5 - 1 / s^3)

The potential -1 / s solves no differential equation away from the body, unlike that of a point. So expansions have
points within boxes. Without softening they are those of the Laplace kernel, one column.

Where bodies have lengths of their own, expansions are Laplace's as well, and pairs closer than the reach of a length
are summed one by one (`taskfmm.kernels.softening`). The spline is the mass of a body spread as Springel (2005, MNRAS
364, 1105) does: beyond h it attracts as a point does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from taskfmm import choices, foreign, validate
from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels import laplace
from taskfmm.kernels.kernel import Kernel, Output, Source
from taskfmm.kernels.real import real
from taskfmm.kernels.roots import inverse_distance
from taskfmm.kernels.softening import Softening, checked, refuse_shape

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

SPLINE = replace(NEWTON, name="spline_gravity", softening=Softening("spline", beyond=NEWTON.name))

MARGIN = 2.0
"""How much less than eps the largest difference between Plummer's gravity and that of points may be."""

PLUMMER = replace(
    NEWTON,
    name="plummer_gravity",
    softening=Softening("plummer", beyond=NEWTON.name, difference=MARGIN * 2.6),
)
"""At a large distance R a tide differs by 2.6 (h / R)^2, an acceleration by 1.5 and a potential by 0.5 of this."""

KINDS = ("plummer", "spline")


def Gravity(softening: Any, kind: str = "plummer", G: float = 1.0) -> Kernel:
    """The gravity of masses m, softened by the length h, with r = x - y from the source to the target:

        potential(x) = -G m / sqrt(|r|^2 + h^2)

    ``acceleration`` is its negative gradient, -G m r / (|r|^2 + h^2)^(3/2), and ``tide`` the derivative of the
    acceleration: tide[i, j] is that of its component i by coordinate j. A pair at zero distance adds nothing to any
    of them: no body acts on itself, nor on another at the very same place.

    Parameters
    ----------
    softening : float, or array_like or dask.array, (n,)
        h, in the unit of the points, one number or one for each source; 0 for the gravity of points. Where the
        targets are the sources, a pair has the larger h of both, so that forces are opposite; else the source's h.
        A dask.array is computed where the points are in one process, and stays lazy where they are a dask.array.
    kind : "plummer" or "spline"
        As in Plummer's sphere, or the potential of a body whose mass is spread as a cubic spline within h, as N-body
        codes have it: beyond h it is that of a point, and at its middle -2.8 G m / h.
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
        softening is negative, or one of both is no finite number; G is 0; an unknown kind. An array of another length
        than the sources is refused where it meets them.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> kernel = taskfmm.kernels.Gravity(softening=3.0)
    >>> points = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    >>> found = taskfmm.direct(points, masses=[10.0, 0.0], kernel=kernel, outputs=["potential", "acceleration"])
    >>> float(found["potential"][1]), np.round(found["acceleration"][1], 12) + 0.0
    (-2.0, array([-0.32,  0.  ,  0.  ]))
    """
    choices.known_name("kind", kind, KINDS)
    constant = real(G)
    if not (np.isfinite(constant) and constant):
        raise InputError(f"G, the constant of gravity, is {G!r}: give a finite number, and not 0")
    if (unit := foreign.unit_of(softening)) is not None:
        raise InputError(f"softening is in {unit}: give its numbers in the unit of the points")
    if _is_array(softening):
        lengths = _lengths(softening)
        return (SPLINE if kind == "spline" else PLUMMER).with_parameters(constant, 0.0).with_lengths(lengths)
    h = real(softening)
    if not 0.0 <= h < np.inf:
        raise InputError(
            f"softening is {softening!r}: give a length in the unit of the points, or 0 where nothing is softened"
        )
    if h and kind == "spline":
        return SPLINE.with_parameters(constant, 0.0).with_lengths(np.array(h))
    return (KERNEL if h else NEWTON).with_parameters(constant, h)


def _is_array(softening: Any) -> bool:
    return not isinstance(softening, (str, bytes)) and (
        isinstance(softening, (list, tuple)) or bool(getattr(softening, "ndim", 0))
    )


def _lengths(softening: Any) -> Any:
    """One for each source, float64 [n]; lazy ones as they are, whose chunks are checked when they are known."""
    lazy = foreign.dask_array("softening", softening)
    if lazy is None:
        return checked(softening)
    refuse_shape(lazy.shape)
    validate.of_numbers("softening", lazy.dtype)
    if np.isnan(lazy.shape[0]):
        raise InputError("softening has an unknown length: call its compute_chunk_sizes() first")
    return lazy


@formula
def mass(dx, dy, dz, m, parameters):
    """The potential, the acceleration and the tide of a body."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2 + parameters[1] * parameters[1]) if r2 > 0.0 else 0.0
    square = inverse * inverse
    value = parameters[0] * m * inverse
    slope = value * square
    bend = 3.0 * slope * square
    return _outputs(dx, dy, dz, value, slope, bend)


@formula
def _outputs(dx, dy, dz, value, slope, bend):
    x, y, z = bend * dx, bend * dy, bend * dz
    tide = x * dx - slope, x * dy, x * dz, y * dy - slope, y * dz, z * dz - slope
    return (-value, -(slope * dx), -(slope * dy), -(slope * dz), *tide)


@formula
def plummer_mass(dx, dy, dz, m, h, parameters):
    """The same with the length of a pair."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2 + h * h) if r2 > 0.0 else 0.0
    square = inverse * inverse
    weight = parameters[0] * m
    value = weight * inverse
    slope = value * square
    return _outputs(dx, dy, dz, value, slope, 3.0 * slope * square)


@formula
def spline_mass(dx, dy, dz, m, h, parameters):
    """The same of a body whose mass is spread as a cubic spline within h.

    With q = r / h, the potential is -m w(q) / h, and the acceleration -m g(q) r / h^3; see Springel (2005).
    """
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2)
    width = 1.0 / h if h > 0.0 else 0.0
    q, over = r2 * inverse * width, h * inverse
    q2, over2 = q * q, over * over
    if q < 0.5:
        w = 2.8 + q2 * (-16.0 / 3.0 + q2 * (9.6 - 6.4 * q))
        g = 32.0 / 3.0 + q2 * (-38.4 + 32.0 * q)
        b = 76.8 - 96.0 * q
    else:
        w = 3.2 - over / 15.0 + q2 * (-32.0 / 3.0 + q * (16.0 + q * (-9.6 + q * (32.0 / 15.0))))
        g = 64.0 / 3.0 + q * (-48.0 + q * (38.4 - q * (32.0 / 3.0))) - over * over2 / 15.0
        b = -76.8 + 32.0 * q + over * (48.0 - 0.2 * over2 * over2)
    if r2 >= h * h:
        w, g, b, width = 1.0, 1.0, 3.0, inverse
    weight = parameters[0] * m if r2 > 0.0 else 0.0
    value = weight * width
    width2 = width * width
    slope = value * width2
    return _outputs(dx, dy, dz, value * w, slope * g, slope * width2 * b)


@formula
def mass_columns(dx, dy, dz, m, parameters):
    """What an expansion in 1 / r receives."""
    return (m * inverse_distance(dx * dx + dy * dy + dz * dz),)


@formula
def columns(dx, dy, dz, m, parameters):
    """The outputs of densities: as those of bodies."""
    return mass(dx, dy, dz, m, parameters)
