"""Many vectors of sources at once: each is what it is alone."""

from __future__ import annotations

from types import SimpleNamespace

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import IN_SINGLE
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.kernels import BiotSavart, Gravity, Helmholtz, Laplace, Stokes

N = 1500
SAME = 1e-12
"""Products of one row and of eight may be summed in another order."""

KERNELS = {
    "laplace": Laplace(),
    "biot_savart": BiotSavart(),
    "stokes": Stokes(2.0),
    "helmholtz": Helmholtz(2.0),
}


def vectors(kernel, k, rng, kinds=slice(None)):
    shapes = {kind.given_as: (N, *kind.of_one, k) for kind in kernel.sources[kinds]}
    given = {name: rng.uniform(-1, 1, shape) for name, shape in shapes.items()}
    if kernel.sources[0].complex:
        given = {name: array + 1j * rng.uniform(-1, 1, array.shape) for name, array in given.items()}
    return given


def one(given, number):
    return {name: np.ascontiguousarray(array[..., number]) for name, array in given.items()}


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(101).random((N, 3))


@each("kernel", KERNELS)
@each("k", [1, 3])
def test_each_vector_is_what_it_is_alone(points, kernel, k):
    kernel = KERNELS[kernel]
    fmm = taskfmm.Fmm(points, kernel=kernel, order=5, leaf_size=40)
    given = vectors(kernel, k, np.random.default_rng(102), slice(1))
    found = fmm.evaluate(**given)
    first = fmm.serial(**given)  # of this output alone more vectors are summed at once
    exact = taskfmm.direct(points, kernel=kernel, outputs=kernel.usual, **given)
    for name in kernel.usual:
        shape = (N, *kernel.output(name).shape, k)
        assert found[name].shape == found[name].compute().shape == exact[name].shape == shape
        for number in range(k):
            alone = fmm.evaluate(**one(given, number))[name].compute()
            assert l2_error(found[name][..., number].compute(), alone) <= SAME
            if name == kernel.names[0]:
                assert l2_error(first[..., number], alone) <= SAME
            by_itself = taskfmm.direct(points, kernel=kernel, outputs=name, **one(given, number))[name]
            assert l2_error(exact[name][..., number], by_itself) <= SAME


def test_more_vectors_than_a_group_holds(points):
    fmm = taskfmm.Fmm(points, order=4, leaf_size=40)
    q = np.random.default_rng(103).uniform(-1, 1, (N, 11))
    found = fmm.potential(q)
    assert found.shape == (N, 11)
    assert found.chunks[1] == (8, 3)
    for number in range(11):
        assert l2_error(found.compute()[:, number], fmm.potential(q[:, number].copy()).compute()) <= SAME


def test_each_vector_has_its_own_accuracy_and_scale(points):
    """Vectors that need more stand between others; they come out in their order."""
    rng = np.random.default_rng(104)
    q = rng.uniform(-1, 1, (N, 6)) * np.array([1.0, 1e-200, 1e200, 0.0, 1e9, 1.0])
    q[7, [1, 4]] *= 1e6
    fmm = taskfmm.Fmm(points, eps=1e-6, leaf_size=40)
    assert len({fmm.accuracy("gradient", q[:, number].copy()) for number in range(6)}) > 1
    found = fmm.evaluate(q)
    for name in ("potential", "gradient"):
        values = found[name].compute()
        for number in (0, 1, 2, 4, 5):
            alone = fmm.evaluate(q[:, number].copy())[name].compute()
            size = np.abs(alone).max()
            assert l2_error(values[..., number] / size, alone / size) <= IN_SINGLE
        assert not values[..., 3].any()
    exact = taskfmm.direct(points, q, outputs=("potential", "gradient"))
    assert l2_error(found["gradient"].compute()[..., 1] / 1e-200, exact["gradient"][..., 1] / 1e-200) <= 1e-6


