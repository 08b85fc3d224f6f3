"""The kernels of this library beside Laplace's: their formulas, their eps, and what is known of their fields."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import KERNELS, BiotSavart, Laplace, Yukawa, declaration
from taskfmm.testing import DISTRIBUTIONS, with_heavy

N, EPS = 3000, 1e-2


def sources(kernel, n, rng):
    return {kind.given_as: rng.uniform(-1, 1, (n, kind.n_numbers)).squeeze() for kind in kernel.sources}


def yukawa(lam, targets, points, charges, dipoles):
    """Potential and gradient, by NumPy."""
    d = targets[:, None] - points
    r = np.linalg.norm(d, axis=2)
    screened = np.exp(-lam * r) / (4 * np.pi * r)
    along, steep = (d * dipoles).sum(axis=2), (1 + lam * r) / r**2
    potential = (charges + along * steep) * screened
    slope = charges * steep + along * (3 + 3 * lam * r + (lam * r) ** 2) / r**4
    gradient = (dipoles * steep[:, :, None] - d * slope[:, :, None]) * screened[:, :, None]
    return potential.sum(axis=1), gradient.sum(axis=1)


def biot_savart(targets, points, vorticity):
    """Vector potential, velocity and the gradient of that, by NumPy."""
    d = targets[:, None] - points
    inverse = 1 / np.linalg.norm(d, axis=2)[:, :, None]
    potential = vorticity * inverse
    velocity = np.cross(vorticity[None], d) * inverse**3
    turning = np.cross(vorticity[:, None], np.eye(3)).transpose(0, 2, 1)  # of w x d by each component of d
    bent = velocity[..., :, None] * d[..., None, :] * inverse[..., None] ** 2
    gradient = turning * inverse[..., None] ** 3 - 3 * bent
    return [each.sum(axis=1) / (4 * np.pi) for each in (potential, velocity, gradient)]


@each("unit", [1.0, 1e-5, 3e7])
@each("lam", [1e-3, 2.0, 30.0])
def test_yukawa_is_its_formula(lam, unit):
    """In any unit of length, and where screening is next to nothing or next to all."""
    rng = np.random.default_rng(31)
    points, targets = unit * rng.random((200, 3)), unit * (rng.random((50, 3)) + np.array([1.0, 0, 0]))
    kernel = Yukawa(lam / unit)
    given = sources(kernel, 200, rng)
    given["dipoles"] *= unit
    expected = yukawa(lam / unit, targets, points, **given)
    found = taskfmm.direct(points, targets=targets, kernel=kernel, outputs=kernel.names, **given)
    for output, exact in zip(kernel.names, expected, strict=True):
        np.testing.assert_allclose(found[output], exact, rtol=0, atol=100 * ROUNDING * np.abs(exact).max())


def test_nothing_is_left_beyond_what_can_be_written():
    """exp(-709) is 1e-308; by then nothing may become infinite or undefined either."""
    points, targets = np.zeros((1, 3)), np.array([[1.0, 0, 0], [2.0, 0, 0]])
    given = dict(charges=np.ones(1), dipoles=np.array([[1.0, 2.0, 3.0]]))
    for lam, left in (
        (690.0, True),
        (708.0, True),
        (720.0, False),
        (1e4, False),
        (1e160, False),
        (1e308, False),
    ):
        kernel = Yukawa(lam)
        found = taskfmm.direct(points, targets=targets, kernel=kernel, outputs=kernel.names, **given)
        exact = yukawa(lam, targets, points, **given) if left else (np.zeros(2), np.zeros((2, 3)))
        for output, expected in zip(kernel.names, exact, strict=True):
            assert np.isfinite(found[output]).all()
            np.testing.assert_allclose(found[output][0], expected[0], rtol=1e-12)
            np.testing.assert_array_equal(found[output][1], 0.0)


@each("kernel", [kernel for name, kernel in KERNELS.items() if name != "one"])
def test_declarations_fit_the_formulas(kernel):
    declaration.check(kernel)


def test_a_saved_plan_has_operators_for_every_kind_of_source(tmp_path):
    """So that a machine with another LAPACK gives the same bits."""
    rng = np.random.default_rng(38)
    kernel = Yukawa(2.0)
    fmm = taskfmm.Fmm(cloud(), kernel=kernel, eps=EPS, leaf_size=60)
    fmm.save(tmp_path / "plan.h5")
    loaded = taskfmm.Fmm.load(tmp_path / "plan.h5")
    given = {name: da.from_array(array) for name, array in sources(kernel, N, rng).items()}
    for kinds in (["charges"], ["dipoles"], list(given)):
        chosen = loaded.accuracy("gradient", **{name: given[name] for name in kinds})
        assert loaded._planned.name_brought(chosen) is not None, kinds


@pytest.mark.parametrize("distance", [1.6, 4.0])
def test_lazy_charges_far_from_all_targets_keep_eps_or_are_refused(distance):
    """Nothing is known of them, but how much is left of equal ones."""
    rng = np.random.default_rng(39)
    points, targets = rng.random((N, 3)), rng.random((N // 2, 3)) + np.array([distance, 0, 0])
    kernel, charges = Yukawa(10.0), np.ones(N)
    fmm = taskfmm.Fmm(points, targets, kernel=kernel, eps=EPS, leaf_size=60)
    exact = taskfmm.direct(points, charges, targets, kernel=kernel)
    try:
        found = fmm.potential(da.from_array(charges)).compute()
    except taskfmm.AccuracyError:
        assert distance == 4.0
    else:
        assert l2_error(found, exact) <= EPS


def test_biot_savart_is_its_formula():
    rng = np.random.default_rng(32)
    points, targets, w = rng.random((200, 3)), rng.random((50, 3)), rng.uniform(-1, 1, (200, 3))
    kernel = BiotSavart()
    found = taskfmm.direct(points, targets=targets, kernel=kernel, outputs=kernel.names, vorticity=w)
    for output, exact in zip(kernel.names, biot_savart(targets, points, w), strict=True):
        assert l2_error(found[output], exact) <= 100 * ROUNDING


@pytest.fixture(scope="module", params=[Yukawa(2.0), BiotSavart(), Laplace()], ids=lambda kernel: kernel.name)
def kernel(request):
    return request.param


def cloud():
    """One for several tests, as each size of boxes has operators of its own."""
    points = DISTRIBUTIONS["plummer"](N, np.random.default_rng(40))
    return points / np.abs(points).max()


def kept(kernel, eps, points, **given):
    exact = taskfmm.direct(points, kernel=kernel, outputs=kernel.names, **given)
    fmm = taskfmm.Fmm(points, kernel=kernel, eps=eps, leaf_size=60)
    assert not fmm.plan.is_direct
    for output, values in fmm.evaluate(outputs=kernel.names, **given).items():
        assert l2_error(values.compute(scheduler="synchronous"), exact[output]) <= eps, output
    return fmm


def test_eps_is_kept_by_each_kind_and_by_all(kernel):
    rng, points = np.random.default_rng(33), cloud()
    given = sources(kernel, N, rng)
    for kinds in {tuple(given), *((name,) for name in given)}:
        kept(kernel, EPS, points, **{name: given[name] for name in kinds})


def test_eps_is_kept_where_one_source_outweighs_all_others(kernel):
    rng = np.random.default_rng(34)
    points, weights = with_heavy(rng.random((N, 3)), "beside", 1e9, rng)
    numbers = kernel.sources[0].n_numbers
    q = weights if numbers == 1 else weights[:, None] * rng.uniform(-1, 1, numbers)
    kept(kernel, EPS, points, **{kernel.sources[0].given_as: q})


@pytest.mark.nightly
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-8])
def test_eps_is_kept_everywhere(kernel, eps, name):
    rng = np.random.default_rng(35)
    points = DISTRIBUTIONS[name](N, rng)
    kept(kernel, eps, points / np.ptp(points, axis=0).max(), **sources(kernel, N, rng))


def test_every_scheduler_gives_the_serial_bits(kernel, tmp_path, small_shards):
    rng = np.random.default_rng(36)
    points, given = rng.normal(size=(N, 3)) ** 3, sources(kernel, N, rng)
    fmm = taskfmm.Fmm(points, kernel=kernel, order=4, leaf_size=40)
    last = kernel.names[-1]
    serial = fmm.serial(output=last, **given)
    fmm.save(tmp_path / "plan.h5")
    for each_fmm in (fmm, taskfmm.Fmm.load(tmp_path / "plan.h5")):
        assert each_fmm.kernel == kernel
        for scheduler in ("synchronous", "threads", "processes"):
            found = each_fmm.evaluate(outputs=last, **given)[last].compute(scheduler=scheduler)
            np.testing.assert_array_equal(found, serial)


def test_a_screened_field_obeys_its_equation():
    """lap phi = lam^2 phi where there is no source; the Laplacian by differences of gradients of the FMM."""
    rng = np.random.default_rng(37)
    lam, h = 3.0, 1e-4
    points, q = rng.random((N, 3)), rng.uniform(0, 1, N)
    at = rng.random((20, 3)) + np.array([1.2, 0.0, 0.0])
    steps = h * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
    targets = (at[:, None] + steps).reshape(-1, 3)
    fmm = taskfmm.Fmm(points, targets, kernel=Yukawa(lam), order=9, leaf_size=100)
    phi, gradient = fmm.serial(q).reshape(20, 7), fmm.serial(q, "gradient").reshape(20, 7, 3)
    laplacian = sum(gradient[:, 1 + axis, axis] - gradient[:, 4 + axis, axis] for axis in range(3)) / (2 * h)
    np.testing.assert_allclose(laplacian, lam**2 * phi[:, 0], rtol=1e-3)
    assert (phi > 0).all()
    assert (gradient[:, 0, 0] < 0).all()  # it falls with the distance


def test_the_velocity_on_the_axis_of_a_vortex_ring():
    """Gamma R^2 / (2 (R^2 + z^2)^(3/2)) in the direction of a right-handed screw (Saffman, Vortex Dynamics, 1992)."""
    n, radius, strength = 4000, 0.7, 1.3
    angle = 2 * np.pi * np.arange(n) / n
    ring = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1)
    elements = strength * 2 * np.pi / n * np.stack([-ring[:, 1], ring[:, 0], np.zeros(n)], axis=1)
    z = np.linspace(-1, 1, 41)
    axis = np.stack([np.zeros(41), np.zeros(41), z], axis=1)
    fmm = taskfmm.Fmm(ring, axis, kernel=BiotSavart(), eps=1e-3, leaf_size=50)
    velocity = fmm.evaluate(outputs="velocity", vorticity=elements)["velocity"].compute()
    expected = np.zeros((41, 3))
    expected[:, 2] = strength * radius**2 / (2 * (radius**2 + z**2) ** 1.5)
    assert l2_error(velocity, expected) <= 1e-3
    # the vector potential is zero there: nobody who asks for the velocity alone should be refused for it
    with pytest.raises(taskfmm.AccuracyError, match="the floor"):
        fmm.evaluate(vorticity=elements)


@each(
    "make, says",
    [
        (lambda: Yukawa(0.0), "kernel='laplace'"),
        (lambda: Yukawa(-1.0), "give a positive number"),
        (lambda: Yukawa(float("nan")), "give a positive number"),
        (lambda: Yukawa("2"), "give a positive number"),
        (lambda: Yukawa(True), "give a positive number"),
        (lambda: Yukawa(1 + 0j), "give a positive number"),
        (lambda: Yukawa(10**400), "give a positive number"),
        (lambda: Yukawa([1.0, 2.0]), "give a positive number"),
        (lambda: taskfmm.Fmm(np.eye(3), kernel=Yukawa), r"taskfmm.kernels.Yukawa\("),
        (lambda: taskfmm.Fmm(1e19 * np.eye(3), kernel=Yukawa(1e-19)), "another unit"),
        (lambda: taskfmm.Fmm(1e-19 * np.eye(3), kernel=Yukawa(1e19)), "another unit"),
        (lambda: taskfmm.Fmm(np.zeros((2, 3)), kernel="yukawa"), "Yukawa"),
        (lambda: taskfmm.Fmm(np.eye(3), kernel="yukava"), "yukawa"),
        (lambda: taskfmm.direct(np.eye(3), np.ones(3), kernel=BiotSavart()), r"\(3, 3\)"),
        (lambda: taskfmm.direct(np.eye(3), charges=np.ones(3), kernel=BiotSavart(), dipoles=1), "vorticity"),
    ],
)
def test_what_is_no_kernel_or_no_source_of_one_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
