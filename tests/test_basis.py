"""The basis with parities: the singular value decomposition of a whole matrix, in which reflections are signs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bounds import ROUNDING, SYMMETRY
from kernels_of_users import dipoles, screened, stokeslet

from taskfmm.geometry import surface
from taskfmm.kernels import KERNELS
from taskfmm.kernels.kernel import GRADIENT, POTENTIAL, Source
from taskfmm.operators import basis, box, symmetry
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.matrix import kernel_matrix

LAPLACE = KERNELS["laplace"].of_first
DIPOLES = replace(dipoles.KERNEL, name="dipoles alone", sources=(Source("dipole", 3, odd=True, vector=True),))
"""Three numbers in, one out: the matrix is not square."""

FIELD = replace(LAPLACE, name="field", outputs=(replace(POTENTIAL), replace(GRADIENT, derivative=0)))
"""One number in, a scalar and a vector out."""

KINDS = [LAPLACE, screened.KERNEL, stokeslet.KERNEL, DIPOLES, FIELD]
ORDERS = (2, 3, 4, 5)
kinds = pytest.mark.parametrize("kernel", KINDS, ids=lambda kernel: kernel.name)


def surfaces(order: int) -> tuple[np.ndarray, np.ndarray]:
    return surface.cube(order, surface.OUTER), surface.cube(order, surface.INNER)


def reflected(columns: np.ndarray, points: np.ndarray, axis: int, vectors: list[bool]) -> np.ndarray:
    """Values on a surface, seen in a mirror; vectors : whether each run of components is one."""
    image = points.copy()
    image[axis] *= -1.0
    place = np.abs(points[:, None, :] - image[:, :, None]).max(axis=0).argmin(axis=1)
    sign = np.concatenate([np.where(np.arange(3) == axis, -1.0, 1.0) if v else [1.0] for v in vectors])
    values = columns.reshape(sign.size, points.shape[1], -1)[:, place]
    return (sign[:, None, None] * values).reshape(columns.shape)


@kinds
@pytest.mark.parametrize("order", ORDERS)
def test_blocks_together_are_the_whole_matrix(kernel, order):
    """Odd orders have points with a coordinate zero, which are their own mirror images."""
    outer, inner = surfaces(order)
    matrix = kernel_matrix(kernel, outer, inner)
    u, s, v, _ = basis.factor(kernel, outer, inner, 0.0)
    largest = np.linalg.norm(matrix, 2)
    np.testing.assert_allclose((u * s) @ v.T, matrix, rtol=0, atol=ROUNDING * largest)
    for columns in (u, v):
        np.testing.assert_allclose(columns.T @ columns, np.eye(s.size), rtol=0, atol=ROUNDING)
    whole = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(np.sort(s)[::-1], whole[: s.size], rtol=0, atol=ROUNDING * largest)
    assert (whole[s.size :] <= 2 * basis.NULL * largest).all()


@kinds
@pytest.mark.parametrize("order", ORDERS)
def test_reflections_give_columns_their_signs(kernel, order):
    outer, inner = surfaces(order)
    u, _, v, parity = basis.factor(kernel, outer, inner, 1e-9)
    assert parity.dtype == np.int8
    assert parity.shape == (3, u.shape[1])
    charges = [kernel.sources[0].vector]
    potentials = [output.shape == (3,) for output in kernel.outputs if not output.derivative]
    for axis in range(3):
        for columns, points, vectors in ((u, outer, potentials), (v, inner, charges)):
            found = reflected(columns, points, axis, vectors)
            np.testing.assert_allclose(found, columns * parity[axis], rtol=0, atol=ROUNDING)


def test_signs_of_all_reflections():
    parity = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [1, 1, 1, -1]], np.int8)
    found = basis.signs(parity)
    assert found.dtype == np.int8
    for mirror, turn in enumerate(symmetry.reflections()):
        np.testing.assert_array_equal(found[mirror], np.where(turn[:, None] < 0, parity, 1).prod(axis=0))
    np.testing.assert_array_equal(found[[4, 2, 1]], parity)


def test_the_cut_is_that_of_the_whole_matrix():
    """The same number of columns as one decomposition would keep, and what is dropped is below the cut."""
    outer, inner = surfaces(5)
    matrix = kernel_matrix(LAPLACE, outer, inner)
    whole = np.linalg.svd(matrix, compute_uv=False)
    for tol in (1e-2, 1e-4, 1e-6):
        u, s, v, _ = basis.factor(LAPLACE, outer, inner, tol)
        assert (whole > tol * whole[0]).sum() <= s.size
        assert np.linalg.norm(matrix - (u * s) @ v.T, 2) <= tol * whole[0]
        assert s.size <= (whole > 0.9 * tol * whole[0]).sum()


def test_equal_singular_values_stay_together():
    """Wherever the cut falls, the basis spans what the symmetries of the cube map onto itself."""
    outer, inner = surfaces(3)
    values = np.linalg.svd(kernel_matrix(LAPLACE, outer, inner), compute_uv=False)
    turns = [np.diag(r) @ g for r in symmetry.reflections() for g in symmetry.exchanges()]
    places = [symmetry.permutation(inner, turn) for turn in turns]
    for value in values[1:20]:
        _, _, v, _ = basis.factor(LAPLACE, outer, inner, value / values[0])
        projector = v @ v.T
        assert max(np.abs(projector[np.ix_(p, p)] - projector).max() for p in places) <= SYMMETRY


@pytest.mark.parametrize("order", [3, 4])
def test_matrices_of_all_octants_are_mirror_images_of_one(order):
    built = box.build(LAPLACE, Accuracy(order, 1e-4, 1e-2))
    outer, inner = built.upward_check, built.upward_equivalent
    for octant, center in enumerate(surface.octant_centers()):
        child = 0.5 * inner + center[:, None]
        up = built.check_to_multipole.T @ kernel_matrix(LAPLACE, outer, child) @ built.multipole_to_density.T
        down = built.check_to_local.T @ kernel_matrix(LAPLACE, child, outer) @ built.local_to_density.T
        for found, expected in ((built.m2m[octant], up.T), (built.l2l(octant), 0.5 * down.T)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=SYMMETRY * np.abs(expected).max())
