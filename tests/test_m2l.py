"""M2L in compressed form against dense kernel matrices, for all 316 relative positions; symmetry of the cube."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import ROUNDING, SYMMETRY
from boxes import family_entries, one_transfer, whole
from kernels_of_users import stokeslet

from taskfmm.geometry import surface
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, basis, box, cores, directional, siblings, symmetry
from taskfmm.operators.levels import load
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.operators.mixed import of_arrays
from taskfmm.passes import transfer
from taskfmm.plan.works import Siblings
from taskfmm.runtime.threads import budget

ORDER = 4
LAPLACE = KERNELS["laplace"].of_first
OFFSETS = symmetry.offsets()


def core(form: directional.DirectionalM2L, offset: np.ndarray) -> np.ndarray:
    """The k by k matrix of a transfer vector, acting on rows."""
    return form.one(np.eye(form.source_parity.shape[1]), offset)


def compressed(kernel, order: int, cut: float, width: float, tol: float, dtype: str = "float64"):
    """Cores of boxes of this width, and the columns and points that they are made of."""
    inner, outer = (0.5 * width * surface.cube(order, r) for r in (surface.INNER, surface.OUTER))
    _, _, v, parity = basis.factor(kernel, outer, inner, cut)
    chosen = accuracy.Accuracy(order, cut, tol, dtype)
    return cores.compress(kernel, chosen, inner, width, (v, parity), (v, parity)), v, inner


@pytest.fixture(scope="module")
def at() -> box.BoxOperators:
    with budget():
        return load(KERNELS["laplace"].of_first, accuracy.Accuracy(ORDER, 1e-4, 1e-3))


@pytest.fixture(scope="module")
def uncut() -> box.BoxOperators:
    """The same with all singular values, so that a position has one core in all directions."""
    with budget():
        return load(KERNELS["laplace"].of_first, accuracy.Accuracy(ORDER, 1e-4, 1e-15))


@pytest.fixture(scope="module")
def projected(at) -> list[np.ndarray]:
    """Every core from its own kernel matrix, without symmetry and without compression."""
    inner = surface.cube(ORDER, surface.INNER)
    found = []
    for offset in OFFSETS:
        full = kernel_matrix(LAPLACE, inner + 2.0 * offset[:, None], inner)
        found.append((at.check_to_local.T @ full @ at.multipole_to_density.T).T)
    return found


@pytest.mark.parametrize("kernel", [LAPLACE, stokeslet.KERNEL], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("order, width", [(4, 2.0), (3, 0.7)])
def test_mirrored_cores_are_the_projected_kernel_matrices(kernel, order, width):
    form, columns, inner = compressed(kernel, order, 1e-4, width, tol=0.0)
    assert form.source_parity.shape == (3, columns.shape[1])
    for offset in OFFSETS:
        full = kernel_matrix(kernel, inner + width * offset[:, None], inner)
        expected = (columns.T @ full @ columns).T
        size = np.abs(expected).max()
        np.testing.assert_allclose(core(form, offset), expected, rtol=0, atol=SYMMETRY * size)


def test_compression_cuts_at_its_tolerance(at, projected):
    """The spectral norm of what is dropped is below tol times the largest singular value of all cores."""
    tol = at.accuracy.m2l_tol
    largest = max(np.linalg.norm(matrix, 2) for matrix in projected)
    missing = [np.linalg.norm(core(at.m2l, v) - p, 2) for v, p in zip(OFFSETS, projected, strict=True)]
    assert max(missing) <= tol * largest * (1 + SYMMETRY)
    assert max(missing) > 0.1 * tol * largest  # and it does compress
    assert at.m2l.multiply_adds < 0.5 * 2 * at.rank**2


def of_cores(form: directional.DirectionalM2L, direction: int) -> int:
    """Numbers in the cores of all pairs of children of two parents that do not touch."""
    bits = np.array([(o >> 2 & 1, o >> 1 & 1, o & 1) for o in range(8)])
    return sum(
        form.source_rank[direction, o & direction] * form.target_rank[direction, t & direction]
        for t, o in np.ndindex(8, 8)
        if np.abs(2 * bits[direction] + bits[t] - bits[o]).max() > 1
    )


def test_multiply_adds_are_the_mean_over_whole_families(at):
    total, pairs = 0.0, 0
    for direction in range(1, 8):
        times = 2 ** direction.bit_count()  # reflections that give other directions
        ranks = at.m2l.source_rank[direction] + at.m2l.target_rank[direction]
        of_children = sum(ranks[o & direction] for o in range(8))
        total += times * (at.rank * of_children + of_cores(at.m2l, direction))
        pairs += times * directional.MEETINGS[direction]
    assert pairs == 26 * directional.MEETINGS_OF_ANY
    assert at.m2l.multiply_adds == pytest.approx(total / pairs)


@pytest.mark.parametrize("direction", range(1, 8))
def test_octants_that_do_not_touch_have_their_cores(at, uncut, direction):
    """Blocks of the matrix of a direction; those of boxes that touch are zero."""
    bits = np.array([(o >> 2 & 1, o >> 1 & 1, o & 1) for o in range(8)])
    for t, o in np.ndindex(8, 8):
        offset = 2 * bits[direction] + bits[t] - bits[o]
        for each, bound in ((at, 4 * at.accuracy.m2l_tol), (uncut, SYMMETRY)):
            right, left = each.m2l.factors(direction, t, o)
            if np.abs(offset).max() <= 1:
                assert not right.any()
            else:
                exact = core(uncut.m2l, offset)
                assert np.linalg.norm(right @ left - exact, 2) <= bound * np.linalg.norm(exact, 2)


@pytest.mark.parametrize("direction", [1, 3, 6])
def test_octants_on_different_sides_of_a_level_axis_keep_a_fine_cut(direction):
    """Their column spaces are mirror images: at coarse cuts both hold nearly the same."""
    cut, (fine, _, _), (whole, _, _) = (
        1e-6,
        *(compressed(LAPLACE, 6, 1e-6, 2.0, tol) for tol in (1e-6, 1e-15)),
    )
    largest = max(np.linalg.norm(core(whole, offset), 2) for offset in OFFSETS[::5])
    for t, o in np.ndindex(8, 8):
        found, exact = (right @ left for right, left in (f.factors(direction, t, o) for f in (fine, whole)))
        assert np.linalg.norm(found - exact, 2) <= 4 * cut * largest


def families(rng, n_parents: int, n_pairs: int, blocks: int) -> Siblings:
    """Random pairs of parents, some of whose children do not exist."""
    children = []
    for _ in range(2):
        exists = rng.random((n_parents, 8)) < 0.7
        rows = np.where(exists, np.cumsum(exists).reshape(exists.shape) - 1, -1).astype(np.int32)
        children.append(rows)
    beside = rng.integers(1, 8, n_pairs)
    mirror = (beside & rng.integers(0, 8, n_pairs)).astype(np.int8)
    target, source = rng.integers(0, n_parents, (2, n_pairs)).astype(np.int32)
    key = (target * blocks // n_parents) * 7 + beside - 1
    order = np.argsort(key, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=7 * blocks))])
    code_ptr = np.stack([ends[7 * b : 7 * b + 8] for b in range(blocks)])
    n_rows, n_halo = (int(c.max()) + 1 for c in children)
    return Siblings(
        whole(3, n_halo), n_rows, code_ptr, target[order], source[order], mirror[order], *children
    )


@pytest.mark.parametrize(
    "n_parents, n_pairs, columns", [(60, 9000, 1), (300, 700, 3), (3, 9, 200), (1, 1, 1)]
)
def test_the_pass_multiplies_by_the_cores(uncut, n_parents, n_pairs, columns):
    """Several pairs to a target, missing children, more than one block, full and partial batches, columns."""
    rng = np.random.default_rng(6180339)
    work = families(rng, n_parents, n_pairs, blocks=min(3, n_parents))
    multipoles = rng.standard_normal((work.halo.rows.size, columns, uncut.rank))
    one, two = (transfer.m2l(work, [multipoles], uncut, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    expected = np.zeros((work.n_rows, columns, uncut.rank))
    target, source, *offset = family_entries(work).T
    found, number = np.unique(offset, axis=1, return_inverse=True)
    for n, vector in enumerate(found.T):
        chosen = number == n
        np.add.at(expected, target[chosen], multipoles[source[chosen]] @ core(uncut.m2l, vector))
    np.testing.assert_allclose(one, expected, rtol=0, atol=ROUNDING * 10 * np.abs(expected).max())


def test_every_vector_runs_its_own_core(uncut):
    multipole = np.random.default_rng(7320509).standard_normal((1, 1, uncut.rank))
    works = [one_transfer(offset) for offset in OFFSETS]
    assert [family_entries(work).tolist() for work in works] == [[[0, 0, *offset]] for offset in OFFSETS]
    expected = np.concatenate([multipole @ core(uncut.m2l, offset) for offset in OFFSETS])
    found = np.concatenate([transfer.m2l(work, [multipole], uncut) for work in works])
    wrong = np.abs(found - expected).max(axis=(1, 2)) > ROUNDING * 10 * np.abs(expected).max(axis=(1, 2))
    assert not wrong.any(), np.array(OFFSETS)[wrong]


@pytest.mark.parametrize("beside", range(1, 8))
def test_counts_are_those_of_whole_families(at, beside):
    """A batch full of reflected pairs of parents that have all of their children."""
    n = siblings.BATCH
    none, family = np.zeros(n, np.int32), np.arange(8, dtype=np.int32)[None]
    code_ptr = np.where(np.arange(8) >= beside, n, 0)[None]
    work = Siblings(whole(3, 8), 8, code_ptr, none, none, none.astype(np.int8), family, family)
    entries = family_entries(work)
    counts = at.m2l.counts(len(entries), n, np.diff(work.code_ptr, axis=1))
    assert counts["m2l_meeting"] == len(entries)
    assert counts["m2l_core"] == directional.PRODUCTS
    form = at.m2l
    ranks = [sum(each[beside, o & beside] for o in range(8)) for each in (form.source_rank, form.target_rank)]
    assert counts["m2l_multiply_add_64"] == n * (at.rank * sum(ranks) + of_cores(form, beside))


def test_what_is_kept_makes_the_same_form(at):
    """Images along level axes share a block where it is kept."""
    arrays = at.m2l.arrays()
    again = directional.DirectionalM2L.of(**{name: array.copy() for name, array in arrays.items()})
    again.check(at.rank, "float64")
    for name in arrays:
        np.testing.assert_array_equal(getattr(again, name), getattr(at.m2l, name))
    assert arrays["core"].size < 0.6 * at.m2l.core.size


def test_the_constant_kernel_is_exact():
    one = load(KERNELS["one"], accuracy.of_order(1))
    assert one.rank == 1
    for offset in OFFSETS:
        assert core(one.m2l, offset) * one.multipole_to_density * one.local_to_density == 1.0


def test_single_precision_cores_are_the_same_rounded(at):
    double, _, _ = compressed(LAPLACE, ORDER, 1e-4, 2.0, 1e-3)
    single, _, _ = compressed(LAPLACE, ORDER, 1e-4, 2.0, 1e-3, "float32")
    assert single.dtype == np.float32
    for name in ("down", "up", "core"):
        np.testing.assert_array_equal(getattr(single, name), getattr(double, name).astype(np.float32))


@pytest.mark.parametrize("order, tol", [(4, 1e-3), (8, 1e-8), (8, 1e-9)])
def test_mixed_precision_rounds_less_than_is_cut(order, tol):
    """Its two parts are the form in float64, and of the largest core float32 rounds about 2^-24 of what it holds."""
    double, _, _ = compressed(LAPLACE, order, tol, 2.0, tol)
    mixed, _, _ = compressed(LAPLACE, order, tol, 2.0, tol, accuracy.MIXED)
    assert [part.dtype.name for part in mixed.parts] == ["float64", "float32"]
    assert bool(mixed.large.core.size) == (order == 8)
    exact = [core(double, offset) for offset in OFFSETS]
    rounded = [np.linalg.norm(core(mixed, o) - each, 2) for o, each in zip(OFFSETS, exact, strict=True)]
    largest = max(np.linalg.norm(each, 2) for each in exact)
    unit = 2.0**-24 * accuracy.Accuracy(order, tol, tol, accuracy.MIXED).in_single_below
    assert 0.5 * unit < max(rounded) / largest < 5 * unit
    assert 5 * unit < tol / 6


def test_mixed_precision_translates_by_both_parts():
    mixed, columns, _ = compressed(LAPLACE, 8, 1e-9, 2.0, 1e-9, accuracy.MIXED)
    multipole = np.random.default_rng(7320510).standard_normal((1, 1, columns.shape[1]))
    for offset in OFFSETS[::7]:
        found = mixed.translate(one_transfer(tuple(offset)), multipole, 1)[0]
        both = sum(part.one(multipole[0], offset) for part in mixed.parts)
        np.testing.assert_allclose(found, both, rtol=0, atol=1e-8 * np.abs(both).max())
    again = of_arrays({name: array.copy() for name, array in mixed.arrays().items()})
    again.check(columns.shape[1], accuracy.MIXED)
    for part, same in zip(mixed.parts, again.parts, strict=True):
        np.testing.assert_array_equal(part.core, same.core)
    counted = mixed.counts(58.0, 1.0)
    assert {"m2l_multiply_add_64", "m2l_multiply_add_32"} <= counted.keys()
    with pytest.raises(ValueError, match="mixed"):
        mixed.check(columns.shape[1], "float64")


def test_sixteen_classes_cover_all_positions():
    code, exchange = symmetry.representatives()
    chosen = symmetry.is_far() & symmetry.is_folded()
    code, exchange, offset = code[chosen], exchange[chosen], symmetry.coded_offsets()
    assert len(np.unique(code)) == 16
    turned = np.einsum("nij,nj->ni", symmetry.exchanges()[exchange], offset[code])
    np.testing.assert_array_equal(turned, offset[chosen])
    assert (np.diff(offset[np.unique(code)], axis=1) <= 0).all()


def test_reflections_of_folded_positions_are_all_positions():
    code, mirror = symmetry.fold(OFFSETS)
    folded = symmetry.coded_offsets()[code]
    assert (folded >= 0).all()
    np.testing.assert_array_equal(folded * symmetry.reflections()[mirror], OFFSETS)
    np.testing.assert_array_equal(symmetry.fold(symmetry.coded_offsets())[0][code], code)


def turns() -> np.ndarray:
    """The 48 symmetries of the cube."""
    return np.array([np.diag(r) @ g for r in symmetry.reflections() for g in symmetry.exchanges()])


def test_exchanges_and_reflections_make_the_48_symmetries_of_the_cube():
    assert len({tuple(t.ravel()) for t in turns()}) == 48
    np.testing.assert_array_equal(
        turns() @ turns().transpose(0, 2, 1), np.broadcast_to(np.eye(3), (48, 3, 3))
    )


@pytest.mark.parametrize("order", [2, 3, 6])
def test_permutations_turn_the_surface(order):
    points = surface.cube(order, surface.INNER)
    for turn in turns():
        perm = symmetry.permutation(points, turn)
        np.testing.assert_array_equal(np.sort(perm), np.arange(points.shape[1]))
        np.testing.assert_allclose(points[:, perm], turn.T @ points, rtol=0, atol=1e-15)
