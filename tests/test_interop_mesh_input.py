"""Triangle meshes of all units and places, with little in them, on clusters and in pickles; what does not fit."""

from __future__ import annotations

import logging
import pickle

import dask
import numpy as np
import pytest
from cases import each
from surfaces import ROUNDING, expand, sphere

from taskfmm import InputError
from taskfmm.interop.meshes import Surface, surface_potential, winding_number


@pytest.fixture
def expanded(monkeypatch):
    expand(monkeypatch)


@each("scale", [1e-300, 1e-200, 1.0, 1e150, 1e300])
def test_any_unit_of_length(scale):
    mesh, points = sphere(2), np.array([[0, 0, 0], [0.3, 0.2, 0.1], [2.0, 0, 0], [1e5, 0, 0], [0, 1e7, 0]])
    winding, phi = winding_number(*mesh, points), surface_potential(*mesh, np.ones(128), points)
    with np.errstate(all="raise"):
        np.testing.assert_allclose(
            winding_number(scale * mesh[0], mesh[1], scale * points), winding, atol=ROUNDING
        )
        found = surface_potential(scale * mesh[0], mesh[1], np.ones(128), scale * points)
    np.testing.assert_allclose(found / scale, phi, rtol=1e-12)


@each("r", [1e3, 1e7, 0.999e8, 1.001e8, 1e12, 1e120, 1e154, 1e307])
def test_very_far_points(r):
    """The mesh is one dipole there, or one charge and dipole."""
    vertices, rows = sphere(2)
    half = rows[vertices[rows].mean(axis=1)[:, 2] > 0]
    corners = vertices[half]
    dipole = -0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(axis=0)
    area = (
        0.5
        * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    )
    direction = np.array([1.0, 2.0, -2.0]) / 3.0
    found = winding_number(vertices, half, [r * direction], 0.0)[0]
    assert found == pytest.approx(dipole @ direction / (4 * np.pi) / r / r, rel=2.0 / r + 1e-7, abs=1e-307)
    phi = surface_potential(vertices, half, np.ones(len(half)), [r * direction], 0.0)[0]
    assert phi == pytest.approx(area / (4 * np.pi) / r, rel=2.0 / r + 1e-12)
    apart = winding_number(vertices + 1e10, half, [1e10 - 30.0 * direction])[0]
    assert apart == pytest.approx(winding_number(vertices, half, [-30.0 * direction])[0], rel=1e-6)


def test_meshes_with_little_in_them():
    mesh = sphere(1)
    assert winding_number(*mesh, np.empty((0, 3))).shape == (0,)
    nothing = np.zeros(1)
    for vertices, rows in (
        (mesh[0], np.empty((0, 3), int)),
        (np.empty((0, 3)), []),
        (np.zeros((3, 3)), [[0, 1, 2]]),
        (mesh[0], [[0, 0, 1], [2, 3, 2]]),
        ([[0, 0, 0], [1, 1, 1], [0.3, 0.3, 0.3]], [[0, 1, 2]]),
    ):
        np.testing.assert_array_equal(winding_number(vertices, rows, [[0.2, 0, 0]]), nothing)
        np.testing.assert_array_equal(
            surface_potential(vertices, rows, np.ones(len(rows)), [[0.2, 0, 0]]), nothing
        )
    more = np.concatenate([[[0, 0, 1], [3, 3, 3]], mesh[1]])
    np.testing.assert_allclose(winding_number(mesh[0], more, [[0, 0, 0]]), 1.0, atol=ROUNDING)
    density = np.arange(len(more), dtype=float)
    density[:2] = 1e300  # of triangles without an area
    known = surface_potential(*mesh, density[2:], [[0.1, 0, 0]])
    np.testing.assert_allclose(surface_potential(mesh[0], more, density, [[0.1, 0, 0]]), known)


def test_bits_do_not_hang_on_the_scheduler():
    mesh, points = sphere(4), np.random.default_rng(6).uniform(-2, 2, (4000, 3))
    with dask.config.set(scheduler="synchronous"):
        one = winding_number(*mesh, points)
    with dask.config.set(scheduler="threads", num_workers=3):
        np.testing.assert_array_equal(winding_number(*mesh, points), one)


def test_a_surface_outlives_its_cluster(expanded):
    """Multipoles in the memory of workers are gone with these."""
    from distributed import Client

    mesh, points = sphere(3), np.random.default_rng(6).uniform(-2, 2, (900, 3))
    surface = Surface(*mesh, 1e-4)
    surface.winding_number(points)
    known = surface.winding_number(points)
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        np.testing.assert_array_equal(surface.winding_number(points), known)
    np.testing.assert_array_equal(surface.winding_number(points), known)


