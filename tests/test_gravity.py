"""Softened gravity: its formulas, its eps, and what is known of its fields."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import Gravity, gravity

N, EPS = 3000, 1e-3


def by_numpy(x, m, h, G, targets=None):
    """Potential, acceleration and tide."""
    d = (x if targets is None else targets)[:, None] - x
    r2 = (d**2).sum(axis=2)
    with np.errstate(divide="ignore"):
        i = np.where(r2 > 0.0, 1.0 / np.sqrt(r2 + h * h), 0.0)
    tide = 3.0 * np.einsum("tsi,tsj,ts->tij", d, d, m * i**5) - np.eye(3) * (i**3 @ m)[:, None, None]
    return -G * (i @ m), -G * np.einsum("tsi,ts->ti", d, m * i**3), G * tide


@each("unit", [1.0, 1e-5, 3e7])
@each("softening", [0.0, 1e-3, 0.3, 10.0])
def test_gravity_is_its_formula(softening, unit):
    """With the constant and the signs of mechanics, in any unit; bodies are left out where they are themselves."""
    rng = np.random.default_rng(41)
    x, m = unit * rng.random((200, 3)), rng.random(200)
    kernel = Gravity(unit * softening, G=6.7)
    found = taskfmm.direct(x, masses=m, kernel=kernel, outputs=kernel.names)
    for output, exact in zip(kernel.names, by_numpy(x, m, unit * softening, 6.7), strict=True):
        assert found[output].shape == exact.shape
        assert l2_error(found[output], exact) <= 100 * ROUNDING


def test_two_bodies_attract_each_other():
    x, m = np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]), np.array([2.0, 1.0])
    found = taskfmm.direct(x, m, kernel=Gravity(4.0, G=10.0), outputs=["potential", "acceleration"])
    np.testing.assert_allclose(found["potential"], [-2.0, -4.0])
    np.testing.assert_allclose(found["acceleration"], [[0, 0.24, 0], [0, -0.48, 0]], atol=1e-15)


@pytest.mark.parametrize("softening", [0.0, 0.02])
def test_eps_is_kept(softening):
    """Bodies in a cluster, as long as the softening is less and more than the smallest boxes are wide."""
    rng = np.random.default_rng(42)
    x, m = taskfmm.testing.DISTRIBUTIONS["plummer"](N, rng), rng.random(N)
    x /= np.abs(x).max()
    kernel = Gravity(softening, G=2.0)
    fmm = taskfmm.Fmm(x, kernel=kernel, eps=EPS, leaf_size=60)
    assert not fmm.plan.is_direct
    exact = by_numpy(x, m, softening, 2.0)
    found = fmm.evaluate(masses=m, outputs=["potential", "acceleration"])
    for output, expected in zip(found, exact, strict=False):
        assert l2_error(found[output].compute(scheduler="synchronous"), expected) <= EPS, output


def test_without_softening_operators_are_those_of_laplace():
    newton = Gravity(0.0)
    assert newton.expands.name == "laplace"
    assert newton.expands.surfaces == "single"
    assert Gravity(0.1).expands.surfaces == "filled"


def test_the_tide_is_the_derivative_of_the_acceleration():
    rng = np.random.default_rng(43)
    x, m, step = rng.random((300, 3)), rng.random(300), 1e-5
    at = rng.random((20, 3)) + np.array([1.1, 0.0, 0.0])
    kernel = Gravity(0.2)
    tide = taskfmm.direct(x, m, at, kernel=kernel, outputs="tide")["tide"]
    for axis in range(3):
        ends = [
            taskfmm.direct(x, m, at + sign * step * np.eye(3)[axis], kernel=kernel, outputs="acceleration")
            for sign in (1, -1)
        ]
        difference = (ends[0]["acceleration"] - ends[1]["acceleration"]) / (2 * step)
        np.testing.assert_allclose(tide[:, :, axis], difference, atol=1e-6 * np.abs(tide).max())


def test_momentum_is_conserved():
    """Forces between bodies are opposite, so that they add up to next to nothing."""
    rng = np.random.default_rng(44)
    x, m = rng.random((500, 3)), rng.random(500)
    force = m[:, None] * taskfmm.direct(x, m, kernel=Gravity(0.05), outputs="acceleration")["acceleration"]
    assert np.abs(force.sum(axis=0)).max() <= 1e-12 * np.abs(force).sum()


@each(
    "make, says",
    [
        (lambda: Gravity(-0.1), "softening is -0.1: give a length in the unit of the points, or 0"),
        (lambda: Gravity(float("nan")), "softening is nan"),
        (lambda: Gravity(np.inf), "softening is inf"),
        (lambda: Gravity("0.1"), "softening is '0.1'"),
        (lambda: Gravity(0.1, G=0.0), "G, the constant of gravity, is 0.0: give a finite number"),
        (lambda: Gravity(0.1, G=np.inf), "G, the constant of gravity, is inf"),
        (lambda: Gravity(0.1, G=1j), "G, the constant of gravity, is 1j"),
        (
            lambda: taskfmm.Fmm(np.eye(3), kernel=Gravity(0.1)).error_estimate(
                np.ones(3), 0, output="acceleration"
            ),
            r"values has shape \(\), expected \(3, 3\): give an acceleration, or another output=",
        ),
        (lambda: taskfmm.Fmm(np.eye(3), kernel="gravity"), r"as taskfmm.kernels.Gravity\(softening=\.\.\.\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_known_kernels_have_the_parameters_of_the_call():
    assert Gravity(0.5, G=3.0) == gravity.KERNEL.with_parameters(3.0, 0.5)
