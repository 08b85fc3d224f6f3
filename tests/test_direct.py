"""The direct sum against NumPy, by its definition."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import FINITE_DIFFERENCE, SUM_ROUNDING
from boxes import FOUR_PI, exact, l2_error
from cases import each

import taskfmm


def magnitude(targets, sources, charges):
    """Sum of the sizes of the terms: what rounding is relative to."""
    return exact(targets.T, sources.T, np.abs(charges))[0] / FOUR_PI


@each("n_sources, n_targets", [(1, 1), (7, 300), (5000, 20), (4096, 256), (4097, 257)])
def test_it_is_the_sum(n_sources, n_targets):
    """Also across the edges of its tiles and blocks."""
    rng = np.random.default_rng(1018081)
    sources, targets = rng.uniform(-1, 1, (n_sources, 3)), rng.uniform(-1, 1, (n_targets, 3))
    charges = rng.uniform(-1, 1, n_sources)
    found = taskfmm.direct(sources, charges, targets, outputs=("potential", "gradient"))
    expected = exact(targets.T, sources.T, charges) / FOUR_PI
    atol = SUM_ROUNDING * magnitude(targets, sources, charges).max()
    np.testing.assert_allclose(found["potential"], expected[0], rtol=0, atol=atol)
    assert found["gradient"].shape == (n_targets, 3)
    assert l2_error(found["gradient"], expected[1:].T) <= SUM_ROUNDING


def test_targets_default_to_the_sources():
    rng = np.random.default_rng(2020127)
    x, q = rng.random((500, 3)), rng.uniform(-1, 1, 500)
    np.testing.assert_array_equal(taskfmm.direct(x, q), taskfmm.direct(x, q, x.copy()))
    expected = exact(x.T, x.T, q)[0] / FOUR_PI
    assert l2_error(taskfmm.direct(x, q), expected) <= SUM_ROUNDING


def test_the_constant():
    found = taskfmm.direct([[0, 0, 0]], [3.0], [[0, 0, 2]], outputs=("gradient", "potential"))
    np.testing.assert_allclose(found["potential"], [3 / (FOUR_PI * 2)], rtol=1e-15)
    np.testing.assert_allclose(found["gradient"], [[0, 0, -3 / (FOUR_PI * 4)]], rtol=1e-15)


def test_gradient_is_the_derivative():
    rng = np.random.default_rng(3030211)
    sources, charges = rng.uniform(-1, 1, (50, 3)), rng.uniform(-1, 1, 50)
    targets = rng.uniform(1.2, 2, (20, 3))
    h = 1e-4 * 0.2
    found = taskfmm.direct(sources, charges, targets, outputs="gradient")["gradient"]
    for axis in range(3):
        step = h * np.eye(3)[axis]
        up, down = (taskfmm.direct(sources, charges, targets + s * step) for s in (1, -1))
        assert l2_error(found[:, axis], (up - down) / (2 * h)) <= FINITE_DIFFERENCE


def test_pairs_at_zero_distance_add_nothing():
    rng = np.random.default_rng(4040347)
    x, q = np.repeat(rng.random((10, 3)), 3, axis=0), rng.uniform(-1, 1, 30)
    found = taskfmm.direct(x, q, outputs=("potential", "gradient"))
    expected = exact(x.T, x.T, q) / FOUR_PI
    assert l2_error(found["potential"], expected[0]) <= SUM_ROUNDING
    assert l2_error(found["gradient"], expected[1:].T) <= SUM_ROUNDING


def test_constant_kernel():
    x = np.random.default_rng(5050423).random((5000, 3))
    np.testing.assert_array_equal(taskfmm.direct(x, np.ones(5000), x[:7], kernel="one"), np.full(7, 5000.0))


def test_nothing():
    nothing = np.empty((0, 3))
    np.testing.assert_array_equal(taskfmm.direct(nothing, [], [[1.0, 2, 3]]), [0.0])
    assert taskfmm.direct([[1.0, 2, 3]], [1.0], nothing).shape == (0,)
    out = taskfmm.direct(nothing, [], outputs=("potential", "gradient"))
    assert out["potential"].shape == (0,)
    assert out["gradient"].shape == (0, 3)


@each(
    "arguments, message",
    [
        (dict(sources=np.ones((3, 5)), charges=np.ones(5)), r"did you mean sources\.T"),
        (dict(sources=np.ones((5, 3)), charges=np.ones(4)), "charges has 4 rows, sources has 5"),
        (dict(sources=np.ones((5, 3)), charges=np.ones(5), targets=np.ones(3)), r"write \[targets\]"),
        (dict(sources=np.ones((5, 3)), charges=[1, 1, np.nan, 1, 1]), "charges row 2 is not finite"),
        (dict(sources=np.ones((5, 3)), charges=np.ones(5), kernel="laplase"), "did you mean 'laplace'"),
        (dict(sources=np.ones((5, 3)), charges=np.ones(5), outputs="hesian"), "hessian"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(taskfmm.InputError, match=message):
        taskfmm.direct(**arguments)


def test_inputs_are_left_alone():
    rng = np.random.default_rng(6060503)
    arrays = rng.random((20, 3)), rng.random(20), rng.random((30, 3))
    before = [a.copy() for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    taskfmm.direct(*arrays, outputs=("potential", "gradient"))
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
