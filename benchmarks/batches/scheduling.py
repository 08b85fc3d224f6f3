"""The scheduler of a case: a Dask configuration from a file, with the threads and workers of the case."""

from __future__ import annotations

import copy
import math
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
from taskfmm.sessions import configurations

Config = dict[str, Any]


def read(name_or_path: str) -> Config:
    """Read a Dask configuration.

    Raises
    ------
    InputError
        It cannot be read, or does not hold what Dask, its packages and taskfmm know.
    """
    return configurations.load(name_or_path)


def kind_of(config: Config) -> str | None:
    """The kind of cluster that a configuration starts: local, slurm, kubernetes, or None."""
    return dask.config.get("taskfmm.cluster.kind", None, config=config)


def check(config: Config, cases: Iterable[Case]) -> None:
    """Refuse threads and workers that the configured scheduler does not have.

    Raises
    ------
    InputError
        Workers without a cluster, or Dask threads under the synchronous scheduler.
    """
    if kind_of(config):
        return
    for case in cases:
        if case.workers > 1:
            raise InputError(
                f"workers is {case.workers}, but the configuration starts no cluster: "
                "give one with taskfmm: cluster: kind:, or workers: 1"
            )
        if case.dask_threads > 1 and config.get("scheduler") in ("synchronous", "sync", "single-threaded"):
            raise InputError(
                f"threads is {case.dask_threads}x{case.numba_threads}, but the synchronous scheduler has one "
                f"Dask thread: write 1x{case.dask_threads * case.numba_threads}, or configure threads"
            )


def for_case(config: Config, case: Case) -> Config:
    """The configuration with the threads and workers of a case instead of its own.

    They hold even where they are more than the cores: a benchmark measures what it says.
    """
    own: Config = {"taskfmm": {"numba-threads": case.numba_threads, "oversubscribe": True}}
    kind = kind_of(config)
    if kind is None:
        own["num_workers"] = case.dask_threads
    else:
        own["taskfmm"]["cluster"] = {"n-workers": case.workers, "threads-per-worker": case.dask_threads}
    if kind == "slurm":
        # dask-jobqueue starts whole jobs, so the workers of a job must divide those of the case
        processes = dask.config.get("jobqueue.slurm.processes", None, config=config) or 1
        processes = math.gcd(processes, case.workers)
        own["jobqueue"] = {"slurm": {"processes": processes, "cores": processes * case.dask_threads}}
    return dask.config.update(copy.deepcopy(config), own)  # a key may be written with - or _


@contextmanager
def scheduler(config: Config) -> Iterator[Any]:
    """Within it Dask computes as configured; gives the client of a cluster, or None."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.yaml"
        path.write_text(yaml.safe_dump(config))
        with taskfmm.use(path) as client:
            yield client
