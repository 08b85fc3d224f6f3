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


def of_order(order: int) -> Accuracy:
    """The cuts that go with an order: small enough that the order decides the error."""
    return Accuracy(order, 10.0 ** (1 - order), 10.0 ** (1 - order))


def choose(kernel, eps, output, dtype, order):
    import math
    return of_order(kernel.fixed_order or order or int(-math.log10(eps)) + 1)


def leaf_size(accuracy):
    return 100
