"""The matrices between charges, multipoles and locals of boxes of one size.

A kernel with a degree has one set, for boxes of half-width 1: those of another size differ by a factor. Any other has
a set for each level, and its boxes have their true size.

Take the singular value decomposition of the upward check-to-equivalent problem,
K(check surface, equivalent surface) = U S V^T, and keep the k singular values above ``tol`` times the largest
(`taskfmm.operators.basis`).

- A multipole is the k numbers c = S^-1 U^T u, from check potentials u; its equivalent density is V c. The
  inverse is never multiplied out: U^T and S^-1 act on u, V on the result (Malhotra and Biros 2015 call this
  the backward-stable pseudo-inverse). What is dropped is what cannot be seen, to ``tol``, from the check
  surface, hence from any box of a V list.
- A local is the k numbers c = U_d^T u, from check potentials u on the downward check surface; its equivalent
  density is V_d S_d^-1 c. For a symmetric kernel the downward problem is the transposed upward one.

M2M and L2L are then matrices between the coefficients of a box and of its children, one for each octant, all of them
mirror images of one. All matrices act on rows from the right. As the downward problem is the transposed upward one,
each matrix downward is one of those upward, transposed, and kept once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import basis
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.cores import compress
from taskfmm.operators.directional import DirectionalM2L
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.operators.mixed import MixedM2L


@dataclass(frozen=True, slots=True, weakref_slot=True)
class BoxOperators:
    """Operators of boxes of one size, of one dtype unless said; k coefficients, c of a child.

    There are n_c check points and n_e equivalent points around a box. Upward, the numbers of check potentials are p
    and those of densities q; downward, where these points change places, p' and q'.

    half_width : of the boxes, in the unit of the surfaces
    to_child : what L2L multiplies by besides, as the locals of a child are in its own unit of length
    upward_check, upward_equivalent : [3, n_c] and [3, n_e]
    check_to_multipole : [p, k];  check_to_local : [p', k]
    m2m : [8, c, k], from a child in an octant
    m2l : the M2L back-end
    """

    accuracy: Accuracy
    half_width: float
    to_child: float
    upward_check: np.ndarray
    upward_equivalent: np.ndarray
    check_to_multipole: np.ndarray
    check_to_local: np.ndarray
    m2m: np.ndarray
    m2l: DirectionalM2L | MixedM2L

    @property
    def downward_check(self) -> np.ndarray:
        return self.upward_equivalent

    @property
    def downward_equivalent(self) -> np.ndarray:
        return self.upward_check

    @property
    def multipole_to_density(self) -> np.ndarray:
        """[k, q]"""
        return self.check_to_local.T

    @property
    def local_to_density(self) -> np.ndarray:
        """[k, q']"""
        return self.check_to_multipole.T

    def l2l(self, octant: int) -> np.ndarray:
        """[k, c], to a child in an octant."""
        return self.to_child * self.m2m[octant].T

    @property
    def rank(self) -> int:
        return self.m2m.shape[2]

    @property
    def dtype(self) -> np.dtype:
        """Of expansions."""
        return self.m2m.dtype

    @property
    def n_bytes(self) -> int:
        """Of all arrays."""
        arrays = [getattr(self, field.name) for field in fields(self)]
        arrays += [getattr(part, field.name) for part in self.m2l.parts for field in fields(part)]
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def single(self) -> BoxOperators:
        """The same in float32, as far as they are float64; M2L has a dtype of its own."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        rounded: dict[str, Any] = {
            name: each.astype(np.float32) for name, each in found.items() if isinstance(each, np.ndarray)
        }
        return replace(self, accuracy=replace(self.accuracy, dtype="float32"), **rounded)


@dataclass(frozen=True, slots=True)
class _Basis:
    """The factors of the check-to-equivalent problem of boxes of one size.

    inner, outer : float64 [3, n_e] and [3, n_c], the upward equivalent and the upward check points
    u : [p, k]; s : [k]; v : [q, k]
    parity : int8 [3, k], of all columns
    """

    inner: np.ndarray
    outer: np.ndarray
    u: np.ndarray
    s: np.ndarray
    v: np.ndarray
    parity: np.ndarray

    @classmethod
    def of(cls, kernel: Kernel, accuracy: Accuracy, half_width: float) -> _Basis:
        inner = half_width * surface.equivalent(kernel.surfaces, accuracy.order)
        outer = half_width * surface.check(kernel.surfaces, accuracy.order)
        return cls(inner, outer, *basis.factor(kernel, outer, inner, accuracy.basis_tol))

    @property
    def to_multipole(self) -> np.ndarray:
        return self.u / self.s


def to_child(kernel: Kernel) -> float:
    """See `BoxOperators.to_child`."""
    return 1.0 if kernel.expands.degree is None else 2.0**kernel.expands.degree


def above(kernel: Kernel, own: BoxOperators, child: BoxOperators) -> BoxOperators:
    """The same operators of boxes whose children have others; of a kernel with a degree."""
    kernel = kernel.expands
    to_multipole, of_child = (
        each.astype(np.float64) for each in (own.check_to_multipole, child.check_to_local)
    )
    outer, inner = own.upward_check.astype(np.float64), child.upward_equivalent.astype(np.float64)
    in_octant = 0.5 * inner + surface.octant_centers()[7][:, None]
    m2m = (to_multipole.T @ kernel_matrix(kernel, outer, in_octant) @ of_child).T
    mirrored = basis.mirrored(m2m, child.m2l.source_parity, own.m2l.source_parity)
    return replace(own, m2m=mirrored.astype(own.dtype))


def build(kernel: Kernel, accuracy: Accuracy, half_width: float = 1.0, across: bool = True) -> BoxOperators:
    """The operators of a kernel for boxes of a half-width, 1 where it has a degree.

    across : whether M2L is among them, which takes longest
    """
    kernel = kernel.expands
    own = _Basis.of(kernel, accuracy, half_width)
    if kernel.degree is None:
        child = _Basis.of(kernel, accuracy, 0.5 * half_width)
    else:
        child = replace(own, inner=0.5 * own.inner, outer=0.5 * own.outer)
    center = half_width * surface.octant_centers()[7]  # the matrices of other octants are mirror images
    up = kernel_matrix(kernel, own.outer, child.inner + center[:, None])
    m2m = (own.to_multipole.T @ up @ child.v).T
    columns = own.v, own.parity
    return BoxOperators(
        accuracy,
        half_width,
        to_child(kernel),
        upward_check=own.outer,
        upward_equivalent=own.inner,
        check_to_multipole=np.ascontiguousarray(own.to_multipole),
        check_to_local=np.ascontiguousarray(own.v),
        m2m=basis.mirrored(m2m, child.parity, own.parity),
        m2l=compress(kernel, accuracy, own.inner, 2.0 * half_width, columns, columns)
        if across
        else DirectionalM2L.none(own.parity),
    )
