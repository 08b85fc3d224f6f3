"""Each of the eight operators alone, on boxes made by hand: what it must reproduce, and how fast that improves."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from bounds import CHECK_POTENTIAL, OPERATOR_ERROR, OPERATOR_SLOPE, ROUNDING, TWO_FACTOR
from boxes import (
    column,
    exact,
    from_surface,
    gather_eight,
    l2_error,
    near_field,
    one_transfer,
    onto_surface,
    points_in,
    scatter_eight,
)

from taskfmm.geometry import surface
from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, box, levels
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.levels import _in_memory, load
from taskfmm.operators.matrix import kernel_matrix
from taskfmm.passes import near, source, target, transfer
from taskfmm.runtime.threads import budget

ORDERS = (3, 4, 5, 6, 7, 8)
ORDER = 6
HALF = 0.6171875  # a width with the few bits that a domain has
CENTER = np.array([0.25, -1.5, 3.0])
WORST = (2, 0, 0)
VECTORS = (WORST, (-2, 0, 0), (0, 2, 1), (0, 0, -2), (1, -2, 0), (2, 2, 2), (-3, 1, 2), (3, -3, 3))


def operators(order: int) -> BoxOperators:
    """Cut a digit below the order, so that the order decides the error."""
    cut = 10.0**-order
    with budget():
        return load(KERNELS["laplace"].of_first, accuracy.Accuracy(order, cut, cut))


def multipole_of(points, charges, order, center=CENTER, half=HALF):
    return source.p2m(
        onto_surface(center, half, points), [charges[None]], KERNELS["laplace"].of_first, operators(order)
    )


def potential_of_density(points, density, radius, center=CENTER, half=HALF, order=ORDER):
    """Of the density on a surface of a box, by the definition."""
    return exact(points, column(center) + half * surface.cube(order, radius), density.ravel())[0]


def shell(rng, inner: float, outer: float, n: int) -> np.ndarray:
    """Points between two cubes around the origin."""
    direction = rng.uniform(-1, 1, (3, n))
    direction /= np.abs(direction).max(axis=0)
    return direction * rng.uniform(inner, outer, n)


def p2m_error(order: int) -> float:
    rng = np.random.default_rng(8100907)
    sources, charges = points_in(rng, CENTER, HALF, 60), rng.uniform(-1, 1, 60)
    density = multipole_of(sources, charges, order)[0] @ operators(order).multipole_to_density
    far = column(CENTER) + HALF * shell(rng, 3.0, 9.0, 300)
    found = potential_of_density(far, density, surface.INNER, order=order)
    return l2_error(found, exact(far, sources, charges)[0])


def m2m_error(order: int) -> float:
    """Eight children with points; the parent's density must have the far potential of all of them."""
    rng = np.random.default_rng(6620431)
    at = operators(order)
    children = CENTER + HALF * surface.octant_centers()
    sources = [points_in(rng, c, HALF / 2, 20) for c in children]
    charges = rng.uniform(-1, 1, (8, 20))
    rows = [
        multipole_of(s, q, order, c, HALF / 2) for s, q, c in zip(sources, charges, children, strict=True)
    ]
    multipole = source.m2m(gather_eight(), None, [np.concatenate(rows)], at)
    far = column(CENTER) + HALF * shell(rng, 3.0, 9.0, 300)
    found = potential_of_density(far, multipole[0] @ at.multipole_to_density, surface.INNER, order=order)
    return l2_error(found, exact(far, np.hstack(sources), charges.ravel())[0])


def m2l_error(order: int, vector=WORST, level: int = 0, output: str = "potential") -> float:
    """P2M, M2L and L2P between two boxes."""
    rng = np.random.default_rng(3319871)
    at = operators(order)
    half = HALF * 2.0**-level
    center = CENTER * 2.0**-level
    there = center + 2 * half * np.array(vector)
    sources, charges = points_in(rng, center, half, 60), rng.uniform(-1, 1, 60)
    targets = points_in(rng, there, half, 200)
    multipole = multipole_of(sources, charges, order, center, half)
    local = transfer.m2l(one_transfer(vector), [multipole], at)
    found = target.l2p(
        from_surface(there, half, targets, there), [local], KERNELS["laplace"].of_first, at, output
    )
    expected = exact(targets, sources, charges)
    return l2_error(found[0], expected[0]) if output == "potential" else l2_error(found[1:], expected[1:])


