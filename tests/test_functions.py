"""Kernels that are made of one function, and the examples of them that come along."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import AccuracyError, InputError
from taskfmm.kernels import KERNELS, examples, from_function, function

HERE = Path(__file__).with_name("kernels_of_users")
N = 2000


@pytest.fixture(autouse=True)
def importable(monkeypatch, kernels_kept):
    """Also in other processes, where tasks import the function by its name."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@pytest.fixture
def functions():
    return importlib.import_module("functions")


FORMULAS = {
    "gaussian": (lambda: examples.Gaussian(0.4), lambda r: np.exp(-(r**2) / (2 * 0.4**2))),
    "exponential": (lambda: examples.Exponential(0.7), lambda r: np.exp(-r / 0.7)),
    "matern_3_2": (
        lambda: examples.Matern(0.6),
        lambda r: (1 + np.sqrt(3) * r / 0.6) * np.exp(-np.sqrt(3) * r / 0.6),
    ),
    "matern_5_2": (
        lambda: examples.Matern(0.6, 2.5),
        lambda r: (1 + np.sqrt(5) * r / 0.6 + 5 * r**2 / (3 * 0.6**2)) * np.exp(-np.sqrt(5) * r / 0.6),
    ),
    "inverse_square": (
        examples.InverseSquare,
        lambda r: np.divide(1.0, r**2, where=r > 0, out=np.zeros_like(r)),
    ),
    "thin_plate": (
        examples.ThinPlate,
        lambda r: r**2 * np.log(r, where=r > 0, out=np.zeros_like(r)),
    ),
    "multiquadric": (lambda: examples.Multiquadric(0.3), lambda r: np.sqrt(r**2 + 0.3**2)),
}


def cloud(n=N):
    return np.random.default_rng(5).random((n, 3))


@pytest.mark.parametrize("name", FORMULAS)
def test_examples_are_their_formulas_and_keep_eps(name):
    """With charges of random sign and with equal ones, where kernels that grow or hardly fall add up."""
    make, formula = FORMULAS[name]
    kernel, x, rng = make(), cloud(), np.random.default_rng(6)
    assert kernel.name == name
    matrix = formula(np.linalg.norm(x[:, None] - x, axis=2))
    fmm = taskfmm.Fmm(x, kernel=kernel, eps=1e-2, leaf_size=60)
    assert not fmm.plan.is_direct
    for q in (rng.uniform(-1, 1, N), np.ones(N)):
        exact = matrix @ q
        assert l2_error(taskfmm.direct(x, q, kernel=kernel), exact) <= 100 * ROUNDING
        assert l2_error(fmm.potential(q).compute(scheduler="synchronous"), exact) <= 1e-2


@pytest.mark.nightly
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("points", ["cube", "cluster"])
@pytest.mark.parametrize("small", [1e-3, 1e-6])
def test_examples_keep_a_small_eps_or_name_the_floor(name, points, small):
    kernel, rng = FORMULAS[name][0](), np.random.default_rng(7)
    x = rng.random((N, 3)) if points == "cube" else rng.normal(size=(N, 3)) ** 3 / 20
    eps = max(small, 1e-4) if name == "gaussian" else small
    fmm = taskfmm.Fmm(x, kernel=kernel, eps=eps, leaf_size=60)
    for q in (rng.uniform(-1, 1, N), np.ones(N)):
        exact = taskfmm.direct(x, q, kernel=kernel)
        assert l2_error(fmm.potential(q).compute(scheduler="synchronous"), exact) <= eps


def test_a_function_and_its_gradient_keep_eps_on_every_scheduler(functions, client, tmp_path):
    """Other processes import the function, by its name."""
    kernel = from_function(functions.falling, 0.3, gradient=functions.slope)
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    x, rng = cloud(), np.random.default_rng(8)
    q = rng.uniform(-1, 1, N)
    d = x[:, None] - x
    value = 1.0 / ((d**2).sum(axis=2) + 0.09)
    expected = {
        "potential": value @ q,
        "gradient": (-2.0 * d * (value**2)[:, :, None] * q[:, None]).sum(axis=1),
    }
    fmm = taskfmm.Fmm(x, kernel=kernel, eps=1e-2, leaf_size=60)
    assert not fmm.plan.is_direct
    found = {name: array.compute(scheduler="threads") for name, array in fmm.evaluate(q).items()}
    for name, exact in expected.items():
        assert l2_error(found[name], exact) <= 1e-2
    for scheduler in ("processes", client):
        for name, array in fmm.evaluate(q).items():
            np.testing.assert_array_equal(array.compute(scheduler=scheduler), found[name])
    fmm.save(tmp_path / "plan.h5")
    np.testing.assert_array_equal(taskfmm.Fmm.load(tmp_path / "plan.h5").serial(q), fmm.serial(q))