def test_lazy_vectors(points):
    q = np.random.default_rng(105).uniform(-1, 1, (N, 3))
    fmm = taskfmm.Fmm(points, eps=1e-4, leaf_size=40)
    lazy = da.from_array(q, chunks=(400, 2))
    found = fmm.evaluate(lazy, ("potential",))["potential"]
    assert found.chunks == lazy.chunks
    assert fmm.evaluate(lazy, "gradient")["gradient"].chunks == (lazy.chunks[0], (3,), lazy.chunks[1])
    elsewhere = taskfmm.Fmm(points, points[:70], eps=1e-4, leaf_size=40)
    assert elsewhere.potential(lazy).chunks == ((70,), lazy.chunks[1])
    for number in range(3):
        alone = fmm.potential(da.from_array(q[:, number], chunks=400)).compute()
        assert l2_error(found.compute()[:, number], alone) <= IN_SINGLE


def test_schedulers_and_plain_calls_agree_bit_for_bit(points, client):
    kernel = Stokes()
    fmm = taskfmm.Fmm(points, kernel=kernel, order=4, leaf_size=40)
    given = vectors(kernel, 2, np.random.default_rng(106), slice(1))
    found = fmm.evaluate(outputs="velocity", **given)["velocity"]
    plain = fmm.serial(output="velocity", **given)
    assert np.array_equal(found.compute(scheduler="threads"), plain)
    assert np.array_equal(client.compute(found).result(), plain)


def test_softened_by_source(points):
    rng = np.random.default_rng(107)
    kernel = Gravity(rng.uniform(0.0, 0.05, N), "spline")
    fmm = taskfmm.Fmm(points, kernel=kernel, eps=1e-4, leaf_size=40)
    masses = rng.uniform(0.5, 1.0, (N, 3))
    found = fmm.evaluate(masses=masses, outputs=("potential", "acceleration"))
    exact = taskfmm.direct(points, kernel=kernel, masses=masses, outputs=("potential", "acceleration"))
    for name, values in found.items():
        assert l2_error(values.compute(), exact[name]) <= 1e-4


def test_in_float32(points):
    q = np.random.default_rng(108).uniform(-1, 1, (N, 4))
    fmm = taskfmm.Fmm(points, eps=1e-3, leaf_size=40, dtype="float32")
    found = fmm.evaluate(q)
    exact = taskfmm.direct(points, q, outputs=("potential", "gradient"))
    for name, values in exact.items():
        assert l2_error(found[name].compute(), values) <= 1e-3


@each("k", [0, 2])
@each("n", [0, 1, 2])
def test_few_points_and_no_vectors(n, k):
    x = np.arange(3.0 * n).reshape(n, 3)
    found = taskfmm.Fmm(x).evaluate(np.ones((n, k)))
    exact = taskfmm.direct(x, np.ones((n, k)), outputs=("potential", "gradient"))
    for name, values in exact.items():
        assert found[name].compute().shape == values.shape == found[name].shape
        assert l2_error(found[name].compute() + 1.0, values + 1.0) <= SAME if values.size else True


def test_complex_vectors_of_a_real_kernel(points):
    rng = np.random.default_rng(109)
    q = rng.uniform(-1, 1, (N, 2)) + 1j * rng.uniform(-1, 1, (N, 2))
    fmm = taskfmm.Fmm(points, order=4, leaf_size=40)
    alone = np.stack([fmm.potential(q[:, i].copy()).compute() for i in range(2)], axis=-1)
    assert l2_error(fmm.potential(q).compute(), alone) <= SAME


def test_errors_are_estimated_for_all_vectors(points):
    q = np.random.default_rng(110).uniform(-1, 1, (N, 3))
    fmm = taskfmm.Fmm(points, eps=1e-5, leaf_size=40)
    gradient = fmm.evaluate(q, "gradient")["gradient"]
    assert fmm.error_estimate(q, gradient, output="gradient") <= 1e-5
    wrong = gradient.compute()
    wrong[..., [0, 1]] = wrong[..., [1, 0]]
    assert fmm.error_estimate(q, wrong, output="gradient") > 0.5


def test_the_worst_of_all_vectors_is_estimated(points):
    q = np.random.default_rng(112).uniform(-1, 1, (N, 2)) * np.array([1.0, 1e-12])
    fmm = taskfmm.Fmm(points, eps=1e-5, leaf_size=40)
    values = fmm.potential(q).compute() * np.array([1.0, 1.5])
    assert fmm.error_estimate(q, values) == pytest.approx(0.5, rel=1e-4)


