"""Kernels that die away: levels at which nothing is left of them have no operators and no M2L."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from boxes import l2_error
from test_kernels_of_users import HERE

import taskfmm
from taskfmm.kernels import KERNELS, register
from taskfmm.operators import levels
from taskfmm.operators.radial import first_level
from taskfmm.plan.cost import TOP_LEVEL

EPS, N, WIDTH = 1e-3, 4000, 300.0
"""Of the cloud, in lengths over which the kernel falls by e."""


@pytest.fixture(scope="module")
def kernel():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        patch.setenv("PYTHONPATH", str(HERE))
        yield register(importlib.import_module("screened").KERNEL).with_parameters(1.0)
        del KERNELS["screened"]


def wide(n: int = N) -> np.ndarray:
    """Clusters of a few lengths each, all over a wide cube."""
    rng = np.random.default_rng(3)
    return WIDTH * rng.random((40, 3))[rng.integers(0, 40, n)] + rng.normal(size=(n, 3))


@pytest.fixture(scope="module")
def fmm(kernel):
    return taskfmm.Fmm(wide(), kernel=kernel, eps=EPS, leaf_size=40)


def test_coarse_levels_have_no_operators(kernel, monkeypatch):
    """Neither for the plan nor for an evaluation; those above would be of boxes 75 lengths wide."""
    loaded, load = set(), levels.load
    monkeypatch.setattr(levels, "load", lambda *which: loaded.add(which[2]) or load(*which))
    fmm = taskfmm.Fmm(wide(), kernel=kernel, eps=EPS, leaf_size=40)
    fmm.serial(np.ones(N), "gradient")
    top, tree = fmm.plan.top, fmm.plan.tree
    assert TOP_LEVEL < top < tree.n_levels - 2
    assert max(loaded) == tree.domain.half_width * 0.5**top
    assert not any(fmm.plan.far[:top]) and all(fmm.plan.far[top:])
    far = (fmm.plan.lists.v, fmm.plan.lists.x)
    assert all(csr.ptr[tree.level_ptr[top]] == 0 and csr.idx.size for csr in far)


@pytest.mark.parametrize("kind", ["equal", "signed", "heavy"])
def test_eps_is_kept(kernel, fmm, kind):
    rng = np.random.default_rng(5)
    signed = rng.uniform(-1, 1, N)
    q = {"equal": np.ones(N), "signed": signed, "heavy": np.r_[1e9, signed[1:]]}[kind]
    exact = taskfmm.direct(wide(), q, kernel=kernel, outputs=kernel.names)
    for output in kernel.names:
        assert l2_error(fmm.serial(q, output), exact[output]) <= EPS


def test_what_is_left_out_is_never_missed(kernel):
    """Sources nearby make the plan leave out those that are far; and then only these have a charge."""
    near = wide()[:200] + np.random.default_rng(8).normal(size=(200, 3))
    fmm = taskfmm.Fmm(
        wide(), near[:1] + 0.1 * (near - near[:1]) / WIDTH, kernel=kernel, eps=EPS, leaf_size=40
    )
    assert fmm.plan.top > TOP_LEVEL
    far = np.linalg.norm(wide() - near[0], axis=1) > 150.0
    with pytest.raises(
        taskfmm.AccuracyError, match=r"the floor for a potential of these charges .*taskfmm.direct"
    ):
        fmm.serial(1.0 * far)


def test_the_graph_and_a_loaded_plan_give_the_bits_of_plain_calls(kernel, fmm, tmp_path):
    q = np.random.default_rng(6).uniform(-1, 1, N)
    serial = fmm.serial(q, "gradient")
    np.testing.assert_array_equal(fmm.evaluate(q, "gradient")["gradient"].compute(), serial)
    fmm.save(tmp_path / "plan.h5")
    again = taskfmm.Fmm.load(tmp_path / "plan.h5")
    assert again.plan.top == fmm.plan.top
    np.testing.assert_array_equal(again.serial(q, "gradient"), serial)
    assert "operators" in again.explain()


def test_the_first_level_follows_from_eps_and_width(kernel):
    found = [first_level(kernel, eps, 150.0, N, 0.3, TOP_LEVEL) for eps in (1e-3, 1e-6, 1e-12)]
    assert found[0] > TOP_LEVEL and found == sorted(found, reverse=True)
    assert first_level(kernel, EPS, 150.0, N, 100.0, TOP_LEVEL) == TOP_LEVEL
    assert first_level(kernel, EPS, 1.0, N, 0.001, TOP_LEVEL) == TOP_LEVEL
    assert first_level(KERNELS["laplace"].of_first, EPS, 150.0, N, 0.3, TOP_LEVEL) == TOP_LEVEL


def test_operators_are_measured_where_the_kernel_is_felt(kernel):
    """In boxes many lengths wide nothing is left to err; those that do the work are many levels below."""
    rng = np.random.default_rng(9)
    points = 50_000.0 * rng.random((8000, 3))
    points[:2500] = points[rng.integers(4000, 4004, 2500)] + 20.0 * rng.random((2500, 3))
    fmm = taskfmm.Fmm(points, kernel=kernel, eps=1e-4, leaf_size=20)
    assert fmm.accuracy("potential").order > 5
    q = np.ones(8000)
    assert l2_error(fmm.serial(q), taskfmm.direct(points, q, kernel=kernel)) <= 1e-4
