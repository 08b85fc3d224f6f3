"""The bar and the compile line: what they count, and when they keep quiet."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading

import dask.threaded
import pytest
from dask.task_spec import Task, TaskRef

from taskfmm.profiling import progress as module
from taskfmm.profiling.names import operator_of
from taskfmm.profiling.progress import progress


def add(*values):
    return sum(values)


def graph(token="fmm0abc"):
    """Four tasks of ours and one of somebody else's."""
    near = [Task((f"P2P-{token}", 3, s), add, s, 10) for s in range(2)]
    m2l = Task((f"M2L-{token}", 3, 0), add, 1)
    other = Task(("sum-xyz", 0), add, 5)
    keys = [TaskRef(task.key) for task in (*near, m2l, other)]
    last = Task((f"potential-{token}", 0), add, *keys)
    return {task.key: task for task in (*near, m2l, other, last)}, last.key


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_operator_of_a_key():
    assert operator_of(("M2L-fmm01f3a-b", 4, 2)) == "M2L"
    assert operator_of("P2P-fmm01f3a") == "P2P"
    for key in (
        ("M2L", 1),
        ("sum-1f3a", 0),
        ("M2L-1f3a", 0),
        ("exponent-fmm11f3a", 0),
        "P2P",
        ("p2m_1", 0),
        7,
        (),
        (3, 4),
    ):
        assert operator_of(key) is None


def test_the_bar_counts_our_tasks_and_names_the_operator(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "DELAY", 0.0)
    bars = []

    class Spy(module.tqdm):
        def close(self):
            if self not in bars:
                bars.append(self)
                self.mininterval = 0.0
                self.refresh()
            super().close()

    monkeypatch.setattr(module, "tqdm", Spy)
    dsk, key = graph()
    with progress():
        assert dask.threaded.get(dsk, key, num_workers=1) == 27
    assert [(bar.n, bar.total) for bar in bars] == [(4, 4)]
    assert "4/4" in screen.getvalue()
    assert "potential" in screen.getvalue()


@pytest.mark.parametrize(
    "stream, delay", [(io.StringIO, 0.0), (Terminal, 30.0)], ids=["not a terminal", "under the delay"]
)
def test_the_bar_keeps_quiet(monkeypatch, stream, delay):
    screen = stream()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "DELAY", delay)
    dsk, key = graph()
    with progress():
        dask.threaded.get(dsk, key)
    assert screen.getvalue() == ""


def test_there_is_no_bar_for_the_graphs_of_others(monkeypatch):
    monkeypatch.setattr(module, "tqdm", lambda *_, **__: pytest.fail("a bar was made"))
    with progress():
        assert dask.threaded.get({("sum-1", 0): Task(("sum-1", 0), add, 2)}, ("sum-1", 0)) == 2


def test_the_bar_goes_when_a_task_fails_and_when_threads_share_it(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    key = ("P2P-fmm0bad", 0)
    shown = progress()
    with shown, pytest.raises(TypeError):
        dask.threaded.get({key: Task(key, add, "text")}, key)
    assert shown._bar is None

    results = []

    def work(token):
        dsk, key = graph(token)
        results.append(dask.threaded.get(dsk, key))

    with shown:
        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [27] * 6
    assert shown._bar is None
    assert not shown._running


class Compiles:
    """What Numba hands a listener when a dispatcher compiles."""

    def __init__(self, name):
        function = type("function", (), {"__module__": name})
        self.data = {"dispatcher": type("dispatcher", (), {"py_func": function})}


def test_compilation_is_announced_once_and_for_our_kernels_alone(monkeypatch, caplog):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    listener = module._Announcement()
    with caplog.at_level(logging.INFO, logger="taskfmm"):
        listener.on_start(Compiles("numpy.linalg"))
        listener.on_start(Compiles("taskfmmlike.loops"))
        assert not caplog.records
        for _ in range(2):
            listener.on_start(Compiles("taskfmm.kernels.loops"))
    assert [record.getMessage() for record in caplog.records] == [module.COMPILING]
    assert screen.getvalue().strip() == module.COMPILING


def test_without_a_terminal_only_the_log_says_it(monkeypatch, caplog):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with caplog.at_level(logging.INFO, logger="taskfmm"):
        module._Announcement().on_start(Compiles("taskfmm.kernels.loops"))
    assert len(caplog.records) == 1
    assert screen.getvalue() == ""


def test_a_process_without_standard_error_computes(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(module, "DELAY", 0.0)
    dsk, key = graph()
    with progress():
        assert dask.threaded.get(dsk, key, num_workers=1) == 27
    with caplog.at_level(logging.INFO, logger="taskfmm"):
        module._Announcement().on_start(Compiles("taskfmm.kernels.loops"))
    assert len(caplog.records) == 1


def test_a_real_compilation_is_heard_in_a_process_that_asked_twice():
    code = """
import logging, numba
logging.basicConfig(level=logging.INFO)
from taskfmm.profiling.progress import announce_compilation
announce_compilation(); announce_compilation()
def f(x): return x + 1
f.__module__ = "taskfmm.kernels.loops"
g = numba.njit(f)
print(g(1), g(1.0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2.0"]
    assert done.stderr.count("compiling kernels") == 1
    assert done.stderr.startswith("INFO:taskfmm:")
