"""``taskfmm.use``: one of Dask's schedulers for a session, from a configuration by name or from a file.

A configuration that says ``taskfmm.cluster.kind`` starts a cluster; the others say how Dask runs tasks in this
process.
"""

from __future__ import annotations

import atexit
import copy
import importlib
import logging
import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config

from taskfmm.errors import InputError, TaskfmmError
from taskfmm.runtime import configurations, settings
from taskfmm.runtime.threads import cores, say_once, threading_layer

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("taskfmm")

CLOSING = 10.0
HURRIED = 0.3
"""Seconds for a cluster to close by itself, and when interrupted; its processes are killed afterwards."""

IGNORE_INTERRUPT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Runs in local worker processes: a terminal sends Ctrl-C to all, and ending them in order is our task."""

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Session:
    """A scheduler in use, until it is closed: by the end of a ``with`` block, by `close`, by another `use`, or
    when Python ends.

    client : the `distributed.Client`, or None if tasks run in this process
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.client: Client | None = None
        self._clusters: list[Any] = []
        self._others = set(multiprocessing.active_children())
        self._values: Any = dask.config.set(dict(values))
        try:
            kind = _cluster("kind")
            if kind is not None:
                self._start(STARTERS[kind])
        except BaseException:
            self.close(HURRIED)
            raise

    def _start(self, starter: Callable[[], Any]) -> None:
        from distributed import Client
        from distributed.deploy.spec import SpecCluster

        atexit.unregister(_close_at_exit)
        atexit.register(_close_at_exit)  # after distributed registered its own, so that ours runs first
        before = set(SpecCluster._instances)
        try:
            cluster = starter()
        except BaseException as error:  # also Ctrl-C while workers start: find what is half made
            self._clusters = list(set(SpecCluster._instances) - before)
            if isinstance(error, RuntimeError):
                raise TaskfmmError(
                    f"the cluster did not start ({error}); its workers say why, above. In a script, taskfmm.use "
                    'belongs under if __name__ == "__main__":'
                ) from error
            raise
        self._clusters = [cluster]
        self.client = Client(cluster)

    def close(self, seconds: float = CLOSING) -> None:
        """Close the client and its cluster, and set the configuration back; a second call does nothing.

        seconds : that a worker may take to end its task; afterwards its process is killed
        """
        global _current
        client, clusters, self.client, self._clusters = self.client, self._clusters, None, []
        try:
            for part in [client, *clusters]:
                if part is not None:
                    _close(part, seconds)
        finally:
            if clusters:
                for process in set(multiprocessing.active_children()) - self._others:
                    if "Dask Worker" in process.name:
                        process.kill()
            if self._values is not None:
                self._values.__exit__(None, None, None)
                self._values = None
            if _current is self:
                _current = None

    def __enter__(self) -> Client | None:
        return self.client

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(CLOSING if kind is None else HURRIED)


_current: Session | None = None


def use(name_or_path: str | Path | None = None, **overrides: Any) -> Session:
    """Run what follows on the scheduler of a configuration, starting its cluster if it names one.

    As a plain call it holds until the next `use` or the end of the program; as a context manager it holds inside
    and gives the client. Where it starts processes, a script needs ``if __name__ == "__main__":``, as always
    with Python's multiprocessing.

    Parameters
    ----------
    name_or_path : str or path, optional
        A shipped configuration ("synchronous", "threads", "hybrid", "local-cluster", "slurm", "kubernetes") or a
        YAML file. Left out, what Dask's configuration says already, from ``DASK_CONFIG`` say.
    **overrides
        Values that replace those of the file; two underscores stand for a dot, one for a dash:
        ``taskfmm__cluster__n_workers=2``.

    Returns
    -------
    Session
        Its ``client`` is the distributed Client, or None where tasks run in this process. ``close()`` ends it.

    Raises
    ------
    InputError
        No such configuration, a file that is no YAML mapping, an unknown key (the nearest known one is named), a
        wrong type, or a package that is not installed. Nothing has changed then.
    TaskfmmError
        The cluster does not start.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> points = np.random.default_rng(7).random((100, 3))
    >>> with taskfmm.use("threads", num_workers=2):
    ...     phi = taskfmm.Fmm(points, eps=1e-3).potential(np.ones(100)).compute()
    """
    global _current
    if name_or_path is None:
        if _current is not None:
            _current.close()  # what it configured goes with it
        configuration = {"taskfmm": dask.config.get("taskfmm")}
        configurations.check(configuration, "Dask's configuration")
        kept: dict[str, Any] = {}
    else:
        # a file that does not mention a cluster wants none, whatever is configured elsewhere
        kept = configuration = dask.config.merge(
            {"taskfmm": {"cluster": settings.DEFAULTS["taskfmm"]["cluster"]}},
            configurations.load(name_or_path),
        )
    extra: dict[str, Any] = {}
    dask.config.set({_dotted(key): value for key, value in overrides.items()}, config=extra)
    if extra:
        configurations.check(extra, "overrides")
        kept = dask.config.merge(kept, extra)
        configuration = dask.config.merge(configuration, extra)
    _check_can_start(configuration["taskfmm"]["cluster"].get("kind"))
    threading_layer()
    if _current is not None:
        _current.close()
    _current = Session(dict(configurations.leaves(kept)))
    return _current


