"""Reciprocal roots have the digits that eps asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.kernels import KERNELS, gather_loops, with_roots
from taskfmm.kernels.roots import ROOTS

LAPLACE = KERNELS["laplace"].of_first
N_SOURCES = 64

MOST = {"": 2.0**-51, "quadratic": 1.5 * (2.25 * 2.0**-23) ** 2, "estimated": 1.5 * (1.5 * 2.0**-12) ** 2}
"""Relative errors: rounding; a step of second order, 3/2 of the square of what it begins with, from a rounded square
of the distance, and a root and a quotient in float32 of one unit each; and from the estimate of x86, which errs by
1.5 * 2^-12 at most."""


def inverse(distances: np.ndarray, roots: str) -> np.ndarray:
    """By a sum over sources in one place, so many that loops use vectors."""
    loops = gather_loops(replace(LAPLACE, roots=roots), "potential")
    targets = np.zeros((3, distances.size))
    targets[0] = distances
    begin, end = np.array([0]), np.array([N_SOURCES])
    sources, charges = np.zeros((3, N_SOURCES)), np.ones((1, N_SOURCES))
    out = np.zeros((1, distances.size))
    row = np.array([0, distances.size]), targets, np.array([0, 1]), begin, end
    loops.points_to_points(0, 1, *row, sources, charges, LAPLACE.constants, out)
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
    for roots, eps in ROOTS.items():
        assert MOST[roots] <= 0.03 * eps


@each(
    "kernel, eps, roots",
    [
        ("laplace", 1e-3, "estimated"),
        ("laplace", 1e-6, "quadratic"),
        ("laplace", 1e-12, ""),
        ("stokes", 1e-4, "estimated"),
        # k r of a wave is a phase, of which small parts count
        ("helmholtz", 1e-3, "quadratic"),
        ("yukawa", 1e-3, "quadratic"),
    ],
)
def test_which_are_used(kernel, eps, roots):
    assert with_roots(KERNELS[kernel], eps).roots == roots
    # what is left of a net charge would be summed over all images
    assert with_roots(KERNELS[kernel], eps, periodic=True).roots == roots.replace("estimated", "quadratic")


@pytest.mark.parametrize("eps", [1e-4, 1e-8])
def test_an_evaluation_uses_them(eps, monkeypatch):
    """Where they are made worse, so is the result, by as much."""
    rng = np.random.default_rng(2)
    points, q = rng.random((20_000, 3)), rng.random(20_000)
    fmm = taskfmm.Fmm(points, eps=eps)
    found = fmm.serial(q)
    assert (fmm.potential(q).compute() == found).all()
    # what they are compared with has all digits
    assert fmm.error_estimate(q, taskfmm.direct(points, q)) <= 0.01 * ROUNDING
    monkeypatch.setattr("taskfmm.kernels.roots.ROOTS", {})
    error = l2_error(found, fmm.serial(q))
    assert 0.02 * ROUNDING < error <= MOST["estimated" if eps == 1e-4 else "quadratic"]


def test_direct_sums_have_all_digits():
    rng = np.random.default_rng(3)
    points, q = rng.random((200, 3)), rng.random(200)
    exact = taskfmm.direct(points, q)
    assert l2_error(taskfmm.Fmm(points, eps=1e-3).serial(q), exact) <= ROUNDING
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    inverses = np.divide(1.0, distance, where=distance > 0.0, out=np.zeros_like(distance))
    assert l2_error(exact, inverses @ q / (4.0 * np.pi)) <= 2.0**-50
