"""A matrix as a SLURM job array: one job a case, on cores of its own."""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import dask
import yaml

from benchmarks.batches.matrix import Case
from benchmarks.batches.run import ROOT, save
from benchmarks.batches.scheduling import Config
from taskfmm.errors import InputError

JOB_NAME = "taskfmm-batch"


def inside(config: Config, cases: Sequence[Case]) -> Config:
    """The configuration within a job of the array: the job has the cores already, so a case submits no others."""
    found = copy.deepcopy(config)
    for key in ("distributed", "jobqueue", "scheduler", "taskfmm"):  # all about workers elsewhere
        found.pop(key, None)
    if all(case.workers == 1 for case in cases):
        return found | {"scheduler": "threads"}
    return found | {"taskfmm": {"cluster": {"kind": "local", "dashboard-address": None}}}


def script(matrix: Path, cases: Sequence[Case], config: Config, job_config: Path, folder: Path) -> str:
    """The script for sbatch.

    Parameters
    ----------
    matrix : Path
    cases : sequence of Case
        All of the matrix; the index of a job is the place here.
    config : dict
        Its section ``jobqueue: slurm:`` says what a job gets.
    job_config : Path
        The configuration that the jobs compute with.
    folder : Path
        Where the records go; every node must see it.

    Raises
    ------
    InputError
        No such section, no dask-jobqueue, or a case that wants more cores than a job has.
    """
    slurm = (config.get("jobqueue") or {}).get("slurm")
    if not isinstance(slurm, dict):
        raise InputError("the configuration has no section jobqueue: slurm: that says what a job gets")
    command = [
        slurm.get("python") or sys.executable,
        *("-m", "benchmarks.batch", str(matrix.resolve()), "--config", str(job_config.resolve())),
        *("-o", str(folder.resolve())),
    ]
    shown = shlex.join(command)
    header, prologue = _from_jobqueue(config, cases)
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            header,
            f"#SBATCH --array=0-{len(cases) - 1}",
            f"# when all have ended: {shown} --gather",
            *prologue,
            f"cd {shlex.quote(str(ROOT))} || exit",
            f'exec {shown} --index "$SLURM_ARRAY_TASK_ID" "$@"',
            "",
        ]
    )


def _from_jobqueue(config: Config, cases: Sequence[Case]) -> tuple[str, list[str]]:
    """The #SBATCH lines of the section, as dask-jobqueue writes them for its workers, and its prologue."""
    try:
        from dask_jobqueue.slurm import SLURMJob
    except ImportError as error:
        raise InputError("--array needs dask-jobqueue: pip install dask-jobqueue") from error
    with dask.config.set(dask.config.merge(dask.config.config, {"jobqueue": config["jobqueue"]})):
        prologue = dask.config.get("jobqueue.slurm.job-script-prologue", None) or []
        each = dask.config.get("taskfmm.numba-threads", None, config=config) or 1
        cpus = dask.config.get("jobqueue.slurm.job-cpu", None)
        cpus = cpus or each * (dask.config.get("jobqueue.slurm.cores", None) or 0)
        widest = max(case.cores for case in cases)
        if 0 < cpus < widest:
            raise InputError(
                f"a case runs {widest} threads at once, but a job gets {cpus} cpus: raise jobqueue: slurm: cores"
            )
        try:
            header = SLURMJob("tcp://unused:0", JOB_NAME, job_name=JOB_NAME, job_cpu=cpus).job_header
        except (ValueError, TypeError) as error:
            raise InputError(f"jobqueue: slurm: {' '.join(str(error).split())}") from error
    return header, [str(line) for line in prologue if line]


def write(matrix: Path, cases: Sequence[Case], config: Config, folder: Path) -> Path:
    """Write the script and the configuration of its jobs into the folder; gives the script's path."""
    job_config = folder / "job.yaml"
    text = script(matrix, cases, config, job_config, folder)
    save(job_config, yaml.safe_dump(inside(config, cases)))
    save(folder / "array.sh", text)
    return folder / "array.sh"
