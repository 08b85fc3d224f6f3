"""Labels of xarray, from charges and targets to results; and results of taskfmm within larger graphs."""

from __future__ import annotations

import doctest
import importlib

import dask
import dask.array as da
import numpy as np
import pytest
from boxes import l2_error

import taskfmm
from taskfmm import InputError
from taskfmm.kernels import Stokes

xarray = pytest.importorskip("xarray")

from taskfmm.interop.xarray import evaluate, potential  # noqa: E402

N, EPS = 4000, 1e-5
X = np.random.default_rng(1).random((N, 3))
Q = np.random.default_rng(2).random((N, 2, 3))


@pytest.fixture(scope="module")
def fmm() -> taskfmm.Fmm:
    return taskfmm.Fmm(X, eps=EPS, leaf_size=60)


def labelled(data=Q, dims=("ion", "run", "step")):
    coords = {
        "ion": np.arange(N) + 7,
        "mass": ("ion", X[:, 0]),
        "run": ["hot", "cold"],
        "step": [0.1, 0.2, 0.4],
    }
    return xarray.DataArray(data, dims=dims, coords={k: v for k, v in coords.items() if k in (*dims, "mass")})


def test_labels_are_kept(fmm):
    out = evaluate(fmm, labelled(), ("potential", "gradient"))
    assert out["potential"].dims == ("ion", "run", "step")
    assert out["gradient"].dims == ("ion", "axis", "run", "step")
    assert isinstance(out["gradient"].data, da.Array)
    assert set(out.coords) == {"ion", "mass", "run", "step", "axis"}
    one = {"run": "cold", "step": 0.2}
    exact = taskfmm.direct(X, Q[:, 1, 1], outputs=("potential", "gradient"))
    found = out.sel(one).compute()
    assert l2_error(found["potential"].values, exact["potential"]) <= EPS
    assert l2_error(found["gradient"].values, exact["gradient"]) <= EPS
    assert l2_error(found["gradient"].sel(axis="y").values, exact["gradient"][:, 1]) <= 10 * EPS
    np.testing.assert_array_equal(found["ion"], np.arange(N) + 7)


def test_any_order_of_dimensions_and_lazy_charges(fmm):
    turned = labelled().transpose("run", "ion", "step").chunk({"ion": 1500})
    found = potential(fmm, turned, dim="ion")
    assert found.dims == ("ion", "run", "step")
    exact = taskfmm.direct(X, Q[:, 0, 2])
    assert l2_error(found.sel(run="hot", step=0.4).values, exact) <= EPS


def test_targets_on_a_grid(fmm):
    axes = {"height": np.linspace(-0.5, 1.5, 20), "width": np.linspace(0, 1, 15)}
    height, width = np.meshgrid(*axes.values(), indexing="ij")
    places = np.stack([width, 0 * width + 0.5, height], axis=-1)
    grid = xarray.DataArray(places, dims=("height", "width", "axis"), coords=axes)
    charges = labelled(Q[:, 0, 0], ("ion",))
    out = evaluate(fmm, charges, ("potential", "gradient"), targets=grid)
    assert out["potential"].dims == ("height", "width") and "mass" not in out.coords
    assert out["gradient"].dims == ("height", "width", "axis")
    exact = taskfmm.direct(X, Q[:, 0, 0], targets=places.reshape(-1, 3)).reshape(20, 15)
    assert l2_error(out["potential"].values, exact) <= EPS
    assert out["potential"].interp(height=0.3, width=0.2).shape == ()
    turned = grid.assign_coords(axis=["x", "y", "z"]).isel(axis=[2, 1, 0])
    with pytest.raises(InputError, match="targets has the labels z, y, x along 'axis', expected x, y, z"):
        potential(fmm, charges, targets=turned)
    assert l2_error(potential(fmm, charges, targets=turned.sortby("axis")).values, exact) <= EPS
    first = xarray.DataArray(np.eye(3), dims=("xyz", "p"), coords={"xyz": ["x", "y", "z"]})
    with pytest.raises(InputError, match="'xyz' before its last dimension 'p', where x, y and z"):
        potential(fmm, charges, targets=first)
    vectors = potential(fmm, labelled(), targets=grid)
    assert vectors.dims == ("height", "width", "run", "step")
    assert l2_error(vectors.sel(run="hot", step=0.1).values, exact) <= EPS


def test_targets_of_the_plan_and_other_kernels():
    forces = xarray.DataArray(Q[:600, 0], dims=("drop", "component"), coords={"drop": np.arange(600)})
    fmm = taskfmm.Fmm(X[:600], X[600:900], kernel=Stokes(), eps=1e-4)
    out = evaluate(fmm, outputs="velocity", forces=forces)["velocity"]
    assert out.dims == ("target", "axis") and "drop" not in out.coords
    exact = taskfmm.direct(
        X[:600], targets=X[600:900], kernel=Stokes(), forces=Q[:600, 0], outputs="velocity"
    )
    assert l2_error(out.values, exact["velocity"]) <= 1e-4