def test_columns_choose_larger_leaves():
    x = np.random.default_rng(111).random((60_000, 3))
    one, many = (taskfmm.Fmm(x, eps=1e-3, columns=columns) for columns in (1, 8))
    assert many.plan.tree.n_boxes < one.plan.tree.n_boxes


@each(
    "given, says",
    [
        (dict(charges=np.ones((N, 2)), dipoles=np.ones((N, 3, 3))), "different numbers of vectors"),
        (
            dict(charges=np.ones((N, 2)), dipoles=np.ones((N, 3))),
            r"different numbers of vectors \(charges has 2, dipoles has no axis for them\)",
        ),
        (dict(charges=np.ones((2, N))), r"shape \(2, 1500\).*charges.T"),
        (dict(charges=np.ones((N, 2, 2))), "shape"),
        (
            dict(dipoles=np.ones((N, 2, 3))),
            r"expected \(1500, 3, 3\) for 3 vectors: give 3 numbers for each source and vector",
        ),
        (
            dict(charges=np.array([[1.0, np.nan]] * N)),
            "charges row 0 of vector 1 is not finite: nan .1500 such",
        ),
    ],
)
def test_what_does_not_fit_is_refused(points, given, says):
    with pytest.raises(InputError, match=says):
        taskfmm.Fmm(points, leaf_size=40, order=3).evaluate(**given)


def test_gradients_alone_and_with_potentials_are_computed_together(points):
    """Alone they lack the rows of potentials: their tasks must not be taken for those of both."""
    q = np.random.default_rng(28116430).uniform(-1, 1, (N, 3))
    fmm = taskfmm.Fmm(points, order=5, leaf_size=40)
    alone, both = fmm.evaluate(q, "gradient"), fmm.evaluate(q, ("potential", "gradient"))
    expected = both["potential"].compute()
    for one, two in ((alone, both), (both, alone)):
        found = dask.compute(one, two)
        assert l2_error(found[0]["gradient"], found[1]["gradient"]) <= SAME
        (potential,) = (each["potential"] for each in found if "potential" in each)
        assert l2_error(potential, expected) <= SAME
    assert (
        l2_error(taskfmm.direct(points, q, outputs="gradient")["gradient"], alone["gradient"].compute())
        <= 0.1
    )


@each("columns", [0, -1, 1.5, "8", None])
def test_a_number_of_columns_that_is_none_is_refused(columns):
    with pytest.raises(InputError, match="columns is"):
        taskfmm.Fmm(np.zeros((3, 3)), columns=columns)


def test_too_many_vectors_for_a_limit_go_in_smaller_groups(monkeypatch):
    rng = np.random.default_rng(308061521170129)
    points, charges = rng.random((3000, 3)), rng.random((3000, 16))
    fmm = taskfmm.Fmm(points, eps=1e-3, leaf_size=100, memory_limit="1TiB")
    expected = fmm.potential(charges).compute()
    assert "up to 8 at once" in fmm.explain()
    assert fmm.potential(charges).chunks[-1] == (8, 8)
    found = {size: 10**6 * size for size in (1, 2, 4, 8)}

    def forecast(self, outputs, accuracy=None, kernel=None):
        return SimpleNamespace(memory={"peak": found[kernel.vectors]}, task_seconds=1.0)

    monkeypatch.setattr(type(fmm._evaluator), "forecast", forecast)
    beside = (16 - 2) * 2 * 3000 * 8
    monkeypatch.setattr(fmm, "memory_limit", beside + found[2])
    monkeypatch.setattr("taskfmm.evaluation.memory.refuse_making", lambda *_: None)
    lazy = fmm.potential(charges)
    assert set(lazy.chunks[-1]) == {2}
    assert l2_error(lazy.compute(), expected) <= IN_SINGLE
    for limit in (1000, found[1] + 1000):
        monkeypatch.setattr(fmm, "memory_limit", limit)
        with pytest.raises(taskfmm.errors.MemoryLimitError, match="other vectors"):
            fmm.potential(charges)