RUN = """
import sys; sys.path.insert(0, {here!r})
import numpy as np, taskfmm, functions
kernel = taskfmm.kernels.from_function(functions.falling, 0.3, gradient=functions.slope)
x = np.random.default_rng(3).random((300, 3))
fmm = taskfmm.Fmm(x, kernel=kernel, order=3, leaf_size=20)
assert not fmm.plan.is_direct
print(fmm.serial(np.ones(300), "gradient").tobytes().hex())
"""


@pytest.mark.nightly
def test_loops_that_are_read_from_a_disk_give_the_bits_of_those_that_were_compiled(monkeypatch, tmp_path):
    """Also where a formula is so long that LLVM would not inline it at first."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    run = [sys.executable, "-c", RUN.format(here=str(HERE))]
    first, second = (subprocess.run(run, capture_output=True, check=True, text=True).stdout for _ in range(2))
    assert first == second != ""


def closure(width):
    def value(dx, dy, dz):
        return np.exp(-(dx * dx + dy * dy + dz * dz) / (width * width))

    return value


def test_closures_work_in_this_process_and_say_so(monkeypatch, caplog):
    """Each of them is a kernel of its own; another process that gets one refuses it."""
    monkeypatch.setattr(importlib.import_module("taskfmm.kernels.from_function"), "_told", set())
    caplog.set_level(logging.WARNING, "taskfmm")
    x = cloud(100)
    r2 = ((x[:, None] - x) ** 2).sum(axis=2)
    kernels = [from_function(closure(width)) for width in (0.5, 0.8, 0.5)]
    assert kernels[0] == kernels[2] != kernels[1]
    for kernel, width in zip(kernels[:2], (0.5, 0.8), strict=True):
        exact = np.exp(-r2 / width**2).sum(axis=1)
        assert l2_error(taskfmm.direct(x, np.ones(100), kernel=kernel), exact) <= 1e-12
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("made of a function that other processes cannot import" in each for each in told)
    monkeypatch.setattr(function, "_here", {})
    with pytest.raises(
        InputError, match=r"closure\.<locals>\.value, which this process cannot import: define it at"
    ):
        function.module(kernels[0].module)
    assert from_function(lambda dx, dy, dz: dx * dx + dy * dy + dz * dz + 1.0).name.startswith("lambda_")


def test_what_a_function_needs_of_its_surroundings_is_part_of_it():
    """Else a loop of another one would be read from the disk."""
    one, two = (function.digest([closure(width)]) for width in (0.5, 0.8))
    assert one != two == function.digest([closure(0.8)])
    tables = [np.array([1.0, 2.0]), np.array([1.0, 3.0])]
    assert len({function.digest([holding(table)]) for table in tables}) == 2


def holding(table):
    def value(dx, dy, dz):
        return table[1] + dx * dx + dy * dy + dz * dz

    return value


@each("width", [1e-9, 1e7])
def test_lengths_may_be_in_any_unit(width):
    """The function is looked at where it does something."""
    x = width * cloud(200)
    r = np.linalg.norm(x[:, None] - x, axis=2)
    for kernel, exact in (
        (from_function(closure(width)), np.exp(-((r / width) ** 2))),
        (examples.Exponential(width), np.exp(-r / width)),
    ):
        assert l2_error(taskfmm.direct(x, np.ones(200), kernel=kernel), exact.sum(axis=1)) <= 1e-12


def r2(dx, dy, dz):
    return dx * dx + dy * dy + dz * dz


square = numba.njit(r2)


@each(
    "make, says",
    [
        (lambda: from_function(3.0), r"value is 3.0: give a function, value\(dx, dy, dz\) or value\(dx, dy, dz, p"),
        (lambda: from_function(np.exp), "value is <ufunc 'exp'>: give a function"),
        (lambda: from_function(lambda x: x), r"value has 1 arguments: give a function value\(dx, dy, dz\) or"),
        (lambda: from_function(r2, 2.0), "value takes no parameters, and 1 are given"),
        (lambda: from_function(r2, "a"), "parameters are 'a': give finite real numbers"),
        (lambda: from_function(closure(1.0), (np.nan,)), "parameters are .nan,.: give finite real numbers"),
        (lambda: from_function(lambda dx, dy, dz, p: p[1] + dx * dx, 1.0), "reads more parameters than the 1"),
        (lambda: from_function(lambda dx, dy, dz: misspelt(dx)), "compiled by Numba, or fails: .*'misspelt'"),  # noqa: F821
        (lambda: from_function(lambda dx, dy, dz: (dx, dy)), r"value returns \(.*\): a kernel is one real number"),
        (lambda: from_function(lambda dx, dy, dz: 1j * dx * dx), "a kernel is one real number"),
        (lambda: from_function(lambda dx, dy, dz: np.log(-square(dx, dy, dz))), "is nan: the kernel must be finite"),
        (lambda: from_function(lambda dx, dy, dz: 0.0 * dx), "value is 0 at all offsets"),
        (lambda: from_function(lambda dx, dy, dz: dx), r"the same at opposite offsets, K\(r\) = K\(-r\)"),
        (lambda: from_function(lambda dx, dy, dz: dx * dx + 2 * dy * dy), "where axes are exchanged or reflected"),
        (lambda: from_function(r2, degree=-1), r"degree is -1, .*: it goes with degree=2"),
        (lambda: from_function(closure(1.0), degree=-1), "it goes with no power: leave degree out"),
        (lambda: from_function(r2, degree=2.0), "degree is 2.0: give an integer"),
        (lambda: from_function(lambda dx, dy, dz: 1.0 / square(dx, dy, dz)), r"is inf: .*return 0.0 for"),
        (lambda: from_function(lambda dx, dy, dz: np.sin(square(dx, dy, dz)) / square(dx, dy, dz)), r"\) is nan"),
        (lambda: from_function(r2, name="my kernel"), "name is 'my kernel': give an identifier"),
        (lambda: from_function(r2, name=3), "name is 3: give an identifier"),
        (lambda: from_function(r2, name="laplace"), "another kernel is called 'laplace'"),
        (lambda: from_function(r2, gradient=lambda dx, dy, dz: (dx, dy, dz)), "is not the derivative of value by dx"),
        (lambda: from_function(r2, gradient=lambda dx, dy, dz: 2 * dx), "gradient returns .*: give a tuple of three"),
        (lambda: from_function(r2, gradient=lambda dx, dy, dz: (2 * dx, 2 * dy, 2 * dz + dz / dz * 0)), "is .*nan"),
        (lambda: examples.Gaussian(0.0), "width is 0.0: give a positive number"),
        (lambda: examples.Matern(1.0, 2.0), "smoothness is 2.0: give 1.5 or 2.5"),
        (lambda: examples.Multiquadric(np.inf), "shape is inf"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_an_eps_that_is_not_reached_is_refused_before_any_number(functions):
    """A kernel that is wrongly said to solve an equation ends at a floor of its own."""
    kernel = from_function(examples.inverse_square, degree=-2, elliptic=True, name="wrongly_elliptic")
    with pytest.raises(AccuracyError, match="the floor for a potential of any charges in float64 is"):
        taskfmm.Fmm(cloud(), kernel=kernel, eps=1e-5, leaf_size=60)
    assert kernel.name in KERNELS


def test_the_value_at_distance_zero_counts():
    """Where it is finite; a point adds its own charge once."""
    for kernel, here in (
        (examples.Gaussian(0.1), 1.0),
        (examples.ThinPlate(), 0.0),
        (examples.Multiquadric(2.0), 2.0),
    ):
        assert taskfmm.direct(np.ones((1, 3)), [3.0], kernel=kernel) == pytest.approx([3.0 * here])
        assert kernel.counts_itself == bool(here)


def test_eps_is_kept_of_clusters_in_corners_of_their_boxes():
    """All of them err as one source, at targets that lie as they do."""
    rng = np.random.default_rng(147)
    n = int(rng.integers(2, 10))
    weights, centers = rng.dirichlet(np.full(n, 0.5)), rng.random((n, 3))
    points = centers[rng.choice(n, 8000, p=weights)] + 1e-3 * rng.normal(size=(8000, 3))
    kernel, charges = examples.Gaussian(0.3), np.ones(8000)
    exact = taskfmm.direct(points, charges, kernel=kernel)
    found = taskfmm.Fmm(points, kernel=kernel, eps=1e-3).potential(charges)
    assert l2_error(found.compute(), exact) <= 1e-3