def test_what_is_computed_together_shares_one_plan_and_one_upward_pass(fmm):
    q, places = labelled(Q[:, 0, 0], ("ion",)), xarray.DataArray(X, dims=("probe", "axis"))
    one, other = potential(fmm, q, 0.9 * places), potential(fmm, q, 0.8 * places)
    ran = {}
    for name, lazy in {"one": (one,), "other": (other,), "both": (one, other), "again": (one, one)}.items():
        with taskfmm.profile() as profile:
            dask.compute(*lazy)
        ran[name] = [record.operator for record in profile.tasks]
    assert sorted(ran["again"]) == sorted(ran["one"])
    for operator in ("charges", "P2M", "M2M"):
        assert ran["both"].count(operator) == ran["one"].count(operator) > 0
    assert ran["both"].count("P2P") == ran["one"].count("P2P") + ran["other"].count("P2P")


def test_within_a_larger_graph(fmm):
    """Before and after it other tasks of Dask, all lazy, with one compute."""
    weights = da.from_array(Q[:, 0, 0], chunks=1000)
    charges = labelled((weights - weights.mean()) ** 2, ("ion",))
    phi = potential(fmm, charges)
    energy = 0.5 * (charges * phi).sum("ion")
    by_mass = phi.groupby_bins("mass", [0.0, 0.5, 1.0]).mean()
    numbers = (Q[:, 0, 0] - Q[:, 0, 0].mean()) ** 2
    exact = taskfmm.direct(X, numbers)
    found, means = dask.compute(energy, by_mass)
    assert float(found) == pytest.approx(0.5 * numbers @ exact, rel=EPS)
    assert float(means[0]) == pytest.approx(exact[X[:, 0] <= 0.5].mean(), rel=EPS)


def test_wrong_labels(fmm):
    for given, told in (
        ({"charges": Q[:, 0, 0]}, "expected an xarray.DataArray"),
        ({"charges": labelled(), "dim": "atom"}, "none is 'atom'"),
        ({"charges": labelled(), "targets": X}, "targets is ndarray"),
        ({"charges": labelled().isel(ion=slice(3))}, "charges"),
        ({"charges": labelled(), "dipoles": xarray.DataArray(X, dims=("ion", "axis"))}, "give the same"),
        ({"charges": labelled(), "targets": xarray.DataArray(1.0)}, "targets has no dimension"),
        ({}, "no sources"),
    ):
        with pytest.raises(InputError, match=told):
            evaluate(fmm, **given)
    for missing in (labelled(), X):
        with pytest.raises(InputError, match=r"expected a plan: give taskfmm\.Fmm\(points\) first"):
            potential(missing, labelled())
    spread = taskfmm.Fmm(da.from_array(X, chunks=2000), eps=EPS)
    with pytest.raises(InputError, match="has its own targets alone"):
        potential(spread, labelled(), xarray.DataArray(X[:3], dims=("place", "axis")))


def test_a_name_stands_for_one_thing(fmm):
    """Where results would have a name twice, that is an error; else what is called as axes are stays as it is."""
    one, places = (
        labelled(Q[:, 0, 0], ("ion",)),
        xarray.DataArray(X[:6].reshape(2, 3, 3), dims=("w", "h", "axis")),
    )
    several = labelled(Q[:, 0], ("ion", "step"))
    of_two = xarray.DataArray(X[:40].reshape(20, 2, 3), dims=("axis", "w", "xyz"))
    for given, outputs, twice in (
        ((several.rename(step="axis"),), "gradient", "axis"),
        ((one.rename(ion="axis"),), "gradient", "axis"),
        ((several.rename(step="axis_2"),), "hessian", "axis_2"),
        ((several.rename(step="w"), places), "potential", "w"),
        ((several.assign_coords(w=("step", [1, 2, 3])), places), "potential", "w"),
        ((one, of_two), "gradient", "axis"),
        ((one.assign_coords(axis=3.0),), "gradient", "axis"),
        ((one.assign_coords(axis=("ion", X[:, 0])),), "gradient", "axis"),
        ((one.rename(mass="potential"),), "potential", "potential"),
        ((one.rename(mass="gradient"),), ("potential", "gradient"), "gradient"),
        ((several.rename(step="potential"),), "potential", "potential"),
    ):
        with pytest.raises(InputError, match=rf"'{twice}' stands for two things: .*rename\({{'{twice}'"):
            evaluate(fmm, given[0], outputs, *given[1:])
    apart = taskfmm.Fmm(X, X[:5], eps=EPS)
    with pytest.raises(InputError, match="'target' stands for two things"):
        potential(apart, several.rename(step="target"))

    steps = potential(fmm, several.rename(step="axis"))
    assert steps.dims == ("ion", "axis") and steps["axis"].values.tolist() == [0.1, 0.2, 0.4]
    assert evaluate(fmm, one, "potential", of_two)["potential"].dims == ("axis", "w")


def test_coordinates_that_differ(fmm):
    dipoles = labelled(Q[:, 0], ("ion", "xyz"))
    both = evaluate(fmm, labelled(Q[:, 0, 0], ("ion",)), "potential", dipoles=dipoles)["potential"]
    exact = taskfmm.direct(X, Q[:, 0, 0], dipoles=Q[:, 0])
    assert l2_error(both.values, exact) <= EPS
    with pytest.raises(InputError, match="coordinates 'ion' differ"):
        evaluate(fmm, labelled(Q[:, 0, 0], ("ion",)), dipoles=dipoles[::-1])


def test_examples():
    found = doctest.testmod(importlib.import_module("taskfmm.interop.xarray"))
    assert found.attempted and not found.failed
