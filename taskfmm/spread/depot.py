"""A directory with the parts of a plan that no process holds as a whole: one file for each stage and place.

Names of files are plain values, so that a task that runs again, on any worker, finds what earlier stages left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskfmm.errors import InputError, StorageError
from taskfmm.graph.reference import Passing, Published, Reference
from taskfmm.runtime import cluster
from taskfmm.spread.lease import Lease, sweep
from taskfmm.store import file


class Depot:
    """Files of one plan, removed with it, and when no graph and no client needs them any more.

    places : by the name of a value that tasks refer to, the file that has it
    """

    def __init__(self) -> None:
        directory = cluster.shared_directory()
        if directory is None:
            raise InputError(
                "the workers are not all on this machine: name a directory that all of them see as "
                f"{cluster.SHARED_DIRECTORY} in Dask's configuration"
            )
        try:
            self.lease = Lease(directory)
        except OSError as error:
            raise StorageError(f"{directory}: no directory can be made there: {error.strerror}") from error
        self.path = self.lease.path
        self.published = Published(self.path)
        with contextlib.suppress(OSError):  # a directory that cannot be listed
            sweep(self.path)
        self.places: dict[str, Path] = {}

    def keep(self, stage: str, number: int, names: Sequence[str]) -> None:
        """Values of these names are in a file."""
        self.places |= dict.fromkeys(names, place(self.path, stage, number))

    def drop(self, stage: str, numbers: Iterable[int]) -> None:
        """Remove files that no later stage reads; not before all tasks are done that do, as they may run twice."""
        for number in numbers:
            with contextlib.suppress(OSError):
                place(self.path, stage, number).unlink()

    def reference(self, name: str) -> Reference:
        """To a value in one of the files."""
        return Passing(name, self.places[name], self.published)


def place(path: Path, stage: str, number: int) -> Path:
    """The file of a stage for a chunk or a region."""
    return path / f"{stage}-{number}.h5"


def put(path: Path, stage: str, number: int, values: Mapping[str, Any]) -> None:
    """Write a file; the same again, if a task runs twice."""
    file.write(place(path, stage, number), values, lasting=False)


def get(path: Path, stage: str, number: int) -> file.PlanFile:
    """The values of a file, mapped: what is not touched is not read."""
    return file.PlanFile(place(path, stage, number))
