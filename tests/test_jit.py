"""Loops on one thread and on many, and the names that keep Numba's disk cache apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import taskfmm
from taskfmm.jit import OPTIONS, Loop, loop
from taskfmm.kernels import KERNELS, gather_loops


@loop
def _square(first, last, values, out):
    for i in range(first, last):
        out[i] = values[i] ** 2


@loop
def _buffers(first, last, size, out):
    for i in range(first, last):
        out[i] = np.empty(size).size


def test_all_rows_are_worked_on_once():
    values = np.arange(1000.0)
    for threads in (1, 2, 3, 1000):
        out = np.full(1000, -1.0)
        _square(0, 1000, values, out, threads=threads)
        np.testing.assert_array_equal(out, values**2)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_part_of_the_rows(threads):
    out = np.full(10, -1.0)
    _square(3, 7, np.arange(10.0), out, threads=threads)
    np.testing.assert_array_equal(out, [-1, -1, -1, 9, 16, 25, 36, -1, -1, -1])
    _square(5, 5, np.arange(10.0), out, threads=threads)  # no row
    np.testing.assert_array_equal(out[7:], -1)


def test_one_compilation_serves_any_number_of_threads():
    made = Loop(_square.body.py_func)
    out = np.zeros(3)
    made(0, 3, np.arange(3.0), out, threads=2)
    made(0, 3, np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0, 1, 4])
    assert len(made.body.signatures) == 1


def test_more_threads_share_the_rows(monkeypatch):
    given = []
    monkeypatch.setattr("taskfmm.jit._call_on_threads", lambda address, *rest: given.append(rest[:3]))
    _square(0, 3, np.arange(3.0), np.zeros(3))
    assert not given
    _square(0, 3, np.arange(3.0), np.zeros(3), threads=2)
    assert given == [(0, 3, min(2, numba.config.NUMBA_NUM_THREADS))]


def test_arrays_of_another_type_get_code_of_their_own():
    made = Loop(_square.body.py_func)
    for kind in (np.float64, np.float32):
        out = np.zeros(3, kind)
        made(0, 3, np.arange(3, dtype=kind), out, threads=2)
        np.testing.assert_array_equal(out, [0, 1, 4])
    assert len(made.body.signatures) == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_too_little_memory_is_an_error(threads):
    """Numba's own parallel loops would go on."""
    with pytest.raises(MemoryError):
        _buffers(0, 2, 2**58, np.zeros(2), threads=threads)


def test_the_number_of_threads_is_what_was_asked():
    before = numba.get_num_threads()
    try:
        _square(0, 3, np.arange(3.0), np.zeros(3), threads=2)
        assert numba.get_num_threads() == min(2, numba.config.NUMBA_NUM_THREADS)
    finally:
        numba.set_num_threads(before)


def test_options_are_those_that_vectorise():
    assert OPTIONS["nogil"]
    assert OPTIONS["cache"]
    assert OPTIONS["error_model"] == "numpy"


def test_names_differ_by_module():
    names = {
        getattr(gather_loops(kernel, output), body).body.py_func.__qualname__
        for kernel in (KERNELS["laplace"].of_first, KERNELS["one"])
        for output in ("potential", "gradient")
        for body in ("points_to_points", "surfaces_to_points")
    }
    assert len(names) == 8


def test_loops_release_the_interpreter():
    assert _square.body.targetoptions["nogil"]


def test_a_wrong_call_raises():
    with pytest.raises(numba.core.errors.TypingError):
        _square(0, 3, 1.0, np.zeros(3))


PLAIN = """
import sys
import dask, numpy as np, taskfmm
from click.testing import CliRunner
from taskfmm.cli import main

rng = np.random.default_rng(90007)
x = np.concatenate([rng.random((60, 3)), 0.01 * rng.random((30, 3))])
q = rng.uniform(-1, 1, 90)
both = ("potential", "gradient")
for kernel, targets in (("laplace", None), ("laplace", rng.random((50, 3))), ("one", None)):
    fmm = taskfmm.Fmm(x, targets, kernel=kernel, eps=1e-3, leaf_size=6)
    exact = taskfmm.direct(x, q, targets, kernel=kernel, outputs=both)
    for how in (dict(scheduler="synchronous"), dict(scheduler="threads", num_workers=2)):
        (found,) = dask.compute(fmm.evaluate(q), **how)
        for output in both:
            wrong = np.linalg.norm(found[output] - exact[output])
            assert wrong <= 1e-3 * np.linalg.norm(exact[output]), (kernel, output, wrong)
        assert np.array_equal(fmm.serial(q, "gradient"), found["gradient"])
fmm.save("plan.h5")
assert np.array_equal(taskfmm.Fmm.load("plan.h5").serial(q), fmm.serial(q))
for command in (
    "generate cube -n 90 -o in.h5",
    "run in.h5 -o out.h5 --gradient --check --eps 1e-3 --leaf-size 6",
    "explain in.h5 --eps 1e-3",
    "profile in.h5 --eps 1e-3",
):
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 0, (command, done.output, done.exception)
"""


def test_everything_runs_without_compilation(tmp_path):
    """People debug with it. Every warning is an error, as an integer that is too small overflows with one only."""
    environment = dict(os.environ, NUMBA_DISABLE_JIT="1", PYTHONPATH=str(Path(taskfmm.__file__).parents[1]))
    command = [sys.executable, "-W", "error", "-c", PLAIN]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_where_numba_finds_no_place_for_its_cache(monkeypatch, caplog):
    """A package directory and a home that cannot be written: Numba alone raises an error on import."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    monkeypatch.setattr("taskfmm.jit._said", False)
    out = np.zeros(3)
    for _ in range(2):
        Loop(_square.body.py_func)(0, 3, np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0, 1, 4])
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1
