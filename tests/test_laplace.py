"""Dipoles and Hessians of the Laplace kernel; charges, potentials and gradients are tested everywhere else."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import KERNELS, Laplace

N, EPS = 3000, 1e-3
OUTPUTS = ("potential", "gradient", "hessian")


def by_numpy(targets, points, charges, dipoles):
    """Potential, gradient and Hessian, by NumPy."""
    d = targets[:, None] - points
    inverse = 1 / np.linalg.norm(d, axis=2)
    along, both = (d * dipoles).sum(axis=2), d[..., :, None] * d[..., None, :]
    mixed = dipoles[:, :, None] * d[..., None, :] + d[..., :, None] * dipoles[:, None, :]

    def over(values, power):
        return (values.T * inverse.T**power).T

    potential = over(charges[None] + 0 * inverse, 1) + over(along, 3)
    gradient = (
        over(dipoles[None] + 0 * d, 3) - over(d, 3) * charges[:, None] - 3 * over(d * along[..., None], 5)
    )
    identity = np.eye(3) + 0 * both
    hessian = 3 * over(both, 5) * charges[:, None, None] - over(identity, 3) * charges[:, None, None]
    hessian = hessian - 3 * over(mixed + identity * along[..., None, None], 5)
    hessian = hessian + 15 * over(both * along[..., None, None], 7)
    return [each.sum(axis=1) / (4 * np.pi) for each in (potential, gradient, hessian)]


def given(n, rng):
    return dict(charges=rng.uniform(-1, 1, n), dipoles=rng.uniform(-1, 1, (n, 3)))


@each("unit", [1.0, 1e-5, 3e7])
def test_it_is_its_formula(unit):
    """In any unit of length; the kinds of sources together and alone."""
    rng = np.random.default_rng(51)
    points, targets = unit * rng.random((200, 3)), unit * (rng.random((50, 3)) + np.array([1.0, 0, 0]))
    q, p = rng.uniform(-1, 1, 200), unit * rng.uniform(-1, 1, (200, 3))
    for some in (dict(charges=q, dipoles=p), dict(charges=q), dict(dipoles=p)):
        whole = dict(charges=0 * q, dipoles=0 * p) | some
        found = taskfmm.direct(points, targets=targets, kernel=Laplace(), outputs=OUTPUTS, **some)
        for output, exact in zip(OUTPUTS, by_numpy(targets, points, **whole), strict=True):
            assert found[output].shape == exact.shape
            assert l2_error(found[output], exact) <= 100 * ROUNDING


def test_a_dipole_is_two_charges_close_together():
    rng = np.random.default_rng(52)
    points, p, h = rng.random((20, 3)), rng.uniform(-1, 1, (20, 3)), 1e-6
    targets = rng.random((10, 3)) + np.array([2.0, 0, 0])
    pairs = np.concatenate([points + h * p, points - h * p])
    charges = np.repeat([1.0, -1.0], 20) / (2 * h)
    assert (
        l2_error(taskfmm.direct(points, targets=targets, dipoles=p), taskfmm.direct(pairs, charges, targets))
        <= 1e-8
    )


def test_hessians_are_differences_of_gradients_and_have_no_trace():
    """By a plan, as targets see most of it through expansions."""
    rng = np.random.default_rng(53)
    points, h = rng.random((N, 3)), 1e-4
    at = rng.random((20, 3)) + np.array([1.0, 0, 0])
    steps = h * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    fmm = taskfmm.Fmm(points, (at[:, None] + steps).reshape(-1, 3), order=10, leaf_size=100)
    some = given(N, rng)
    gradient = fmm.serial(output="gradient", **some).reshape(20, 7, 3)
    hessian = fmm.serial(output="hessian", **some).reshape(20, 7, 3, 3)[:, 0]
    differences = (gradient[:, 1:4] - gradient[:, 4:7]) / (2 * h)
    assert l2_error(differences, hessian) <= 1e-5
    np.testing.assert_array_equal(hessian, hessian.transpose(0, 2, 1))
    assert np.abs(hessian.trace(axis1=1, axis2=2)).max() <= 1e-6 * np.abs(hessian).max()


def clouds(rng):
    line = np.linspace(0, 1, 14)
    yield "cube", rng.random((N, 3))
    yield "grid", np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    yield "plane", np.c_[rng.random((N, 2)), np.zeros(N)]
    yield "line", np.c_[np.linspace(0, 1, N), np.zeros((N, 2))]


@each("name", ["cube", "grid", "plane", "line"])
@each("eps", [EPS])
def test_eps_is_kept_of_every_kind_and_output(name, eps):
    """Of random and of equal numbers, which cancel on grids and lines, and where one outweighs all others."""
    rng = np.random.default_rng(54)
    points = dict(clouds(rng))[name]
    n = len(points)
    heavy = np.ones(n)
    heavy[n // 2] = 1e8
    fmm = taskfmm.Fmm(points, eps=eps, leaf_size=60)
    assert not fmm.plan.is_direct
    for some in (
        given(n, rng),
        dict(dipoles=rng.uniform(-1, 1, (n, 3))),
        dict(dipoles=np.ones((n, 3))),
        dict(charges=np.ones(n)),
        dict(charges=heavy),
        dict(dipoles=heavy[:, None] * rng.uniform(-1, 1, 3)),
    ):
        exact = taskfmm.direct(points, outputs=OUTPUTS, **some)
        for output in OUTPUTS:
            found = fmm.serial(output=output, **some)
            assert l2_error(found, exact[output]) <= eps, (output, list(some))


@each("kind", ["dipoles", "charges"])
def test_small_clusters_far_from_all_targets_keep_eps_or_are_refused(kind):
    """There dipoles do less than they err by, if nobody looks: a million widths of the cluster away."""
    rng = np.random.default_rng(58)
    clusters = 1e-6 * rng.random((N, 3)) + rng.integers(0, 2, (N, 1))
    targets = rng.random((200, 3)) + np.array([1.5, 0, 0])
    some = {kind: given(N, rng)[kind]}
    fmm = taskfmm.Fmm(clusters, targets, eps=EPS, leaf_size=60)
    assert not fmm.plan.is_direct
    exact = taskfmm.direct(clusters, targets=targets, outputs=OUTPUTS, **some)
    kept = 0
    for output in OUTPUTS:
        try:
            found = fmm.serial(output=output, **some)
        except taskfmm.AccuracyError:
            continue
        assert l2_error(found, exact[output]) <= EPS, output
        kept += 1
    assert kept


@each("eps, dtype", [(1e-3, "float32"), (1e-6, "mixed")])
def test_m2l_is_in_float32_where_that_is_enough(eps, dtype):
    rng = np.random.default_rng(59)
    fmm = taskfmm.Fmm(rng.random((N, 3)), eps=eps, leaf_size=60)
    assert fmm.accuracy("potential", dipoles=rng.uniform(-1, 1, (N, 3))).m2l_dtype == dtype


def test_what_is_not_asked_for_costs_nothing():
    fmm = taskfmm.Fmm(np.random.default_rng(55).random((500, 3)))
    assert set(fmm.evaluate(np.ones(500))) == {"potential", "gradient"}
    assert fmm.evaluate(np.ones(500), "hessian")["hessian"].shape == (500, 3, 3)


def test_lazy_dipoles_keep_eps_and_a_hessian_is_estimated():
    rng = np.random.default_rng(56)
    points, some = rng.random((N, 3)), given(N, rng)
    fmm = taskfmm.Fmm(points, eps=1e-2, leaf_size=60)
    lazy = {name: da.from_array(array, chunks=(1000, *array.shape[1:])) for name, array in some.items()}
    hessian = fmm.evaluate(outputs="hessian", **lazy)["hessian"]
    assert hessian.chunks[1:] == ((3,), (3,))
    assert fmm.error_estimate(values=hessian, output="hessian", **some) <= 1e-2


@each("n", [0, 1, 2])
def test_few_points(n):
    points = np.arange(3.0 * n).reshape(n, 3)
    for some in (given(n, np.random.default_rng(57)), dict(dipoles=np.ones((n, 3)))):
        exact = taskfmm.direct(points, outputs=OUTPUTS, **some)
        for output, values in taskfmm.Fmm(points).evaluate(outputs=OUTPUTS, **some).items():
            np.testing.assert_allclose(values.compute(), exact[output], rtol=1e-12)


def test_points_at_one_place_add_nothing_to_each_other():
    points = np.repeat(np.eye(3), 2, axis=0)
    found = taskfmm.direct(points, outputs=OUTPUTS, charges=np.ones(6), dipoles=np.ones((6, 3)))
    once = taskfmm.direct(np.eye(3), outputs=OUTPUTS, charges=2 * np.ones(3), dipoles=2 * np.ones((3, 3)))
    for output in OUTPUTS:
        np.testing.assert_allclose(found[output][::2], once[output], rtol=1e-14)


@each(
    "some, says",
    [
        (dict(dipoles=np.ones(3)), "dipoles"),
        (dict(dipoles=np.ones((2, 3))), "dipoles"),
        (dict(dipoles=np.full((3, 3), np.nan)), "dipoles"),
        (dict(dipole=np.ones((3, 3))), "dipole is no source"),
        (dict(), "charges, dipoles"),
        (dict(charges=np.ones(3), outputs="hesian"), "hessian"),
    ],
)
def test_bad_sources_and_outputs(some, says):
    with pytest.raises(InputError, match=says):
        taskfmm.Fmm(np.eye(3)).evaluate(**some)


def test_its_constructor_is_its_name():
    assert Laplace() is KERNELS["laplace"]
    assert taskfmm.Fmm(np.eye(3), kernel=Laplace()).kernel == taskfmm.Fmm(np.eye(3)).kernel
