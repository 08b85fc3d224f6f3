"""Cases in fresh processes: each gets its case as JSON and prints the result, as JSON, in its last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class Count(click.ParamType):
    """A whole number that may be written as 1e6."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if number < 1 or number != int(number):
            self.fail(f"{value!r} is not a whole number above 0", param, ctx)
        return int(number)


def environment(threads: int) -> dict[str, str]:
    """The environment of a case that keeps to that many threads."""
    found = dict(os.environ) | {name: str(threads) for name in THREAD_VARIABLES}
    found["DASK_TASKFMM__COMPILE_AHEAD"] = "false"  # nothing else runs while a case is timed
    if threads == 1:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} {flags}".strip()
    return found


def run(module: str, case: dict[str, Any], timeout: float) -> dict[str, Any]:
    """What ``python -m module --case`` makes of a case, added to it.

    A failure becomes a result with the last line of its complaint.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, "--case"],
            input=json.dumps(case),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(case["threads"]),
            cwd=Path(__file__).parents[1],
        )
    except subprocess.TimeoutExpired:
        return case | {"failed": f"no result after {timeout:g} s"}
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = complaint[-1] if done.returncode > 0 else f"killed by signal {-done.returncode}"
        return case | {"failed": reason, "stderr": done.stderr[-4000:]}
    return case | json.loads(done.stdout.strip().splitlines()[-1])
