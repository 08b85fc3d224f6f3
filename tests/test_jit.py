"""Loops in a serial and a parallel form, and the names that keep Numba's disk cache apart."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from taskfmm.jit import OPTIONS, Loop, loop
from taskfmm.kernels import gather_loops


@loop
def _square(values, out):
    for i in numba.prange(values.size):
        out[i] = values[i] ** 2


def test_both_forms_run_the_same_body():
    values = np.arange(1000.0)
    found = []
    for threads in (1, 2, 1000):
        out = np.zeros(1000)
        _square(values, out, threads=threads)
        found.append(out)
    for out in found:
        np.testing.assert_array_equal(out, values**2)


def test_one_thread_runs_the_serial_form():
    made = Loop(_square.serial.py_func)
    out = np.zeros(3)
    made(np.arange(3.0), out)
    assert made.serial.signatures
    assert not made.parallel.signatures
    made(np.arange(3.0), out, threads=2)
    assert made.parallel.signatures


def test_the_number_of_threads_is_what_was_asked():
    before = numba.get_num_threads()
    try:
        _square(np.arange(3.0), np.zeros(3), threads=2)
        assert numba.get_num_threads() == min(2, numba.config.NUMBA_NUM_THREADS)
    finally:
        numba.set_num_threads(before)


def test_options_are_those_that_vectorise():
    assert OPTIONS["nogil"]
    assert OPTIONS["cache"]
    assert OPTIONS["error_model"] == "numpy"


def test_names_differ_by_module_and_form():
    names = {
        f.py_func.__qualname__
        for kernel in ("laplace", "one")
        for output in ("potential", "gradient")
        for body in ("points_to_points", "surfaces_to_points")
        for f in (
            getattr(gather_loops(kernel, output), body).serial,
            getattr(gather_loops(kernel, output), body).parallel,
        )
    }
    assert len(names) == 16


def test_forms_release_the_interpreter():
    assert _square.serial.targetoptions["nogil"]
    assert _square.parallel.targetoptions["parallel"]
    assert not _square.serial.targetoptions.get("parallel", False)


def test_a_wrong_call_raises():
    with pytest.raises(numba.core.errors.TypingError):
        _square(1.0, np.zeros(3))


def test_where_numba_finds_no_place_for_its_cache(monkeypatch, caplog):
    """A package directory and a home that cannot be written: Numba alone raises an error on import."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    monkeypatch.setattr("taskfmm.jit._said", False)
    out = np.zeros(3)
    for _ in range(2):
        Loop(_square.serial.py_func)(np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0, 1, 4])
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1
