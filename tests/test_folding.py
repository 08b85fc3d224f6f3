"""Products in a basis with parities against products with the whole matrices."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bounds import ROUNDING
from kernels_of_users import stokeslet

from taskfmm.kernels import KERNELS, Yukawa
from taskfmm.operators import box, folding
from taskfmm.operators.accuracy import of_order

KINDS = {
    "charges": KERNELS["laplace"].of_first,
    "constant": KERNELS["one"].of_first,
    "forces": KERNELS["stokes"].of_first,
    "dipoles": KERNELS["laplace"].with_sources(KERNELS["laplace"].sources[1]),
    "vectors": stokeslet.KERNEL,
    "screened": Yukawa(lam=0.7).of_first,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [2, 3, 4, 5])
@pytest.mark.parametrize("single", [False, True])
def test_products_are_those_with_the_whole_matrices(kind, order, single):
    """Surfaces of odd order have points that are their own mirror images; forces have components."""
    kernel = KINDS[kind]
    at = box.build(kernel, of_order(1 if kind == "constant" else order), across=False)
    at = at.single() if single else at
    rng = np.random.default_rng(60139)
    tolerance = 1e-6 if single else ROUNDING
    for product, matrix in (
        (partial(folding.coefficients, local=False), at.check_to_multipole),
        (partial(folding.coefficients, local=True), at.check_to_local),
        (partial(folding.densities, local=False), at.multipole_to_density),
        (partial(folding.densities, local=True), at.local_to_density),
    ):
        rows = rng.standard_normal((9, len(matrix))).astype(at.dtype)
        exact = rows @ matrix
        found = product(at, kernel, rows)
        assert found.dtype == at.dtype and found.shape == exact.shape
        np.testing.assert_allclose(found, exact, rtol=0, atol=40 * tolerance * np.abs(exact).max())


def test_no_rows():
    kernel = KINDS["charges"]
    at = box.build(kernel, of_order(3), across=False)
    none = np.empty((0, len(at.check_to_multipole)))
    assert folding.coefficients(at, kernel, none, local=False).shape == (0, at.rank)
