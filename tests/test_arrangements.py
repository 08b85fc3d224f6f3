"""Kernels that a single surface around a box does not serve: what their own arrangements of points reach."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bounds import CONVERGES
from cases import each

from taskfmm.errors import InputError
from taskfmm.geometry import surface
from taskfmm.kernels import examples, gravity, register
from taskfmm.kernels.kernel import Kernel
from taskfmm.operators import box, probes, size, yardstick
from taskfmm.operators.accuracy import of_order

HERE = Path(__file__).with_name("kernels_of_users")

RESONANCE = np.pi * np.sqrt(3.0) / (2.0 * surface.INNER)
"""Wavenumber of the lowest resonance in the cube of the equivalent surface of a box of half-width 1."""


@cache
def error(kernel: Kernel, order: int, half_width: float = 1.0) -> float:
    built = box.build(kernel, of_order(order), half_width)
    below = None if kernel.degree is not None else box.build(kernel, of_order(order), 0.5 * half_width)
    return yardstick.measure(kernel, built, below, probes.few()).potential


@pytest.fixture
def waves(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("waves").KERNEL


@each(
    "make",
    [
        lambda: examples.Exponential(1.0),
        examples.InverseSquare,
        lambda: examples.Gaussian(1.0),
        lambda: examples.Multiquadric(0.5),
        examples.ThinPlate,
        lambda: gravity.KERNEL.with_parameters(1.0, 0.5),
    ],
)
def test_points_within_make_kernels_without_an_equation_converge(make, kernels_kept):
    kernel = make()
    on_surfaces = error(replace(kernel, surfaces="single"), 6)
    errors = [error(kernel, order) for order in (4, 6, 8)]
    assert errors[2] < CONVERGES * errors[1] < CONVERGES**2 * errors[0]
    assert errors[1] < CONVERGES * on_surfaces


def test_waves_that_fit_into_a_box_need_a_second_surface(waves):
    """To the last digit; no wavenumber that is drawn at random meets one of them."""
    two = replace(waves.with_parameters(RESONANCE), surfaces="doubled")
    near = replace(waves.with_parameters(0.98 * RESONANCE), surfaces="doubled")
    assert error(replace(two, surfaces="single"), 6) > 1.0
    assert error(two, 6) < 2.0 * error(near, 6) < 1e-2


def test_matrices_have_the_sizes_of_their_points():
    kernel = gravity.KERNEL
    built = box.build(kernel, of_order(5), 1.0)
    n_check, n_equivalent = surface.check("filled", 5).shape[1], surface.equivalent("filled", 5).shape[1]
    assert n_check != n_equivalent
    assert built.check_to_multipole.shape == (n_check, built.rank) == built.local_to_density.T.shape
    assert built.check_to_local.shape == (n_equivalent, built.rank) == built.multipole_to_density.T.shape
    plain = replace(kernel, surfaces="single")
    assert size.least_bytes(kernel, of_order(12)) > size.least_bytes(plain, of_order(12))


def test_an_unknown_arrangement_is_refused(waves):
    with pytest.raises(
        InputError, match="surfaces are 'triple', expected one of 'single', 'doubled', 'filled'"
    ):
        register(replace(waves, surfaces="triple"))
