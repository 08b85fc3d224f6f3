"""From the requested eps to what the operators must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The numbers that decide the error of the far field.

    order : points per edge of a surface
    basis_tol : relative cut of the singular values of the check-to-equivalent matrix
    m2l_tol : relative cut of the singular values of the M2L cores
    m2l_dtype : name of the dtype in which M2L runs
    """

    order: int
    basis_tol: float
    m2l_tol: float
    m2l_dtype: str = "float64"
