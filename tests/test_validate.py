"""The boundary: every accepted form, and the text of every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from cases import each

from taskfmm import choices, kernels, validate
from taskfmm.errors import InputError

OUTPUTS = ("potential", "gradient")
RNG = np.random.default_rng(730241)
POINTS = RNG.normal(size=(7, 3))


def message(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@each(
    "form",
    [
        lambda a: a.tolist(),
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(">f8"),
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float64).reshape(a.shape),
    ],
)
def test_points_of_every_form_come_out_alike(form):
    given = form(POINTS)
    found = validate.points("sources", given)
    np.testing.assert_array_equal(found, POINTS)
    assert found.dtype == np.float64
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.aligned
    assert not found.flags.writeable


@each("dtype", ["i1", "u2", "i8", "f2", "f4", "g"])
def test_points_of_every_real_dtype(dtype):
    given = np.arange(12).reshape(4, 3).astype(dtype)
    np.testing.assert_array_equal(validate.points("sources", given), np.arange(12.0).reshape(4, 3))


def test_points_from_a_memory_map_and_a_read_only_array(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    found = validate.points("sources", mapped)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, POINTS)


def test_the_callers_array_stays_writable_and_unshared_for_writing():
    given = POINTS.copy()
    found = validate.points("sources", given)
    assert np.shares_memory(found, given)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1.0
    given[0, 0] = 5.0
    assert given.flags.writeable


@each("empty", [[], np.empty((0, 3)), np.empty((0, 3), dtype=int)])
def test_no_points(empty):
    assert validate.points("sources", empty).shape == (0, 3)


def test_transposed_points():
    assert message(validate.points, "targets", POINTS.T) == (
        "targets has shape (3, 7), expected (n, 3): did you mean targets.T?"
    )


@each(
    "given, hint",
    [
        ([1.0, 2.0, 3.0], "write [sources]"),
        (np.zeros((5, 2)), "one row x, y, z for each point"),
        (np.zeros((2, 2, 3)), "one row x, y, z for each point"),
        (4.0, "one row x, y, z for each point"),
    ],
)
def test_points_of_other_shapes(given, hint):
    text = message(validate.points, "sources", given)
    assert f"sources has shape {np.shape(given)}, expected (n, 3)" in text
    assert hint in text


@each(
    "given, part",
    [
        (POINTS + 0j, "dtype complex128, expected real numbers: give sources.real"),
        (POINTS.astype(object), "dtype object, expected real numbers"),
        (POINTS.astype(str), "expected real numbers"),
        (POINTS > 0, "dtype bool, expected real numbers"),
        ([[1, 2, 3], [4, 5]], "sources is not an array of numbers"),
        (np.ma.masked_less(POINTS, 0.0), "sources has masked entries"),
    ],
)
def test_points_that_are_not_real_numbers(given, part):
    assert part in message(validate.points, "sources", given)


def test_the_row_of_a_point_that_is_not_finite():
    given = np.tile([0.0, 0.0, 1.0], (40, 1))
    given[17, 0] = np.nan
    assert message(validate.points, "sources", given) == "sources row 17 is not finite: [nan  0.  1.]"
    given[30] = -np.inf
    assert message(validate.points, "sources", given).endswith("(2 such rows)")


def test_charges_are_converted_to_the_plans_dtype():
    found = validate.charges([1, -2, 3], 3, np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.0, -2.0, 3.0])


def test_charges_of_another_length():
    assert message(validate.charges, np.ones(999), 1000) == (
        "charges has 999 rows, sources has 1000: give one charge for each source"
    )


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of NumPy, for its matrix
@each("shape", [(6, 1), (1, 6)])
@each("form", [np.asarray, np.asmatrix, np.ndarray.tolist])
def test_charges_as_a_column_or_row(shape, form):
    """What the error proposes is done, and works: a matrix stays one when it is flattened."""
    charges = form(np.ones(shape))
    advice = message(validate.charges, charges, 6).rpartition("did you mean ")[2].rstrip("?")
    assert validate.charges(eval(advice), 6).shape == (6,)


def test_charges_that_are_not_finite():
    assert message(validate.charges, [1.0, np.inf, 2.0], 3) == "charges row 1 is not finite: inf"
    # Finite in float64, infinite in what the plan computes with.
    assert message(validate.charges, [1.0, 2.0, 1e300], 3, np.float32) == "charges row 2 is not finite: inf"


def test_lazy_charges_stay_lazy_until_their_chunk_is_seen():
    da = pytest.importorskip("dask.array")
    values = np.array([1.0, 2.0, np.nan, 4.0])
    lazy = validate.charges_or_lazy(da.from_array(values, chunks=2), 4, np.float32)
    assert isinstance(lazy, da.Array)
    assert "3 rows" in message(validate.charges_or_lazy, da.ones(3), 4)
    assert "dtype complex128" in message(validate.charges_or_lazy, da.ones(4, dtype=complex), 4)
    unknown = da.ones(4)[da.ones(4) > 0]
    assert "compute_chunk_sizes()" in message(validate.charges_or_lazy, unknown, 4)
    chunks = [values[:2], values[2:]]
    assert message(validate.chunks, chunks, (2, 2), (), "float64") == (
        "charges row 2 is not finite: nan, in chunk 1"
    )
    chunks[1] = [3, 4]
    found = validate.chunks(chunks, (2, 2), (), "float64")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1, 2, 3, 4])


@each("value", [0, 1, -1e-6, 2.0, np.nan, np.inf, "1e-6", None, True, 1j, 10**400])
def test_eps_refused(value):
    assert "expected a number between 0 and 1" in message(choices.eps, value)


def test_eps_accepted():
    assert choices.eps(np.float32(0.5)) == 0.5
    assert isinstance(choices.eps(np.float32(0.5)), float)


@each("value", [1, 0, -3, 2.0, "6", True, choices.MAX_ORDER + 1])
def test_order_refused(value):
    assert "order is" in message(choices.order, value)


@each("value", [0, -1, 10.0, "100", False])
def test_leaf_size_refused(value):
    assert "expected an integer of at least 1" in message(choices.leaf_size, value)


def test_integers_accepted():
    assert choices.order(None) is None
    assert choices.leaf_size(None) is None
    assert choices.order(np.int8(6)) == 6
    assert choices.leaf_size(1) == 1
    assert choices.leaf_size(10**30) == choices.MAX_LEAF_SIZE


@each("name", ["laplac", "Laplace", "LAPLACE"])
def test_the_nearest_kernel_is_offered(name):
    assert "did you mean 'laplace'?" in message(choices.known_name, "kernel", name, {"one", "laplace"})


@each("name", ["zzz", 3, None])
def test_without_a_near_kernel_all_are_listed(name):
    assert message(choices.known_name, "kernel", name, {"one", "laplace"}).endswith(
        "choose from laplace, one"
    )


def test_a_kernel_that_is_not_offered_is_not_spoken_of():
    offered = message(kernels.find, "xyz").partition("choose from ")[2].split(", ")
    assert {"biot_savart", "gravity", "helmholtz", "laplace", "stokes", "yukawa"} <= set(offered)
    assert not {"one", "newton"} & set(offered)
    assert kernels.find("one").name == "one"


def test_outputs():
    assert choices.outputs("gradient", OUTPUTS) == ("gradient",)
    assert choices.outputs(["gradient", "potential", "gradient"], OUTPUTS) == ("gradient", "potential")
    assert "did you mean 'potential'?" in message(choices.outputs, ("potentials",), OUTPUTS)
    for nothing in ((), None, 5):
        assert "expected at least one of potential, gradient" in message(choices.outputs, nothing, OUTPUTS)


@each("value", [np.float32, "f8", ">f4", np.dtype(float)])
def test_dtype(value):
    if np.dtype(value).isnative:
        assert choices.dtype(value) == np.dtype(value)
    else:
        assert "expected float64 or float32" in message(choices.dtype, value)


@each("value", [None, int, complex, "f2", "nonsense", object])
def test_dtype_refused(value):
    assert "expected float64 or float32" in message(choices.dtype, value)
