"""The module exafmm as bempp-cl and pbj call it; with bempp-cl itself where it is there."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from bounds import ORDER_5
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.interop import exafmm as bridge
from taskfmm.kernels import Helmholtz, Laplace, Yukawa

N = 6000
MODES = {
    "laplace": ("LaplaceFmm", (), Laplace()),
    "helmholtz": ("HelmholtzFmm", (3.0 + 0.5j,), Helmholtz(3.0 + 0.5j)),
    "modified_helmholtz": ("ModifiedHelmholtzFmm", (2.0,), Yukawa(2.0)),
}


@pytest.fixture
def exafmm():
    """Installed for one test."""
    with bridge.install():
        import exafmm

        yield exafmm
    assert "exafmm" not in sys.modules
    assert "exafmm.laplace" not in sys.modules


@pytest.fixture(scope="module")
def sphere():
    points = np.random.default_rng(401).normal(size=(N, 3))
    return points / np.linalg.norm(points, axis=1)[:, None]


def exact(mode, sources, charges, targets=None):
    found = taskfmm.direct(
        sources, charges, targets, kernel=MODES[mode][2], outputs=("potential", "gradient")
    )
    return np.concatenate([found["potential"][:, None], found["gradient"]], axis=1)


def set_up(module, mode, points, targets, p=5, **others):
    """As bempp-cl calls it: zeros for charges, order, size of leaves and wavenumber by position."""
    name, wavek, _ = MODES[mode]
    sources = module.init_sources(points, np.zeros(len(points)))
    fmm = getattr(module, name)(p, 400, *wavek, **others)
    return module.setup(sources, module.init_targets(targets), fmm), fmm


@each("mode", MODES)
@each("apart", [False, True])
def test_evaluations_in_the_order_of_bempp(exafmm, sphere, monkeypatch, tmp_path, mode, apart):
    """One plan for all charges; the caller takes away from results what it corrects, and refills its vectors."""
    module, rng, file = getattr(exafmm, mode), np.random.default_rng(402), tmp_path / f"{mode}{apart}.tmp"
    targets = np.asfortranarray(1.1 * sphere) if apart else sphere
    tree, fmm = set_up(module, mode, sphere, targets, filename=str(file))
    assert file.is_file()
    with monkeypatch.context() as patch:
        patch.setattr(taskfmm, "Fmm", None)
        vector = np.empty(N)
        for _ in range(2):
            vector[:] = rng.uniform(-1, 1, N)
            module.update_charges(tree, vector)
            module.clear_values(tree)
            expected = exact(mode, sphere, vector, targets)
            vector[:] = 0.0
            found = module.evaluate(tree, fmm)
            assert found.dtype == (complex if mode == "helmholtz" else float)
            assert found.shape == (len(targets), 4)
            assert found.flags.c_contiguous and found.flags.writeable
            assert l2_error(found[:, 0], expected[:, 0]) <= ORDER_5
            assert l2_error(found[:, 1:], expected[:, 1:]) <= ORDER_5
            assert max(fmm.verify(tree.leafs)) <= ORDER_5
            again = found.copy()
            found -= 1.0
            assert np.array_equal(module.evaluate(tree, fmm), again)


def test_the_order_is_that_of_the_caller(exafmm, sphere):
    charges, errors = np.random.default_rng(403).uniform(-1, 1, N), []
    for p in (4, 8):
        tree, fmm = set_up(exafmm.laplace, "laplace", sphere, sphere, p=p)
        exafmm.laplace.update_charges(tree, charges)
        assert tree.plan.order == p
        found = exafmm.laplace.evaluate(tree, fmm, False)
        errors.append(l2_error(found[:, 0], exact("laplace", sphere, charges)[:, 0]))
        assert fmm.verify(tree.leafs, sample=False)[0] == pytest.approx(errors[-1], rel=1e-6)
    assert errors[1] < 0.02 * errors[0]


def test_a_caller_with_keywords_that_removes_the_file(exafmm, tmp_path, monkeypatch):
    """As pbj does, once for each right-hand side, with charges from the start and targets of a transposed array."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(404)
    atoms, charges, x = rng.random((50, 3)), rng.uniform(-1, 1, 50), rng.random((3, 90))
    for _ in range(2):
        sources = exafmm.laplace.init_sources(atoms, charges)
        targets = exafmm.laplace.init_targets(x.T)
        fmm = exafmm.laplace.LaplaceFmm(p=10, ncrit=500, filename=".rhs.tmp")
        tree = exafmm.laplace.setup(sources, targets, fmm)
        values = exafmm.laplace.evaluate(tree, fmm)
        (tmp_path / ".rhs.tmp").unlink()
        assert l2_error(values, exact("laplace", atoms, charges, x.T)) <= 1e-12


def test_numbers_of_any_type_and_a_wavenumber_of_zero(exafmm):
    points = np.random.default_rng(405).random((30, 3)).astype(np.float32)
    q = np.arange(30)
    for mode, wavek in (("laplace", ()), ("helmholtz", (0.0,)), ("modified_helmholtz", (0,))):
        module = getattr(exafmm, mode)
        fmm = getattr(module, MODES[mode][0])(5, 400, *wavek)
        tree = module.setup(module.init_sources(points, q), module.init_targets(points), fmm)
        expected = exact("laplace", points, q)
        assert module.evaluate(tree, fmm).dtype == (complex if mode == "helmholtz" else float)
        assert l2_error(module.evaluate(tree, fmm), expected) <= 1e-12
        module.update_charges(tree, q.astype(np.float32) * 1j)
        assert l2_error(module.evaluate(tree, fmm), 1j * expected) <= 1e-12


