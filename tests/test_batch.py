"""Batches of benchmarks: every case leaves a record whatever becomes of it, and a run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cases import each

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from batches import CASE, MEASURED, ROOT, SMALL, THREADS, invoke, records

from benchmarks.batches import plots, run, table

PRETEND = """
import json, pathlib, sys
case = json.loads(sys.stdin.readline())["case"]
with open({log!r}, "a") as file:
    file.write(f"{{case['n']}}\\n")
print("a line of some library")
print({found!r})
"""


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Cases and pictures take no time: gives the sizes that ran so far."""
    monkeypatch.setattr(plots, "draw", lambda records, folder: [])
    log = tmp_path / "ran"
    log.touch()
    source = PRETEND.format(log=str(log), found=json.dumps(MEASURED))
    monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", source])
    return lambda: [int(line) for line in log.read_text().split()]


def scripted(monkeypatch, source: str) -> None:
    monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", source])


@each(
    "source, reason",
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, by the system if memory ran out"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("raise SystemExit('no such thing')", "exit code 1: no such thing"),
        ("import time; time.sleep(60)", "no result after 0.5 s"),
        ("", "exit code 0: no result"),
        ("print('not what was asked for')", "exit code 0: no result"),
        ("""print('{"reason": "ValueError: bad"}')""", "ValueError: bad"),
    ],
)
def test_a_case_that_fails_has_a_reason(tmp_path, monkeypatch, source, reason):
    scripted(monkeypatch, source)
    record = run.once(CASE, THREADS, 0.5 if "sleep" in source else 60, tmp_path)
    assert (record["state"], record["reason"]) == ("failed", reason)
    assert run.load(run.record_path(tmp_path, CASE.name(THREADS))) == record


def test_a_case_leaves_no_process(tmp_path, monkeypatch):
    """Neither itself, although it takes no notice of Ctrl-C, nor what it started."""
    pids = tmp_path / "pids"
    scripted(
        monkeypatch,
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n",
    )
    monkeypatch.setattr(run, "GRACE", 0.2)
    run.once(CASE, THREADS, 2.0, tmp_path)
    wait_until_gone(pids)


def wait_until_gone(pids: Path) -> None:
    until = time.monotonic() + 20
    left = [int(pid) for pid in pids.read_text().split()]
    assert left
    while left and time.monotonic() < until:
        left = [pid for pid in left if _runs(pid)]
        time.sleep(0.05)
    assert not left


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


STOPPED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
from benchmarks.batches import run
slow = '''
import json, os, sys, threading, time
if json.loads(sys.stdin.readline())["case"]["n"] == 2:
    from benchmarks.batches.case import end_with_parent
    threading.Thread(target=end_with_parent, daemon=True).start()
    open({pids!r}, "w").write(str(os.getpid()))
    time.sleep(60)
print(json.dumps({found!r}))
'''
run.COMMAND = [sys.executable, "-c", slow]
from benchmarks.batch import main
main()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_half_way_and_resumed(tmp_path, written, pretend, number):
    arguments = written(SMALL | {"n": [1, 2, 3]})
    pids = tmp_path / "pids"
    command = [sys.executable, "-c", STOPPED.format(pids=str(pids), found=MEASURED), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (pids.exists() and pids.read_text()) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    _, complaints = process.communicate(timeout=20)
    assert process.returncode == (-number if number == signal.SIGKILL else 130), complaints
    wait_until_gone(pids)
    kept = list((tmp_path / "out" / "cases").iterdir())
    assert [run.load(path)["n"] for path in kept] == [1]

    shown = invoke(arguments)
    assert shown.exit_code == 0
    assert "1 of 3 cases have a record already" in shown.output
    assert pretend() == [2, 3]
    assert [record["n"] for record in records(tmp_path / "out")] == [1, 2, 3]


# --- resuming


def test_done_cases_are_not_run_again_and_failed_ones_when_asked(tmp_path, written, pretend):
    arguments = written(SMALL | {"n": [1, 2]})
    out = tmp_path / "out"
    assert invoke(arguments).exit_code == 0
    assert invoke(arguments).exit_code == 0
    assert pretend() == [1, 2]

    path = run.record_path(out, records(out)[0]["name"])
    path.write_text(json.dumps(run.load(path) | {"state": "failed", "reason": "x"}))
    failed = invoke(arguments)
    assert failed.exit_code == 1
    assert "1 done, 1 failed" in failed.output
    assert pretend() == [1, 2]
    assert invoke([*arguments, "--retry-failed"]).exit_code == 0
    assert pretend() == [1, 2, 1]

    path.write_text(path.read_text()[:40])
    assert invoke([*arguments, "--gather"]).exit_code == 1, "a record cut short is none"
    assert invoke(arguments).exit_code == 0
    assert pretend() == [1, 2, 1, 1]


def test_another_configuration_is_another_case(tmp_path, written, pretend):
    assert invoke(written(SMALL)).exit_code == 0
    assert invoke(written(SMALL, {"scheduler": "synchronous"})).exit_code == 0
    assert pretend() == [500, 500]
    assert sorted(table.scheduler_of(record) for record in records(tmp_path / "out")) == [
        "synchronous",
        "threads",
    ]


def test_a_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "cases" / "a.json"
    run.save(path, "old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        run.save(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_one_thing_at_a_time(written):
    failed = invoke([*written(SMALL), "--array", "--gather"])
    assert failed.exit_code == 2
    assert "exclude each other" in failed.output
