"""References: what a task needs of the plan, as an object that other processes read from a file.

In the process that made them, references lead to the values themselves and no file exists. When the first one is
pickled, the whole shelf they belong to is written into one file, and what travels is the file's name.

A file lives as long as its `Shelf` does, which the plan and every graph made from it hold. A scheduler may need it
longer, to run a task again after a worker's death. So the client that sent a reference holds the file, too, until
none of the futures it had then is left and, where the scheduler runs in this process and can be asked, no task there
refers to the file; this is looked at whenever an evaluation is made. A client that was closed holds nothing, and all
files of a process are removed when it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from taskfmm.errors import StorageError
from taskfmm.runtime import cluster
from taskfmm.runtime.once import say_once
from taskfmm.store import file
from taskfmm.store.outline import Outline

SMALL = 4_000_000
"""Bytes of a shelf that travel in the graph itself. A plan and charges of this size together stay below what Dask
warns of, and a file would not be quicker."""


GONE = ".gone"
"""At the end of the name of a directory that is being removed."""


class Published:
    """A file of this process, or a directory, removed when nothing holds this object any more.

    remove : how, if it is not a path of this machine
    """

    def __init__(self, path: Path, remove: Callable[[Path], None] | None = None) -> None:
        self.path = path
        self.remove = weakref.finalize(self, _remove, path, os.getpid(), remove or _remove_path)
        _published.add(self)


def _remove(path: Path, owner: int, remove: Callable[[Path], None]) -> None:
    """Also run at the end of a process; one that was forked off has inherited the call, not the file."""
    if os.getpid() == owner:
        with contextlib.suppress(OSError):
            remove(path)


def _remove_path(path: Path) -> None:
    remove_directory(path) if path.is_dir() else path.unlink()


def remove_directory(path: Path) -> None:
    """At once under its name, so that nobody who still writes there puts a file in meanwhile."""
    gone = path.with_name(path.name + GONE)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


_published: weakref.WeakSet[Published] = weakref.WeakSet()


def remove_files() -> None:
    """All files of this process, now: for a process that ends without the usual farewell."""
    for published in list(_published):
        published.remove()


_kept: weakref.WeakKeyDictionary[Any, dict[Published, set[Any]]] = weakref.WeakKeyDictionary()
_open: dict[Path, file.PlanFile] = {}
_opening = threading.Lock()


class Shelf:
    """Named values that tasks refer to.

    values : mapping
    instead : what travels in place of a value where there is no file

    Examples
    --------
    >>> shelf = Shelf({"order": np.arange(3)})
    >>> shelf.reference("order").value
    array([0, 1, 2])
    """

    def __init__(self, values: Mapping[str, Any], instead: Mapping[str, Any] | None = None) -> None:
        self.values = values
        self.instead = instead or {}
        self._lock = threading.Lock()
        self._files: dict[Path, Published | None] = {}

    def __reduce__(self) -> tuple:
        return Shelf, (self.values, self.instead)

    def reference(self, name: str) -> Reference:
        """To one of the values."""
        return Reference(name, self)

    @cached_property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return Outline(self.values).n_bytes

    def publish(self) -> Published | None:
        """The file with all values, written by the first call; None if they had better travel by value."""
        if self.n_bytes <= SMALL:
            return None
        directory = cluster.shared_directory()
        if directory is None:
            say_once(
                "every evaluation sends %.0f MB to the cluster, since its workers are not all on this machine: name "
                "a directory that all of them see as %s in Dask's configuration, and they read the plan from there",
                self.n_bytes / 1e6,
                cluster.SHARED_DIRECTORY,
            )
            return None
        with self._lock:
            if directory not in self._files:
                self._files[directory] = self._write(directory)
            published = self._files[directory]
        if published is not None:
            _keep(published)
        return published

    def _write(self, directory: Path) -> Published | None:
        path = directory / f"taskfmm-{os.getpid()}-{uuid.uuid4().hex}.h5"
        published = Published(path)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            file.write(path, self.values)
        except OSError as error:
            say_once(
                "every evaluation sends %.0f MB through the scheduler, since the plan could not be written: %s; make "
                "room there, or name another directory as %s in Dask's configuration",
                self.n_bytes / 1e6,
                error,
                cluster.SHARED_DIRECTORY,
            )
            return None
        return published


class Reference:
    """One value of a shelf in this process, or of a file.

    shelf : None where it has come from elsewhere; then ``path`` is that of the file
    """

    __slots__ = ("name", "path", "shelf")

    def __init__(self, name: str, shelf: Shelf | None, path: Path | None = None) -> None:
        self.name = name
        self.shelf = shelf
        self.path = path

    @property
    def value(self) -> Any:
        """The value itself.

        Raises
        ------
        StorageError
            The file cannot be read here.
        """
        if self.shelf is not None:
            return self.shelf.values[self.name]
        assert self.path is not None
        return _opened(self.path)[self.name]

    def __reduce__(self) -> tuple:
        if self.shelf is None:
            return _arrived, (self.name, str(self.path))
        published = self.shelf.publish()
        if published is None:
            return _as_it_is, (self.shelf.instead.get(self.name, self.shelf.values[self.name]),)
        return _arrived, (self.name, str(published.path))

    def __repr__(self) -> str:
        return f"<Reference to {self.name}>"


class Passing(Reference):
    """One value of a file that other tasks have written. The file is opened anew each time: pages that a process has
    looked at count as its memory, and all files together may be larger than that.

    holder : in the process that removes the file, what it lives as long as
    """

    __slots__ = ("holder",)

    def __init__(self, name: str, path: Path, holder: Published | None = None) -> None:
        super().__init__(name, None, path)
        self.holder = holder

    @property
    def value(self) -> Any:
        assert self.path is not None
        return file.PlanFile(self.path)[self.name]

    def __reduce__(self) -> tuple:
        if self.holder is not None:
            _keep(self.holder)
        return type(self), (self.name, self.path)


def _as_it_is(value: Any) -> Any:
    return value


def _arrived(name: str, path: str) -> Reference:
    return Reference(name, None, Path(path))


def fetch(argument: Any) -> Any:
    """What an argument refers to, or the argument itself."""
    return argument.value if isinstance(argument, Reference) else argument


def _opened(path: Path) -> file.PlanFile:
    with _opening:
        found = _open.get(path)
        if found is None:
            for gone in [known for known in _open if not known.exists()]:
                del _open[gone]
            try:
                found = _open[path] = file.PlanFile(path)
            except StorageError as error:
                raise StorageError(
                    f"{error}. Workers must see the directory {path.parent} under this name: where the evaluation is "
                    f"made, set {cluster.SHARED_DIRECTORY} in Dask's configuration to one that all workers see"
                ) from error
        return found


def _keep(published: Published) -> None:
    """The client that is about to send a reference holds the file, for the futures it has now."""
    client = cluster.active_client()
    if client is not None:
        _kept.setdefault(client, {}).setdefault(published, set()).update(list(client.futures))


def release() -> None:
    """Let go of the files that clients hold and nobody needs any more."""
    for client, files in list(_kept.items()):
        if client.status in ("closing", "closed"):
            files.clear()
        needed = _known_to(cluster.local_scheduler(client)) if files else set()
        for published, keys in list(files.items()):
            if published.path not in needed and keys.isdisjoint(list(client.futures)):
                del files[published]


def _known_to(scheduler: Any) -> set[Path | None]:
    """The files that tasks of a scheduler refer to, if it is one in this process."""
    states = list(scheduler.tasks.values()) if scheduler is not None else []
    arguments = [argument for state in states for argument in getattr(state.run_spec, "args", ())]
    inner = [each for argument in arguments for each in getattr(argument, "args", ())]
    files = {found.path for found in (*arguments, *inner) if isinstance(found, Reference)}
    return files | {path.parent for path in files if path is not None}
