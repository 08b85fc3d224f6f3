"""All cases of a matrix, one after the other, each in a fresh process; a file for each, so that a run can go on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.batches.matrix import Case
from benchmarks.batches.scheduling import Config, for_case
from benchmarks.fresh import environment

ROOT = Path(__file__).parents[2]

COMMAND: Sequence[str] = (sys.executable, "-m", "benchmarks.batches.case")
"""What a case is run by: it reads the case from a line of standard input and prints what it found last."""

GRACE = 2.0
"""Seconds between asking a process to stop and killing it and its children."""

Record = dict[str, Any]


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a case is."""
    return folder / "cases" / f"{name}.json"


def load(path: Path) -> Record | None:
    """A record, or None if there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "state" in found else None


def save(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def once(case: Case, config: Config, timeout: float, folder: Path) -> Record:
    """Run a case in a fresh process and keep its record, whatever comes of it.

    Parameters
    ----------
    case : Case
    config : dict
        The Dask configuration of the matrix; the case brings its own threads and workers.
    timeout : float
        Seconds it may take.
    folder : Path
        The record goes to ``cases/`` in it.

    Returns
    -------
    dict
        The case with "state", "done" or "failed"; a failed one with "reason", a done one with what was measured.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C; the process has been ended, and no record written.
    """
    started = time.time()
    found = _process({"case": asdict(case), "config": for_case(config, case)}, case, timeout)
    record = {
        "name": case.name(config),
        "state": "failed" if "reason" in found else "done",
        **asdict(case),
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)),
        "process_seconds": time.time() - started,
        "config": for_case(config, case),
        **found,
    }
    save(record_path(folder, record["name"]), json.dumps(record, indent=1))
    return record


def _process(given: Any, case: Case, timeout: float) -> dict[str, Any]:
    """What a fresh process printed as its last line, or the reason why it did not."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=complaints,
            text=True,
            env=environment(case.dask_threads * case.numba_threads),
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C in the terminal is ours alone, and its children can be found
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(given) + "\n")
                process.stdin.flush()
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return {"reason": f"no result after {timeout:g} s"}
        finally:
            _end(process)
        output.seek(0)
        complaints.seek(0)
        return _found(code, output.read(), complaints.read())


def _found(code: int, output: str, complaints: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    if code == 0 and lines:
        with contextlib.suppress(ValueError):
            found = json.loads(lines[-1])
            if isinstance(found, dict):
                return found
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            reason += ", by the system if memory ran out"
    else:
        last = complaints.strip().splitlines()[-1:] or ["no result"]
        reason = f"exit code {code}: {last[0]}"
    return {"reason": reason, "traceback": complaints[-4000:]}


def _end(process: subprocess.Popen) -> None:
    """Leave nothing of a process behind: ask it to stop if it still runs, then kill what is left of its session."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # a cluster can cancel its jobs
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]


def waiting(case: Case, config: Config, folder: Path, retry_failed: bool) -> bool:
    """Whether a case is still to be run."""
    record = load(record_path(folder, case.name(config)))
    return record is None or (retry_failed and record["state"] == "failed")
