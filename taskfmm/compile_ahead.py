"""Compiling what evaluations call in a second process, while this one compiles what plans call, and plans.

Numba compiles one loop at a time in a process, and the first result on a machine waits for all of them. A second
process makes a small plan of the same kind and calls the operators that take longest to compile. This process then
finds them in Numba's cache. Where that goes wrong in any way, it compiles them itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numba

from taskfmm.kernels import KERNELS, Kernel, gather_loops
from taskfmm.operators.siblings import translate_siblings
from taskfmm.runtime import settings
from taskfmm.runtime.threads import cores

PLANNING = ("taskfmm.tree", "taskfmm.plan", "taskfmm.geometry.morton")
"""Rooms whose loops the second process runs as plain Python: this one compiles them meanwhile."""

PROGRAM = f"""
import json, sys
sys.path[:] = sys.argv[2:]
from taskfmm import jit
jit.interpreted = {PLANNING}
from taskfmm import compiling
compiling.compile_for(**json.loads(sys.argv[1]))
"""

SHARES: dict[int, tuple[tuple[str, ...], ...]] = {
    1: (("M2L", "P2P", "L2P", "M2M"),),
    2: (("M2L", "L2P"), ("look", "P2M", "M2M", "P2P")),
}
"""What each process compiles, by their number: first what takes longest, or is needed first. One process leaves the
beginning of an evaluation to the one that evaluates: it would come too late with it."""

_started: set[Any] = set()
"""The loops over near pairs of kernels for which a process was started."""


def start(kernel: Kernel, summed: Kernel, separate: bool, **options: Any) -> None:
    """Start one or two processes that compile for such plans, unless what they would compile is in Numba's cache.

    kernel : that a name stands for; nothing is compiled ahead for others
    summed : the kernel of evaluations, for which its loops are compiled
    separate : whether there are other targets than the sources
    options : of `taskfmm.Fmm`, as JSON has them
    """
    near = gather_loops(summed.of_first, kernel.names[0]).points_to_points
    if near in _started or not _is_possible() or KERNELS.get(kernel.name) != kernel:
        return
    _started.add(near)
    if near.kept() and translate_siblings.kept():
        return
    with contextlib.suppress(OSError):  # where no process can be started, nothing is compiled ahead
        for names in SHARES[min(cores() - 1, max(SHARES))]:
            running = _process(dict(names=names, kernel=kernel.name, separate=separate) | options)
            # someone has to wait for it, or it would be a zombie; nobody has to at the end of this process
            threading.Thread(target=running.wait, daemon=True).start()


def _process(given: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(given), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"NUMBA_NUM_THREADS": "1", "DASK_TASKFMM__COMPILE_AHEAD": "false"},
    )


def _is_possible() -> bool:
    """Whether there is a second core for it, and an interpreter that runs programs."""
    interpreter = Path(sys.executable or "").name.startswith("python") and not hasattr(sys, "frozen")
    return settings.compile_ahead() and cores() > 1 and interpreter and not numba.config.DISABLE_JIT
