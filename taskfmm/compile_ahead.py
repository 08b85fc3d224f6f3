"""Compiling what evaluations call in other processes, while this one compiles what plans call, and plans.

Numba compiles one loop at a time in a process, and the first result on a machine waits for all of them. Another
process makes a small plan of the same kind and calls the operators that take longest to compile. This process then
finds them in Numba's cache. Where that goes wrong in any way, it compiles them itself.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numba

from taskfmm.jit import Loop
from taskfmm.kernels import KERNELS, Kernel, apart_loops, gather_loops
from taskfmm.operators.siblings import translate_siblings
from taskfmm.plan.planned import Asked
from taskfmm.runtime import settings
from taskfmm.runtime.threads import concurrent_tasks, cores

PLANNING = ("taskfmm.tree", "taskfmm.plan", "taskfmm.geometry.morton")
"""Rooms whose loops the other processes run as plain Python: this one compiles them meanwhile."""

PROGRAM = f"""
import sys
sys.path[:] = sys.argv[2:]
import json
from taskfmm import jit
jit.interpreted = {PLANNING}
from taskfmm import compiling
compiling.compile_for(**json.loads(sys.argv[1]))
"""

SHARES: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("M2L", "P2P", "L2P", "M2M"),),
    2: (("M2L", "L2P"), ("look", "P2M", "M2M", "P2P")),
}
"""What each process compiles, by their number: first what takes longest, or is needed first. A single process leaves
out P2M and the look at charges: the evaluation would reach them first."""

LATER: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("P2P", "L2P", "look"),),
    2: (("P2P",), ("look", "L2P")),
}
"""What each process compiles then for gradients: first what an evaluation needs last."""

_started: dict[Loop, list[subprocess.Popen[bytes]]] = {}
"""By the loop of the near field what was started for it. Nobody waits for them."""


@atexit.register
def _leave_alone() -> None:
    """Python warns of processes that are forgotten while they run. These come to their end by themselves."""
    for process in chain.from_iterable(_started.values()):
        if process.poll() is None:
            process.returncode = 0


def start(asked: Asked, separate: bool) -> None:
    """Start one or two processes that compile for such plans, unless the near field and M2L are in Numba's cache.

    separate : whether there are other targets than the sources
    """
    for process in chain.from_iterable(_started.values()):
        process.poll()  # what has ended would stay in the system's table of processes
    kernel, output = asked.kernel, asked.first
    if not (_is_known_by_name(kernel) and _is_possible()):
        return
    summed = asked.summed.of_first
    if asked.single:
        near = apart_loops(summed, output).points_to_points
    else:
        loops = gather_loops(summed, output)
        near = loops.points_to_points if separate else loops.points_to_points_mutual
    if near in _started:
        return
    running = _started[near] = []
    given = dict(
        eps=asked.eps, order=asked.order, dtype=asked.dtype.name, separate=separate, parent=os.getpid()
    )
    with contextlib.suppress(OSError):  # where no process can be started, nothing is compiled ahead
        kept = near.kept(), translate_siblings.kept()
        if None not in kept and not all(kept):
            n = min(cores() - 1, max(SHARES))
            for names, later in zip(SHARES[n], LATER[n], strict=True):
                running.append(_process(dict(kernel=kernel.name, names=names, later=later) | given))


def _is_known_by_name(kernel: Kernel) -> bool:
    """Whether another process finds it by its name."""
    of_ours = kernel.module.startswith("taskfmm.") and KERNELS.get(kernel.name) == kernel
    return of_ours and not kernel.parameters and kernel.softening is None


def _process(given: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(given), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"NUMBA_NUM_THREADS": "1", "DASK_TASKFMM__COMPILE_AHEAD": "false"},
    )


def _is_possible() -> bool:
    """Whether there is a second core for it, and an interpreter that runs programs.

    Workers of a pool or a cluster would start as many processes each.
    """
    alone = multiprocessing.parent_process() is None and concurrent_tasks() == 1
    interpreter = Path(sys.executable or "").name.lower().startswith("python") and not hasattr(sys, "frozen")
    return settings.compile_ahead() and cores() > 1 and alone and interpreter and not numba.config.DISABLE_JIT
