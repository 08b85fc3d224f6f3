"""A batch as an array of SLURM jobs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from cases import each

pytest.importorskip("benchmarks", reason="a source checkout has the benchmarks, the package has not")

from batches import CASE, SMALL, THREADS, invoke

from benchmarks.batches import array, run, scheduling, table

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


@each(
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
