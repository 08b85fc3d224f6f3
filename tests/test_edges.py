"""Edge inputs: a documented answer or one clear error, and nothing of the caller's is changed."""

from __future__ import annotations

import bounds
import dask.array as da
import numpy as np
import pytest
from bounds import MACHINE, SUM_ROUNDING
from boxes import FOUR_PI, l2_error
from cases import each

import taskfmm

OUTPUTS = ("potential", "gradient")


def computed(fmm, charges) -> dict[str, np.ndarray]:
    return {output: fmm.evaluate(charges, output)[output].compute() for output in OUTPUTS}


@each("n_targets", [None, 0, 5])
def test_no_sources(n_targets):
    targets = None if n_targets is None else np.random.default_rng(1232143).random((n_targets, 3))
    fmm = taskfmm.Fmm(np.empty((0, 3)), targets)
    out = computed(fmm, [])
    np.testing.assert_array_equal(out["potential"], np.zeros(n_targets or 0))
    np.testing.assert_array_equal(out["gradient"], np.zeros((n_targets or 0, 3)))
    np.testing.assert_array_equal(fmm.serial([]), np.zeros(n_targets or 0))
    assert fmm.serial([], "gradient").shape == (n_targets or 0, 3)
    assert "0 sources" in repr(fmm)


def test_no_targets():
    fmm = taskfmm.Fmm(np.random.default_rng(2343257).random((50, 3)), [])
    out = computed(fmm, np.ones(50))
    assert out["potential"].shape == (0,)
    assert out["gradient"].shape == (0, 3)


def test_an_empty_list_is_no_points():
    assert taskfmm.Fmm([]).potential([]).compute().shape == (0,)


def test_one_point():
    out = computed(taskfmm.Fmm([[1.0, 2.0, 3.0]]), [5.0])
    np.testing.assert_array_equal(out["potential"], [0.0])
    np.testing.assert_array_equal(out["gradient"], [[0.0, 0.0, 0.0]])


def test_two_points():
    out = computed(taskfmm.Fmm([[0, 0, 0], [0, 0, 2]]), [1, 3])
    np.testing.assert_allclose(FOUR_PI * out["potential"], [1.5, 0.5], rtol=1e-15)
    np.testing.assert_allclose(FOUR_PI * out["gradient"], [[0, 0, 0.75], [0, 0, -0.25]], rtol=1e-15)


@each("leaf_size", [1, 2])
def test_few_points_with_no_far_field(leaf_size):
    """Boxes on the levels of the far field, and all of them near all others."""
    rng = np.random.default_rng(1290113)
    for n in range(3, 9):
        for direction in (rng.random(3), np.eye(3)[0]):
            x = 0.4 + 0.3 * rng.random((n, 1)) * direction
            fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=leaf_size)
            q = rng.uniform(-1, 1, n)
            out, exact = computed(fmm, q), taskfmm.direct(x, q, outputs=OUTPUTS)
            assert l2_error(out["potential"], exact["potential"]) <= 1e-3
            assert l2_error(out["gradient"], exact["gradient"]) <= 1e-3
            assert fmm.forecast().seconds > 0
            fmm.explain()


def far_outside(distance):
    rng = np.random.default_rng(3454369)
    return rng.random((3000, 3)), rng.random((2000, 3)) + np.array([distance, 0, 0]), rng.random(3000)


@pytest.mark.parametrize("distance", [10.0, 1e3])
def test_targets_far_outside(distance):
    sources, targets, q = far_outside(distance)
    out = computed(taskfmm.Fmm(sources, targets, eps=1e-6, leaf_size=20), q)
    exact = taskfmm.direct(sources, q, targets, outputs=OUTPUTS)
    for output in OUTPUTS:
        assert l2_error(out[output], exact[output]) <= 1e-6


def test_a_gradient_out_of_reach_has_a_floor_and_an_order_gives_the_best():
    """The size of a gradient is potential / distance; its error is that of the potential over the width of a leaf."""
    sources, targets, q = far_outside(1e8)
    fmm = taskfmm.Fmm(sources, targets, eps=1e-6, leaf_size=512)
    exact = taskfmm.direct(sources, q, targets, outputs=OUTPUTS)
    assert l2_error(fmm.potential(q).compute(), exact["potential"]) <= 1e-6
    with pytest.raises(taskfmm.AccuracyError, match="floor for a gradient of these charges"):
        fmm.evaluate(q, "gradient")
    out = computed(taskfmm.Fmm(sources, targets, order=9, leaf_size=20), q)
    error = np.linalg.norm(out["gradient"] - exact["gradient"]) / np.linalg.norm(exact["potential"])
    assert error <= bounds.FAR_GRADIENT * 1e-6