def test_what_does_not_fit_is_refused(exafmm):
    laplace, points = exafmm.laplace, np.random.default_rng(406).random((5, 3))
    for call in (
        lambda: laplace.init_sources(points.T, np.zeros(5)),
        lambda: laplace.init_sources(points, np.zeros(4)),
        lambda: laplace.init_targets(points[:, :2]),
    ):
        with pytest.raises(RuntimeError, match="shape"):
            call()
    for call in (
        lambda: laplace.init_sources(np.ma.masked_less(points, 0.5), np.zeros(5)),
        lambda: laplace.init_sources(points, np.ma.masked_equal(np.arange(5), 3)),
        lambda: laplace.init_targets(np.ma.masked_less(points, 0.5)),
    ):
        with pytest.raises(InputError, match="masked"):
            call()
    tree, _ = set_up(laplace, "laplace", points, points)
    with pytest.raises(ValueError, match="expected \\(5,\\)"):
        laplace.update_charges(tree, np.zeros((5, 1)))
    with pytest.raises(InputError, match="another Fmm object"):
        laplace.evaluate(tree, laplace.LaplaceFmm(5, 400))
    with pytest.raises(InputError, match="order is 1"):
        set_up(laplace, "laplace", points, points, p=1)
    with pytest.raises(InputError, match="wavenumber"):
        module = exafmm.helmholtz
        module.setup(
            module.init_sources(points, np.zeros(5)),
            module.init_targets(points),
            module.HelmholtzFmm(5, 400, -1j),
        )


def test_another_exafmm_comes_back(monkeypatch):
    other = type(sys)("exafmm")
    monkeypatch.setitem(sys.modules, "exafmm", other)
    stand_in = bridge.install()
    import exafmm.helmholtz

    assert exafmm.helmholtz.init_targets is bridge.init_targets
    with pytest.raises(ModuleNotFoundError):
        import exafmm.stokes
    for _ in range(2):
        stand_in.uninstall()
    assert sys.modules["exafmm"] is other
    assert "exafmm.helmholtz" not in sys.modules


def test_its_example_runs():
    import doctest

    assert doctest.testmod(bridge).failed == 0
    assert "exafmm" not in sys.modules


@pytest.fixture
def bempp(exafmm, tmp_path, monkeypatch):
    """bempp-cl, which leaves a folder where it runs and says that Gmsh is missing."""
    api = pytest.importorskip("bempp_cl.api")
    from bempp_cl.api.fmm import exafmm as caller

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(caller, "FMM_TMP_DIR", None)
    monkeypatch.setattr(api.GLOBAL_PARAMETERS.fmm, "expansion_order", 6)
    return api


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", [0, 1, 4])
def test_operators_of_bempp(bempp, mode, level):
    """All four operators and both potentials, against its dense matrices; six points on each triangle."""
    from bempp_cl.api.operators import boundary, potential

    rng, wavek, bound = np.random.default_rng(407), MODES[mode][1], 1e-4 if level == 4 else 1e-12
    space = bempp.function_space(bempp.shapes.regular_sphere(level), "P", 1)
    for name in ("single_layer", "double_layer", "adjoint_double_layer", "hypersingular"):
        make = getattr(getattr(boundary, mode), name)
        found, dense = (
            make(space, space, space, *wavek, assembler=each).weak_form() for each in ("fmm", "dense")
        )
        x = rng.uniform(-1, 1, dense.shape[1])
        assert l2_error(found @ x, dense @ x) <= bound
    points = 2.0 * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    function = bempp.GridFunction(space, coefficients=x)
    for name in ("single_layer", "double_layer"):
        make = getattr(getattr(potential, mode), name)
        found, dense = (
            make(space, points, *wavek, assembler=each).evaluate(function) for each in ("fmm", "dense")
        )
        assert l2_error(found, dense) <= bound


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_problem_of_dirichlet_with_a_known_solution(bempp):
    """The field of a charge inside a sphere: from its values there, its normal derivatives and its values outside."""
    from bempp_cl.api.operators.boundary import laplace, sparse
    from bempp_cl.api.operators.potential import laplace as potentials

    grid = bempp.shapes.regular_sphere(4)
    constant, linear = bempp.function_space(grid, "DP", 0), bempp.function_space(grid, "P", 1)
    centre = np.array([0.2, -0.1, 0.3])
    field = lambda x: 1.0 / np.linalg.norm(x - centre)  # noqa: E731

    @bempp.real_callable(jit=False)
    def given(x, n, domain, result):
        result[0] = field(x)

    values = bempp.GridFunction(linear, fun=given)
    options = dict(assembler="fmm")
    single = laplace.single_layer(constant, linear, constant, **options)
    double = laplace.double_layer(linear, linear, constant, **options)
    right = (double - 0.5 * sparse.identity(linear, linear, constant)) * values
    slopes, info = bempp.linalg.gmres(single, right, tol=1e-8)[:2]
    assert info == 0
    points = np.array([[2.0, 0.0, 0.0], [0.0, -1.5, 1.0], [0.3, 0.4, 3.0]]).T
    found = potentials.double_layer(linear, points, **options) * values
    found = found - potentials.single_layer(constant, points, **options) * slopes
    assert l2_error(found[0], np.array([field(x) for x in points.T])) <= 5e-5