def test_a_surface_is_pickled_with_its_tree_and_without_its_multipoles(expanded):
    """The same bits from a copy, in a task of a cluster, and where that cluster is gone."""
    from distributed import Client

    mesh, points = sphere(3), np.random.default_rng(6).uniform(-2, 2, (900, 3))
    density = np.random.default_rng(7).random(len(mesh[1]))
    surface = Surface(*mesh, 1e-4)
    unused = pickle.dumps(surface)
    winding, phi = surface.winding_number(points), surface.potential(density, points)
    np.testing.assert_array_equal(pickle.loads(unused).winding_number(points), winding)
    again = surface.winding_number(points), surface.potential(density, points)
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        made_here = Surface(*mesh, 1e-4)
        np.testing.assert_array_equal(made_here.winding_number(points), winding)
        np.testing.assert_array_equal(made_here.potential(density, points), phi)
        found = client.submit(lambda copy: copy.winding_number(points), surface).result(60)
        np.testing.assert_array_equal(found, again[0])
        kept = pickle.dumps(made_here)
    for copy in (pickle.loads(pickle.dumps(surface)), pickle.loads(kept)):
        np.testing.assert_array_equal(copy.winding_number(points), again[0])
        np.testing.assert_array_equal(copy.potential(density, points), again[1])


def test_what_does_not_fit():
    vertices, rows = sphere(1)
    point, n = [[0.0, 0, 0]], len(rows)
    for given, told in (
        (
            (vertices.T, rows, point),
            r"vertices has shape \(3, 18\), expected \(n, 3\): did you mean vertices.T",
        ),
        ((vertices, rows.T, point), "did you mean triangles.T"),
        ((vertices, np.hstack([rows, rows[:, :1]]), point), "divide other polygons"),
        ((vertices, rows.astype(float), point), "triangles has dtype float64, expected integers"),
        ((vertices, rows + 1, point), "there are 18 vertices, numbered from 0: subtract 1"),
        ((vertices, rows - 1, point), "triangles row 5 is .*-1.*mend the mesh"),
        ((vertices, rows, [0, 0, 0]), "points has shape"),
        ((vertices, rows, [[0, np.inf, 0]]), "points row 0 is not finite"),
        ((np.where(vertices == 1.0, np.nan, vertices), rows, point), "vertices row"),
        ((vertices, rows, point, 0.5), "eps is 0.5, expected 0 to 0.1"),
        ((vertices, rows, point, np.nan), "eps is nan"),
        ((vertices, rows, point, "small"), "eps is 'small'"),
        ((1e-310 * vertices, rows, point), "have lost digits: give vertices and points in a smaller unit"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            winding_number(*given)
        assert not any(word in str(caught.value) for word in ("source", "target", "charge"))
    for density, told in (
        (np.ones(3), rf"density has shape \(3,\), expected \({n},\): give one number for each triangle"),
        (np.ones((n, 2)), "density has shape"),
        (np.full(n, np.nan), "density row 0 is not finite"),
        (np.full(n, 1j), "density has dtype complex128"),
    ):
        with pytest.raises(InputError, match=told):
            surface_potential(vertices, rows, density, point)

    class Metres(np.ndarray):
        units = "m"

    with pytest.raises(InputError, match="vertices have no unit, points are in m"):
        winding_number(vertices, rows, np.zeros((1, 3)).view(Metres))


def test_a_mesh_on_a_map():
    """Coordinates have ten digits less for the mesh than for the place where it is; points on it are still on it."""
    vertices, rows = sphere(5)
    x = np.random.default_rng(9).normal(size=(10000, 3))
    place = np.array([5e5, 5.4e6, 300.0])
    found = winding_number(0.1 * vertices + place, rows, 0.1 * x + place, eps=1e-9)
    exact = winding_number(0.1 * vertices + place, rows, 0.1 * x[:300] + place, eps=0)
    assert np.abs(found[:300] - exact).max() <= 1e-9
    middles = vertices[rows[:50]].mean(axis=1)
    assert np.allclose(winding_number(vertices + place, rows, middles + place), 0.5, atol=1e-6)


def test_triangles_beside_far_ones_are_left_out_aloud(caplog):
    vertices, rows = sphere(1)
    far = np.concatenate([vertices, 1e21 * np.eye(3)])
    with caplog.at_level(logging.WARNING, "taskfmm"):
        last = np.arange(3) + len(vertices)
        winding_number(far, np.concatenate([rows, [last]]), np.zeros((1, 3)))
    assert f"{len(rows)} triangles are smaller" in caplog.text
