"""A directory with the parts of a plan that no process holds as a whole: one file for each stage and place.

Names of files are plain values, so that a task that runs again, on any worker, finds what earlier stages left.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskfmm.errors import StorageError
from taskfmm.graph.reference import Passing, Published, Reference
from taskfmm.runtime import cluster
from taskfmm.runtime.once import say_once
from taskfmm.spread.lease import Lease, sweep
from taskfmm.store import file


class Depot:
    """Files of one plan, removed with it, and when no graph and no client needs them any more.

    places : by the name of a value that tasks refer to, the file that has it
    """

    def __init__(self) -> None:
        self.workers: Any = None
        directory = cluster.shared_directory()
        if directory is None:
            from taskfmm.spread.hosts import Workers

            self.workers = Workers(cluster.active_client())
        self.path = self.workers.join() if directory is None else self._leased(directory)
        self.published = self._published(self.path)
        self.places: dict[str, Path] = {}

    def _leased(self, directory: Path) -> Path:
        """A new directory in one that all workers see."""
        try:
            self.lease = Lease(directory)
        except OSError as error:
            raise StorageError(f"{directory}: no directory can be made there: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a directory that cannot be listed
            sweep(self.lease.path)
        return self.lease.path

    def _published(self, path: Path) -> Published:
        return Published(path, None if self.workers is None else self.workers.drop)

    def put(self, stage: str, number: int, values: Mapping[str, Any]) -> None:
        """Write a file for all workers, from this process."""
        if self.workers is None:
            put(self.path, stage, number, values)
            return
        with tempfile.TemporaryDirectory() as directory:
            put(Path(directory), stage, number, values)
            content = place(Path(directory), stage, number).read_bytes()
        self.workers.give(place(self.path, stage, number), content)

    def keep(self, stage: str, number: int, names: Sequence[str]) -> None:
        """Values of these names are in a file."""
        self.places |= dict.fromkeys(names, place(self.path, stage, number))

    def drop(self, stage: str, numbers: Iterable[int]) -> None:
        """Remove files that no later stage reads; not before all tasks are done that do, as they may run twice."""
        paths = [place(self.path, stage, number) for number in numbers]
        if self.workers is not None:
            return self.workers.forget(paths)
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()

    def directory(self, what: str) -> Directory:
        """A new directory within this one. Tasks do not make it: one that is removed stays so."""
        path = self.path / f"{what}-{uuid.uuid4().hex}"
        if self.workers is None:
            try:
                path.mkdir()
            except OSError as error:
                raise StorageError(f"{path}: cannot be made: {error.strerror}") from error
        return Directory("", path, self._published(path))

    def reference(self, name: str) -> Reference:
        """To a value in one of the files."""
        return Kept(name, self.places[name], self.published)


class Kept(Passing):
    """A value of a file of works. One that is gone or damaged is written again, from the points and boxes.

    Its bytes are compared with their checksum when a process reads it for the first time.
    """

    __slots__ = ()

    @property
    def value(self) -> Any:
        assert self.path is not None
        try:
            return _checked(self.path, self.name)
        except (StorageError, KeyError):
            with _mending:
                return self._mended(self.path)

    def _mended(self, path: Path) -> Any:
        from taskfmm.spread import stages

        try:
            return _checked(path, self.name)  # by another thread meanwhile
        except (StorageError, KeyError) as error:
            say_once("a file of a plan is damaged or gone, and is written again from the points: %s", error)
            stages.mend(path.parent, int(path.stem.removeprefix("works-")))
        return _checked(path, self.name)


_mending, _noting = threading.Lock(), threading.Lock()
_seen: dict[tuple[Any, ...], None] = {}
"""What this process has compared with its checksum: the identity of a file, and the name of a value, or None."""

MOST_SEEN = 100_000

WRITERS = {
    "raw": "look",
    "chunk": "sort",
    "order": "deal",
    "blocks": "gather",
    "points": "gather",
    "split": "balance",
    "boxes": "settle",
    "facts": "works",
}
"""The stages of planning that write files, where those have another name."""


def _identity(path: Path) -> tuple[Any, ...] | None:
    """What tells a file from one that has taken its place, None if there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return str(path), about.st_ino, about.st_mtime_ns, about.st_size


def _note(what: tuple[Any, ...]) -> None:
    with _noting:
        while len(_seen) >= MOST_SEEN:
            _seen.pop(next(iter(_seen)), None)
        _seen[what] = None


def _checked(path: Path, name: str) -> Any:
    at = path if path.is_absolute() else _here().some(path, [name])
    what, found = (_identity(at), name), file.PlanFile(at)
    if what in _seen:
        return found[name]
    value = found.checked(name)
    _note(what)
    return value


class Directory(Passing):
    """Of one evaluation, within that of a plan; removed when no graph and no client needs it any more."""

    __slots__ = ()

    @property
    def value(self) -> Path:
        assert self.path is not None
        return self.path


def place(path: Path, stage: str, number: int) -> Path:
    """The file of a stage for a chunk or a region."""
    return path / f"{stage}-{number}.h5"


def _here() -> Any:
    """See `taskfmm.spread.exchange.here`."""
    from taskfmm.spread import exchange

    return exchange.here()


def where(path: Path) -> str:
    """The directory that a plan's was made in, in words."""
    return str(path.parent) if path.is_absolute() else "the workers' local directories"


def free(path: Path) -> int:
    """Bytes of room there is for a plan."""
    if path.is_absolute():
        return shutil.disk_usage(path).free
    from taskfmm.spread.hosts import Workers

    return Workers(cluster.active_client()).free()


def put(path: Path, stage: str, number: int, values: Mapping[str, Any], *, apart: bool = False) -> int:
    """Write a file, the same again if a task runs twice; returns its bytes. apart : as of `file.write`"""
    at = place(path, stage, number)
    with contextlib.nullcontext(at) if at.is_absolute() else _here().written(at) as to:
        file.write(to, values, lasting=False, apart=apart)
        return int(to.stat().st_size)


def get_apart(path: Path, stage: str, number: int, names: Sequence[str]) -> list[Any]:
    """Some values of a file that has a checksum of each, compared; raises StorageError."""
    at = place(path, stage, number)
    found = file.PlanFile(at if at.is_absolute() else _here().some(at, names))
    return [found.checked(name) for name in names]


def get(path: Path, stage: str, number: int) -> file.PlanFile:
    """The values of a file, mapped, all of them compared with their checksums by the first call in a process.

    Raises
    ------
    StorageError
        It is damaged or gone; the message tells the stage that wrote it.
    """
    at = place(path, stage, number)
    others = None if at.is_absolute() else _here()
    try:
        at = at if others is None else others.whole(at)
        what = (_identity(at), None)
        found = file.PlanFile(at, verify=what not in _seen)
    except StorageError as error:
        raise StorageError(
            f"{error}. The stage {WRITERS.get(stage, stage)!r} of planning wrote it, and nothing else can make it: "
            "plan again"
        ) from error
    _note(what)
    return found
