"""Plans in files: HDF5 for everybody, read by us without the HDF5 library, by mapping the file into memory.

In front of the HDF5 file, in the user block that other programs skip, a line of JSON says what this is and where the
outline lies, followed by a digest of that line. The outline, a dataset of JSON text, says where every other dataset
lies, with a checksum of each, and which values their arrays belong to (`taskfmm.store.outline`). The description of
each value is a string of JSON, so that a task that reads one of many values decodes no others. No structure of HDF5
is trusted or even looked at, and a size is believed only if the file is as long as that.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import sys
import zlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import StorageError
from taskfmm.files import disk
from taskfmm.store import hdf5
from taskfmm.store.outline import Maker, Outline, checksum, fits, places
from taskfmm.version import __version__

FORMAT = 11
"""Of the files; raised whenever the same bytes would mean something else."""

FRONT = 4096
"""Bytes before the HDF5 file."""

KIND = "taskfmm plan"

OFTEN_READ = 2**19
"""Bytes of an outline that a process keeps. It keeps those of the last 64 files, twice: as text and decoded."""

DTYPES = ("float64", "float32", "int64", "int32", "int8", "uint64", "uint8")


def most_outline(size: int) -> int:
    """Bytes that the outline of a file of this size may have. Parsed, a hostile one takes some thirty times that."""
    return 2**20 + size // 8


def write(
    path: str | os.PathLike[str],
    values: Mapping[str, Any],
    *,
    named: Collection[str] = (),
    attributes: Mapping[str, Any] | None = None,
    lasting: bool = False,
    apart: bool = False,
) -> None:
    """Write named values, all or nothing.

    Parameters
    ----------
    path : path
        What was there before is replaced in one step.
    values : mapping
        Nests of dataclasses of a plan, tuples, dicts, arrays, numbers, strings and None.
    named : names of values
        Their arrays get datasets of their own; all others are packed, as there may be thousands.
    attributes : mapping
        Of the HDF5 file, for other programs.
    lasting : bool
        A user's file, whose bytes are on the disk before it appears; else one of ours, for this user alone.
    apart : bool
        Each value gets a checksum of its own, for `PlanFile.checked`, instead of each dataset.

    Raises
    ------
    StorageError
        The directory cannot be written to, or is full, or the path is no place for a file; nothing was changed.
    TypeError
        Something that a file cannot hold.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write(f"{directory}/a.h5", {"order": np.arange(3), "far": ((), (1, None))})
    ...     PlanFile(f"{directory}/a.h5")["far"]
    ((), (1, None))
    """
    path = Path(path).absolute()
    outline = Outline(values, named)
    try:
        disk.refuse_odd(path)
        with disk.replacing(path, lasting) as descriptor:
            _write(descriptor, outline, attributes or {}, apart)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{path}: cannot be written, nothing was changed: {reason}") from error


def _write(descriptor: int, outline: Outline, attributes: Mapping[str, Any], apart: bool) -> None:
    about = {"kind": KIND, "format": FORMAT, "version": __version__, **attributes}

    def told(table: hdf5.Table) -> bytes:
        values = {name: json.dumps(described) for name, described in outline.values.items()}
        found = {"datasets": table, "values": values}
        return json.dumps(found | ({"checksums": outline.checksums()} if apart else {})).encode()

    place, text = hdf5.write(descriptor, outline.arrays, about, FRONT, told, not apart)
    facts = {
        "kind": KIND,
        "format": FORMAT,
        "taskfmm": __version__,
        "numpy": np.__version__,
        "byteorder": sys.byteorder,
        "size": os.fstat(descriptor).st_size,
        "outline": [place, len(text), hashlib.sha256(text).hexdigest()],
    }
    disk.write_all(descriptor, _front(json.dumps(facts).encode()))


def _front(line: bytes) -> bytes:
    """The first bytes of a file: the line, a digest of it, zeros."""
    return (line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n").ljust(FRONT, b"\0")


class PlanFile:
    """The values of a file, by name; their arrays are the file's own pages, read when they are touched.

    Processes on one machine share those pages. An array that is written to is a private copy from then on. The
    file may be replaced or removed meanwhile, but must not be changed in place.

    Parameters
    ----------
    path : path
    verify : bool
        Read everything and compare the checksums.

    Raises
    ------
    StorageError
        The file cannot be opened, is no plan, is of another version, not whole, or (with ``verify``) damaged.
        Also where a value is asked for whose description is wrong.
    KeyError
        A name that is not in the file, when it is asked for.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(path)
        self._found: dict[str, Any] = {}
        try:
            self._bytes = _mapped(self.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StorageError(f"{self.path}: cannot be read as a plan: {reason}") from error
        try:
            outline = self._outline(self._facts())
            tables, self._values = outline["datasets"], dict(outline["values"])
            self._checksums = dict(outline.get("checksums", {}))
            arrays = {name: self._array(*row[:3]) for name, row in tables.items()}
            self._refuse_overlaps(tables)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._damaged(f"{error}") from error
        self._maker = Maker(arrays)
        if verify and not self._checksums:
            self._compare(arrays, {name: row[3] for name, row in tables.items()})
        elif verify:
            for name in self._values:
                self.checked(name)

    def _damaged(self, why: str) -> StorageError:
        return StorageError(f"{self.path}: is damaged, make it again from the points: {why[:200]}")

    def _facts(self) -> dict[str, Any]:
        """The first line, once it is known to be of this version and the file to be whole."""
        front = self._bytes[:FRONT].tobytes()
        if not front.startswith(f'{{"kind": "{KIND}"'.encode()):
            raise StorageError(
                f"{self.path}: cannot be read as a plan: it is a file of another kind, or its first bytes are "
                "damaged: give one that Fmm.save or taskfmm plan wrote"
            )
        line = front.partition(b"\n")[0]
        if front != _front(line):
            raise self._damaged("its first bytes were changed")
        facts: dict[str, Any] = json.loads(line)
        written = (facts["format"], facts["taskfmm"], facts["byteorder"])
        if written != (FORMAT, __version__, sys.byteorder):
            raise StorageError(
                f"{self.path}: has format {written[0]} of taskfmm {written[1]}, {written[2]}-endian, expected format "
                f"{FORMAT} of {__version__}, {sys.byteorder}-endian: make it again with this version"
            )
        if facts["size"] != self._bytes.size:
            raise self._damaged(f"it has {self._bytes.size} bytes of {facts['size']}")
        return facts

    def _outline(self, facts: dict[str, Any]) -> dict[str, Any]:
        place, size, digest = facts["outline"]
        if not (type(size) is int and 0 < size <= most_outline(self._bytes.size)):
            raise ValueError(f"an outline of {size!r} bytes")
        text = self._array("uint8", place, size).tobytes()
        if hashlib.sha256(text).hexdigest() != digest:
            raise ValueError("the digest of the outline is wrong")
        # that of works, which many tasks read
        if size <= OFTEN_READ:
            return _decoded(text)
        found: dict[str, Any] = json.loads(text)
        return found

    def _array(self, kind: Any, place: Any, size: Any) -> np.ndarray:
        """A piece of the file, if it lies within and at a multiple of its items' size."""
        if kind not in DTYPES or type(place) is not int or type(size) is not int:
            raise ValueError(f"a dataset of {kind!r}, {size!r} elements at byte {place!r}")
        dtype = np.dtype(kind)
        if size == 0:
            return np.empty(0, dtype)
        end = place + size * dtype.itemsize
        if not FRONT <= place < end <= self._bytes.size or place % dtype.itemsize:
            raise ValueError(
                f"a dataset of {size} elements at byte {place}, beyond the file's {self._bytes.size}"
            )
        return self._bytes[place:end].view(dtype)

    def _compare(self, arrays: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
        """Read everything, the largest datasets first; it is half the time of loading, so two threads share it."""
        names = sorted(arrays, key=lambda name: -arrays[name].nbytes)
        with ThreadPoolExecutor(2) as pool:
            for name, crc in zip(
                names, pool.map(lambda name: zlib.crc32(arrays[name].data), names), strict=True
            ):
                if crc != expected[name]:
                    raise self._damaged(f"the checksum of {name} is wrong")

    def _refuse_overlaps(self, tables: dict[str, Any]) -> None:
        ends = sorted(
            (place, place + size * np.dtype(kind).itemsize)
            for kind, place, size, _ in tables.values()
            if size
        )
        if any(end > begin for (_, end), (begin, _) in pairwise(ends)):
            raise ValueError("datasets overlap")

    def names(self) -> list[str]:
        """Of all values."""
        return list(self._values)

    def _described(self, name: str) -> Any:
        """How a value is made of its arrays."""
        return json.loads(self._values[name])

    def places(self, names: Collection[str]) -> list[tuple[int, int]]:
        """The bytes, from and to, that a file has to have for some values of it to be read; raises KeyError."""
        begin, size, _ = self._facts()["outline"]
        arrays = [self._maker.array(*place) for name in names for place in places(self._described(name))]
        first = [array.ctypes.data - self._bytes.ctypes.data for array in arrays]
        found = [(at, at + array.nbytes) for at, array in zip(first, arrays, strict=True) if array.size]
        return [(0, FRONT), (begin, begin + size), *found]

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            text = self._values[name]
            try:
                self._found[name] = self._maker.make(json.loads(text))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise self._damaged(f"{name}: {error}") from error
        return self._found[name]

    def checked(self, name: str) -> Any:
        """A value of a file that has a checksum of each; raises StorageError if its bytes have changed."""
        try:
            same = checksum(self._described(name), self._maker.array) == self._checksums[name]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._damaged(f"{name}: {error}") from error
        if not same:
            raise self._damaged(f"the checksum of {name} is wrong")
        return self[name]

    def read(self, name: str, hint: Any) -> Any:
        """A value that must be there and be of a type; raises StorageError."""
        if name not in self._values or not fits(self[name], hint):
            raise self._damaged(f"{name} is missing or of another type")
        return self[name]


@lru_cache(maxsize=64)
def _decoded(text: bytes) -> dict[str, Any]:
    """An outline, for all who open the file: nothing that it holds is changed or handed out.

    Each task opens the file of its work, and decoding would be most of that: 1.6 ms instead of 0.5 for 540 works.
    """
    found: dict[str, Any] = json.loads(text)
    return found


def _mapped(path: Path) -> np.ndarray:
    """The bytes of a file, copied when they are written to; uint8."""
    descriptor = disk.open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size <= FRONT:
            raise ValueError(f"it has {size} bytes only, no plan is that small")
        try:
            # copy on write, so that arrays count as writeable: Numba compiles a loop again for read-only ones
            return np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY), np.uint8)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EINVAL):
                raise
            return np.fromfile(path, np.uint8, size)  # a file system that maps nothing
    finally:
        os.close(descriptor)
