"""A plan as a matrix of SciPy: its entries, its dtype, its adjoint, and that it is linear and one map."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from boxes import l2_error
from cases import each
from scipy.sparse.linalg import LinearOperator, gmres, lsqr

import taskfmm
from taskfmm import linear_operator
from taskfmm.errors import AccuracyError, InputError
from taskfmm.kernels import BiotSavart, Gravity, Helmholtz, Laplace, Stokes, Yukawa
from taskfmm.linear_operator import transposed

EPS = 1e-4
SAME = 1e-12
"""Products of one vector and of several may be summed in another order."""

OWN = [
    ("laplace", "charges", "potential"),
    ("laplace", "dipoles", "gradient"),
    ("yukawa", "charges", "potential"),
]
OWN += [
    ("helmholtz", "charges", "potential"),
    ("stokes", "forces", "velocity"),
    ("gravity", "masses", "potential"),
]
OWN += [("biot_savart", "vorticity", "velocity"), ("biot_savart", "vorticity", "vector_potential")]
PAIRS = [
    (kernel, "charges", "gradient", "dipoles", "potential") for kernel in ("laplace", "yukawa", "helmholtz")
]
NONE = [
    ("laplace", "charges", "hessian"),
    ("stokes", "forces", "pressure"),
    ("stokes", "stresslets", "velocity"),
]
NONE += [("gravity", "masses", "acceleration")]
KERNELS = {
    "laplace": Laplace(),
    "yukawa": Yukawa(3.0),
    "helmholtz": Helmholtz(2.0 + 0.3j),
    "biot_savart": BiotSavart(),
    "stokes": Stokes(2.0),
    "gravity": Gravity(0.1),
}


def random(rng, size, dtype=np.float64):
    found = rng.uniform(-1, 1, size)
    return found if np.dtype(dtype).kind == "f" else found + 1j * rng.uniform(-1, 1, size)


def dense(x, y, kernel, argument, output):
    """The matrix, by the exact sum of unit vectors."""
    of_one = next(kind.of_one for kind in kernel.sources if kind.given_as == argument)
    units = np.eye(len(y) * int(np.prod(of_one))).reshape(-1, len(y), *of_one)
    columns = [
        taskfmm.direct(y, targets=x, kernel=kernel, outputs=output, **{argument: unit}) for unit in units
    ]
    return np.stack([column[output].reshape(-1) for column in columns], axis=1)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(301).random((1500, 3))


@each("kernel,argument,output", [*OWN, ("laplace", "charges", "gradient"), *NONE])
def test_it_is_the_matrix_of_the_sums(kernel, argument, output):
    """Rows are the numbers of one target after those of another one, columns those of sources."""
    kernel, rng = KERNELS[kernel], np.random.default_rng(302)
    y, x = rng.random((23, 3)), rng.random((17, 3))
    found = taskfmm.Fmm(y, x, kernel=kernel).as_linear_operator(output, argument)
    exact = dense(x, y, kernel, argument, output)
    assert isinstance(found, LinearOperator)
    assert (found.shape, found.dtype) == (exact.shape, exact.dtype)
    v = random(rng, found.shape[1], found.dtype)
    assert l2_error(found @ v, exact @ v) <= SAME
    assert (
        l2_error(found @ np.stack([v, 2 * v, -v], axis=1), exact @ np.stack([v, 2 * v, -v], axis=1)) <= SAME
    )
    assert (found @ v[:, None]).shape == (found.shape[0], 1)
    assert (found @ np.zeros((found.shape[1], 0))).shape == (found.shape[0], 0)


@each("kernel,argument,output", OWN)
def test_adjoints_of_symmetric_matrices(kernel, argument, output):
    """With targets that are the sources, and with others."""
    kernel, rng = KERNELS[kernel], np.random.default_rng(303)
    y, x = rng.random((40, 3)), rng.random((30, 3))
    for targets in (None, x):
        found = taskfmm.Fmm(y, targets, kernel=kernel).as_linear_operator(output, argument)
        exact = dense(y if targets is None else x, y, kernel, argument, output)
        w = random(rng, found.shape[0], np.complex128)
        assert l2_error(found.H @ w, exact.conj().T @ w) <= SAME
        assert l2_error(found.T @ w, exact.T @ w) <= SAME
        assert (
            l2_error(found.rmatmat(np.stack([w, 1j * w], axis=1)), exact.conj().T @ np.stack([w, 1j * w], 1))
            <= SAME
        )


@each("kernel,of,to,adjoint_of,adjoint_to", PAIRS)
def test_the_adjoint_of_a_gradient_is_a_potential_of_dipoles(kernel, of, to, adjoint_of, adjoint_to):
    kernel, rng = KERNELS[kernel], np.random.default_rng(304)
    y, x = rng.random((40, 3)), rng.random((30, 3))
    fmm = taskfmm.Fmm(y, x, kernel=kernel)
    for argument, output in ((of, to), (adjoint_of, adjoint_to)):
        found, exact = fmm.as_linear_operator(output, argument), dense(x, y, kernel, argument, output)
        w = random(rng, found.shape[0], found.dtype)
        assert l2_error(found.rmatvec(w), exact.conj().T @ w) <= SAME


@each("kernel,argument,output", NONE)
def test_matrices_without_an_adjoint_say_so(kernel, argument, output):
    fmm = taskfmm.Fmm(np.random.default_rng(305).random((20, 3)), kernel=KERNELS[kernel])
    found = fmm.as_linear_operator(output, argument)
    with pytest.raises(InputError, match=f"{output} of {argument} has no transpose.*gmres"):
        found.rmatvec(np.ones(found.shape[0]))


def test_transposes_are_found_where_a_kernel_dies_away_within_its_unit():
    kernel = Yukawa(2e5)
    charge, dipole = kernel.sources
    assert transposed(kernel, charge, kernel.output("gradient")) == (dipole, kernel.output("potential"))


def test_softening_of_each_source(points):
    kernel = Gravity(np.linspace(0.01, 0.1, 1500), kind="spline")
    found, exact = taskfmm.Fmm(points, kernel=kernel).as_linear_operator(), points[:, 0]
    assert l2_error(found.T @ exact, taskfmm.direct(points, masses=exact, kernel=kernel)) <= 1e-6
    with pytest.raises(InputError, match="softening for each source"):
        taskfmm.Fmm(points, points[:9] + 3, kernel=kernel).as_linear_operator().rmatvec(np.ones(9))


@each("eps,dtype", [(EPS, np.float64), (1e-3, np.float32)])
def test_products_with_a_tree_keep_eps_and_are_one_linear_map(points, eps, dtype):
    """A single charge and equal ones included; float32 rounds."""
    rng, fmm = np.random.default_rng(306), taskfmm.Fmm(points, eps=eps, leaf_size=40, dtype=dtype)
    alone, both = np.zeros(1500), rng.uniform(-1, 1, 1500)
    alone[77] = 1.0
    for output in ("potential", "gradient"):
        matrix = fmm.as_linear_operator(output)
        assert matrix.dtype == dtype
        products = {}
        for name, v in (("one", alone), ("equal", np.ones(1500)), ("both", both)):
            exact = taskfmm.direct(points, v, outputs=output)[output].reshape(-1)
            products[name] = matrix @ v
            assert products[name].dtype == dtype
            assert l2_error(products[name], exact) <= eps
            assert np.array_equal(matrix @ v, products[name])
        found = matrix @ (3e4 * alone - np.ones(1500))
        together = 3e4 * products["one"] - products["equal"]
        assert l2_error(found, together) <= (SAME if dtype == np.float64 else 1e-4)
        columns = matrix @ np.stack([both, alone], axis=1)
        assert l2_error(columns[:, 0], products["both"]) <= (SAME if dtype == np.float64 else 1e-4)


def test_vectors_do_not_choose_the_accuracy(points):
    rng = np.random.default_rng(307)
    like, fmm = rng.uniform(-1, 1, 1500), taskfmm.Fmm(points, eps=1e-6, leaf_size=40)
    lazily, shown = fmm.as_linear_operator("gradient"), fmm.as_linear_operator("gradient", like=like)
    assert shown.accuracy.order < lazily.accuracy.order
    assert shown.accuracy.order == fmm.accuracy("gradient", like).order
    assert lazily.accuracy.order == fmm.accuracy("gradient", da.zeros(1500)).order
    for matrix in (lazily, shown):
        assert matrix.accuracy.m2l_dtype == "float64"
        products = [matrix @ v for v in (like, np.eye(1, 1500)[0])]
        assert l2_error(matrix @ (like + np.eye(1, 1500)[0]), sum(products)) <= SAME


def test_plain_calls_and_schedulers_give_the_same_bits(points, monkeypatch, client):
    fmm = taskfmm.Fmm(points, eps=EPS, leaf_size=40)
    matrix, v = fmm.as_linear_operator(), np.random.default_rng(308).uniform(-1, 1, (1500, 2))
    plain = matrix @ v, matrix @ v[:, 0]
    monkeypatch.setattr(linear_operator, "FEW_PAIRS", 0)
    for scheduler in ({}, {"scheduler": "threads"}):
        with dask.config.set(**scheduler):
            assert np.array_equal(matrix @ v, plain[0])
            assert np.array_equal(matrix @ v[:, 0], plain[1])


def test_the_exchanged_plan_is_made_once_and_only_where_needed(points, monkeypatch):
    made = []
    monkeypatch.setattr(
        linear_operator, "from_points", lambda *a, **b: made.append(a) or taskfmm.fmm.from_points(*a, **b)
    )
    rng = np.random.default_rng(309)
    targets, w = rng.random((700, 3)), rng.uniform(-1, 1, 700)
    matrix = taskfmm.Fmm(points, targets, eps=1e-6, leaf_size=40).as_linear_operator()
    matrix @ rng.uniform(-1, 1, 1500)
    assert not made
    exact = taskfmm.direct(targets, w, targets=points)
    assert l2_error(matrix.rmatvec(w), exact) <= 1e-6
    matrix.rmatvec(w)
    assert len(made) == 1
    same = taskfmm.Fmm(points, eps=1e-6, leaf_size=40).as_linear_operator()
    same.rmatvec(rng.uniform(-1, 1, 1500))
    assert len(made) == 1


def test_solvers():
    rng = np.random.default_rng(310)
    y = rng.random((300, 3))
    matrix = taskfmm.Fmm(y).as_linear_operator()
    b = rng.uniform(-1, 1, 300)
    shifted = LinearOperator(matrix.shape, lambda v: 20 * v + matrix @ v)
    found, info = gmres(shifted, b, rtol=1e-12, restart=60)
    exact = np.linalg.solve(20 * np.eye(300) + dense(y, y, Laplace(), "charges", "potential"), b)
    assert info == 0
    assert l2_error(found, exact) <= 1e-10
    fit, wanted = taskfmm.Fmm(rng.random((20, 3)), y).as_linear_operator("gradient"), rng.uniform(-1, 1, 20)
    found = lsqr(fit, fit @ wanted, atol=1e-14, btol=1e-14, iter_lim=500)[0]  # by the potential of dipoles
    assert l2_error(found, wanted) <= 1e-8


def test_points_that_no_process_holds(points):
    rng = np.random.default_rng(311)
    v, lazy = rng.uniform(-1, 1, 1500), da.from_array(points, chunks=(500, 3))
    matrix = taskfmm.Fmm.from_dask(lazy, eps=EPS, region=600).as_linear_operator()
    exact = taskfmm.direct(points, v)
    assert matrix.shape == (1500, 1500)
    assert l2_error(matrix @ v, exact) <= EPS
    assert l2_error(matrix.rmatmat(np.stack([v, 2 * v], axis=1))[:, 1], 2 * exact) <= EPS
    elsewhere = taskfmm.Fmm.from_dask(lazy, points[:50] + 2.0, eps=EPS).as_linear_operator()
    with pytest.raises(InputError, match="exchanges sources and targets"):
        elsewhere.rmatvec(np.ones(50))


def test_periodic_boxes_have_neutral_vectors():
    rng = np.random.default_rng(312)
    y, v = rng.random((60, 3)), rng.uniform(-1, 1, 60)
    matrix = taskfmm.Fmm(y, box=1.0).as_linear_operator()
    with pytest.raises(InputError, match="add up to zero"):
        matrix @ v
    v -= v.mean()
    assert l2_error(matrix @ v, taskfmm.direct(y, v, box=1.0)) <= 1e-6


def test_what_does_not_fit(points):
    fmm = taskfmm.Fmm(points[:30])
    for names, told in (
        (("field",), "output: 'field'"),
        (("potential", "charge"), "source: 'charge'.*charges"),
    ):
        with pytest.raises(InputError, match=told):
            fmm.as_linear_operator(*names)
    with pytest.raises(InputError, match="like"):
        fmm.as_linear_operator(like=np.ones(29))
    with pytest.raises(InputError, match="nan"):
        fmm.as_linear_operator() @ np.full(30, np.nan)
    matrix, masked = fmm.as_linear_operator(), np.ma.masked_equal(np.arange(30.0), 3)
    for product in (matrix.matvec, matrix.rmatvec, matrix.matmat, matrix.rmatmat):
        with pytest.raises(InputError, match="masked"):
            product(masked if "vec" in product.__name__ else masked[:, None])
    with pytest.raises(AccuracyError):
        taskfmm.Fmm(points, eps=1e-13, leaf_size=40).as_linear_operator("gradient")
    assert taskfmm.Fmm(np.zeros((0, 3)), points[:3]).as_linear_operator().shape == (3, 0)
