"""``taskfmm.use``: one of Dask's schedulers for a session, from a configuration by name or from a file.

A configuration that says ``taskfmm.cluster.kind`` starts a cluster; the others say how Dask runs tasks in this
process.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config

from taskfmm.errors import TaskfmmError
from taskfmm.runtime import settings
from taskfmm.runtime.threads import threading_layer
from taskfmm.sessions import configurations, starters

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("taskfmm")

CLOSING = 10.0
HURRIED = 0.3
"""Seconds for a cluster to close by itself, and when interrupted; its processes are killed afterwards."""


class Session:
    """A scheduler in use, until it is closed: by the end of a ``with`` block, by `close`, by another `use`, or
    when Python ends.

    client : the `distributed.Client`, or None if tasks run in this process
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.client: Client | None = None
        self._clusters: list[Any] = []
        self._values: Any = dask.config.set(dict(values))
        try:
            kind = starters.of_cluster("kind")
            if kind is not None:
                self._start(starters.STARTERS[kind])
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
        pids = {
            getattr(worker, "pid", None)
            for each in clusters
            for worker in [*getattr(each, "workers", {}).values()]
        }
        try:
            for part in [client, *clusters]:
                if part is not None:
                    _close(part, seconds)
        finally:
            for process in multiprocessing.active_children():
                if process.pid in pids:
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
    starters.check_can_start(configuration["taskfmm"]["cluster"].get("kind"))
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
    >>> from taskfmm.sessions.schedulers import job_script
    >>> "#SBATCH --cpus-per-task=8" in job_script("slurm", jobqueue__slurm__cores=8, jobqueue__slurm__processes=1)
    True
    """
    with _set_aside(name_or_path, overrides, "slurm"):
        from dask_jobqueue.slurm import SLURMJob

        return str(
            SLURMJob(scheduler="tcp://scheduler:8786", name="0", **starters.slurm_options()).job_script()
        )


def cluster_manifest(name_or_path: str | Path = "kubernetes", **overrides: Any) -> dict[str, Any]:
    """The DaskCluster resource that a Kubernetes configuration would create.

    Raises
    ------
    InputError
        As `use`.

    Examples
    --------
    >>> from taskfmm.sessions.schedulers import cluster_manifest
    >>> cluster_manifest("kubernetes")["kind"]
    'DaskCluster'
    """
    with _set_aside(name_or_path, overrides, "kubernetes"):
        return starters.manifest()


class _set_aside(dask.config.set):
    """The configuration for as long as something is rendered from it."""

    def __init__(self, name_or_path: str | Path, overrides: Mapping[str, Any], kind: str) -> None:
        configuration = configurations.load(name_or_path)
        dask.config.set({_dotted(key): value for key, value in overrides.items()}, config=configuration)
        configurations.check(configuration, str(name_or_path))
        starters.check_can_start(kind)
        super().__init__(dict(configurations.leaves(configuration)))


def _dotted(keyword: str) -> str:
    """jobqueue__slurm__job_cpu -> jobqueue.slurm.job-cpu; num_workers is Dask's one key with an underscore."""
    return keyword if keyword in configurations.UNLISTED else keyword.replace("__", ".").replace("_", "-")


def _close(part: Any, seconds: float) -> None:
    """Close a client or a cluster."""
    try:
        part.close(timeout=seconds)
    except Exception as error:  # what is left is killed, or dies with its scheduler
        logger.debug("closing %s: %s", part, error)
        part.shutdown_on_close = False  # or distributed waits for it again when Python ends
