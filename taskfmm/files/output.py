"""HDF5 files that appear under their names only once they are whole, written block by block."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from taskfmm.errors import InputError
from taskfmm.files import disk

CHUNK_ROWS = 2**15
"""Rows with a checksum of their own: a damaged file loses these, not all."""


def check_output(path: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> None:
    """Refuse, before anything is computed, an output that could not be written or is the input ``source``."""
    target = Path(path)
    try:
        if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
            raise InputError(f"{path}: is the input file: give another output file")
        if target.is_dir():
            raise InputError(f"{path}: is a directory: give a file name")
        if target.exists() and not target.is_file():
            raise InputError(f"{path}: is a pipe or a device: give the name of a file")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise unwritable(target, error) from error


class OutputFile:
    """An HDF5 file that appears under its name only once it is whole.

    Parameters
    ----------
    path : path
        Where the file appears when the ``with`` block ends well.
    shapes : mapping from a name to (shape, dtype)
        The datasets. Room for all of them is taken on the disk before anything is written.
    rows : int
        The axis of the rows, along which datasets are long: 1 where there are several vectors of each.

    Raises
    ------
    InputError
        The file cannot be written, or the disk is full: on entering, writing or leaving the block. What stood at
        ``path`` before is untouched.

    Notes
    -----
    HDF5 can crash or hang the process when a disk fills up under it, so it writes through `_Sink`, which never
    tells it of a failure. Blocks may come in any order; nothing of them is kept in memory.

    Examples
    --------
    >>> import numpy as np
    >>> with OutputFile("out.h5", {"potential": ((4,), np.dtype("f8"))}) as output:  # doctest: +SKIP
    ...     output.write("potential", 2, np.ones(2))
    ...     output.write("potential", 0, np.zeros(2))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        rows: int = 0,
    ) -> None:
        self.path = Path(path)
        self._shapes = shapes
        self._rows = rows
        self._stack = ExitStack()

    def __enter__(self) -> OutputFile:
        check_output(self.path)
        try:
            self._descriptor = self._stack.enter_context(disk.replacing(self.path))
            room = sum(_room(shape, dtype, self._rows) for shape, dtype in self._shapes.values())
            take_room(self._descriptor, room + 2**16)
        except OSError as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise unwritable(self.path, error) from error
        self._sink = _Sink(self._descriptor)
        self._file = h5py.File(self._sink, "w")
        for name, (shape, dtype) in self._shapes.items():
            # An empty dataset holds nothing to protect, and cannot have chunks.
            checked = dict(chunks=chunks_of(shape, self._rows), fletcher32=True) if math.prod(shape) else {}
            self._file.create_dataset(name, shape, dtype, **checked)
        return self

    def write(self, name: str, first: int | tuple[int, ...], block: np.ndarray) -> None:
        """Write rows from ``first`` on; for a dataset of vectors, ``first`` is (vector, row)."""
        leading = (first,) if isinstance(first, int) else first
        rows = slice(leading[-1], leading[-1] + len(block))
        if len(block):
            self._file[name][(*leading[:-1], rows)] = block
        self._check()

    def attributes(self, values: Mapping[str, Any]) -> None:
        """Record settings on the file itself."""
        self._file.attrs.update(values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.attrs["complete"] = True
            self._file.close()
            if kind is None:
                self._check()
                os.ftruncate(self._descriptor, self._sink.size)
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
        try:
            self._stack.__exit__(kind, error, trace)
        except OSError as failed:
            if failed is error:
                raise
            raise unwritable(self.path, failed) from failed

    def _check(self) -> None:
        if self._sink.failed is not None:
            raise unwritable(self.path, self._sink.failed)


class _Sink(RawIOBase):
    """What HDF5 takes for the file: remembers a failure of the disk instead of reporting it.

    After a failure, what HDF5 writes is kept in memory, so that it reads back what it wrote until it is closed.
    The file is lost by then, and only few more blocks come.
    """

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self.failed: OSError | None = None
        self._descriptor = descriptor
        self._place = 0
        self._kept: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def truncate(self, size: int | None = None) -> int:
        self.size = self._place if size is None else size
        return self.size

    def readinto(self, buffer: Any) -> int:
        whole = memoryview(buffer).cast("B")
        read = os.pread(self._descriptor, len(whole), self._place)
        whole[: len(read)] = read
        whole[len(read) :] = bytes(len(whole) - len(read))
        for place, content in self._kept:
            begin = max(place, self._place)
            end = min(place + len(content), self._place + len(whole))
            if begin < end:
                whole[begin - self._place : end - self._place] = content[begin - place : end - place]
        self._place += len(whole)
        return len(whole)

    def write(self, content: Any) -> int:
        if self.failed is None:
            try:
                disk.write_all(self._descriptor, content, self._place)
            except OSError as error:
                self.failed = error
        if self.failed is not None:
            self._kept.append((self._place, bytes(content)))
        self._place += len(content)
        self.size = max(self.size, self._place)
        return len(content)

    def flush(self) -> None:
        """Nothing waits here."""


def take_room(descriptor: int, n_bytes: int) -> None:
    """Take room on the disk ahead of writing; raises OSError where there is not enough."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, n_bytes)


def unwritable(target: Path, error: Exception) -> InputError:
    """What to say where a file cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{target}: cannot be written, nothing was changed; {target.parent}: {reason}")


def chunks_of(shape: tuple[int, ...], axis: int, rows: int = CHUNK_ROWS) -> tuple[int, ...]:
    """Rows of points along the axis of the rows, whole in those after it; one vector at a time."""
    return tuple(
        min(extent, rows) if i == axis else (1 if i < axis else extent) for i, extent in enumerate(shape)
    )


def _room(shape: tuple[int, ...], dtype: np.dtype, axis: int) -> int:
    """Bytes that a dataset may take with its chunks padded, their checksums and their index."""
    if not math.prod(shape):
        return 2**13
    chunks = chunks_of(shape, axis)
    n_chunks = math.prod(-(-extent // chunk) for extent, chunk in zip(shape, chunks, strict=True))
    return n_chunks * (math.prod(chunks) * dtype.itemsize + 256) + 2**16
