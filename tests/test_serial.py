"""The FMM without Dask: close to the direct sum, the same on any number of threads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from bounds import PROPERTY, SERIAL_ERROR
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.kernels import KERNELS
from taskfmm.operators.levels import Operators
from taskfmm.passes import serial


def test_it_is_the_direct_sum(fmm, charges):
    expected = taskfmm.direct(fmm.sources, charges, fmm.targets, outputs=("potential", "gradient"))
    for output, exact in expected.items():
        found = fmm.serial(charges, output)
        assert found.shape == exact.shape
        assert 0 < l2_error(found, exact) <= SERIAL_ERROR[output]


def arrays(values):
    return [*values.far.values(), *values.near]


@each("output", ["potential", "gradient"])
def test_any_number_of_threads_gives_the_same_bits(fmm, charges, output):
    plan, accuracy = fmm.plan, fmm.accuracy(output)
    q = [charges[rows][None] for rows in plan.charges]
    operators = Operators(KERNELS["laplace"].of_first, accuracy)
    one, two = (
        serial.evaluate(plan, operators, fmm.kernel.of_first, q, output, threads=threads)
        for threads in (1, 2)
    )
    assert one.far.keys() == two.far.keys() and one.far and one.near
    for a, b in zip(arrays(one), arrays(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradient_mode_has_the_same_potential(fmm, charges):
    plan = fmm.plan
    q = [charges[rows][None] for rows in plan.charges]
    operators = Operators(KERNELS["laplace"].of_first, fmm.accuracy("potential"))
    alone, both = (
        serial.evaluate(plan, operators, fmm.kernel.of_first, q, output)
        for output in ("potential", "gradient")
    )
    for a, b in zip(arrays(alone), arrays(both), strict=True):
        assert a.shape[0] == 1
        assert b.shape[0] == 4
        np.testing.assert_allclose(b[0], a[0], rtol=0, atol=PROPERTY * np.abs(a).max())


def test_the_cut_into_shards_changes_rounding_alone(fmm, charges):
    """The same cloud in the shards of the default plan."""
    targets = None if fmm.targets is fmm.sources else fmm.targets
    coarse = taskfmm.Fmm(fmm.sources, targets, order=fmm.order, leaf_size=fmm.leaf_size)
    assert len(coarse.plan.near) < len(fmm.plan.near)
    assert l2_error(coarse.serial(charges), fmm.serial(charges)) <= PROPERTY


def test_the_numerics_do_not_need_dask():
    """Planning and the serial passes import no Dask."""
    code = (
        "import sys; sys.modules['dask'] = None; sys.modules['distributed'] = None\n"
        "import types; bare = types.ModuleType('taskfmm'); import importlib.util\n"
        "spec = importlib.util.find_spec('taskfmm')\n"
        "bare.__path__ = spec.submodule_search_locations; sys.modules['taskfmm'] = bare\n"
        "import taskfmm.passes.serial, taskfmm.plan.plan, taskfmm.operators.levels, taskfmm.tree.lists\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
