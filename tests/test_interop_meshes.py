"""Winding numbers and potentials of triangle meshes: beside quadrature, known values, and sums over all triangles."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from cases import each
from surfaces import ROUNDING, around, expand, joined, soup, sphere

import taskfmm
from taskfmm.interop import meshes, patches
from taskfmm.interop.meshes import Surface, surface_potential, winding_number
from taskfmm.interop.triangles import Flat, rule
from taskfmm.kernels import KERNELS

SQUARE = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]])


def layers(mesh, points):
    """The solid angles at each point added up by size, over 4 pi, and one at least: what eps is relative to."""
    vertices, rows = mesh
    flipped = np.array([winding_number(vertices, [row], points, 0.0) for row in rows])
    return np.maximum(1.0, np.abs(flipped).sum(axis=0))


@pytest.fixture
def expanded(monkeypatch):
    expand(monkeypatch)


def test_one_triangle_against_quadrature():
    """Above, beside, below and in the plane of triangles, thin ones among them."""
    rng = np.random.default_rng(2)
    coordinates, weights = rule(150)
    for corners in (rng.normal(size=(3, 3)), np.array([[0.0, 0, 0], [1, 0, 0], [0.4, 0.03, 0.01]])):
        across = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        places, area = coordinates @ corners, 0.5 * np.linalg.norm(across)
        points = (
            corners.mean(axis=0) + rng.normal(size=(40, 3)) * np.repeat([0.6, 1.0, 3.0, 30.0], 10)[:, None]
        )
        points[::4] -= np.outer((points[::4] - corners[0]) @ across, across) / (across @ across)
        offsets = places - points[:, None]
        r = np.linalg.norm(offsets, axis=2)
        far = r.min(axis=1) > 0.2
        angle = (offsets @ (0.5 * across) / r**3) @ weights / (4 * np.pi)
        phi = area * (1.0 / r) @ weights / (4 * np.pi)
        found = winding_number(corners, [[0, 1, 2]], points, 0.0)
        assert far.sum() >= 20
        np.testing.assert_allclose(found[far], angle[far], rtol=1e-9, atol=1e-12)
        potential = surface_potential(corners, [[0, 1, 2]], [1.0], points, 0.0)
        np.testing.assert_allclose(potential[far], phi[far], rtol=1e-9)


def test_known_values():
    """Of a square, at its middle, at a corner, on the line of an edge, and above and below."""
    points = np.array([[0.0, 0, 0], [1, 1, 0], [3, 1, 0], [0, 0, 1], [0, 0, -1]])
    phi = 4 * np.pi * surface_potential(*SQUARE, [1.0, 1.0], points, 0.0)
    assert phi[0] == pytest.approx(8 * np.arcsinh(1.0), rel=1e-14)
    assert phi[1] == pytest.approx(4 * np.arcsinh(1.0), rel=1e-14)
    # a rectangle from a corner of 4 x 2 less one of 2 x 2, each a asinh(b / a) + b asinh(a / b)
    line = 4 * np.arcsinh(0.5) + 2 * np.arcsinh(2.0) - 4 * np.arcsinh(1.0)
    assert phi[2] == pytest.approx(line, rel=1e-14)
    assert phi[3] == pytest.approx(phi[4], rel=1e-14)
    sides = winding_number(*SQUARE, points, 0.0)
    np.testing.assert_allclose(sides, [0, 0, 0, -1 / 6, 1 / 6], atol=1e-15)


@each("eps", [0.0, 1e-3, 1e-6])
def test_inside_outside_and_on_a_closed_mesh(eps, expanded):
    mesh = sphere(3)
    directions = np.random.default_rng(4).normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for radius, expected in ((0.0, 1.0), (0.9, 1.0), (1.1, 0.0), (30.0, 0.0), (1e12, 0.0)):
        found = winding_number(*mesh, radius * directions, eps)
        np.testing.assert_allclose(found, expected, atol=max(eps, ROUNDING))
    centres = mesh[0][mesh[1]].mean(axis=1)
    np.testing.assert_allclose(winding_number(*mesh, centres, eps), 0.5, atol=max(eps, ROUNDING))
    turned = winding_number(mesh[0], mesh[1][:, ::-1], [[0, 0, 0]], eps)
    assert turned[0] == pytest.approx(-1.0, abs=max(eps, ROUNDING))


BIG = 1e4 * np.array([[-0.5, -0.4, 0.0], [0.5, -0.4, 0.0], [0.0, 0.6, 0.0]]) + [0.0, 0.0, 0.3]

CASES = {
    "sphere": lambda: sphere(3),
    "sphere and a triangle 1e4 wide": lambda: joined(sphere(3), (BIG, np.array([[0, 1, 2]]))),
    "sphere in a sphere 1e4 times as large": lambda: joined(sphere(3), (1e4 * sphere(2)[0], sphere(2)[1])),
    "sizes over a decade": lambda: soup(600, 1, 4.0),
    "sizes over five decades": lambda: soup(600, 5),
    "small ones anywhere": lambda: soup(600, 2, 300.0),
    "each twice, opposite": lambda: joined(sphere(2), (sphere(2)[0], sphere(2)[1][:, ::-1])),
}


@each("name", CASES)
def test_eps_is_kept_at_every_point(name, expanded):
    mesh = CASES[name]()
    points = around(mesh, 80)
    rng = np.random.default_rng(8)
    density = rng.uniform(-1.0, 1.0, len(mesh[1])) * 10 ** rng.uniform(-2, 2, len(mesh[1]))
    exact, scale = winding_number(*mesh, points, 0.0), layers(mesh, points)
    phi = surface_potential(*mesh, density, points, 0.0)
    largest = surface_potential(*mesh, np.abs(density), points, 0.0).max()
    for eps in (1e-2, 1e-4, 1e-7):
        surface = Surface(*mesh, eps)
        assert (np.abs(surface.winding_number(points) - exact) / scale).max() <= eps
        assert np.abs(surface.potential(density, points) - phi).max() <= eps * largest
        assert surface._fmm is not None


def test_expansions_keep_eps_where_a_tree_has_levels(expanded):
    """And a tree that is kept serves other points, from the same multipoles."""
    mesh = sphere(4)
    rng = np.random.default_rng(21)
    for eps in (1e-2, 1e-3, 1e-5, 1e-7, 1e-9):
        surface = Surface(*mesh, eps)
        for width in (1.1, 2.0):
            points = np.concatenate([around(mesh, 30, 3), width * rng.uniform(-1, 1, (2000, 3))])
            some = np.arange(0, len(points), 9)
            exact = winding_number(*mesh, points[some], 0.0)
            assert np.abs(surface.winding_number(points)[some] - exact).max() <= eps
        plan = surface._fmm.plan
        assert not plan.is_direct and plan.tree.n_levels > 3
        phi = surface.potential(np.ones(len(mesh[1])), points)[some]
        exact = surface_potential(*mesh, np.ones(len(mesh[1])), points[some], 0.0)
        assert np.abs(phi - exact).max() <= eps * exact.max()


def test_points_of_all_kinds_one_after_the_other(monkeypatch):
    """Few, for which there is no tree yet; very far ones, for which there may be none; and usual ones."""
    for name in ("PLAN", "SOURCE", "POINT"):
        monkeypatch.setattr(meshes, name, 0.0)
    mesh, rng = sphere(5), np.random.default_rng(13)
    surface = Surface(*mesh, 1e-4)
    direct = []
    for n, width in ((2, 1.0), (5000, 2.0), (3, 0.5), (400, 9e7), (3000, 1.2)):
        points = width * rng.uniform(-1, 1, (n, 3))
        exact = winding_number(*mesh, points[:200], 0.0)
        assert np.abs(surface.winding_number(points)[:200] - exact).max() <= 1e-4
        direct.append(surface._fmm.plan.is_direct)
    assert direct == [True, False, False, False, False]


def test_which_triangles_are_exact_everywhere():
    """The one that is near to all points; and none of equal ones that are spread."""
    mesh = joined(sphere(3), (BIG, np.array([[0, 1, 2]])))
    found = Surface(*mesh, 1e-6)
    assert found._rule.whole.tolist() == [len(mesh[1]) - 1]
    assert Surface(*sphere(3), 1e-6)._rule.whole.size == 0
    assert found._patches.kept.size == len(mesh[1])


def test_the_way_of_least_cost():
    """Few pairs are summed, many are not, and a second set of points is cheaper than the first."""
    mesh = sphere(5)
    surface = Surface(*mesh, 1e-3)
    few, many = around(mesh, 10), np.random.default_rng(1).uniform(-1.5, 1.5, (30_000, 3))
    surface.winding_number(few)
    assert surface._fmm is None
    found = surface.winding_number(many)
    assert surface._fmm is not None
    r = np.linalg.norm(many, axis=1)
    assert np.abs(found[r < 0.99] - 1.0).max() <= 1e-3 and np.abs(found[r > 1.0]).max() <= 1e-3


@each("n", [1, 2, 3, 4, 6])
def test_the_error_of_a_rule_is_below_its_bound(n):
    """For points all around, and triangles of all shapes."""
    rng = np.random.default_rng(n)
    coordinates, weights = rule(n)
    assert weights.sum() == pytest.approx(1.0) and (weights > 0.0).all()
    shapes = [[[0, 0], [1, 0], [0.5, 0.75**0.5]], [[0, 0], [1, 0], [0.5, 0.02]], [[0, 0], [1, 0], [0, 0.02]]]
    shapes += [[[0, 0], [1, 0], [0, 1]], *rng.random((4, 3, 2))]
    directions = rng.normal(size=(4000, 3))
    directions[:400, 2] *= 1e-3
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for shape in shapes:
        corners = np.hstack([np.array(shape, float), np.zeros((3, 1))])
        for turn in range(3):
            flat = Flat.of_corners(np.roll(corners, turn, axis=0)[None])
            area, size, places = 0.5 * flat.twice[0], flat.sizes[0], coordinates @ flat.corners[0]
            for k in (2.0, 3.0, 6.0):
                points = flat.centres[0] + k * size * directions
                offsets = places - points[:, None]
                r = np.linalg.norm(offsets, axis=2)
                bound = patches.RULE_ERROR * (2.0 * k) ** (-2 * n) + 1e-13
                exact = 4 * np.pi * winding_number(flat.corners[0], [[0, 1, 2]], points, 0.0)
                angle = (offsets @ (0.5 * flat.across[0]) / r**3) @ weights
                assert np.abs(angle - exact).max() <= bound * area / (k * size) ** 2
                exact = 4 * np.pi * surface_potential(flat.corners[0], [[0, 1, 2]], [1.0], points, 0.0)
                assert np.abs(area * (1.0 / r) @ weights - exact).max() <= bound * area / (k * size)


def test_blunt_points():
    """Beyond their lengths they are points, within these they do not grow; a tree of them keeps its digits."""
    rng = np.random.default_rng(12)
    sources, targets, h = rng.random((3000, 3)), rng.random((800, 3)), 0.03 * rng.random(3000)
    charges, dipoles = rng.uniform(-1, 1, 3000), rng.uniform(-1, 1, (3000, 3))
    r = targets[:, None] - sources
    least = np.maximum(np.linalg.norm(r, axis=2), h)
    exact = (1.0 / least) @ charges + (np.einsum("mnk,nk->mn", r, dipoles) / least**3).sum(axis=1)
    kernel = KERNELS["blunt"].with_lengths(h)
    fmm = taskfmm.Fmm(sources, targets, kernel=kernel, order=10, leaf_size=40)
    found = 4 * np.pi * fmm.potential(charges, dipoles=dipoles).compute()
    assert not fmm.plan.is_direct
    assert np.linalg.norm(found - exact) <= 1e-7 * np.linalg.norm(exact)
    at_source = taskfmm.direct(sources[:1], [1.0], sources[:1], KERNELS["blunt"].with_lengths(h[:1]))
    assert at_source[0] == 0.0


@each("module", ["meshes", "mesh_files"])
def test_examples(module):
    pytest.importorskip("meshio")
    found = doctest.testmod(importlib.import_module(f"taskfmm.interop.{module}"))
    assert found.attempted and not found.failed