@pytest.mark.parametrize("leaf_size", [1, 64, None])
@pytest.mark.parametrize("n", [10_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_all_points_identical(n, leaf_size):
    point = np.array([0.1, -0.7, 33.3])
    fmm = taskfmm.Fmm(np.tile(point, (n, 1)), leaf_size=leaf_size)
    q = np.random.default_rng(4565471).random(n)
    out = computed(fmm, q)
    np.testing.assert_array_equal(out["potential"], np.zeros(n))
    np.testing.assert_array_equal(out["gradient"], np.zeros((n, 3)))
    fmm = taskfmm.Fmm(
        np.tile(point, (n, 1)), point + np.array([[0, 0, 1.0], [0, 2.0, 0]]), leaf_size=leaf_size
    )
    expected = q.sum() / FOUR_PI / np.array([1.0, 2.0])
    np.testing.assert_allclose(fmm.potential(q).compute(), expected, rtol=1e-6)


@pytest.mark.parametrize("n", [3000, pytest.param(50_000, marks=pytest.mark.nightly)])
def test_many_duplicates_among_others(n):
    """Half of all points in one place: far more than a leaf may hold."""
    rng = np.random.default_rng(5676589)
    x = np.concatenate([rng.random((n, 3)), np.tile([[0.25, 0.5, 0.75]], (n, 1))])
    q = rng.uniform(-1, 1, 2 * n)
    fmm = taskfmm.Fmm(x, eps=1e-6, leaf_size=20)
    rows = rng.choice(2 * n, 1000, replace=False)
    exact = taskfmm.direct(x, q, x[rows])
    assert l2_error(fmm.potential(q).compute()[rows], exact) <= 1e-6


def test_an_offset_of_1e8():
    """Coordinates keep 1e-8 of the cloud; the answer is that of the rounded coordinates."""
    rng = np.random.default_rng(6787679)
    x, q = rng.random((3000, 3)) + 1e8, rng.uniform(-1, 1, 3000)
    out = computed(taskfmm.Fmm(x, eps=1e-6, leaf_size=20), q)
    exact = taskfmm.direct(x - 1e8, q, outputs=OUTPUTS)
    for output in OUTPUTS:
        assert l2_error(out[output], exact[output]) <= 1e-6


@each("width", [1e-150, 1e-100, 1e100, 1e150])
def test_extreme_widths(width):
    rng = np.random.default_rng(7898713)
    x, q = rng.random((2000, 3)), rng.uniform(-1, 1, 2000)
    found = taskfmm.Fmm(x * width, eps=1e-6, leaf_size=20).potential(q).compute()
    assert l2_error(found * width, taskfmm.direct(x, q)) <= 1e-6
    assert l2_error(taskfmm.direct(x * width, q) * width, taskfmm.direct(x, q)) <= SUM_ROUNDING * 100


@each("width", [1e-150, 1e150])
def test_gradients_of_extreme_widths(width):
    """The gradient is of the size of charge / width^2, 1e300 or 1e-300: still a float64."""
    rng = np.random.default_rng(8909807)
    x, q = (
        rng.random((500, 3)),
        1e-6 * rng.uniform(-1, 1, 500) if width < 1 else 1e6 * rng.uniform(-1, 1, 500),
    )
    found = taskfmm.Fmm(x * width, eps=1e-6, leaf_size=20).evaluate(q)["gradient"].compute()
    exact = taskfmm.direct(x, q, outputs="gradient")["gradient"]
    assert l2_error(found * width * width, exact) <= 1e-6


class Frame:
    """As pandas, xarray and PyTorch hand their numbers over."""

    def __init__(self, array):
        self.values = array

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


def forms(array: np.ndarray, tmp_path, name: str) -> dict:
    """The same small integers in every form that a caller may hand over."""
    padded = np.zeros((2 * array.shape[0], *array.shape[1:]))
    padded[::2] = array
    mapped = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", array.dtype, array.shape)
    mapped[:] = array
    mapped.flush()
    return {
        "float64": array,
        "integers": array.astype(np.int32),
        "unsigned": (array + 0).astype(np.uint8),
        "list": array.tolist(),
        "tuple": tuple(map(tuple, array.tolist())) if array.ndim == 2 else tuple(array.tolist()),
        "Fortran order": np.asfortranarray(array),
        "strided": padded[::2],
        "float16": array.astype(np.float16),
        "float32": array.astype(np.float32),
        "longdouble": array.astype(np.longdouble),
        "big endian": array.astype(">f8"),
        "memory map": np.load(tmp_path / f"{name}.npy", mmap_mode="r"),
        "array-like": Frame(array),
        "masked, but nothing is": np.ma.masked_less(array, -1.0),
        "little endian single": array.astype("<f4"),
        "reversed": np.ascontiguousarray(array[::-1])[::-1],
        "read-only": np.frombuffer(array.tobytes()).reshape(array.shape),
        "matrix of rows": list(array),
    }


def test_any_form_of_input_gives_the_same_bits(tmp_path):
    rng = np.random.default_rng(9010913)
    given = {
        "sources": rng.integers(0, 200, (400, 3)).astype(float),
        "targets": rng.integers(0, 200, (300, 3)).astype(float),
        "charges": rng.integers(0, 9, 400).astype(float),
    }
    variants = {name: forms(array, tmp_path, name) for name, array in given.items()}

    def potential(sources, targets, charges):
        return taskfmm.Fmm(sources, targets, order=3, leaf_size=10).potential(charges).compute()

    expected = potential(**given)
    for form in variants["sources"]:
        variant = {name: found[form] for name, found in variants.items()}
        before = {name: np.array(array) for name, array in variant.items()}
        np.testing.assert_array_equal(potential(**variant), expected, err_msg=form)
        for name, array in variant.items():
            np.testing.assert_array_equal(np.array(array), before[name], err_msg=form)


def test_inputs_are_never_changed():
    rng = np.random.default_rng(1121023)
    x, t, q = rng.random((600, 3)), rng.random((500, 3)), rng.random(600)
    copies = x.copy(), t.copy(), q.copy()
    fmm = taskfmm.Fmm(x, t, order=3, leaf_size=10)
    computed(fmm, q)
    fmm.serial(q)
    for array, copy in zip((x, t, q), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert array.flags.writeable


@each("bad", [np.nan, np.inf])
def test_bad_values_in_a_dask_array_are_found_when_it_computes(bad):
    x = np.random.default_rng(2232131).random((100, 3))
    q = np.ones(100)
    q[57] = bad
    phi = taskfmm.Fmm(x).potential(da.from_array(q, chunks=30))
    with pytest.raises(taskfmm.InputError, match="charges row 57 is not finite"):
        phi.compute()


def test_the_results_own_arrays():
    """Changing a result changes no later one."""
    x = np.random.default_rng(3343253).random((200, 3))
    fmm = taskfmm.Fmm(x, order=3, leaf_size=10)
    first = fmm.potential(np.ones(200)).compute()
    copy = first.copy()
    first *= 0
    np.testing.assert_array_equal(fmm.potential(np.ones(200)).compute(), copy)


X = np.random.default_rng(4454363).random((20, 3))


@each(
    "arguments, message",
    [
        (dict(sources=X.T), r"shape \(3, 20\), expected \(n, 3\): did you mean sources\.T"),
        (dict(sources=X, targets=X.T), r"did you mean targets\.T"),
        (dict(sources=X[0]), r"for a single point write \[sources\]"),
        (dict(sources=X[:, :2]), "expected"),
        (dict(sources=np.where(np.arange(20)[:, None] == 7, np.nan, X)), "sources row 7 is not finite"),
        (dict(sources=X, targets=np.where(np.arange(20)[:, None] == 3, np.inf, X)), "targets row 3"),
        (dict(sources=X + 1j), "real"),
        (dict(sources=X.astype(object)), "real"),
        (dict(sources=[["a", "b", "c"]]), "real"),
        (dict(sources=X > 0.5), "real"),
        (dict(sources=np.ma.masked_less(X, 0.5)), "masked"),
        (dict(sources=X.astype("datetime64[s]")), "real"),
        (dict(sources=X.view([("x", "f8"), ("y", "f8"), ("z", "f8")])), "real"),
        (dict(sources=[[1, 2, 3], [4, 5]]), "not an array of numbers"),
        (dict(sources={"x": X}), "real"),
        (dict(sources=None), "real"),
        (dict(sources=X, targets=[[1.0, 2.0, 10**400]]), "targets"),
        (dict(sources=X.astype(np.longdouble) * np.longdouble("1e4000")), "sources row 0 is not finite"),
        (dict(sources=X[None]), "expected"),
        (dict(sources=X, kernel="Laplase"), "did you mean 'laplace'"),
        (
            dict(sources=X, kernel="xyz"),
            "choose from biot_savart, exponential, gaussian, gravity, helmholtz, inverse_square, laplace, matern, ",
        ),
        (dict(sources=X, kernel=7), "not known"),
        (dict(sources=X, eps=0), "eps is 0"),
        (dict(sources=X, eps=-1e-3), "eps is"),
        (dict(sources=X, eps=2), "eps is 2"),
        (dict(sources=X, eps=float("nan")), "eps is nan"),
        (dict(sources=X, eps="small"), "eps is 'small'"),
        (dict(sources=X, eps=None), "eps is None"),
        (dict(sources=X, eps=float("inf")), "eps is inf"),
        (dict(sources=X, eps=[1e-3, 1e-6]), "eps is"),
        (dict(sources=X, eps=1e-300), "the floor"),
        (dict(sources=X, eps=5e-324), "the floor"),
        (dict(sources=X, kernel=None), "not known"),
        (dict(sources=X, kernel=""), "not known"),
        (dict(sources=X, kernel="laplace; import os"), "not known"),
        (dict(sources=X, leaf_size=float("nan")), "leaf_size is nan"),
        (dict(sources=X, leaf_size="many"), "leaf_size is"),
        (dict(sources=X, leaf_size=True), "leaf_size is True"),
        (dict(sources=X, leaf_size=0), "leaf_size is 0"),
        (dict(sources=X, leaf_size=-3), "leaf_size is -3"),
        (dict(sources=X, leaf_size=2.5), "leaf_size is 2.5"),
        (dict(sources=X, order=1), "order is 1"),
        (dict(sources=X, order=99), "order is 99"),
        (dict(sources=X, dtype=np.int32), "dtype is"),
        (dict(sources=X, dtype="complex128"), "dtype is"),
    ],
)
def test_bad_plans(arguments, message):
    with pytest.raises(taskfmm.TaskfmmError, match=message):
        taskfmm.Fmm(**arguments)


@each(
    "charges, message",
    [
        (np.ones(19), "charges has 19 rows, sources has 20"),
        (np.ones((1, 20)), r"did you mean charges\.T"),
        (np.ones((20, 2, 1)), "one charge for each source"),
        (np.where(np.arange(20) == 4, np.nan, 1), "charges row 4 is not finite"),
        (["x"] * 20, "real"),
        (1.0, "charges has shape"),
        (None, "no sources were given"),
        (np.ones(20, bool), "real"),
        (np.ones(20, object), "real"),
        (np.ma.masked_equal(np.arange(20.0), 3), "masked"),
        ([], "charges has 0 rows"),
        (np.ones(20, np.longdouble) * np.longdouble("1e4000"), "charges row 0 is not finite"),
        (iter([1.0] * 20), "real"),
    ],
)
def test_bad_charges(charges, message):
    with pytest.raises(taskfmm.InputError, match=message):
        taskfmm.Fmm(X).potential(charges)


def test_bad_outputs():
    with pytest.raises(taskfmm.InputError, match="did you mean 'gradient'"):
        taskfmm.Fmm(X).evaluate(np.ones(20), ("gradiant",))
    with pytest.raises(taskfmm.InputError, match="at least one"):
        taskfmm.Fmm(X).evaluate(np.ones(20), ())


def test_a_huge_leaf_size_is_the_direct_sum():
    rng = np.random.default_rng(5565473)
    q = rng.uniform(-1, 1, 20)
    out = computed(taskfmm.Fmm(X, leaf_size=10**30), q)
    exact = taskfmm.direct(X, q, outputs=OUTPUTS)
    for output in OUTPUTS:
        assert l2_error(out[output], exact[output]) <= 1000 * MACHINE["float64"]
