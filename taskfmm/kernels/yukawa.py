"""The Yukawa kernel, exp(-lam r) / (4 pi r): screened charges in plasmas and electrolytes, modified Helmholtz.

The formulas leave out 1/(4 pi). It solves lap phi - lam^2 phi = -q delta.
"""

from __future__ import annotations

import math

import numpy as np

from taskfmm.errors import InputError
from taskfmm.jit import formula
from taskfmm.kernels.exponential import LARGEST, decay
from taskfmm.kernels.kernel import CHARGE, DIPOLE, Kernel
from taskfmm.kernels.real import real
from taskfmm.kernels.roots import inverse_distance

KERNEL = Kernel(
    "yukawa",
    __name__,
    factor=1.0 / (4.0 * np.pi),
    degree=None,
    parameters=(1.0,),
    sources=(CHARGE, DIPOLE),
    extra=2.8,
)


def Yukawa(lam: float) -> Kernel:
    """The kernel of screened charges q and dipoles p, with r = x - y from the source to the target and R = |r|:

        phi(x) = (q + (1 + lam R) p . r / R^2) exp(-lam R) / (4 pi R)

    ``gradient`` is its derivative by x. A pair at zero distance adds nothing.

    Parameters
    ----------
    lam : float
        The inverse of the screening length, in one over the unit of the points; positive.

    Returns
    -------
    Kernel
        For `taskfmm.Fmm` and `taskfmm.direct`: sources ``charges`` [n] and ``dipoles`` [n, 3], outputs
        ``potential`` [m] and ``gradient`` [m, 3].

    Raises
    ------
    InputError
        lam is no positive, finite number.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    >>> phi = taskfmm.direct(points, [4 * np.pi, 0.0], kernel=taskfmm.kernels.Yukawa(lam=0.5))
    >>> bool(np.isclose(phi[1], np.exp(-1.0) / 2.0))
    True
    """
    number = real(lam)
    if 0.0 < number < math.inf:
        return KERNEL.with_parameters(number)
    raise InputError(
        f"lam, the inverse of the screening length, is {lam!r}: give a positive number, or kernel='laplace' where "
        "nothing is screened"
    )


@formula
def charge(dx, dy, dz, q, parameters):
    """The potential and the gradient of a charge."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2)
    reach = min(parameters[0] * (r2 * inverse), LARGEST)
    value = q * inverse * decay(reach)
    slope = value * (1.0 + reach) * (inverse * inverse)
    return value, -(slope * dx), -(slope * dy), -(slope * dz)


@formula
def dipole(dx, dy, dz, px, py, pz, parameters):
    """The same of a dipole: the derivative of a charge's potential by the place of the charge, along p."""
    r2 = dx * dx + dy * dy + dz * dz
    inverse = inverse_distance(r2)
    square = inverse * inverse
    reach = min(parameters[0] * (r2 * inverse), LARGEST)
    screened = inverse * square * decay(reach)
    along = px * dx + py * dy + pz * dz
    steep = (1.0 + reach) * screened
    slope = along * square * (3.0 + 3.0 * reach + reach * reach) * screened
    return along * steep, px * steep - slope * dx, py * steep - slope * dy, pz * steep - slope * dz