def p2l_error(order: int) -> float:
    """P2L and L2P: sources in leaves of twice the width that touch the parent and not the box."""
    rng = np.random.default_rng(1190477)
    at = operators(order)
    big = CENTER + HALF * np.array([5.0, 1.0, -1.0])
    sources, charges = points_in(rng, big, 2 * HALF, 60), rng.uniform(-1, 1, 60)
    targets = points_in(rng, CENTER, HALF, 200)
    local = transfer.p2l(
        onto_surface(CENTER, HALF, sources), [charges[None]], KERNELS["laplace"].of_first, at
    )
    found = target.l2p(
        from_surface(CENTER, HALF, targets, CENTER), [local], KERNELS["laplace"].of_first, at, "potential"
    )
    return l2_error(found[0], exact(targets, sources, charges)[0])


def l2l_error(order: int) -> float:
    """A parent's local, moved to its eight children, at the targets of each."""
    rng = np.random.default_rng(9041203)
    at = operators(order)
    sources = column(CENTER) + HALF * shell(rng, 3.0, 7.0, 60)
    charges = rng.uniform(-1, 1, 60)
    parent = transfer.p2l(
        onto_surface(CENTER, HALF, sources), [charges[None]], KERNELS["laplace"].of_first, at
    )
    locals_ = target.l2l(scatter_eight(), [parent], [], (8, 1, at.rank), at)
    found, expected = [], []
    for row, offset in zip(locals_, surface.octant_centers(), strict=True):
        child = CENTER + HALF * offset
        targets = points_in(rng, child, HALF / 2, 40)
        work = from_surface(child, HALF / 2, targets, child)
        found.append(target.l2p(work, [row[None]], KERNELS["laplace"].of_first, at, "potential")[0])
        expected.append(exact(targets, sources, charges)[0])
    return l2_error(np.concatenate(found), np.concatenate(expected))


def m2p_error(order: int) -> float:
    """P2M and M2P: two small boxes that do not touch a leaf of twice their width."""
    rng = np.random.default_rng(7720193)
    at = operators(order)
    boxes = [CENTER + HALF * np.array(v) for v in ([2.5, -0.5, 0.5], [0.5, 0.5, -2.5])]
    sources = [points_in(rng, b, HALF / 2, 30) for b in boxes]
    charges = rng.uniform(-1, 1, (2, 30))
    rows = [multipole_of(s, q, order, b, HALF / 2) for s, q, b in zip(sources, charges, boxes, strict=True)]
    targets = points_in(rng, CENTER, HALF, 200)
    work = from_surface(CENTER, HALF / 2, targets, np.transpose(boxes))
    found = target.m2p(work, [np.concatenate(rows)], KERNELS["laplace"].of_first, at, "potential")
    return l2_error(found[0], exact(targets, np.hstack(sources), charges.ravel())[0])


def l2p_gradient_error(order: int) -> float:
    return m2l_error(order, WORST, output="gradient")


ERRORS = {
    "p2m": p2m_error,
    "m2m": m2m_error,
    "m2l": m2l_error,
    "p2l": p2l_error,
    "l2l": l2l_error,
    "m2p": m2p_error,
    "l2p gradient": l2p_gradient_error,
}


@pytest.mark.parametrize("operator", ERRORS)
def test_the_far_potential_is_reproduced(operator):
    assert ERRORS[operator](ORDER) <= OPERATOR_ERROR[operator]


@pytest.mark.parametrize("operator", ERRORS)
def test_the_error_falls_with_the_order(operator):
    digits = [np.log10(ERRORS[operator](order)) for order in ORDERS]
    assert np.polyfit(ORDERS, digits, 1)[0] <= OPERATOR_SLOPE[operator]


