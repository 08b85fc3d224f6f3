"""Reciprocal roots have the digits that eps asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.kernels import KERNELS, gather_loops, with_roots
from taskfmm.kernels.roots import ENOUGH

LAPLACE = KERNELS["laplace"].of_first
N_SOURCES = 64

MOST = {"": 2.0**-51, "quadratic": 1.5 * (2.25 * 2.0**-23) ** 2}
"""Relative errors: rounding; and a step of second order, 3/2 of the square of what it begins with, from a rounded
square of the distance, and a root and a quotient in float32 of one unit each."""


def inverse(distances: np.ndarray, roots: str) -> np.ndarray:
    """By a sum over sources in one place, so many that loops use vectors."""
    loops = gather_loops(replace(LAPLACE, roots=roots), "potential")
    targets = np.zeros((3, distances.size))
    targets[0] = distances
    begin, end = np.array([0]), np.array([N_SOURCES])
    sources, charges = np.zeros((3, N_SOURCES)), np.ones((1, N_SOURCES))
    out = np.zeros((1, distances.size))
    row = np.array([0, distances.size]), *targets, np.array([0, 1]), begin, end
    loops.points_to_points(0, 1, *row, *sources, charges, LAPLACE.constants, out)
    return out[0] / N_SOURCES


@each("roots", MOST)
def test_a_root_is_as_good_as_it_is_said_to_be(roots):
    distances = 2.0 ** np.random.default_rng(1).uniform(-60.0, 60.0, 5000)
    found = inverse(distances, roots) * distances - 1.0
    assert np.abs(found).max() <= MOST[roots]
    assert inverse(np.zeros(1), roots) == 0.0
    if roots:
        # and no better, else it would cost as much
        assert np.abs(found).max() > MOST[""]


def test_their_part_of_eps_is_small():
    assert MOST["quadratic"] <= 0.03 * ENOUGH


@each(
    "kernel, eps, roots",
    [
        ("laplace", 1e-3, "quadratic"),
        ("laplace", 1e-12, ""),
        ("stokes", 1e-6, "quadratic"),
        ("yukawa", 1e-11, ""),
    ],
)
def test_which_are_used(kernel, eps, roots):
    assert with_roots(KERNELS[kernel], eps).roots == roots


def test_an_evaluation_uses_them(monkeypatch):
    """Where they are made worse, so is the result, by as much."""
    rng = np.random.default_rng(2)
    points, q = rng.random((20_000, 3)), rng.random(20_000)
    fmm = taskfmm.Fmm(points, eps=1e-8)
    found = fmm.serial(q)
    assert (fmm.potential(q).compute() == found).all()
    # what they are compared with has all digits
    assert fmm.error_estimate(q, taskfmm.direct(points, q)) <= 0.01 * ROUNDING
    monkeypatch.setattr("taskfmm.kernels.roots.ENOUGH", np.inf)
    assert 0.02 * ROUNDING < l2_error(found, fmm.serial(q)) <= MOST["quadratic"]


@each("wave", ["standing", "alternating"])
def test_sums_that_cancel_at_a_distance_keep_eps(wave):
    """All of it near field: nothing but roots can err, and what is left is 1e-10 of what each charge does."""
    x, y = np.meshgrid(np.arange(100) / 100, np.arange(100) / 100)
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    q = np.cos(6 * np.pi * points[:, 0]) * np.cos(6 * np.pi * points[:, 1])
    if wave == "alternating":
        q = (-1.0) ** np.round(100 * (points[:, 0] + points[:, 1]))
    targets = np.array([10.5, 0.8, 0.1]) + 0.05 * np.random.default_rng(1).normal(size=(3000, 3))
    fmm = taskfmm.Fmm(points, targets, eps=1e-5)
    assert l2_error(fmm.serial(q), taskfmm.direct(points, q, targets)) <= 1e-5


def test_pairs_that_are_all_near_have_all_digits():
    """Of an alternating lattice next to nothing is left at 28 widths: roots with 3e-15 would leave 1e-6 of error."""
    lattice = np.indices((14, 14, 14)).reshape(3, -1).T
    points, q = lattice / 14, (-1.0) ** lattice.sum(axis=1)
    for direction in ([-0.95, -0.31, 0.01], [0.9, 0.06, -0.44], [-0.82, -0.57, -0.05]):
        target = 13 / 28 + 28.0 * np.array([direction])
        fmm = taskfmm.Fmm(points, target, eps=1e-7, leaf_size=40)
        assert not fmm.plan.is_direct
        assert l2_error(fmm.serial(q), taskfmm.direct(points, q, target)) <= 1e-7


def test_direct_sums_have_all_digits():
    rng = np.random.default_rng(3)
    points, q = rng.random((200, 3)), rng.random(200)
    exact = taskfmm.direct(points, q)
    assert l2_error(taskfmm.Fmm(points, eps=1e-3).serial(q), exact) <= ROUNDING
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    inverses = np.divide(1.0, distance, where=distance > 0.0, out=np.zeros_like(distance))
    assert l2_error(exact, inverses @ q / (4.0 * np.pi)) <= 2.0**-50
