"""A second process compiles what evaluations call, and this one finds it."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time

import dask
import numpy as np
import pytest

import taskfmm
from taskfmm import compile_ahead, kernels
from taskfmm.errors import InputError
from taskfmm.jit import Loop
from taskfmm.operators.siblings import translate_siblings
from taskfmm.plan.planned import Asked
from taskfmm.planning import from_points

SIGNATURES = """
import sys
from taskfmm import jit
jit.interpreted = {interpreted}
import numpy as np, taskfmm
from taskfmm import compiling, kernels
from taskfmm.kernels import gather_loops, spread_loops, with_roots
from taskfmm.passes import share_loops
from taskfmm.passes.translations import translate_dense
from taskfmm.operators.siblings import translate_siblings
from taskfmm.tree import lists

kernel, separate, eps = kernels.find("laplace"), {separate}, 1e-6
if {interpreted}:
    assert not hasattr(lists._colleagues.body, "signatures")
    compiling.compile_for({names}, "laplace", separate, {later}, eps=eps, order=None, dtype=np.float64)
else:
    rng = np.random.default_rng(1)
    x, q = rng.random((2000, 3)), rng.uniform(-1, 1, 2000)
    fmm = taskfmm.Fmm(x, rng.random((2000, 3)) if separate else None, eps=eps, leaf_size=30)
    fmm.potential(q).compute(scheduler="synchronous")
    fmm.evaluate(q, "gradient")["gradient"].compute(scheduler="synchronous")
summed = with_roots(kernel, eps).of_first
near, onto = gather_loops(summed, "potential"), spread_loops(summed)
pairs = near.points_to_points if separate else near.points_to_points_mutual
loops = dict(M2L=translate_siblings, P2P=pairs, L2P=near.surfaces_to_points, P2M=onto.points_to_surfaces)
loops |= dict(M2M=translate_dense, look=share_loops.squares_if_random)
loops = {{name: loops[name] for name in {names}}}
near = gather_loops(summed, "gradient")
pairs = near.points_to_points if separate else near.points_to_points_mutual
loops |= dict(later_P2P=pairs, later_L2P=near.surfaces_to_points, later_look=share_loops.descend)
for name, loop in loops.items():
    compiled = getattr(loop, "body", loop)
    assert compiled.signatures or (name == "look" and separate), name
    print(*(f"{{name}} {{each}}" for each in compiled.signatures), sep="\\n")
"""

A_LOOP = """
from taskfmm.jit import loop

@loop
def one(first, last, out):
    for i in range(first, last):
        out[i] = 1
"""


def signatures(interpreted: tuple[str, ...], separate: bool) -> set[str]:
    """Of the loops that are compiled ahead, in a new process."""
    names = sum(compile_ahead.SHARES[2], ())
    later = sum(compile_ahead.LATER[2], ())
    program = SIGNATURES.format(interpreted=interpreted, separate=separate, names=names, later=later)
    environment = os.environ | {"NUMBA_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("separate", [False, True])
def test_what_is_compiled_is_what_evaluations_call(separate):
    """An evaluation may need more, as loops over a sample of targets."""
    ahead_of_time, needed = signatures(compile_ahead.PLANNING, separate), signatures((), separate)
    assert ahead_of_time
    assert ahead_of_time <= needed


@pytest.fixture
def cold(monkeypatch):
    """As if nothing were in Numba's cache, on two cores."""
    monkeypatch.setattr(Loop, "kept", lambda self: False)
    monkeypatch.setattr(compile_ahead, "_started", {})
    monkeypatch.setattr(compile_ahead, "cores", lambda: 2)
    monkeypatch.setattr(compile_ahead, "concurrent_tasks", lambda: 1)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
    with dask.config.set({"taskfmm.compile-ahead": True}):
        yield


def start(kernel: str | kernels.Kernel, separate: bool = False, dtype: type = float) -> None:
    compile_ahead.start(Asked(kernels.find(kernel), np.dtype(dtype), 1e-3, None), separate)


@pytest.fixture
def started(cold, monkeypatch):
    """The processes that are started."""
    found, process = [], compile_ahead._process
    monkeypatch.setattr(compile_ahead, "_process", lambda given: found.append(process(given)) or found[-1])
    yield found
    for running in found:
        running.kill()
        running.wait()


@pytest.mark.parametrize("dtype", [float, np.float32])
def test_the_process_comes_to_its_end(started, dtype):
    start("laplace", dtype=dtype)
    assert started[0].wait(timeout=300) == 0


def test_more_cores_share_what_there_is_to_compile(started, monkeypatch):
    monkeypatch.setattr(compile_ahead, "cores", lambda: 8)
    start("laplace")
    assert [running.wait(timeout=300) for running in started] == [0, 0]


