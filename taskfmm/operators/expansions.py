"""The matrices between charges, multipoles and locals of boxes, all in units of a box's half-width.

Take the singular value decomposition of the upward check-to-equivalent problem,
K(check surface, equivalent surface) = U S V^T, and keep the k singular values above ``tol`` times the largest
(`taskfmm.operators.basis`).

- A multipole is the k numbers c = S^-1 U^T u, from check potentials u; its equivalent density is V c. The
  inverse is never multiplied out: U^T and S^-1 act on u, V on the result (Malhotra and Biros 2015 call this
  the backward-stable pseudo-inverse). What is dropped is what cannot be seen, to ``tol``, from the check
  surface, hence from any box of a V list.
- A local is the k numbers c = U_d^T u, from check potentials u on the downward check surface; its equivalent
  density is V_d S_d^-1 c. For a symmetric kernel the downward problem is the transposed upward one.

M2M and L2L are then k by k, one for each octant, all of them mirror images of one. All matrices act on rows from the
right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import basis
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.m2l import LowRankM2L, compress
from taskfmm.operators.matrix import kernel_matrix


@dataclass(frozen=True, slots=True)
class Expansions:
    """Operators of the unit box, float64 unless said; n_s surface points, k coefficients.

    upward_check, upward_equivalent : [3, n_s], at the outer and the inner radius
    check_to_multipole : [n_s, k];  multipole_to_density : [k, n_s]
    check_to_local : [n_s, k];      local_to_density : [k, n_s]
    m2m, l2l : [8, k, k], by octant of the child
    m2l : the M2L back-end
    """

    accuracy: Accuracy
    upward_check: np.ndarray
    upward_equivalent: np.ndarray
    check_to_multipole: np.ndarray
    multipole_to_density: np.ndarray
    check_to_local: np.ndarray
    local_to_density: np.ndarray
    m2m: np.ndarray
    l2l: np.ndarray
    m2l: LowRankM2L

    @property
    def downward_check(self) -> np.ndarray:
        return self.upward_equivalent

    @property
    def downward_equivalent(self) -> np.ndarray:
        return self.upward_check

    @property
    def rank(self) -> int:
        return self.m2m.shape[1]


def build(kernel: Kernel, accuracy: Accuracy) -> Expansions:
    """The operators of a kernel for boxes of half-width 1."""
    inner = surface.cube(accuracy.order, surface.INNER)
    outer = surface.cube(accuracy.order, surface.OUTER)
    u, s, v, parity = basis.factor(kernel, outer, inner, accuracy.basis_tol)
    to_multipole = u / s
    # symmetric kernel: K(inner, outer) = K(outer, inner)^T, so the downward factors are the upward ones swapped
    to_local, local_to_density = v, (u / s).T

    child_inner = 0.5 * inner + surface.octant_centers()[7][:, None]  # other octants are its mirror images
    up = kernel_matrix(kernel, outer, child_inner)
    down = kernel_matrix(kernel, child_inner, outer)
    power = kernel.power(kernel.outputs[0].name)
    m2m = (to_multipole.T @ up @ v).T
    l2l = 2.0**power * (to_local.T @ down @ local_to_density.T).T
    return Expansions(
        accuracy,
        upward_check=outer,
        upward_equivalent=inner,
        check_to_multipole=np.ascontiguousarray(to_multipole),
        multipole_to_density=np.ascontiguousarray(v.T),
        check_to_local=np.ascontiguousarray(to_local),
        local_to_density=np.ascontiguousarray(local_to_density),
        m2m=basis.mirrored(m2m, parity, parity),
        l2l=basis.mirrored(l2l, parity, parity),
        m2l=compress(
            kernel, inner, 2.0, accuracy.m2l_tol, accuracy.m2l_dtype, (v, parity), (to_local, parity)
        ),
    )
