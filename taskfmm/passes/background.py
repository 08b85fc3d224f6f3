"""What a background of all charges, or forces, of a periodic box adds: polynomials, from moments of the sources.

Lattice sums over all axes have backgrounds that cancel their sources (`taskfmm.operators.lattice`). So they are sums
of what expansions can hold and of polynomials, which follow from a few moments. In units of half-widths of cubes,
with V the volume of the cell and places from its middle:

- Charges: phi = (2 pi / 3 V) sum_j q_j |x - y_j|^2 = (2 pi / 3 V) (-2 x . D + M), with D = sum q y, M = sum q |y|^2,
  since charges add up to zero. With vacuum instead of a conductor around all images, the surface of a ball of them
  adds (4 pi / 3 V) x . D (de Leeuw, Perram and Smith, Proc. R. Soc. Lond. A 373 (1980) 27), which leaves M alone.
- Forces: u = A sum_j (|r|^2 f_j - r (r . f_j) / 2), with r = x - y_j, A = 16 pi / 15 V, from (2 pi / 3 V) r^2 and
  (2 pi / 5 V) r^2 r, which G and its first moment have beside solutions of Laplace's equation. It is the flow of the
  pressure gradient that balances the forces.
"""

from __future__ import annotations

import math

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.kernels import Kernel

OF_CHARGES, OF_FORCES = 6, 17
"""Numbers of a vector: see `moments`."""


def moments(kernel: Kernel, numbers: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Moments of some sources about the middle of the cell: float64 [vectors, n].

    Of charges D, M, their sum, and that of their magnitudes. Of forces their sum F, the sums of f_i y_k, those of
    |y|^2 f - y (y . f) / 2 and of what sources of fluid do, the sum of these, and that of their magnitudes.

    numbers : float64 [n_numbers, n]; y : float64 [3, n], from the middle of the cell
    """
    one = _of_forces if kernel.first_moment else _of_charges
    found, row = np.zeros((kernel.vectors, OF_FORCES if kernel.first_moment else OF_CHARGES)), 0
    for i, kind in enumerate(kernel.kinds):
        found[i // len(kernel.sources)] += one(kind.name, numbers[row : row + kind.n_numbers], y)
        row += kind.n_numbers
    return found


def sums(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of such moments, what has to be zero for each vector, and what it is compared with."""
    return found[:, -2], found[:, -1]


def _of_charges(kind: str, q: np.ndarray, y: np.ndarray) -> list[float]:
    if kind == "dipole":  # p . grad of q y and of q |y|^2
        return [*q.sum(axis=1), 2.0 * (q * y).sum(), 0.0, 0.0]
    return [*(y @ q[0]), q[0] @ (y**2).sum(axis=0), q[0].sum(), np.abs(q[0]).sum()]


def _of_forces(kind: str, f: np.ndarray, y: np.ndarray) -> list[float]:
    if kind == "force":
        bent = (f * (y**2).sum(axis=0) - 0.5 * y * (f * y).sum(axis=0)).sum(axis=1)
        return [*f.sum(axis=1), *(f @ y.T).ravel(), *bent, 0.0, 0.0]
    # dipoles of forces t: what forces give, differentiated by y along their second index
    d = f.reshape(3, 3, -1)
    t = d + d.swapaxes(0, 1) if kind == "stresslet" else d - d.swapaxes(0, 1)
    trace = np.trace(t)
    bent = 2.0 * np.einsum("ikn,kn->i", t, y) - 0.5 * (np.einsum("kin,kn->i", t, y) + y @ trace)
    # the first moment leaves out the derivative of y, which is a source of fluid -trace: see `kernels.stokes`
    bent += 1.25 * (y @ trace)
    return [*np.zeros(3), *t.sum(axis=2).ravel(), *bent, trace.sum(), np.abs(t).sum()]


def potentials(
    kernel: Kernel, found: np.ndarray, cell: Cell, center: np.ndarray, xi: np.ndarray
) -> np.ndarray:
    """What the polynomials give on check surfaces of cubes, float64 [n, columns, n_points].

    found : moments of all sources; center : float64 [n, 3], of the cubes, from the middle of the cell
    xi : float64 [3, n_points], from the centre of a cube; all in half-widths of cubes
    """
    volume = math.prod(2.0 * n for n in cell.cubes)
    form = _of_flow if kernel.first_moment else _of_potential
    return form(found, volume, cell.in_vacuum, center, xi)


def _of_potential(
    found: np.ndarray, volume: float, in_vacuum: bool, center: np.ndarray, xi: np.ndarray
) -> np.ndarray:
    x = center[:, :, None] + xi
    along = np.einsum("vi,bip->bvp", (0.0 if in_vacuum else -2.0) * found[:, :3], x)
    return 2.0 * math.pi / (3.0 * volume) * (along + found[:, 3, None])


def _of_flow(
    found: np.ndarray, volume: float, in_vacuum: bool, center: np.ndarray, xi: np.ndarray
) -> np.ndarray:
    """phi and psi with u = phi - sum_j xi_j grad phi_j + grad psi and p = -2 div phi, about the centres of cubes.

    A (|xi|^2 F - xi (xi . F) / 2) follows from phi = (A / 4) (|xi|^2 F - 3 xi (xi . F)); a linear flow from half its
    antisymmetric part in phi, and from its symmetric part in psi; a constant pressure from a part of phi along xi,
    which moves nothing.
    """
    a = 16.0 * math.pi / (15.0 * volume)
    force, moment, bent = found[:, :3], found[:, 3:12].reshape(-1, 3, 3), found[:, 12:15]
    trace, eye = np.trace(moment, axis1=1, axis2=2), np.eye(3)
    c, f = center[:, None, :], force[None]
    cf = (c * f).sum(axis=2)
    linear = -2.0 * moment + 0.5 * (moment.swapaxes(1, 2) + trace[:, None, None] * eye)
    # the flow in the middle of a cube, and its slope there
    flow = (c**2).sum(axis=2)[..., None] * f - 0.5 * c * cf[..., None]
    flow = a * (flow + np.einsum("vik,bk->bvi", linear, center) + bent)
    slope = 2.0 * f[..., :, None] * c[..., None, :] - 0.5 * (
        c[..., :, None] * f[..., None, :] + cf[..., None, None] * eye
    )
    slope = a * (slope + linear)
    pressure = 16.0 * math.pi / (3.0 * volume) * cf + 8.0 * math.pi / (3.0 * volume) * trace
    turn = 0.25 * (slope - slope.swapaxes(2, 3)) - pressure[..., None, None] / 6.0 * eye
    out = np.empty((*cf.shape, 4, xi.shape[1]))
    along = force @ xi
    out[:, :, :3] = flow[..., None] + np.einsum("bvij,jp->bvip", turn, xi)
    out[:, :, :3] += 0.25 * a * ((xi**2).sum(axis=0) * force[:, :, None] - 3.0 * xi * along[:, None])
    out[:, :, 3] = 0.25 * np.einsum("bvij,ip,jp->bvp", slope + slope.swapaxes(2, 3), xi, xi)
    return out.reshape(len(center), -1, xi.shape[1])