def _close_at_exit() -> None:
    if _current is not None:
        _current.close(HURRIED)


def job_script(name_or_path: str | Path = "slurm", **overrides: Any) -> str:
    """The job script by which a SLURM configuration would start its workers, without SLURM.

    Raises
    ------
    InputError
        As `use`, and for a configuration without the cores or memory of a job.

    Examples
    --------
    >>> from taskfmm.runtime.schedulers import job_script
    >>> "#SBATCH --cpus-per-task=8" in job_script("slurm", jobqueue__slurm__cores=8, jobqueue__slurm__processes=1)
    True
    """
    with _set_aside(name_or_path, overrides, "slurm"):
        from dask_jobqueue.slurm import SLURMJob

        return str(SLURMJob(scheduler="tcp://scheduler:8786", name="0", **_slurm_options()).job_script())


def cluster_manifest(name_or_path: str | Path = "kubernetes", **overrides: Any) -> dict[str, Any]:
    """The DaskCluster resource that a Kubernetes configuration would create.

    Raises
    ------
    InputError
        As `use`.

    Examples
    --------
    >>> from taskfmm.runtime.schedulers import cluster_manifest
    >>> cluster_manifest("kubernetes")["kind"]
    'DaskCluster'
    """
    with _set_aside(name_or_path, overrides, "kubernetes"):
        return _manifest()


class _set_aside(dask.config.set):
    """The configuration for as long as something is rendered from it."""

    def __init__(self, name_or_path: str | Path, overrides: Mapping[str, Any], kind: str) -> None:
        configuration = configurations.load(name_or_path)
        dask.config.set({_dotted(key): value for key, value in overrides.items()}, config=configuration)
        configurations.check(configuration, str(name_or_path))
        _check_can_start(kind)
        super().__init__(dict(configurations.leaves(configuration)))


def _dotted(keyword: str) -> str:
    """jobqueue__slurm__job_cpu -> jobqueue.slurm.job-cpu; num_workers is Dask's one key with an underscore."""
    return keyword if keyword in configurations.UNLISTED else keyword.replace("__", ".").replace("_", "-")


def _check_can_start(kind: str | None) -> None:
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


def _cluster(key: str) -> Any:
    """A value of our section; Dask finds it in either spelling, `n-workers` or `n_workers` from the environment."""
    return dask.config.get(f"taskfmm.cluster.{key}")


def _numba_threads() -> int:
    return settings.numba_threads() or 1


def _local() -> Any:
    """Worker processes on this machine."""
    from distributed import LocalCluster

    each = _numba_threads()
    if "NUMBA_NUM_THREADS" in dask.config.get("distributed.nanny.pre-spawn-environ"):
        raise InputError(
            "distributed.nanny.pre-spawn-environ holds NUMBA_NUM_THREADS: on a local cluster Dask sets it in this "
            "process too, whose Numba cannot change it. Move it to distributed.nanny.environ"
        )
    threads = _cluster("threads-per-worker")
    workers = _cluster("n-workers") or max(1, cores() // (threads * each))
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
            memory_limit=_cluster("memory-limit"),
            dashboard_address=_cluster("dashboard-address"),
            preload=[*dask.config.get("distributed.worker.preload"), IGNORE_INTERRUPT],
        )


def _slurm() -> Any:
    """Workers in jobs that SLURM starts."""
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(n_workers=_cluster("n-workers") or 1, **_slurm_options())


def _slurm_options() -> dict[str, Any]:
    """What the section jobqueue.slurm leaves to the thread budget: cpus of a job, and its environment."""
    each = _numba_threads()
    section = {key.replace("_", "-"): value for key, value in dask.config.get("jobqueue.slurm").items()}
    missing = [key for key in ("cores", "memory") if not section.get(key)]
    if missing:
        raise InputError(f"jobqueue.slurm.{missing[0]} is not set: say what one job may use, see slurm.yaml")
    processes = section.get("processes") or max(1, section["cores"] // _cluster("threads-per-worker"))
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


def _kubernetes() -> Any:
    """Workers in pods; never run by us, see kubernetes.yaml."""
    from dask_kubernetes.operator import KubeCluster

    return KubeCluster(custom_cluster_spec=_manifest())


def _manifest() -> dict[str, Any]:
    from dask_kubernetes.operator import make_cluster_spec

    given = dask.config.get("kubernetes")
    command = given["worker-command"]
    command = command.split() if isinstance(command, str) else list(command)
    found: dict[str, Any] = make_cluster_spec(
        name=given["name"],
        image=given["image"],
        n_workers=_cluster("n-workers") or 1,
        resources=copy.deepcopy(given["resources"]),
        env={**environment(_numba_threads()), **{key: str(value) for key, value in given["env"].items()}},
        worker_command=[*command, "--nthreads", str(_cluster("threads-per-worker"))],
        scheduler_service_type=given["scheduler-service-type"],
        idle_timeout=given["idle-timeout"] or 0,
    )
    return found


STARTERS = {"local": _local, "slurm": _slurm, "kubernetes": _kubernetes}


def _close(part: Any, seconds: float) -> None:
    """Close a client or a cluster."""
    try:
        part.close(timeout=seconds)
    except Exception as error:  # what is left is killed, or dies with its scheduler
        logger.debug("closing %s: %s", part, error)
        part.shutdown_on_close = False  # or distributed waits for it again when Python ends
