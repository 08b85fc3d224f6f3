"""Vectors finished so far, in a file beside the output, so that a killed run goes on where it was.

The file is a page of JSON that says whose it is, a table with a digest for each finished vector, and room for all
vectors. A vector's digest is written after its values have reached the disk, and is checked when the run goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files import disk
from taskfmm.files.output import take_room, unwritable

PAGE = 4096
"""Bytes of the description."""

MARK = 32
"""Bytes of a digest; zeros where a vector is not finished."""

SLAB = 2**24
"""Bytes hashed or copied at once."""


class Journal:
    """The finished vectors of one run.

    Parameters
    ----------
    path : path
        Made if it is not there, continued if it belongs to the same run.
    run : mapping
        What decides the results, as plain values; a journal in which any of it differs belongs to another run.
    n_vectors : int
    shapes : mapping from the name of an output to (its shape for one vector, dtype)

    Raises
    ------
    InputError
        The file belongs to another run, is in use, is no journal, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        run: Mapping[str, Any],
        n_vectors: int,
        shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    ) -> None:
        self.path = path
        self._n_vectors = n_vectors
        self._shapes = shapes
        self._sizes = {name: math.prod(shape) * dtype.itemsize for name, (shape, dtype) in shapes.items()}
        self._vector = sum(self._sizes.values())
        self._first = -(-(PAGE + MARK * n_vectors) // PAGE) * PAGE
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            self._claim(dict(run))
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, OSError):
                raise unwritable(path, error) from error
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def finished(self) -> set[int]:
        """The vectors whose values are there as they were written."""
        marks = [os.pread(self._descriptor, MARK, PAGE + MARK * i) for i in range(self._n_vectors)]
        return {i for i, mark in enumerate(marks) if mark.strip(b"\0") and mark == self._digest(i)}

    def write(self, vector: int, name: str, first: int, block: np.ndarray) -> None:
        """Write rows of one output of a vector, in any order."""
        rows = np.ascontiguousarray(block, self._shapes[name][1])
        place = self._place(vector, name) + first * math.prod(rows.shape[1:]) * rows.itemsize
        try:
            disk.write_all(self._descriptor, rows.reshape(-1).view(np.uint8).data, place)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def finish(self, vector: int) -> None:
        """Mark a vector as finished, once its values are on the disk."""
        try:
            os.fsync(self._descriptor)
            disk.write_all(self._descriptor, self._digest(vector), PAGE + MARK * vector)
            os.fsync(self._descriptor)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def read(self, vector: int, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of one output of a vector."""
        shape, dtype = self._shapes[name]
        rows = np.empty(((shape[0] if last is None else last) - first, *shape[1:]), dtype)
        place = self._place(vector, name) + first * math.prod(shape[1:]) * dtype.itemsize
        into = rows.reshape(-1).view(np.uint8).data
        while into:
            read = os.preadv(self._descriptor, [into], place)
            if not read:
                raise InputError(f"{self.path}: was cut short: remove it and start again")
            into, place = into[read:], place + read
        return rows

    def blocks(self) -> Iterator[tuple[int, str, int, np.ndarray]]:
        """Everything in order: vector, output, first row, rows."""
        for vector in range(self._n_vectors):
            for name, (shape, dtype) in self._shapes.items():
                step = SLAB // (math.prod(shape[1:]) * dtype.itemsize)
                for first in range(0, shape[0], step):
                    yield vector, name, first, self.read(vector, name, first, min(first + step, shape[0]))

    def remove(self) -> None:
        """The run is over."""
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _claim(self, run: dict[str, Any]) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{self.path}: another process is at this run: wait for it") from error
        page = os.pread(self._descriptor, PAGE, 0).rstrip(b"\0")
        run = json.loads(json.dumps(run))  # tuples become lists, as in the file
        mine = json.dumps(run, sort_keys=True).encode()
        if not page:
            # The description comes last: a file without one holds nothing yet.
            take_room(self._descriptor, self._first + self._n_vectors * self._vector)
            os.fsync(self._descriptor)
            disk.write_all(self._descriptor, mine)
        elif page != mine:
            raise InputError(f"{self.path}: {_difference(page, run)}: remove it, or give another output")

    def _place(self, vector: int, name: str) -> int:
        place = self._first + vector * self._vector
        for other, size in self._sizes.items():
            if other == name:
                break
            place += size
        return place

    def _digest(self, vector: int) -> bytes:
        digest = hashlib.sha256()
        begin = self._first + vector * self._vector
        for place in range(begin, begin + self._vector, SLAB):
            digest.update(os.pread(self._descriptor, min(SLAB, begin + self._vector - place), place))
        return digest.digest()


def _difference(page: bytes, run: dict[str, Any]) -> str:
    try:
        other = json.loads(page)
        differs = sorted(key for key in run.keys() | other.keys() if run.get(key) != other.get(key))
    except (ValueError, AttributeError, RecursionError):
        return "is not what an unfinished run leaves"
    texts = [f"{key} {_brief(other.get(key))}, now {_brief(run.get(key))}" for key in differs]
    return f"is an unfinished run with other settings ({'; '.join(texts)})"


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
