"""Arrays of other libraries: labels, units, nullable columns, and points that are lazy."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import psutil
import pytest
from cases import each

import taskfmm
from taskfmm import foreign
from taskfmm.errors import MemoryLimitError

RNG = np.random.default_rng(81041)
X = RNG.random((40, 3))
Q = RNG.uniform(-1, 1, 40)


@pytest.fixture(scope="module")
def fmm():
    return taskfmm.Fmm(X, order=3, leaf_size=10)


class Labelled:
    """As an xarray.DataArray, which is a collection of Dask if its data is."""

    def __init__(self, data, unit=None):
        self._data = data
        self.shape, self.dtype, self.chunks = data.shape, data.dtype, getattr(data, "chunks", None)
        if unit is not None:
            self.units = unit

    @property
    def data(self):
        return self._data

    def __dask_graph__(self):
        return self._data.__dask_graph__() if self.chunks else None

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._data, dtype)


class Measured:
    """As a Quantity of pint, which warns when its unit is dropped."""

    def __init__(self, magnitude, units):
        self._magnitude, self.units, self.shape = magnitude, units, magnitude.shape

    @property
    def magnitude(self):
        return self._magnitude

    def __dask_graph__(self):
        return None

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the unit is dropped")


class WithUnit(np.ndarray):
    """As a Quantity of astropy."""

    unit = None


def with_unit(array, unit):
    found = np.array(array).view(WithUnit)
    found.unit = unit
    return found


def test_labels_are_looked_through(fmm):
    expected = fmm.serial(Q)
    for charges in (Labelled(Q), Labelled(da.from_array(Q, chunks=15)), Measured(Q, "C")):
        phi = fmm.potential(charges)
        assert isinstance(phi, da.Array)
        np.testing.assert_array_equal(phi.compute(), expected)
        np.testing.assert_array_equal(fmm.serial(charges), expected)
        np.testing.assert_array_equal(taskfmm.direct(X, charges), taskfmm.direct(X, Q))
    for points in (Labelled(X), Measured(X, "m")):
        np.testing.assert_array_equal(taskfmm.Fmm(points, order=3, leaf_size=10).serial(Q), expected)
    spread = taskfmm.Fmm(Labelled(da.from_array(X, chunks=15)), order=3, leaf_size=10)
    np.testing.assert_allclose(spread.potential(Q).compute(), expected, rtol=1e-12)


def test_labels_stay_lazy(fmm):
    def never():
        raise AssertionError("computed")

    lazy = da.from_delayed(dask.delayed(never)(), (40,), float)
    fmm.potential(Labelled(lazy))


def test_xarray(fmm):
    xarray = pytest.importorskip("xarray")
    for charges in (Q, da.from_array(Q, chunks=15)):
        phi = fmm.potential(xarray.DataArray(charges, dims="particle"))
        np.testing.assert_array_equal(phi.compute(), fmm.serial(Q))
    one, other = (xarray.DataArray(X, attrs={"units": unit}) for unit in ("m", "km"))
    with pytest.raises(taskfmm.InputError, match="sources are in m, targets are in km"):
        taskfmm.Fmm(one, other)
    # a coordinate that happens to have this name is none
    numbered = xarray.DataArray(X, dims=("unit", "axis"), coords={"unit": np.arange(40)})
    taskfmm.Fmm(numbered, X)


@each("carry", [with_unit, Labelled, Measured])
def test_units_of_softening(carry):
    with pytest.raises(taskfmm.InputError, match="softening is in kpc: give its numbers in the unit of the"):
        taskfmm.kernels.Gravity(carry(np.ones(40), "kpc"))


@each("carry", [with_unit, Labelled, Measured])
def test_units_that_differ(carry):
    near, far = carry(X, "kpc"), carry(X, "pc")
    for call in (taskfmm.Fmm, lambda x, t: taskfmm.direct(x, Q, t)):
        with pytest.raises(
            taskfmm.InputError, match="sources are in kpc, targets are in pc: convert them to the same"
        ):
            call(near, far)
        with pytest.raises(taskfmm.InputError, match="sources are in kpc, targets have no unit"):
            call(near, X)
        with pytest.raises(taskfmm.InputError, match="sources have no unit, targets are in pc"):
            call(X, far)


@each("carry", [with_unit, Labelled, Measured])
def test_units_that_are_the_same(carry, fmm):
    given = carry(X, "kpc")
    again = carry(X.copy(), "kpc")
    np.testing.assert_array_equal(taskfmm.Fmm(given, order=3, leaf_size=10).serial(Q), fmm.serial(Q))
    np.testing.assert_array_equal(taskfmm.direct(given, Q, again), taskfmm.direct(X, Q, X))
    taskfmm.Fmm(given, again)
    charges = carry(Q, "C")
    np.testing.assert_array_equal(fmm.potential(charges).compute(), fmm.serial(Q))
    assert fmm.error_estimate(charges, fmm.serial(Q), output="potential") < 1e-1


def test_units_that_cannot_be_compared_are_compared_by_name():
    """As those of two registries of pint."""

    class Unit(str):
        __hash__ = None

        def __eq__(self, other):
            raise ValueError("of different registries")

    foreign.same_unit(Measured(X, Unit("kpc")), Measured(X, Unit("kpc")))
    foreign.same_unit(Measured(X, Unit("dimensionless")), X)
    with pytest.raises(taskfmm.InputError, match="sources are in kpc, targets are in pc"):
        foreign.same_unit(Measured(X, Unit("kpc")), Measured(X, Unit("pc")))


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_nullable_columns_of_pandas(backend, fmm):
    pandas = pytest.importorskip("pandas")
    if backend == "pyarrow":
        pytest.importorskip("pyarrow")
    table = pandas.DataFrame(X, columns=["x", "y", "z"]).convert_dtypes(dtype_backend=backend)
    charges = pandas.Series(Q).convert_dtypes(dtype_backend=backend)
    found = taskfmm.Fmm(table, order=3, leaf_size=10).potential(charges).compute()
    np.testing.assert_array_equal(found, fmm.serial(Q))
    table.iloc[3, 1] = None
    with pytest.raises(taskfmm.InputError, match="sources row 3 is not finite"):
        taskfmm.Fmm(table)
    charges[5] = None
    with pytest.raises(taskfmm.InputError, match="charges row 5 is not finite"):
        fmm.potential(charges)
    with pytest.raises(taskfmm.InputError, match="real numbers"):
        taskfmm.Fmm(table.astype(str))


class Table:
    """As a DataFrame of pandas whose columns may hold nothing in some rows."""

    class Nullable:
        kind = "f"

    def __init__(self, array, kind="f"):
        self.dtypes = [self.Nullable() for _ in range(3)]
        self.dtypes[-1].kind = kind
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array.astype(object)

    def to_numpy(self, dtype, na_value):
        assert np.isnan(na_value)
        return self._array.astype(dtype)


def test_tables_of_nullable_columns(fmm):
    np.testing.assert_array_equal(taskfmm.Fmm(Table(X), order=3, leaf_size=10).serial(Q), fmm.serial(Q))
    missing = X.copy()
    missing[7, 2] = np.nan
    with pytest.raises(taskfmm.InputError, match="sources row 7 is not finite"):
        taskfmm.Fmm(Table(missing))
    with pytest.raises(taskfmm.InputError, match="sources has dtype object"):
        taskfmm.Fmm(Table(X, kind="O"))


def test_masked_points_that_are_lazy():
    lazy = da.from_array(X, chunks=15)
    masked = da.ma.masked_where(lazy < 0.1, lazy)
    for call in (taskfmm.Fmm, lambda x: taskfmm.direct(x, Q)):
        with pytest.raises(taskfmm.InputError, match="sources has masked entries"):
            call(masked)


def test_points_that_are_delayed():
    for call in (taskfmm.Fmm, lambda x: taskfmm.direct(x, Q)):
        with pytest.raises(
            taskfmm.InputError, match=r"sources is a Delayed of dask.*give sources\.compute\(\)"
        ):
            call(dask.delayed(X))
    with pytest.raises(taskfmm.InputError, match="sources is a Delayed"):
        taskfmm.Fmm(dask.delayed(X), memory_limit="8GiB")


def test_points_larger_than_memory_are_refused_before_they_are_gathered():
    def never(block):
        raise AssertionError("computed")

    endless = da.zeros((10**13, 3), chunks=(10**12, 3)).map_blocks(never, dtype=float, meta=np.empty((0, 3)))
    with pytest.raises(
        MemoryLimitError, match=r"10,000,000,000,000 rows, which take 480,000\.0 GB to gather"
    ):
        taskfmm.direct(endless, Q)


def test_chunks_and_the_whole_must_fit(monkeypatch):
    lazy = da.from_array(X, chunks=20)
    machine = psutil.virtual_memory()
    for total, fits in ((2 * X.nbytes, True), (2 * X.nbytes - 1, False)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda total=total: machine._replace(total=total))
        if fits:
            taskfmm.direct(lazy, Q)
        else:
            with pytest.raises(MemoryLimitError):
                taskfmm.direct(lazy, Q)


def test_memory_that_runs_out_while_gathering():
    def fail(block):
        raise MemoryError

    lazy = da.from_array(X, chunks=20).map_blocks(fail, dtype=float, meta=np.empty((0, 3)))
    with pytest.raises(MemoryLimitError, match="sources has 40 rows"):
        taskfmm.direct(lazy, Q)


def test_a_lazy_number_is_no_points():
    with pytest.raises(taskfmm.InputError, match=r"sources has shape \(\)"):
        taskfmm.Fmm(da.from_array(np.array(4.0)))


def test_lazy_points_of_unknown_length():
    lazy = da.from_array(X, chunks=(15, 3))
    unknown = lazy[lazy[:, 0] >= 0]
    assert np.isnan(unknown.shape[0])
    with pytest.raises(taskfmm.InputError, match=r"sources\.compute_chunk_sizes\(\) finds them"):
        taskfmm.Fmm(unknown)
    assert taskfmm.Fmm(unknown.compute_chunk_sizes()).n_sources == len(X)
    np.testing.assert_array_equal(taskfmm.direct(unknown, Q), taskfmm.direct(X, Q))


def test_lazy_points_are_planned_where_they_are():
    lazy = da.from_array(X, chunks=(15, 3))
    for sources, targets in ((lazy, None), (X, lazy), (lazy, X)):
        found = taskfmm.Fmm(sources, targets, order=3, leaf_size=10)
        assert isinstance(found, taskfmm.spread.Spread)
        expected = taskfmm.direct(X, Q, None if targets is None else X)
        np.testing.assert_allclose(found.potential(Q).compute(), expected, rtol=1e-2)
    for name, value in (("memory_limit", "8GiB"), ("box", 2.0)):
        with pytest.raises(
            taskfmm.InputError, match=f"{name} is .*give the points to taskfmm.Fmm as an array"
        ):
            taskfmm.Fmm(lazy, **{name: value})
    assert isinstance(taskfmm.Fmm(X), taskfmm.Fmm)


def test_no_lazy_points():
    nothing, lazy = da.zeros((0, 3)), da.from_array(X, chunks=(15, 3))
    for sources, targets, n in ((nothing, None, 0), (nothing, lazy, 40), (lazy, nothing, 0)):
        found = taskfmm.Fmm(sources, targets)
        q = np.zeros(found.n_sources)
        assert found.potential(q).compute().shape == (n,)
        gradient = found.evaluate(q, "gradient")["gradient"].compute()
        assert gradient.shape == (n, 3)
        assert not gradient.any()
        assert found.error_estimate(q, np.zeros(n)) == 0.0
