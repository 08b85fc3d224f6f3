"""M2L in compressed form against dense kernel matrices, for all 316 relative positions; symmetry of the cube."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import ROUNDING, SYMMETRY

from taskfmm.geometry import surface
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, expansions, m2l, symmetry
from taskfmm.operators.levels import load
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.passes.translations import translate_low_rank
from taskfmm.runtime.threads import budget

ORDER = 4
LAPLACE = KERNELS["laplace"]
FAR = np.flatnonzero(symmetry.is_far())


def core(back_end: m2l.LowRankM2L, code: int) -> np.ndarray:
    """The k by k matrix of a code, acting on rows."""
    begin, end = back_end.start[code : code + 2]
    k = back_end.right.size // int(back_end.start[-1])
    flat = slice(begin * k, end * k)
    return back_end.right[flat].reshape(k, -1) @ back_end.left[flat].reshape(-1, k)


@pytest.fixture(scope="module")
def at() -> expansions.Expansions:
    with budget():
        return load("laplace", accuracy.Accuracy(ORDER, 1e-4, 1e-3)).at(0)


@pytest.fixture(scope="module")
def projected(at) -> dict[int, np.ndarray]:
    """Every core from its own kernel matrix, without symmetry and without compression."""
    inner = surface.cube(ORDER, surface.INNER)
    found = {}
    for code in FAR:
        full = kernel_matrix(LAPLACE, inner + 2.0 * symmetry.offsets()[code][:, None], inner)
        found[code] = (at.check_to_local.T @ full @ at.multipole_to_density.T).T
    return found


def test_rotated_cores_are_the_projected_kernel_matrices(at, projected):
    exact = m2l.compress(LAPLACE, ORDER, 0.0, at.multipole_to_density.T, at.check_to_local, "float64")
    for code in FAR:
        size = np.abs(projected[code]).max()
        np.testing.assert_allclose(core(exact, code), projected[code], rtol=0, atol=SYMMETRY * size)


def test_compression_cuts_at_its_tolerance(at, projected):
    """The spectral norm of what is dropped is below tol times the largest singular value of all cores."""
    tol = at.accuracy.m2l_tol
    largest = max(np.linalg.norm(matrix, 2) for matrix in projected.values())
    missing = [np.linalg.norm(core(at.m2l, code) - projected[code], 2) for code in FAR]
    assert max(missing) <= tol * largest * (1 + SYMMETRY)
    assert max(missing) > 0.1 * tol * largest  # and it does compress
    assert at.m2l.mean_rank < 0.5 * at.rank


def test_the_pass_multiplies_by_the_cores(at):
    """Many entries, several to a target, codes in any order, more than one block and one batch."""
    rng = np.random.default_rng(6180339)
    n_targets, n_sources, n = 700, 300, 40_000
    block = 512
    source = rng.standard_normal((n_sources, at.rank))
    code, row, idx = rng.choice(FAR, n), rng.integers(0, n_targets, n), rng.integers(0, n_sources, n)
    key = (row // block) * symmetry.N_OFFSETS + code
    order = np.argsort(key, kind="stable")
    count = np.bincount(key, minlength=2 * symmetry.N_OFFSETS).reshape(2, -1)
    ends = np.cumsum(count.ravel()).reshape(2, -1)
    code_ptr = np.concatenate([ends[:, :1] - count[:, :1], ends], axis=1)
    back_end, found = at.m2l, {}
    for threads in (1, 2):
        found[threads] = np.zeros((n_targets, at.rank))
        translate_low_rank(
            code_ptr,
            row[order].astype(np.int32),
            idx[order].astype(np.int32),
            source,
            back_end.rank,
            back_end.start,
            back_end.right,
            back_end.left,
            found[threads],
            threads=threads,
        )
    np.testing.assert_array_equal(found[1], found[2])
    expected = np.zeros((n_targets, at.rank))
    for c in FAR:
        chosen = code == c
        np.add.at(expected, row[chosen], source[idx[chosen]] @ core(back_end, c))
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=ROUNDING * 10 * np.abs(expected).max())


def test_adjacent_boxes_have_no_core(at):
    near = np.flatnonzero(~symmetry.is_far())
    assert near.size == 27
    assert FAR.size == 316
    assert (at.m2l.rank[near] == 0).all()
    assert (at.m2l.rank[FAR] > 0).all()
    assert at.m2l.start[-1] == at.m2l.rank.sum()


def test_the_constant_kernel_is_exact():
    one = load("one", accuracy.of_order(1)).at(0)
    assert one.rank == 1
    for code in FAR:
        assert core(one.m2l, code) * one.multipole_to_density * one.local_to_density == 1.0


def test_single_precision_cores_are_the_same_rounded(at):
    single = m2l.compress(LAPLACE, ORDER, 1e-3, at.multipole_to_density.T, at.check_to_local, "float32")
    assert single.right.dtype == single.left.dtype == np.float32
    np.testing.assert_array_equal(single.right, at.m2l.right.astype(np.float32))
    np.testing.assert_array_equal(single.left, at.m2l.left.astype(np.float32))


def test_sixteen_classes_cover_all_positions():
    code, rotation = symmetry.representatives()
    offset, turns = symmetry.offsets(), symmetry.rotations()
    assert len(np.unique(code[FAR])) == 16
    turned = np.einsum("nij,nj->ni", turns[rotation], offset[code])
    np.testing.assert_array_equal(turned, offset)
    classes = offset[np.unique(code[FAR])]
    assert (np.diff(classes, axis=1) <= 0).all()
    assert (classes >= 0).all()


def test_codes_number_the_offsets():
    offset = symmetry.offsets()
    np.testing.assert_array_equal((offset + 3) @ [49, 7, 1], np.arange(343))


def test_rotations_are_the_48_of_the_cube():
    turns = symmetry.rotations()
    assert len({tuple(t.ravel()) for t in turns}) == 48
    np.testing.assert_array_equal(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (48, 3, 3)))


@pytest.mark.parametrize("order", [2, 3, 6])
def test_permutations_turn_the_surface(order):
    points = surface.cube(order, surface.INNER)
    for turn in symmetry.rotations():
        perm = symmetry.permutation(points, turn)
        np.testing.assert_array_equal(np.sort(perm), np.arange(points.shape[1]))
        np.testing.assert_allclose(points[:, perm], turn.T @ points, rtol=0, atol=1e-15)
