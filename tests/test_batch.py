"""Batch benchmarks: the matrix is checked, every case leaves a record whatever becomes of it, and a run goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import dask
import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from benchmarks import batch
from benchmarks.batches import array, matrix, plots, run, scheduling, table
from benchmarks.batches.matrix import Case
from taskfmm.errors import InputError

ROOT = Path(__file__).parents[1]
THREADS = {"scheduler": "threads"}
SMALL = {"n": [500], "distribution": ["cube"], "eps": ["1e-3"], "repeats": 1}
CASE = Case("cube", 500, 1e-3, "laplace", "potential", 1, 1, 1, 977, 1)

MEASURED = {
    "plan_seconds": 0.1,
    "first_evaluation_seconds": 0.2,
    "evaluation_seconds": 0.1,
    "evaluation_cpu_seconds": 0.1,
    "error": 2e-4,
    "bytes_a_point": 300.0,
    "pair_equivalents": 1500.0,
    "tasks": 7,
}

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


@pytest.fixture
def written(tmp_path):
    """Writes a matrix and a configuration; gives the arguments of the command."""

    def write(content: dict, config: dict = THREADS) -> list[str]:
        (tmp_path / "matrix.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        paths = ["matrix.yaml", "config.yaml", "out"]
        found, configured, out = (str(tmp_path / path) for path in paths)
        return [found, "--config", configured, "-o", out]

    return write


def invoke(arguments: list[str]):
    return CliRunner().invoke(batch.main, arguments)


def records(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())


# --- the matrix


def test_product_of_the_lists():
    found = matrix.parse(
        {"n": ["1e3", 2000], "distribution": "sphere", "eps": ["1e-3", 1e-6], "threads": ["1x1", "2x3"]}
    )
    assert len(found.cases) == 8
    assert found.timeout == matrix.TIMEOUT
    assert {(case.n, case.eps) for case in found.cases} == {
        (1000, 1e-3),
        (1000, 1e-6),
        (2000, 1e-3),
        (2000, 1e-6),
    }
    last = found.cases[-1]
    assert (last.dask_threads, last.numba_threads, last.workers, last.cores) == (2, 3, 1, 6)
    assert (last.distribution, last.kernel, last.outputs) == ("sphere", "laplace", "potential")
    assert [case.n for case in found.cases] == [1000] * 4 + [2000] * 4, "small ones first"


def test_excluded_and_hand_made_cases():
    lists = {"n": [10, 20], "distribution": ["cube", "sphere"], "eps": [1e-3]}
    found = matrix.parse(
        lists
        | {
            "exclude": [{"n": 20, "distribution": ["sphere", "plummer"]}],
            "cases": [{"n": [20, 30], "distribution": "plummer", "eps": 1e-9, "seed": 5}],
        }
    )
    sizes = [(case.n, case.distribution) for case in found.cases]
    assert sizes == [(10, "cube"), (10, "sphere"), (20, "cube"), (20, "plummer"), (30, "plummer")]
    assert found.cases[-1].seed == 5
    assert matrix.parse({"cases": [{"n": 9, "distribution": "cube", "eps": 0.1}]}).cases[0].n == 9
    twice = matrix.parse(lists | {"cases": [{"n": 10, "distribution": "cube", "eps": 1e-3}]})
    assert len(twice.cases) == 4


@pytest.mark.parametrize(
    "change, words",
    [
        ({"distributions": ["cube"]}, "'distributions' is not known: did you mean 'distribution'"),
        ({"N": [5]}, "'N' is not known: did you mean 'n'"),
        ({"zzz": 1}, "choose from n, distribution"),
        ({"n": []}, "n is empty"),
        ({"n": ["many"]}, "n is 'many', expected a whole number"),
        ({"n": [1000.5]}, "n is 1000.5"),
        ({"n": ["1e-3"]}, "n is '1e-3'"),
        ({"n": [True]}, "n is True"),
        ({"n": [float("nan")]}, "n is nan"),
        ({"n": ["inf"]}, "n is 'inf'"),
        ({"n": {"a": 1}}, "expected a whole number"),
        ({"eps": [2]}, "eps is 2"),
        ({"eps": ["tight"]}, "eps is 'tight'"),
        ({"distribution": ["cubes"]}, "did you mean 'cube'"),
        ({"distribution": [None]}, "distribution None is not known"),
        ({"kernel": "laplce"}, "did you mean 'laplace'"),
        ({"outputs": [["potential"]]}, "outputs ['potential'] is not known"),
        ({"threads": [2]}, "threads is 2, expected Dask threads x Numba threads, for example 2x1"),
        ({"threads": ["2x0"]}, "threads is '2x0'"),
        ({"workers": [0]}, "workers is 0"),
        ({"seed": [-1]}, "seed is -1"),
        ({"repeats": [1]}, "repeats is [1]"),
        ({"timeout": 0}, "timeout is 0, expected seconds above 0"),
        ({"exclude": {"n": 500}}, "exclude is {'n': 500}, expected a list"),
        ({"exclude": [{"n": 7}]}, "exclude[0] matches no case"),
        ({"exclude": [{"m": 7}]}, "exclude[0]: key 'm' is not known"),
        ({"exclude": [{"n": 500}]}, "nothing is left"),
        ({"cases": [{"n": 7}]}, "cases[0]: distribution is missing"),
        ({"cases": [{"n": []}]}, "cases[0]: n is empty"),
        ({"cases": [7]}, "cases[0] is 7"),
        ({"cases": [{"repeats": 7}]}, "cases[0]: key 'repeats' is not known"),
    ],
)
def test_what_a_matrix_cannot_mean(written, change, words):
    """One line, exit code 2, nothing run."""
    with pytest.raises(InputError) as caught:
        matrix.parse(SMALL | change)
    assert words in str(caught.value)
    failed = invoke(written(SMALL | change)) if change != {"outputs": [["potential"]]} else None
    if failed is not None:
        assert failed.exit_code == 2
        assert words in " ".join(failed.output.split())


def test_missing_keys_and_files(tmp_path, written):
    for content in ({"n": [5]}, {}, [1], None, "n"):
        with pytest.raises(InputError):
            matrix.parse(content)
    arguments = written(SMALL)
    for wrong in (["absent.yaml", *arguments[1:]], [arguments[0], "--config", "absent.yaml"]):
        failed = invoke(wrong)
        assert failed.exit_code == 2
        assert "absent.yaml" in failed.output
    (tmp_path / "matrix.yaml").write_text("n: [1")
    assert "cannot be read" in invoke(arguments).output


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "matrices").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_matrices(path):
    assert len(matrix.read(path).cases) > 3


# --- threads and workers


def test_the_case_decides_threads_and_workers():
    case = replace(CASE, dask_threads=3, numba_threads=2)
    found = scheduling.for_case(
        {"scheduler": "threads", "num_workers": 9, "taskfmm": {"numba_threads": 7}}, case
    )
    assert found["num_workers"] == 3
    assert dask.config.get("taskfmm.numba-threads", config=found) == 2
    config = {"taskfmm": {"cluster": {"kind": "local", "n_workers": 9, "memory-limit": "1GiB"}}}
    case = replace(case, workers=4)
    found = scheduling.for_case(config, case)
    assert dask.config.get("taskfmm.cluster.n-workers", config=found) == 4
    assert dask.config.get("taskfmm.cluster.threads-per-worker", config=found) == 3
    assert dask.config.get("taskfmm.cluster.memory-limit", config=found) == "1GiB"
    assert config == {"taskfmm": {"cluster": {"kind": "local", "n_workers": 9, "memory-limit": "1GiB"}}}


@pytest.mark.parametrize("workers, per_job", [(8, 4), (6, 2), (3, 1)])
def test_slurm_starts_whole_jobs(workers, per_job):
    config = {"taskfmm": {"cluster": {"kind": "slurm"}}, "jobqueue": {"slurm": {"processes": 4, "cores": 16}}}
    found = scheduling.for_case(config, replace(CASE, workers=workers, dask_threads=5))["jobqueue"]["slurm"]
    assert found == {"processes": per_job, "cores": 5 * per_job}


@pytest.mark.parametrize(
    "config, change, words",
    [
        (THREADS, {"workers": 2}, "workers is 2"),
        ({"scheduler": "synchronous"}, {"threads": "2x1"}, "threads is 2x1"),
        (THREADS | {"taskfmm": {"cluster": {"kind": None}}}, {"workers": 2}, "workers is 2"),
    ],
)
def test_threads_that_a_scheduler_has_not(written, config, change, words):
    failed = invoke(written(SMALL | change, config))
    assert failed.exit_code == 2
    assert words in failed.output


# --- processes


def scripted(monkeypatch, source: str) -> None:
    monkeypatch.setattr(run, "COMMAND", [sys.executable, "-c", source])


@pytest.mark.parametrize(
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
import sys
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


# --- what is measured


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two cases that work and one that cannot, for real."""
    folder = tmp_path_factory.mktemp("batch")
    content = SMALL | {"n": [600], "cases": [{"n": 2000, "distribution": "sphere", "eps": "1e-30"}]}
    content["cases"].append({"n": 2000, "distribution": "plummer", "eps": "1e-4", "threads": "2x1"})
    (folder / "matrix.yaml").write_text(yaml.safe_dump(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(THREADS))
    command = [
        sys.executable,
        "-m",
        "benchmarks.batch",
        "matrix.yaml",
        "--config",
        "config.yaml",
        "-o",
        "out",
    ]
    command[3], command[5] = str(folder / "matrix.yaml"), str(folder / "config.yaml")
    command[7] = str(folder / "out")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    return folder / "out", done.stdout


def test_a_real_batch(measured):
    folder, shown = measured
    small, failed, plummer = sorted(records(folder), key=lambda record: (record["n"], record["eps"]))
    assert "2 done, 1 failed" in shown
    assert failed["state"] == "failed"
    assert failed["reason"].startswith("AccuracyError: ")
    for record in (small, plummer):
        assert record["state"] == "done", record
        assert record["error"] <= record["eps"]
        for name in (
            "plan_seconds",
            "first_evaluation_seconds",
            "evaluation_seconds",
            "evaluation_cpu_seconds",
        ):
            assert record[name] > 0
        assert record["tasks"] > 2
        assert record["peak_bytes"] > 0
        assert record["reference_rate"] > 1e6
        assert record["machine"]["versions"]["taskfmm"]
        assert record["machine"]["cores"] == (
            os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
        )
    assert small["pair_equivalents"] > 0
    assert plummer["pair_equivalents"] is None, "two threads"
    assert (plummer["dask_threads"], plummer["config"]["num_workers"]) == (2, 2)


def test_the_table_has_every_case(measured):
    folder, _ = measured
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == table.COLUMNS
    by_name = {record["name"]: record for record in records(folder)}
    assert {row["name"] for row in rows} == set(by_name)
    for row in rows:
        record = by_name[row["name"]]
        assert int(row["n"]) == record["n"]
        assert (row["state"] == "done") == bool(row["error"])
        assert row["scheduler"] == "threads"
        if row["state"] == "done":
            empty = {name for name, value in row.items() if not value}
            assert empty <= {"reason", "pair_equivalents", "pair_equivalents_cpu"}
            assert float(row["evaluation_seconds"]) == record["evaluation_seconds"]


def test_evaluation_runs_where_it_is_configured(monkeypatch):
    """Every evaluation of the case goes to the configured scheduler, none to a pool of its own."""
    from benchmarks.batches import case as one

    asked = []
    real = dask.base.named_schedulers["synchronous"]
    monkeypatch.setitem(
        dask.base.named_schedulers,
        "synchronous",
        lambda *args, **kwargs: asked.append(1) or real(*args, **kwargs),
    )
    case = replace(CASE, repeats=2)
    found = one.measure(case, scheduling.for_case({"scheduler": "synchronous"}, case))
    assert len(asked) == 3, "the first and two repeats"
    assert len(found["evaluations"]) == 2


def test_workers_of_a_cluster_are_measured_too(tmp_path):
    """A process that computes beside the one that asks: CPU seconds and memory are those of both."""
    config = {"taskfmm": {"cluster": {"kind": "local", "dashboard-address": None}}}
    record = run.once(replace(CASE, n=2000), config, 120, tmp_path)
    assert record["state"] == "done", record
    assert record["error"] <= record["eps"]
    assert record["evaluation_cpu_seconds"] > 0
    assert table.scheduler_of(record) == "local"


# --- pictures


def pretended(**change) -> dict:
    case = replace(CASE, **change)
    return asdict(case) | MEASURED | {"name": case.name(THREADS), "state": "done", "config": THREADS}


def test_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "DPI", 30)
    cases = [
        pretended(n=n, eps=eps, distribution=shape, dask_threads=threads)
        for n in (1000, 10000)
        for eps in (1e-3, 1e-6)
        for shape in ("cube", "plummer")
        for threads in (1, 2)
    ]
    failed = pretended(n=7) | {"state": "failed"}
    drawn = plots.draw([*cases, {key: failed[key] for key in failed if key not in MEASURED}], tmp_path)
    assert [path.name for path in drawn] == ["time.png", "error.png", "memory.png", "speedup.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    alone = plots.draw([case for case in cases if case["dask_threads"] == 1], tmp_path)
    assert "speedup.png" not in [path.name for path in alone]
    assert plots.draw([], tmp_path) == []


def test_unlike_cases_are_not_drawn_into_one_picture(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = plots.draw([pretended(), pretended(outputs="gradient")], tmp_path)
    names = {path.name for path in drawn}
    assert {"time-laplace-potential-threads.png", "time-laplace-gradient-threads.png"} <= names


# --- the job array

SLURM = {
    "taskfmm": {"numba-threads": 1, "cluster": {"kind": "slurm", "n-workers": 8}},
    "jobqueue": {
        "slurm": {
            "queue": "fast",
            "account": "physics",
            "cores": 4,
            "memory": "8GiB",
            "walltime": "02:00:00",
            "job-extra-directives": ["--exclusive"],
            "job_script_prologue": ["export FROM_THE_PROLOGUE=1"],
        }
    },
}


@pytest.fixture
def slurm():
    return pytest.importorskip("dask_jobqueue")


def test_a_job_of_the_array_runs_its_case(tmp_path, written, slurm):
    arguments = written(SMALL | {"n": [500, 600], "threads": ["1x1"]}, SLURM)
    done = invoke([*arguments, "--array"])
    assert done.exit_code == 0, done.output
    script = tmp_path / "out" / "array.sh"
    assert f"sbatch {script}" in done.output
    subprocess.run(["bash", "-n", str(script)], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    for line in (
        "#SBATCH --array=0-1",
        "#SBATCH -p fast",
        "#SBATCH -A physics",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=8G",
        "#SBATCH -t 02:00:00",
        "#SBATCH --exclusive",
        "export FROM_THE_PROLOGUE=1",
    ):
        assert line in lines
    first_command = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:]), "SLURM would not read it"

    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "1"}
    ran = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    (kept,) = (tmp_path / "out" / "cases").iterdir()
    record = run.load(kept)
    assert (record["state"], record["n"]) == ("done", 600)
    assert table.scheduler_of(record) == "threads", "a job has its cores and submits no others"

    job = str(tmp_path / "out" / "job.yaml")
    gathered = invoke([arguments[0], "--config", job, "-o", arguments[-1], "--gather"])
    assert gathered.exit_code == 1
    assert "1 done, 0 failed, 1 not run yet" in gathered.output
    assert invoke([*arguments[:1], "--config", job, "--index", "2"]).exit_code == 2


def test_an_array_with_workers_gets_a_cluster_in_each_job(slurm):
    found = array.inside(SLURM, [replace(CASE, workers=2)])
    assert scheduling.kind_of(found) == "local"
    assert "jobqueue" not in found


@pytest.mark.parametrize(
    "change, section, words",
    [
        (
            {"threads": ["8x1"]},
            SLURM["jobqueue"]["slurm"],
            "a case runs 8 threads at once, but a job gets 4 cpus",
        ),
        ({}, {"cores": 4}, "memory"),
        ({}, None, "no section jobqueue: slurm:"),
    ],
)
def test_an_array_that_slurm_could_not_run(written, slurm, change, section, words):
    config = {"jobqueue": {"slurm": section}} if section else THREADS
    failed = invoke([*written(SMALL | change, config), "--array"])
    assert failed.exit_code == 2
    assert words in " ".join(failed.output.split())


def test_one_thing_at_a_time(written):
    failed = invoke([*written(SMALL), "--array", "--gather"])
    assert failed.exit_code == 2
    assert "exclude each other" in failed.output
