"""Files of plans on workers that share no directory: each keeps what its tasks wrote, and asks others for the rest.

A path that is not absolute is a place in a directory that every worker has of its own, which Dask removes with the
worker. Where a task reads a file that is not there, its worker asks the others which of them has it, through Dask's
own connections, and keeps a copy: of the whole file, or of those values of it that are read. Where the other is on
the same machine, it is the file itself under a second name. Whoever writes a file tells all others to forget theirs
of that name, so that no copy is older than the file.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker
from distributed.protocol import to_serialize
from distributed.utils import offload, sync

from taskfmm.errors import StorageError
from taskfmm.files import disk
from taskfmm.graph.reference import remove_directory
from taskfmm.runtime import cluster
from taskfmm.spread.lease import host
from taskfmm.store import file

NAME = "taskfmm-exchange"

PIECE = 2**23
"""Bytes that go from one worker to another at once; so much, a few times, is in memory of both."""

SOME = ".some"
"""At the end of the name of a copy that has some values of a file, and holes for the others."""


def here() -> Exchange:
    """What keeps files for the worker that runs this task.

    Raises
    ------
    StorageError
        No worker runs it, or one that knows nothing of these files.
    """
    with contextlib.suppress(ValueError, KeyError):
        found = get_worker().plugins[NAME]
        assert isinstance(found, Exchange)
        return found
    raise StorageError(
        "this plan is kept by the workers that it was made on, and cannot be read by others or by this process: "
        f"compute there, or name a directory that all see as {cluster.SHARED_DIRECTORY} in Dask's configuration "
        "and plan again"
    )


class Exchange(WorkerPlugin):
    """Files of one worker, and how it comes by those of others. Paths are relative to its directory."""

    name = NAME
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Called by the worker once it runs."""
        self.worker, self.root = worker, Path(worker.local_directory) / "taskfmm"
        self.host = host()
        self._beside: dict[str, Path] = {}
        self._known: dict[Path, dict[str, list[str]]] = {}
        self._arrived: dict[Path, set[str]] = {}
        self._gone: set[Path] = set()
        self._locks: dict[Path, threading.Lock] = {}
        self._making = threading.Lock()
        for handler in (
            self.held,
            self.places,
            self.read,
            self.keep,
            self.forget,
            self.drop,
            self.free,
            self.leave,
        ):
            worker.handlers[f"taskfmm_{handler.__name__}"] = handler

    def teardown(self, worker: Worker) -> None:
        """Called by the worker when it closes."""
        shutil.rmtree(self.root, ignore_errors=True)

    # what tasks call, in threads of theirs

    def make(self, path: Path) -> Path:
        """A directory here, made if it is not there; raises StorageError if it was removed with its plan."""
        with self._making:
            if not self._gone.isdisjoint([path, *path.parents]):
                raise StorageError(f"{path}: was removed with its plan")
            try:
                (self.root / path).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"{self.root / path}: cannot be made: {error.strerror}") from error
        return self.root / path

    @contextlib.contextmanager
    def written(self, path: Path) -> Iterator[Path]:
        """Where to write a file; when that is done, others forget theirs of this name."""
        yield self.make(path.parent) / path.name
        self._arrived.pop(path, None)
        _unlink(self._some(path))
        self._ask("forget", paths=[str(path)], but=self.worker.address)

    def whole(self, path: Path) -> Path:
        """A file, as it is here or as others have it; raises StorageError if nobody has it."""
        at = self.root / path
        with self._locks.setdefault(path, threading.Lock()):
            if not at.exists():
                self._from_others(path, None)
        return at

    def some(self, path: Path, names: Sequence[str]) -> Path:
        """A file with at least these values, as it is here or as others have it; raises StorageError."""
        at = self.root / path
        with self._locks.setdefault(path, threading.Lock()):
            if at.exists():
                return at
            if not self._arrived.get(path, set()).issuperset(names):
                self._from_others(path, names)
            return at if at.exists() else self._some(path)

    # how files come

    def _some(self, path: Path) -> Path:
        return self.root / path.with_name(path.name + SOME)

    def _from_others(self, path: Path, names: Sequence[str] | None) -> None:
        """Copy a file, or some values of it, from any worker that has it; asks who that is if it is not known."""
        self.make(path.parent)
        for asked in (False, True):
            if asked:
                self._look_around(path.parent)
            owners = list(self._known.get(path.parent, {}).get(path.name, ()))
            for owner in random.sample(owners, len(owners)):
                with contextlib.suppress(LookupError):  # it has died, or removed the file meanwhile
                    return self._copy(path, names, owner)
        raise StorageError(f"{path}: no worker has this file any more, those that had it have gone")

    def _copy(self, path: Path, names: Sequence[str] | None, owner: str) -> None:
        if owner in self._beside:
            with contextlib.suppress(OSError):  # another disk
                os.link(self._beside[owner] / path, self.root / path)
                return
        size, ranges = self._call(owner, "places", path=str(path), names=names)
        try:
            if names is None:
                with disk.replacing(self.root / path, False) as descriptor:
                    self._fill(descriptor, path, owner, ranges)
                return
            with open(self._some(path), "r+b" if self._some(path).exists() else "wb") as some:
                some.truncate(size)
                self._fill(some.fileno(), path, owner, ranges)
        except OSError as error:
            raise StorageError(f"{self.root / path}: cannot be written: {error.strerror}") from error
        self._arrived.setdefault(path, set()).update(names)

    def _fill(self, descriptor: int, path: Path, owner: str, ranges: Iterable[Sequence[int]]) -> None:
        for some in _in_pieces(ranges):
            content = memoryview(self._call(owner, "read", path=str(path), ranges=some))
            for begin, end in some:
                disk.write_all(descriptor, content[: end - begin], begin)
                content = content[end - begin :]

    def _look_around(self, directory: Path) -> None:
        """Ask all others what they have of a directory."""
        known: dict[str, list[str]] = {}
        for owner, found in self._ask("held", path=str(directory)).items():
            if found is None or owner == self.worker.address:
                continue
            if list(found["host"]) == self.host:
                self._beside[owner] = Path(found["root"])
            for name in found["files"]:
                known.setdefault(name, []).append(owner)
        self._known[directory] = known

    def _ask(self, op: str, **what: Any) -> dict[str, Any]:
        """The answers of all workers, through the scheduler."""
        message = {"op": f"taskfmm_{op}", **what}
        found: dict[str, Any] = sync(
            self.worker.loop, self.worker.scheduler.broadcast, msg=message, on_error="ignore"
        )
        return found

    def _call(self, owner: str, op: str, **what: Any) -> Any:
        """The answer of one worker; raises LookupError if there is none, or it has no such file."""
        try:
            found = sync(self.worker.loop, getattr(self.worker.rpc(owner), f"taskfmm_{op}"), **what)
        except OSError as error:
            raise LookupError(owner) from error
        if found is None:
            raise LookupError(what)
        return found["found"]

    # what other workers and the client ask for, in the worker's loop

    async def held(self, path: str) -> dict[str, Any]:
        """The whole files of a directory, and where they are."""
        files = [each.name for each in (self.root / path).glob("*.h5")]
        return {"host": self.host, "root": str(self.root), "files": files}

    async def places(self, path: str, names: list[str] | None) -> Any:
        """The size of a file, and the bytes in which some values lie, or all of them."""
        with contextlib.suppress(StorageError, OSError, KeyError):
            return {"found": await offload(_places, self.root / path, names)}

    async def read(self, path: str, ranges: list[tuple[int, int]]) -> Any:
        """Some bytes of a file."""
        with contextlib.suppress(OSError):
            return {"found": to_serialize(await offload(_read, self.root / path, ranges))}

    async def keep(self, path: str, content: bytes) -> None:
        """Put a file of the client there."""
        self.make(Path(path).parent)
        await offload(disk.write_whole, self.root / path, content)

    async def forget(self, paths: list[str], but: str = "") -> None:
        """Remove files, or copies; but : the worker that has written a new one"""
        for path in map(Path, paths) if but != self.worker.address else ():
            self._arrived.pop(path, None)
            _unlink(self.root / path)
            _unlink(self._some(path))

    async def drop(self, paths: list[str]) -> None:
        """Remove directories, for good."""
        for path in map(Path, paths):
            with self._making:
                self._gone.add(path)
            for known in (self._known, self._arrived, self._locks):
                for each in [each for each in list(known) if path in (each, *each.parents)]:
                    known.pop(each, None)
            with contextlib.suppress(OSError):
                await offload(remove_directory, self.root / path)

    async def leave(self, paths: list[str]) -> None:
        """Ask workers that have gone for nothing any more: Dask would try to connect for half a minute."""
        for known in list(self._known.values()):
            for name, owners in list(known.items()):
                known[name] = [owner for owner in owners if owner not in paths]

    async def free(self) -> list[Any]:
        """Which disk the files are on, and the bytes that are free there."""
        at = self.root.parent
        return [*self.host, at.stat().st_dev, shutil.disk_usage(at).free]


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _places(path: Path, names: list[str] | None) -> tuple[int, list[tuple[int, int]]]:
    size = path.stat().st_size
    return size, [(0, size)] if names is None else file.PlanFile(path).places(names)


def _read(path: Path, ranges: list[tuple[int, int]]) -> bytes:
    """Raises OSError also where the file ends too early."""
    descriptor = disk.open_regular(path)
    try:
        found = b"".join(os.pread(descriptor, end - begin, begin) for begin, end in ranges)
    finally:
        os.close(descriptor)
    if len(found) != sum(end - begin for begin, end in ranges):
        raise OSError(f"{path}: ends before {ranges[-1]}")
    return found


def _in_pieces(ranges: Iterable[Sequence[int]]) -> Iterator[list[tuple[int, int]]]:
    """Ranges in groups of at most `PIECE` bytes; longer ones are cut.

    Examples
    --------
    >>> [len(some) for some in _in_pieces([(0, 10), (20, 20 + PIECE)])]
    [2, 1]
    """
    some, room = [], PIECE
    for begin, end in ranges:
        while begin < end:
            cut = min(end, begin + room)
            some.append((begin, cut))
            begin, room = cut, room - (cut - begin)
            if not room:
                yield some
                some, room = [], PIECE
    if some:
        yield some