def test_one_process_for_each_near_field(started):
    for name, separate in (("laplace", False), ("laplace", False), ("laplace", True), ("one", False)):
        start(name, separate)
    assert [running.wait(timeout=300) for running in started] == [0, 0, 0]


def test_a_program_may_end_while_others_compile():
    """Without a warning of a process that still runs."""
    program = (
        "import multiprocessing, dask, numpy as np, taskfmm\n"
        "from taskfmm import compile_ahead\n"
        "from taskfmm.jit import Loop\n"
        "from taskfmm.plan.planned import Asked\n"
        "Loop.kept, compile_ahead.cores = lambda self: False, lambda: 2\n"
        "dask.config.set({'taskfmm.compile-ahead': True})\n"
        "compile_ahead.start(Asked(taskfmm.kernels.Laplace(), np.dtype(float), 1e-3, None), False)\n"
        "assert next(iter(compile_ahead._started.values()))[0].poll() is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_beside_the_program_is_run(started, monkeypatch, tmp_path):
    """A process that Python starts with a text looks for modules in the working directory first."""
    tmp_path.joinpath("json.py").write_text("import pathlib; pathlib.Path('was run').touch()")
    monkeypatch.chdir(tmp_path)
    start("laplace")
    assert started[0].wait(timeout=300) == 0
    assert not tmp_path.joinpath("was run").exists()


def none_starts(monkeypatch, kernel: str | kernels.Kernel = "laplace") -> None:
    monkeypatch.setattr(compile_ahead, "_process", lambda given: pytest.fail("a process was started"))
    start(kernel)


@pytest.mark.parametrize("of_m2l", [True, None])
def test_none_where_loops_are_kept_or_cannot_be(cold, monkeypatch, of_m2l):
    monkeypatch.setattr(Loop, "kept", lambda self: of_m2l if self is translate_siblings else True)
    none_starts(monkeypatch)


def test_one_where_another_kernel_left_m2l(started, monkeypatch):
    monkeypatch.setattr(Loop, "kept", lambda self: self is translate_siblings)
    start("laplace")
    assert len(started) == 1


def test_none_on_one_core(cold, monkeypatch):
    monkeypatch.setattr(compile_ahead, "cores", lambda: 1)
    none_starts(monkeypatch)


def test_none_in_workers(cold, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(compile_ahead, "concurrent_tasks", lambda: 2)
        none_starts(patch)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "another one")
    none_starts(monkeypatch)


@pytest.mark.parametrize("name", [None, "", "/opt/modeller/bin/modeller"])
def test_none_where_python_is_within_another_program(cold, monkeypatch, name):
    """It would be that program that starts."""
    monkeypatch.setattr(sys, "executable", name)
    none_starts(monkeypatch)


def test_none_in_a_program_that_has_its_own_python(cold, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    none_starts(monkeypatch)


@pytest.mark.parametrize("kernel", [kernels.Yukawa(1.0), kernels.Gravity(softening=0.1)])
def test_none_for_kernels_that_no_name_stands_for(cold, monkeypatch, kernel):
    none_starts(monkeypatch, kernel)


def test_none_if_it_is_switched_off(cold, monkeypatch):
    with dask.config.set({"taskfmm.compile-ahead": False}):
        none_starts(monkeypatch)
    with dask.config.set({"taskfmm.compile-ahead": "no"}), pytest.raises(InputError, match="true or false"):
        start("laplace")


def test_none_for_a_sum_over_all_pairs(cold, monkeypatch):
    monkeypatch.setattr(compile_ahead, "_process", lambda given: pytest.fail("a process was started"))
    taskfmm.Fmm(np.random.default_rng(2).random((50, 3)))


def test_plans_begin_it(started):
    points = np.random.default_rng(3).random((500, 3))
    from_points(points, None, "laplace", 1e-3, None, 20, float, None)
    assert len(started) == 1


def test_a_process_that_cannot_be_started_is_not_missed(cold, monkeypatch):
    asked = []

    def refused(*args, **options):
        asked.append(args)
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    points = np.random.default_rng(4).random((500, 3))
    assert taskfmm.Fmm(points, eps=1e-3, leaf_size=20).serial(np.ones(500)).shape == (500,)
    assert asked


def test_loops_are_kept_until_their_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "a_loop.py"
    path.write_text(A_LOOP)
    spec = importlib.util.spec_from_file_location("a_loop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.one.kept()
    module.one(0, 3, np.zeros(3))
    assert module.one.kept()
    later = time.time() + 10
    os.utime(path, (later, later))
    assert not module.one.kept()
