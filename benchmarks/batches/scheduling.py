"""The scheduler of a case: a Dask configuration from a file, with the threads and workers of the case."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import yaml

import taskfmm
from benchmarks.batches.matrix import Case
from taskfmm.errors import InputError

Config = dict[str, Any]


def read(path: Path) -> Config:
    """Read a Dask configuration.

    Raises
    ------
    InputError
        It cannot be read, or holds no keys.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds {found!r}, expected a Dask configuration such as scheduler: threads")
    return found


def cluster_of(config: Config) -> Config | None:
    """The section that starts a cluster, if there is one."""
    return (config.get("taskfmm") or {}).get("cluster")


def check(config: Config, cases: Iterable[Case]) -> None:
    """Refuse threads and workers that the configured scheduler does not have.

    Raises
    ------
    InputError
        Workers without a cluster, or Dask threads under the synchronous scheduler.
    """
    if cluster_of(config):
        return
    for case in cases:
        if case.workers > 1:
            raise InputError(
                f"workers is {case.workers}, but the configuration starts no cluster: "
                "give one with a section taskfmm: cluster:, or workers: 1"
            )
        if case.dask_threads > 1 and config.get("scheduler") in ("synchronous", "sync", "single-threaded"):
            raise InputError(
                f"threads is {case.dask_threads}x{case.numba_threads}, but the synchronous scheduler has one "
                f"Dask thread: write 1x{case.dask_threads * case.numba_threads}, or configure threads"
            )


def for_case(config: Config, case: Case) -> Config:
    """The configuration with the threads and workers of a case instead of its own."""
    own: Config = {"taskfmm": {"numba-threads": case.numba_threads}}
    if cluster_of(config):
        own["taskfmm"]["cluster"] = {"n-workers": case.workers, "threads-per-worker": case.dask_threads}
    else:
        own["num_workers"] = case.dask_threads
    return dask.config.update(copy.deepcopy(config), own)  # a key may be written with - or _


@contextmanager
def scheduler(config: Config) -> Iterator[Any]:
    """Within it Dask computes as configured; gives the client of a cluster, or None."""
    if hasattr(taskfmm, "use"):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(config, file)
            file.flush()
            with taskfmm.use(file.name) as client:
                yield client
        return
    cluster = cluster_of(config)
    with dask.config.set({key: value for key, value in config.items() if key != "taskfmm"}):
        if cluster is None:
            yield None
            return
        from distributed import Client

        options = dict(n_workers=cluster["n-workers"], threads_per_worker=cluster["threads-per-worker"])
        with Client(**options, dashboard_address=None) as client:
            yield client
