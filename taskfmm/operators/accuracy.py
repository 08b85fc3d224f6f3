"""What decides the errors of operators: order, cuts and dtypes; and the errors themselves, as they are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MIXED = "mixed"
"""The name of M2L in mixed precision, see `taskfmm.operators.mixed`."""

BELOW = 2.0**19
"""Of M2L in mixed precision, what belongs to singular values below so many times the cut is in float32. It is
rounded by 2^-24, which is 1/32 of the cut, and adds at most 0.8 of the cut to errors, by `NOISE_OF_ONE`."""

NOISE = {("float64", "float64"): 0.0, ("float64", "float32"): 3.6e-7, ("float32", "float32"): 1e-6}
"""What rounding adds to the yardstick of any output, by the dtype of all stages but M2L and by that of M2L: the
yardsticks of orders 8 to 12 with M2L in float32 less those in float64, in quadrature."""

NOISE_OF_ONE = {("float64", "float64"): 0.0, ("float64", "float32"): 1.6e-6, ("float32", "float32"): 4e-6}
"""The same where one charge decides, at targets in the worst direction from it: 1.6e-6 was seen, at order 10."""

NOISE_OF_GRADIENT = 1.2
"""What rounding adds to yardsticks of gradients, over what it adds to those of potentials."""

IN_SINGLE, CUT_IN_SINGLE = 1e-5, 1e-6
"""From this eps, and from this cut of the basis, all stages may be in float32, if results are. Coefficients that
belong to smaller singular values would be rounding."""

CLOSE = 1e-6
"""Offsets in float32 have errors of 1e-7 half-widths. At this distance over eps second derivatives err by a third of
eps."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The numbers that decide the error of the far field.

    order : points per edge of a surface
    basis_tol : relative cut of the singular values of the check-to-equivalent matrix
    m2l_tol : relative cut of the singular values of the M2L cores
    m2l_dtype : name of the dtype in which M2L runs, or "mixed"
    dtype : name of the dtype of all else: expansions, and the loops over pairs
    close : the distance, in half-widths of leaves, from which float32 does for the near field; None where it does not
    """

    order: int
    basis_tol: float
    m2l_tol: float
    m2l_dtype: str = "float64"
    dtype: str = "float64"
    close: float | None = None

    @property
    def stored(self) -> Accuracy:
        """That of the operators from which those in float32 are made by rounding."""
        return replace(self, dtype="float64", close=None)

    @property
    def dtypes(self) -> tuple[str, str]:
        """Of all stages but M2L, and of M2L."""
        return self.dtype, self.m2l_dtype

    def covers(self, other: Accuracy) -> bool:
        """Whether nothing is coarser than in another one."""
        finer = (
            self.order >= other.order and self.basis_tol <= other.basis_tol and self.m2l_tol <= other.m2l_tol
        )
        wide = self.dtype == "float64" or other.dtype == "float32"
        wide &= self.in_single_below <= other.in_single_below
        return finer and wide

    @property
    def in_double(self) -> float:
        """What M2L multiplies in float64, over all, roughly: singular values above a cut are as many as its digits
        squared."""
        if self.m2l_dtype != MIXED:
            return float(self.m2l_dtype == "float64")
        return (math.log(self.in_single_below) / math.log(self.m2l_tol)) ** 2

    def noise(self, many: bool) -> float:
        """What rounding adds to the yardsticks, where many charges decide, or one."""
        found = NOISE if many else NOISE_OF_ONE
        if self.m2l_dtype == MIXED:
            return self.in_single_below * found[self.dtype, "float32"]
        return found[self.dtypes]

    @property
    def in_single_below(self) -> float:
        """Singular values of M2L cores that are in float32, over the largest one."""
        return {"float32": 1.0, MIXED: min(1.0, BELOW * self.m2l_tol)}.get(self.m2l_dtype, 0.0)

    @property
    def coarse(self) -> Accuracy:
        """That of the large boxes of a periodic box: an order better, and M2L in float64."""
        least = 0.0 if self.dtype == "float64" else CUT_IN_SINGLE
        basis_tol, m2l_tol = (max(least, 0.1 * each) for each in (self.basis_tol, self.m2l_tol))
        return replace(self, order=self.order + 1, basis_tol=basis_tol, m2l_tol=m2l_tol, m2l_dtype="float64")

    def single(self, eps: float) -> Accuracy:
        """The same with all stages in float32."""
        return replace(self, dtype="float32", m2l_dtype="float32", close=CLOSE / eps)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Errors of one set of operators, as `taskfmm.operators.yardstick` measures them.

    potential : relative l2 error of the worst source, at targets all around it that lie on edges and corners of
        boxes, or at targets that fill a box in the worst direction from it
    gradient : the same of outputs that are derivatives, where the targets all around lie on faces: those on edges err
        more, but no cloud has most of its points there
    filled : of the potential, at targets that fill the boxes all around
    faces : of the gradient, at targets on the faces of the boxes all around
    smooth : error of the gradient of a field that hardly varies across a leaf, in units of the field over the
        half-width of the leaf: L2L keeps it while leaves, and with them the field's true change, become smaller. M2M
        does the same with what dipoles in a leaf do
    """

    potential: float
    gradient: float
    filled: float
    faces: float
    smooth: float


def of_order(order: int, single: bool = False) -> Accuracy:
    """The cuts that go with an order when the order alone is to decide the error."""
    tol = 0.1 * 10.0 ** (1 - order)
    found = Accuracy(order, tol, tol)
    return found.single(tol) if single and tol >= max(IN_SINGLE, CUT_IN_SINGLE) else found