@pytest.mark.parametrize("vector", VECTORS)
def test_m2l_of_each_direction(vector):
    assert m2l_error(ORDER, vector) <= OPERATOR_ERROR["m2l"]


@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_every_level_has_the_error_of_the_root(output):
    """Scaling by level is a power of two, so not even the last bit may differ."""
    at_root = m2l_error(ORDER, (2, 1, 0), 0, output)
    assert [m2l_error(ORDER, (2, 1, 0), level, output) for level in (1, 7, 30)] == [at_root] * 3


def test_multipoles_do_not_depend_on_the_width_of_the_box():
    """They are charges: the same at every level for the same picture."""
    rng = np.random.default_rng(4410023)
    points, charges = points_in(rng, CENTER, HALF, 40), rng.uniform(-1, 1, 40)
    small = 2.0**-7
    a = multipole_of(points, charges, ORDER)
    b = multipole_of(points * small, charges, ORDER, CENTER * small, HALF * small)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a).max() > 0


def test_p2m_is_the_inverse_of_the_check_potential():
    """The density of a multipole gives back the check potential that it came from."""
    rng = np.random.default_rng(2205013)
    at = operators(ORDER)
    points, charges = points_in(rng, CENTER, HALF, 40), rng.uniform(-1, 1, 40)
    density = multipole_of(points, charges, ORDER)[0] @ at.multipole_to_density
    check = column(CENTER) + HALF * at.upward_check
    found = potential_of_density(check, density, surface.INNER)
    assert l2_error(found, exact(check, points, charges)[0]) <= CHECK_POTENTIAL * at.accuracy.basis_tol


def test_m2m_adds_to_what_the_shard_has_and_leaves_it_alone():
    rng = np.random.default_rng(6130277)
    at = operators(ORDER)
    own, children = rng.standard_normal((1, 2, at.rank)), rng.standard_normal((8, 2, at.rank))
    before = own.copy()
    found = source.m2m(gather_eight(), own, [children], at)
    expected = own + sum(children[i] @ at.m2m[i] for i in range(8))
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
    np.testing.assert_array_equal(own, before)


def test_l2l_adds_parents_and_parts():
    rng = np.random.default_rng(8830157)
    at = operators(ORDER)
    parent, parts = rng.standard_normal((1, 3, at.rank)), rng.standard_normal((2, 8, 3, at.rank))
    found = target.l2l(scatter_eight(), [parent], list(parts), (8, 3, at.rank), at)
    expected = np.stack([parent[0] @ at.l2l(i) for i in range(8)]) + parts.sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
    alone = target.l2l(None, [], list(parts), (8, 3, at.rank), at)
    np.testing.assert_array_equal(alone, parts.sum(axis=0))


@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_l2p_is_the_field_of_the_downward_equivalent_density(output):
    rng = np.random.default_rng(3380119)
    at = operators(ORDER)
    local = rng.standard_normal((1, 1, at.rank))
    targets = points_in(rng, CENTER, HALF, 50)
    found = target.l2p(
        from_surface(CENTER, HALF, targets, CENTER), [local], KERNELS["laplace"].of_first, at, output
    )
    density = (local[0] @ at.local_to_density).ravel()
    expected = exact(targets, column(CENTER) + HALF * surface.cube(ORDER, surface.OUTER), density)
    assert len(found) == {"potential": 1, "gradient": 4}[output]
    scale = np.abs(density).sum()
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=ROUNDING * scale)


@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_m2p_is_the_field_of_the_upward_equivalent_densities(output):
    rng = np.random.default_rng(5510233)
    at = operators(ORDER)
    multipoles = rng.standard_normal((2, 1, at.rank))
    boxes = np.stack([CENTER + HALF * np.array(v) for v in ([2.5, 0.5, 0.5], [-0.5, 2.5, 0.5])], axis=1)
    targets = points_in(rng, CENTER, HALF, 50)
    work = from_surface(CENTER, HALF / 2, targets, boxes)
    found = target.m2p(work, [multipoles], KERNELS["laplace"].of_first, at, output)
    density = multipoles @ at.multipole_to_density
    sources = [boxes[:, i : i + 1] + HALF / 2 * surface.cube(ORDER, surface.INNER) for i in range(2)]
    expected = exact(targets, np.hstack(sources), density.ravel())
    scale = np.abs(density).sum()
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=ROUNDING * scale)


