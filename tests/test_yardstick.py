"""The yardstick: what one source does through the real operators, and the table made of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from bounds import TABLE_DIGITS
from boxes import from_surface, l2_error, one_transfer, onto_surface

from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, box, calibrated, probes, symmetry, yardstick
from taskfmm.operators.accuracy import NOISE, NOISE_OF_GRADIENT, NOISE_OF_ONE, Accuracy
from taskfmm.operators.matrix import value_matrix
from taskfmm.passes import source, target, transfer

LAPLACE = KERNELS["laplace"].of_first.up_to("gradient")


@cache
def operators(order: int, cut: float, dtype: str = "float64"):
    return box.build(LAPLACE, Accuracy(order, cut, cut, dtype))


@cache
def measured(order: int, cut: float, dtype: str = "float64") -> accuracy.Yardstick:
    return yardstick.measure(LAPLACE, operators(order, cut, dtype))


def shipped(order: int, cut: float) -> calibrated.Row:
    (row,) = (
        row
        for row in calibrated.table()
        if (row.accuracy.order, row.accuracy.m2l_tol, row.accuracy.m2l_dtype) == (order, cut, "mixed")
    )
    return row


@pytest.mark.parametrize("order, cut", [(3, 0.01), (4, 3e-4), (6, 1e-5)])
def test_the_table_holds_the_yardstick(order, cut):
    row, found = shipped(order, cut), measured(order, cut)
    built = operators(order, cut)
    assert row.errors.potential == pytest.approx(found.potential, rel=TABLE_DIGITS)
    assert row.errors.gradient == pytest.approx(found.gradient, rel=TABLE_DIGITS)
    assert row.errors.filled == pytest.approx(found.filled, rel=TABLE_DIGITS)
    assert row.errors.faces == pytest.approx(found.faces, rel=TABLE_DIGITS)
    assert row.errors.smooth == pytest.approx(found.smooth, rel=TABLE_DIGITS)
    assert row.m2l_cost == pytest.approx(built.m2l.multiply_adds, rel=TABLE_DIGITS)


def through_the_passes(built, place: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Errors of one source at a place of the unit box by the functions that an evaluation runs, over all V boxes."""
    found, exact = [], []
    multipole = source.p2m(onto_surface(np.zeros(3), 1.0, place[:, None]), [np.ones((1, 1))], LAPLACE, built)
    for offset in symmetry.offsets():
        center = 2.0 * offset
        local = transfer.m2l(one_transfer(tuple(offset)), [multipole], built)
        at = center[:, None] + targets
        found.append(target.l2p(from_surface(center, 1.0, at, center), [local], LAPLACE, built, "gradient"))
        exact.append(value_matrix(LAPLACE, at, place[:, None])[..., 0])
    found, exact = np.concatenate(found, axis=1), np.concatenate(exact, axis=1)
    return {"potential": l2_error(found[0], exact[0]), "gradient": l2_error(found[1:], exact[1:])}


@pytest.mark.parametrize("seed", [41, 42])
def test_no_source_errs_more_through_the_passes(seed):
    rng = np.random.default_rng(seed)
    built, row = operators(4, 3e-4), shipped(4, 3e-4)
    place = rng.uniform(-1, 1, 3)
    errors = through_the_passes(built, place, rng.uniform(-1, 1, (3, 30)))
    assert errors["potential"] <= row.errors.filled
    assert errors["gradient"] <= row.errors.faces


def test_the_worst_place_through_the_passes_is_that_of_the_yardstick():
    built, row, found = operators(4, 3e-4), shipped(4, 3e-4), []
    for line in probes.CORNERS:
        targets = probes.grid(line)
        for place in probes.everywhere().sources.T:
            found.append(through_the_passes(built, place, targets)["potential"])
    assert row.errors.filled < max(found) <= (1 + TABLE_DIGITS) * row.errors.potential


def test_a_cloud_in_one_direction_errs_more_than_clouds_all_around():
    """A table of errors averaged over directions would promise too much to targets in one of them."""
    rng = np.random.default_rng(43)
    built, row = operators(4, 3e-4), shipped(4, 3e-4)
    targets = rng.uniform(-1, 1, (3, 200))
    multipole = source.p2m(onto_surface(np.zeros(3), 1.0, np.ones((3, 1))), [np.ones((1, 1))], LAPLACE, built)
    found, exact = [], []
    for offset in symmetry.offsets():
        center = 2.0 * offset
        local = transfer.m2l(one_transfer(tuple(offset)), [multipole], built)
        at = center[:, None] + targets
        found.append(target.l2p(from_surface(center, 1.0, at, center), [local], LAPLACE, built, "gradient"))
        exact.append(value_matrix(LAPLACE, at, np.ones((3, 1)))[..., 0])
    for output, rows in (("potential", slice(1)), ("gradient", slice(1, None))):
        worst = max(l2_error(f[rows], e[rows]) for f, e in zip(found, exact, strict=True))
        all_around = l2_error(*(np.concatenate(each, axis=1)[rows] for each in (found, exact)))
        assert 1.5 * all_around < worst <= getattr(row.errors, output)


def test_rounding_of_m2l_adds_its_noise():
    """In quadrature where errors of many directions come together; in the worst one it is more, and adds up."""
    for order, cut in ((6, 1e-5), (8, 2e-7), (9, 1e-8), (10, 1e-9)):
        exact, rounded = measured(order, cut), measured(order, cut, "float32")
        for name, more in (("filled", 1.0), ("faces", NOISE_OF_GRADIENT)):
            noise = more * NOISE["float64", "float32"]
            assert getattr(rounded, name) <= np.hypot(getattr(exact, name), noise)
        for name, more in (("potential", 1.0), ("gradient", NOISE_OF_GRADIENT)):
            noise = more * NOISE_OF_ONE["float64", "float32"]
            assert getattr(rounded, name) <= getattr(exact, name) + noise


@pytest.mark.parametrize("order, cut", [(8, 1e-7), (9, 1e-8), (10, 5e-8)])
def test_rounding_of_m2l_in_mixed_precision_is_a_part_of_its_noise(order, cut):
    exact, rounded = measured(order, cut), measured(order, cut, "mixed")
    part = Accuracy(order, cut, cut, "mixed").in_single_below
    assert 0.0 < part < 0.06
    for names, found in ((("filled", "faces"), NOISE), (("potential", "gradient"), NOISE_OF_ONE)):
        noise = part * NOISE_OF_GRADIENT * found["float64", "float32"]
        for name in names:
            assert getattr(rounded, name) <= getattr(exact, name) + noise


def test_a_smooth_field_errs_alike_in_leaves_of_any_depth(monkeypatch):
    found = []
    for deep in (10, 12, 14):
        monkeypatch.setattr(yardstick, "DEEP", deep)
        found.append(yardstick.measure(LAPLACE, operators(4, 3e-4)).smooth)
    assert max(found) <= 2 * min(found)


def test_errors_fall_along_the_table():
    """Each order reaches further than the one two before: odd orders have a point where even ones have none."""
    orders = sorted({row.accuracy.order for row in calibrated.table()})
    for output in ("potential", "gradient", "filled"):
        best = [
            min(getattr(r.errors, output) for r in calibrated.table() if r.accuracy.order == p)
            for p in orders
        ]
        assert all(after < before for before, after in zip(best, best[2:], strict=False))
