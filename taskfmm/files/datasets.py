"""Datasets of a user's file, read by a process of its own, with bounds on its memory and time.

HDF5 files are read by `taskfmm.files.reader`, directories of Zarr by `taskfmm.files.zarr_reader`, and files of other
programs, which are known by their suffixes, by `taskfmm.files.formats.reader`.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files import disk
from taskfmm.files.formats import table

SLAB = 2**26
"""Bytes that travel at once from the process that reads."""

COMPLEX = "complex:"
"""Before the name of a dataset that may hold complex numbers."""

DAMAGED = "cannot be read as {}, the file is damaged or of another kind"

ZARR = ("zarr.json", ".zgroup")
"""One of these files is in every directory that is a group of Zarr."""


class Datasets:
    """Speaks with the process that reads one file; ends it when closed.

    names : of the datasets that are looked for, see `COMPLEX`; in a file of another program all are
    format : of a file of another program; None for HDF5 and Zarr
    notes : what is to be said of the file, and of what of it is not read
    """

    def __init__(self, path: str | os.PathLike[str], names: Sequence[str]) -> None:
        self.path = path
        self.format = table.of(path)
        self._kind = self.format.name if self.format else "Zarr" if is_zarr(path) else "HDF5"
        if self._kind == "Zarr":
            need_zarr(path)
        try:
            self._descriptor = disk.open_regular(path, directory=self._kind == "Zarr")
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            what = "no such file" if missing else getattr(error, "strerror", None) or str(error)
            raise InputError(f"{path}: {what}: give an HDF5 file") from error
        self.stamp = self._look()
        try:
            self._process = self._start(names)
        except BaseException:
            os.close(self._descriptor)
            raise
        try:
            self._learn()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        os.close(self._descriptor)

    @contextmanager
    def naming(self, where: str = "") -> Iterator[None]:
        """A block whose InputErrors name the file."""
        try:
            yield
        except InputError as error:
            if str(error).startswith(str(self.path)):
                raise
            raise InputError(f"{self.path}{where}: {error}") from error

    def holds(self, name: str) -> bool:
        """Whether there is a dataset of this name."""
        return name in self._found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a dataset that must be there."""
        if name not in self._found:
            expected = f"; expected {self._expected}" if self._expected else ""
            raise InputError(f"{self.path}: /{name} is missing; found {self._names}{expected}")
        return tuple(self._found[name][0])

    def dtype(self, name: str) -> np.dtype:
        """The dtype of a dataset that is there."""
        return np.dtype(self._found[name][1])

    @property
    def _expected(self) -> str:
        """The datasets that there should be, where that is known."""
        return ""

    def rows(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of a dataset as they are in the file, slab by slab."""
        shape, dtype = self._found[name]
        last = shape[0] if last is None else last
        result = np.empty((last - first, *shape[1:]), np.dtype(dtype))
        step = max(1, SLAB // max(1, math.prod(shape[1:]) * result.itemsize))
        for begin in range(0, len(result), step):
            part = result[begin : begin + step]
            self._fill(part, f"{name} {first + begin} {first + begin + len(part)}\n")
        self.refuse_changed(self.stamp)
        return result

    def refuse_changed(self, stamp: tuple[int, ...]) -> None:
        """Raise InputError where the file is not what it was."""
        if self._look() != stamp:
            raise InputError(f"{self.path}: changed while it was read: give a file that nothing writes to")

    def _look(self) -> tuple[int, ...]:
        facts = os.fstat(self._descriptor)
        return facts.st_size, facts.st_mtime_ns, facts.st_ino

    def _start(self, names: Sequence[str]) -> subprocess.Popen[bytes]:
        program = {"Zarr": "zarr_reader.py", "HDF5": "reader.py"}.get(self._kind, "formats/reader.py")
        given = [os.fspath(self.path), *names] if self.format else names
        plugins = ("HDF5_PLUGIN_PATH", "HDF5_VOL_CONNECTOR", "HDF5_DRIVER")
        environment = {key: value for key, value in os.environ.items() if key not in plugins}
        # No plugin is ever loaded; what can be imported here can be there, but nothing from the directory
        # that this was started in, unless taskfmm is there; one thread.
        found = [*(entry for entry in sys.path if entry), str(Path(__file__).parents[2])]
        environment |= {
            "HDF5_PLUGIN_PRELOAD": "::",
            "PYTHONPATH": os.pathsep.join(found),
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).parent / program), str(self._descriptor), *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._descriptor],
            env=environment,
            start_new_session=True,
        )

    def _learn(self) -> None:
        answer = self._answer()
        self._found: dict[str, tuple[list[int], str]] = answer["found"]
        self._names: str = answer["names"]
        self.notes = [printable(note) for note in answer["notes"]]

    @property
    def _library(self) -> str:
        return (self.format.package or "NumPy") if self.format else self._kind

    @property
    def _damaged(self) -> str:
        suffix = Path(self.path).suffix.lower()
        if self._kind != "HDF5" or suffix in ("", ".h5", ".hdf5"):
            return DAMAGED.format(self._kind)
        known = ", ".join(table.FORMATS)
        return f"{DAMAGED.format(self._kind)} (of others {known} are read, unpacked)"

    def _fill(self, part: np.ndarray, request: str) -> None:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._ended()
        if self._answer()["bytes"] != part.nbytes:
            raise InputError(f"{self.path}: {self._damaged}: it does not hold what it declares")
        into = part.reshape(-1).view(np.uint8).data
        while into:
            got = self._process.stdout.readinto(into)  # type: ignore[attr-defined]
            if not got:
                self._ended()
            into = into[got:]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self._ended()
        answer = json.loads(line)
        if "refused" in answer:
            raise InputError(f"{self.path}: {printable(answer['refused'])}")
        if "damaged" in answer:
            raise InputError(f"{self.path}: {self._damaged}: {printable(answer['damaged'][:200])}")
        return answer

    def _ended(self) -> None:
        code = self._process.wait()
        why = (
            "reading it takes too long"
            if code == -signal.SIGXCPU
            else f"the {self._library} library ended ({code})"
        )
        raise InputError(f"{self.path}: {self._damaged}: {why}")


def printable(text: str) -> str:
    """What a file says, as text that does nothing to a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether this is a directory that says that it is a group of Zarr."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ZARR)


def need_zarr(path: str | os.PathLike[str]) -> None:
    """Raise InputError where the package that reads and writes Zarr is missing, or too old."""
    try:
        found = importlib.metadata.version("zarr")
    except importlib.metadata.PackageNotFoundError:
        found = "0"
    if int(found.split(".")[0]) < 3:
        raise InputError(f"{path}: Zarr needs the package zarr, 3.0 or newer: pip install 'taskfmm[zarr]'")
