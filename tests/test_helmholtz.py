"""Waves: the Helmholtz kernel, and complex numbers on their way in and out."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import Helmholtz
from taskfmm.kernels.oscillation import cosine_sine
from taskfmm.runtime import memory

N, EPS = 2000, 1e-2
OUTPUTS = ("potential", "gradient")


def complexes(rng, *shape):
    return rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)


def by_numpy(k, targets, points, charges, dipoles):
    d = targets[:, None] - points
    r = np.linalg.norm(d, axis=2)
    wave, turn, along = np.exp(1j * k * r) / (4 * np.pi * r), 1j * k * r, (d * dipoles).sum(axis=2)
    steep = wave * (1 - turn) / r**2
    bend = along * wave * (3 - 3 * turn + turn**2) / r**4 + charges * steep
    potential = charges * wave + along * steep
    return potential.sum(axis=1), (dipoles * steep[..., None] - d * bend[..., None]).sum(axis=1)


@each("unit", [1.0, 1e-5, 3e7])
@each("k", [1e-3, 2.0, -3.0, 40.0, 1 + 2j, 5j])
def test_it_is_its_formula(k, unit):
    rng = np.random.default_rng(61)
    points, targets = unit * rng.random((100, 3)), unit * (rng.random((30, 3)) + np.array([1.0, 0, 0]))
    given = dict(charges=complexes(rng, 100), dipoles=unit * complexes(rng, 100, 3))
    kernel = Helmholtz(k / unit)
    found = taskfmm.direct(points, targets=targets, kernel=kernel, outputs=OUTPUTS, **given)
    for output, exact in zip(OUTPUTS, by_numpy(k / unit, targets, points, **given), strict=True):
        assert found[output].dtype == np.complex128
        assert l2_error(found[output], exact) <= 100 * ROUNDING


def test_sine_and_cosine_are_those_of_numpy():
    x = np.concatenate([np.linspace(-1e3, 1e3, 2001), np.pi / 4 * np.arange(-40, 40), [0.0, 1e5, 1e6]])
    found = np.array([cosine_sine(float(each)) for each in x])
    np.testing.assert_allclose(found, np.stack([np.cos(x), np.sin(x)], axis=1), rtol=0, atol=3e-16)


@pytest.fixture(scope="module")
def cloud():
    """Of few levels, since each of them has operators of its own."""
    return np.random.default_rng(62).random((N, 3))


@pytest.fixture(scope="module")
def fmm(cloud):
    return taskfmm.Fmm(cloud, kernel=Helmholtz(5.0), eps=EPS, leaf_size=100)


def some(n):
    rng = np.random.default_rng(63)
    return dict(charges=complexes(rng, n), dipoles=0.01 * complexes(rng, n, 3))


def test_eps_is_kept(fmm, cloud):
    """Of complex and real charges, and of one that outweighs all others."""
    assert not fmm.plan.is_direct
    heavy = np.ones(N, complex)
    heavy[7] = 1e7j
    for given, output in (
        (some(N), "gradient"),
        (dict(charges=np.ones(N)), "gradient"),
        (dict(charges=heavy), "potential"),
    ):
        found = fmm.serial(output=output, **given)
        exact = taskfmm.direct(cloud, kernel=fmm.kernel, outputs=output, **given)[output]
        assert l2_error(found, exact) <= EPS
        assert fmm.error_estimate(values=found, output=output, **({"charges": None} | given)) <= EPS


def test_every_scheduler_gives_the_bits_of_plain_calls(fmm, client):
    for given in (some(N), {name: da.from_array(array, chunks=700) for name, array in some(N).items()}):
        values = fmm.evaluate(outputs="gradient", **given)["gradient"]
        assert values.dtype == np.complex128
        one = values.compute(scheduler="synchronous")
        np.testing.assert_array_equal(values.compute(), one)
        np.testing.assert_array_equal(values.compute(scheduler="processes"), one)
        np.testing.assert_array_equal(values.compute(scheduler="threads"), one)


def test_saved_and_loaded_it_gives_the_same_bits(fmm, tmp_path):
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert again.kernel == fmm.kernel
    np.testing.assert_array_equal(again.serial(**some(N)), fmm.serial(**some(N)))


@each("mode", [(1, 1, 1), (2, 1, 1)])
def test_resonances_of_boxes_do_not_show(mode):
    """Densities on the cube of half-width 1.05 h cannot radiate at these wavenumbers, to the last digit."""
    points = np.random.default_rng(64).random((N, 3))
    half_width = taskfmm.Fmm(
        points, kernel=Helmholtz(5.0), order=6, leaf_size=100
    ).plan.tree.domain.half_width
    k = np.pi * np.linalg.norm(mode) / (2.1 * half_width / 4)
    fmm = taskfmm.Fmm(points, kernel=Helmholtz(k), order=6, leaf_size=100)
    assert fmm.plan.tree.domain.half_width == half_width
    assert not fmm.plan.is_direct
    charges = some(N)["charges"]
    assert l2_error(fmm.serial(charges), taskfmm.direct(points, charges, kernel=fmm.kernel)) <= 1e-2


def test_more_wavelengths_than_an_order_holds_are_refused_with_the_floor():
    points = np.random.default_rng(65).random((N, 3))
    before = memory.resident()
    with pytest.raises(taskfmm.AccuracyError, match="the floor"):
        taskfmm.Fmm(points, kernel=Helmholtz(600.0), eps=1e-3, leaf_size=100)
    assert memory.resident() - before < 2**32


def test_a_plane_wave_of_a_far_charge_obeys_its_equation():
    """lap phi + k^2 phi = 0 where there is no source; the Laplacian by differences of gradients."""
    rng = np.random.default_rng(66)
    k, h = 3.0, 1e-4
    points, q = rng.random((N, 3)), complexes(rng, N)
    at = rng.random((10, 3)) + np.array([1.2, 0.0, 0.0])
    steps = h * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    fmm = taskfmm.Fmm(
        points, (at[:, None] + steps).reshape(-1, 3), kernel=Helmholtz(k), order=9, leaf_size=100
    )
    phi, gradient = fmm.serial(q).reshape(10, 7), fmm.serial(q, "gradient").reshape(10, 7, 3)
    laplacian = sum(gradient[:, 1 + axis, axis] - gradient[:, 4 + axis, axis] for axis in range(3)) / (2 * h)
    np.testing.assert_allclose(laplacian, -(k**2) * phi[:, 0], rtol=1e-3)


def test_an_imaginary_part_that_overflows_leaves_the_real_one_alone():
    with pytest.warns(RuntimeWarning, match="overflow"):
        found = taskfmm.direct([[0.0, 0, 0]], [1e308j], [[1e-6, 0, 0]], kernel=Helmholtz(1e-9))
    assert np.isposinf(found.imag).all()
    assert not np.isnan(found.real).any()


@each("n", [0, 1, 2])
def test_few_points(n):
    points = np.arange(3.0 * n).reshape(n, 3)
    found = taskfmm.Fmm(points, kernel=Helmholtz(2.0)).evaluate(**some(n))
    exact = taskfmm.direct(points, kernel=Helmholtz(2.0), outputs=OUTPUTS, **some(n))
    for output in OUTPUTS:
        assert found[output].dtype == np.complex128
        np.testing.assert_allclose(found[output].compute(), exact[output], rtol=1e-12)
    assert (
        taskfmm.Fmm(points, kernel=Helmholtz(2.0), dtype="float32").potential(np.ones(n)).dtype
        == np.complex64
    )


def test_complex_charges_of_a_real_kernel_are_two_evaluations():
    rng = np.random.default_rng(67)
    points, q = rng.random((N, 3)), complexes(rng, N)
    fmm = taskfmm.Fmm(points, eps=1e-3, leaf_size=100)
    parts = fmm.potential(q.real.copy()).compute() + 1j * fmm.potential(q.imag.copy()).compute()
    np.testing.assert_array_equal(fmm.potential(q).compute(), parts)
    np.testing.assert_array_equal(fmm.serial(q), parts)
    lazy = fmm.potential(da.from_array(q, chunks=600))
    assert lazy.dtype == np.complex128
    assert fmm.error_estimate(q, lazy) <= 1e-3
    assert l2_error(taskfmm.direct(points, q), parts) <= 1e-3
    assert fmm.accuracy("potential", q).order >= fmm.accuracy("potential", q.real).order


@each(
    "make, says",
    [
        (lambda: Helmholtz(0), "kernel='laplace'"),
        (lambda: Helmholtz(1 - 1j), "not negative"),
        (lambda: Helmholtz(float("nan")), "k, the wavenumber"),
        (lambda: Helmholtz("2"), "k, the wavenumber"),
        (lambda: Helmholtz([1.0, 2.0]), "k, the wavenumber"),
        (lambda: taskfmm.Fmm(np.eye(3), kernel=Helmholtz(1.0)).potential(np.ones(2)), "3"),
        (lambda: taskfmm.Fmm(np.eye(3), kernel=Helmholtz(1.0)).potential([1j, np.nan, 0]), "not finite"),
        (lambda: taskfmm.Fmm(np.eye(3), kernel=Helmholtz(1.0)).potential(["a", "b", "c"]), "complex numbers"),
        (lambda: taskfmm.Fmm(np.eye(3)).potential(np.array(["a", "b", "c"])), "real numbers"),
        (lambda: taskfmm.Fmm(np.eye(3), like=[1j, 0, 1]), "give like.real or like.imag"),
    ],
)
def test_what_is_no_wavenumber_or_no_charge_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
