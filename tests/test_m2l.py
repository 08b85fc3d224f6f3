"""M2L in compressed form against dense kernel matrices, for all 316 relative positions; symmetry of the cube."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import ROUNDING, SYMMETRY
from boxes import family_entries, one_transfer, whole

from taskfmm.geometry import surface
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, expansions, m2l, symmetry
from taskfmm.operators.levels import load
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.passes import transfer
from taskfmm.plan.work import Siblings
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
        return load(KERNELS["laplace"], accuracy.Accuracy(ORDER, 1e-4, 1e-3)).at(0)


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


def test_equal_singular_values_stay_together():
    """Wherever the cut falls, the basis spans what the symmetries of the cube map onto itself."""
    inner, outer = surface.cube(3, surface.INNER), surface.cube(3, surface.OUTER)
    matrix = kernel_matrix(LAPLACE, outer, inner)
    values = np.linalg.svd(matrix, compute_uv=False)
    turns = [symmetry.permutation(inner, g) for g in symmetry.rotations()]
    for value in values[1:20]:
        _, _, basis = expansions._truncated_svd(matrix, value / values[0])
        projector = basis @ basis.T
        assert max(np.abs(projector[np.ix_(p, p)] - projector).max() for p in turns) <= SYMMETRY


def test_compression_cuts_at_its_tolerance(at, projected):
    """The spectral norm of what is dropped is below tol times the largest singular value of all cores."""
    tol = at.accuracy.m2l_tol
    largest = max(np.linalg.norm(matrix, 2) for matrix in projected.values())
    missing = [np.linalg.norm(core(at.m2l, code) - projected[code], 2) for code in FAR]
    assert max(missing) <= tol * largest * (1 + SYMMETRY)
    assert max(missing) > 0.1 * tol * largest  # and it does compress
    assert at.m2l.mean_rank < 0.5 * at.rank


def families(rng, n_parents: int, n_pairs: int, blocks: int) -> Siblings:
    """Random pairs of parents, some of whose children do not exist."""
    children = []
    for _ in range(2):
        exists = rng.random((n_parents, 8)) < 0.7
        rows = np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, -1).astype(np.int32)
        children.append(rows)
    direction = rng.integers(0, 27, n_pairs)
    target, source = rng.integers(0, n_parents, (2, n_pairs)).astype(np.int32)
    key = (target * blocks // n_parents) * 27 + direction
    order = np.argsort(key, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=27 * blocks))])
    code_ptr = np.stack([ends[27 * b : 27 * b + 28] for b in range(blocks)])
    n_rows, n_halo = (int(c.max()) + 1 for c in children)
    return Siblings(whole(3, n_halo), n_rows, code_ptr, target[order], source[order], *children)


@pytest.mark.parametrize("n_parents, n_pairs", [(60, 9000), (300, 700), (1, 1)])
def test_the_pass_multiplies_by_the_cores(at, n_parents, n_pairs):
    """Several pairs to a target, missing children, more than one block, full and partial batches."""
    rng = np.random.default_rng(6180339)
    work = families(rng, n_parents, n_pairs, blocks=min(3, n_parents))
    multipoles = rng.standard_normal((work.halo.rows.size, at.rank))
    one, two = (transfer.m2l(work, [multipoles], at, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    expected = np.zeros((work.n_rows, at.rank))
    target, source, codes = family_entries(work).T
    for c in np.unique(codes):
        chosen = codes == c
        np.add.at(expected, target[chosen], multipoles[source[chosen]] @ core(at.m2l, c))
    np.testing.assert_allclose(one, expected, rtol=0, atol=ROUNDING * 10 * np.abs(expected).max())


def test_every_vector_runs_its_own_core(at):
    multipole = np.random.default_rng(7320509).standard_normal((1, at.rank))
    works = [one_transfer(offset) for offset in symmetry.offsets()[FAR]]
    assert [family_entries(work).tolist() for work in works] == [[[0, 0, code]] for code in FAR]
    expected = np.concatenate([multipole @ core(at.m2l, code) for code in FAR])
    found = np.concatenate([transfer.m2l(work, [multipole], at) for work in works])
    wrong = np.abs(found - expected).max(axis=1) > ROUNDING * 10 * np.abs(expected).max(axis=1)
    assert not wrong.any(), symmetry.offsets()[FAR[wrong]]


def test_adjacent_boxes_have_no_core(at):
    near = np.flatnonzero(~symmetry.is_far())
    assert near.size == 27
    assert FAR.size == 316
    assert (at.m2l.rank[near] == 0).all()
    assert (at.m2l.rank[FAR] > 0).all()
    assert at.m2l.start[-1] == at.m2l.rank.sum()


def test_the_constant_kernel_is_exact():
    one = load(KERNELS["one"], accuracy.of_order(1)).at(0)
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