def test_p2l_is_the_projection_of_the_downward_check_potential():
    rng = np.random.default_rng(7340201)
    at = operators(ORDER)
    points, charges = points_in(rng, CENTER + np.array([4 * HALF, 0, 0]), HALF, 30), rng.uniform(-1, 1, 30)
    found = transfer.p2l(onto_surface(CENTER, HALF, points), [charges[None]], KERNELS["laplace"].of_first, at)
    check = column(CENTER) + HALF * surface.cube(ORDER, surface.INNER)
    expected = HALF * exact(check, points, charges)[0] @ at.check_to_local
    np.testing.assert_allclose(found[0, 0], expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_near_is_the_sum_over_the_runs(output):
    rng = np.random.default_rng(9950161)
    targets, sources = rng.uniform(-1, 1, (3, 33)), rng.uniform(-1, 1, (3, 90))
    charges = rng.uniform(-1, 1, 90)
    work = near_field(targets, sources, [(0, 17), (40, 77), (85, 90)])
    chosen = np.r_[0:17, 40:77, 85:90]
    found = near.p2p(work, [charges[None]], [], KERNELS["laplace"].of_first, output)
    expected = exact(targets, sources[:, chosen], charges[chosen])[: len(found)]
    size = exact(targets, sources[:, chosen], np.abs(charges[chosen]))[0]
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=ROUNDING * size.max())
    if output == "gradient":
        assert l2_error(found[1:], expected[1:]) <= ROUNDING


@pytest.mark.parametrize("output", ["potential", "gradient"])
def test_near_leaves_out_pairs_at_zero_distance(output):
    rng = np.random.default_rng(1720307)
    points, charges = rng.uniform(-1, 1, (3, 40)), rng.uniform(-1, 1, 40)
    points[:, 20:] = points[:, :20]
    found = near.p2p(
        near_field(points, points, [(0, 40)]), [charges[None]], [], KERNELS["laplace"].of_first, output
    )
    assert np.isfinite(found).all()
    assert l2_error(found, exact(points, points, charges)[: len(found)]) <= ROUNDING


def test_the_inverse_in_two_factors_keeps_the_digits(monkeypatch):
    """U^T and 1/s act first, V afterwards; multiplied out the same inverse loses several digits."""
    monkeypatch.setattr(box, "compress", lambda *_: None)
    rng = np.random.default_rng(4090133)
    at = box.build(KERNELS["laplace"].of_first, accuracy.Accuracy(8, 0.0, 1e-2))  # every singular value kept
    points, charges = rng.uniform(-1, 1, (3, 60)), rng.uniform(-1, 1, 60)
    check = exact(at.upward_check, points, charges)[0]
    forward = kernel_matrix(KERNELS["laplace"].of_first, at.upward_check, at.upward_equivalent)
    two_factors = forward @ ((check @ at.check_to_multipole) @ at.multipole_to_density)
    multiplied_out = forward @ (check @ (at.check_to_multipole @ at.multipole_to_density))
    assert l2_error(two_factors, check) <= TWO_FACTOR
    assert l2_error(multiplied_out, check) >= 100 * TWO_FACTOR


def test_operators_that_were_used_last_stay_in_memory(monkeypatch):
    """A kernel without a degree has operators for each width of a box."""
    kernel, chosen = KERNELS["yukawa"].of_first.expands, accuracy.Accuracy(2, 1e-2, 1e-2)
    one = load(kernel, chosen, 1.0)
    monkeypatch.setattr(levels, "MOST", int(3.5 * one.n_bytes))
    widths = [2.0**-number for number in range(1, 9)]
    for width in widths:
        load(kernel, chosen, width)
        assert load(kernel, chosen, 1.0) is one
    gc.collect()
    held = {width for of, at, width in _in_memory if (of, at) == (kernel, chosen)}
    assert {1.0, widths[-1]} <= held and len(held) <= 4
