"""How a cluster of each kind starts, from Dask's configuration: worker processes, SLURM jobs, Kubernetes pods."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import warnings
from typing import Any

import dask.config

from taskfmm.errors import InputError
from taskfmm.runtime import settings
from taskfmm.runtime.once import say_once
from taskfmm.runtime.threads import cores

IGNORE_INTERRUPT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Runs in local worker processes: a terminal sends Ctrl-C to all, and ending them in order is our task."""

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def check_can_start(kind: str | None) -> None:
    packages = {"slurm": ("dask_jobqueue", "slurm"), "kubernetes": ("dask_kubernetes.operator", "kubernetes")}
    if kind is not None and getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise InputError(
            "taskfmm.use would start a cluster while a worker process imports the script: "
            'put it under if __name__ == "__main__":'
        )
    if kind in packages:
        package, extra = packages[kind]
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"a cluster of kind {kind} needs {package.split('.')[0].replace('_', '-')} ({error}): "
                f"pip install 'taskfmm[{extra}]'"
            ) from None


def of_cluster(key: str) -> Any:
    """A value of our section; Dask finds it in either spelling, `n-workers` or `n_workers` from the environment."""
    return dask.config.get(f"taskfmm.cluster.{key}")


def numba_threads() -> int:
    return settings.numba_threads() or 1


def local() -> Any:
    """Worker processes on this machine."""
    from distributed import LocalCluster

    each = numba_threads()
    if "NUMBA_NUM_THREADS" in dask.config.get("distributed.nanny.pre-spawn-environ"):
        raise InputError(
            "distributed.nanny.pre-spawn-environ holds NUMBA_NUM_THREADS: on a local cluster Dask sets it in this "
            "process too, whose Numba cannot change it. Move it to distributed.nanny.environ"
        )
    threads = of_cluster("threads-per-worker")
    workers = of_cluster("n-workers") or max(1, cores() // (threads * each))
    if workers * threads * each > cores() and not settings.oversubscribe():
        say_once(
            f"{workers} workers x {threads} threads x {each} Numba threads are more than {cores()} cores: "
            "lower n-workers, threads-per-worker or numba-threads"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")  # another one is taken
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            memory_limit=of_cluster("memory-limit"),
            dashboard_address=of_cluster("dashboard-address"),
            preload=[*dask.config.get("distributed.worker.preload"), IGNORE_INTERRUPT],
        )


def slurm() -> Any:
    """Workers in jobs that SLURM starts."""
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(n_workers=of_cluster("n-workers") or 1, **slurm_options())


def slurm_options() -> dict[str, Any]:
    """What the section jobqueue.slurm leaves to the thread budget: cpus of a job, and its environment."""
    each = numba_threads()
    section = {key.replace("_", "-"): value for key, value in dask.config.get("jobqueue.slurm").items()}
    missing = [key for key in ("cores", "memory") if not section.get(key)]
    if missing:
        raise InputError(f"jobqueue.slurm.{missing[0]} is not set: say what one job may use, see slurm.yaml")
    processes = section.get("processes") or max(1, section["cores"] // of_cluster("threads-per-worker"))
    if section["cores"] % processes:
        raise InputError(
            f"jobqueue.slurm.cores is {section['cores']}, which {processes} processes cannot share evenly"
        )
    exports = [f"export {name}={value}" for name, value in environment(each).items()]
    return {
        "processes": processes,
        "job_cpu": section.get("job-cpu") or section["cores"] * each,
        "job_script_prologue": [*exports, *section.get("job-script-prologue", [])],
    }


def environment(numba_threads: int) -> dict[str, str]:
    """Variables that worker processes need set before they start, for that many Numba threads in a task."""
    threads = dict.fromkeys(
        ("DASK_TASKFMM__NUMBA_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), numba_threads
    )
    return {name: str(n) for name, n in {**threads, **dict.fromkeys(BLAS_VARIABLES, 1)}.items()}


def kubernetes() -> Any:
    """Workers in pods; never run by us, see kubernetes.yaml."""
    from dask_kubernetes.operator import KubeCluster

    return KubeCluster(custom_cluster_spec=manifest())


def manifest() -> dict[str, Any]:
    from dask_kubernetes.operator import make_cluster_spec

    given = dask.config.get("kubernetes")
    command = given["worker-command"]
    command = command.split() if isinstance(command, str) else list(command)
    found: dict[str, Any] = make_cluster_spec(
        name=given["name"],
        image=given["image"],
        n_workers=of_cluster("n-workers") or 1,
        resources=copy.deepcopy(given["resources"]),
        env={**environment(numba_threads()), **{key: str(value) for key, value in given["env"].items()}},
        worker_command=[*command, "--nthreads", str(of_cluster("threads-per-worker"))],
        scheduler_service_type=given["scheduler-service-type"],
        idle_timeout=given["idle-timeout"] or 0,
    )
    return found


STARTERS = {"local": local, "slurm": slurm, "kubernetes": kubernetes}
