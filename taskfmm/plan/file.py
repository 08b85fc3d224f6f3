"""Plans in files: named values, nests of the plan's dataclasses, in one HDF5 file that is read by mapping it.

All arrays of a dtype lie one after the other in one contiguous dataset, which carries their checksum; ``outline``
is a JSON text that says where each array is and what surrounds it. Nothing is pickled, so a file of unknown
origin can at worst be refused. An array that occurs twice is stored once, and is one array again when read.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from taskfmm.csr import Csr
from taskfmm.errors import StorageError
from taskfmm.geometry.domain import Domain
from taskfmm.plan import work
from taskfmm.plan.shards import Interactions
from taskfmm.tree.octree import Octree
from taskfmm.version import __version__

FORMAT = 1
"""Of the files; raised whenever the same bytes would mean something else."""

BLOCK = 2**23
"""Bytes copied and written at a time."""

CLASSES = {
    kind.__name__: kind
    for kind in (
        Csr,
        Domain,
        Interactions,
        Octree,
        *(found for found in vars(work).values() if isinstance(found, type) and is_dataclass(found)),
    )
}
"""What may occur in a file beside numbers, strings, None, tuples and dicts."""


class Outline:
    """The text of a file and its arrays in the order they are stored.

    Examples
    --------
    >>> outline = Outline({"pair": (1, np.arange(3))})
    >>> outline.values
    {'pair': [1, {'array': ['int64', 0, [3]]}]}
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.arrays: dict[str, list[np.ndarray]] = {}
        self._size: dict[str, int] = {}
        self._places: dict[int, list[Any]] = {}
        self.values = {name: self._describe(value) for name, value in values.items()}

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for arrays in self.arrays.values() for array in arrays)

    def _describe(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": self._place(value)}
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return [self._describe(item) for item in value]
        if isinstance(value, dict):
            return {"pairs": [[self._describe(k), self._describe(v)] for k, v in value.items()]}
        if type(value).__name__ in CLASSES:
            members = {field.name: self._describe(getattr(value, field.name)) for field in fields(value)}
            return {"is": type(value).__name__, **members}
        raise TypeError(f"a {type(value).__name__} cannot be part of a plan file")

    def _place(self, array: np.ndarray) -> list[Any]:
        """Dtype, first element and shape; what is the same array has the same place."""
        if id(array) not in self._places:
            kind = array.dtype.name
            first = self._size.get(kind, 0)
            self._places[id(array)] = [kind, first, list(array.shape)]
            self._size[kind] = first + array.size
            self.arrays.setdefault(kind, []).append(array)
        return self._places[id(array)]


def _blocks(arrays: list[np.ndarray]) -> Iterator[np.ndarray]:
    """All elements in runs of about `BLOCK` bytes."""
    run: list[np.ndarray] = []
    for array in arrays:
        run.append(array.reshape(-1))
        if sum(piece.nbytes for piece in run) >= BLOCK:
            yield np.concatenate(run)
            run = []
    if run:
        yield np.concatenate(run)


class _Patient(io.FileIO):
    """A file that reports a failed write only at the end: HDF5 crashes the process when a disk fills up under it."""

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.failed is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failed = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failed = self.failed or error
            return size or 0


@contextmanager
def _whole_or_not(path: Path, durable: bool) -> Iterator[Any]:
    """An open HDF5 file that appears at ``path`` once it is complete."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with _Patient(handle, "r+") as raw:
            layout = dict(alignment_threshold=1, alignment_interval=64)
            with h5py.File(raw, "w", libver="latest", **layout) as file:
                yield file
                file.attrs["complete"] = True
            if durable:
                os.fsync(handle)
            if raw.failed is not None:
                raise raw.failed
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write(path: str | os.PathLike[str], values: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write named values, all or nothing.

    Parameters
    ----------
    path : path
        What was there before is replaced in one step.
    values : mapping
        Nests of dataclasses of a plan, tuples, dicts, arrays, numbers, strings and None.
    durable : bool
        Wait until the bytes are on the disk.

    Raises
    ------
    StorageError
        The directory cannot be written to, or is full; nothing was changed.
    TypeError
        Something that a file cannot hold.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     write(f"{directory}/a.h5", {"halo": work.Halo(3, (0, 2), np.arange(3), np.zeros(2, np.int32))})
    ...     PlanFile(f"{directory}/a.h5")["halo"].shards
    (0, 2)
    """
    path = Path(path).absolute()
    outline = Outline(values)
    text = np.frombuffer(json.dumps(outline.values).encode(), np.uint8)
    try:
        with _whole_or_not(path, durable) as file:
            file.attrs["format"] = FORMAT
            file.attrs["version"] = __version__
            for name, arrays in {**outline.arrays, "outline": [text]}.items():
                _write_dataset(file, name, arrays)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_dataset(file: Any, name: str, arrays: list[np.ndarray]) -> None:
    dataset = file.create_dataset(name, (sum(a.size for a in arrays),), arrays[0].dtype)
    first = crc = 0
    for block in _blocks(arrays):
        if block.size:
            dataset[first : first + block.size] = block
        crc = zlib.crc32(block.data, crc)
        first += block.size
    dataset.attrs["crc32"] = crc


class PlanFile:
    """The values of a file, by name; their arrays are the file's own pages, read when they are touched.

    Processes on one machine share those pages. An array that is written to is a private copy from then on.

    Parameters
    ----------
    path : path
    verify : bool
        Read everything and compare the checksums.

    Raises
    ------
    StorageError
        The file cannot be opened, is no plan, is of another version, not complete, or (with ``verify``) damaged.
    KeyError
        A name that is not in the file, when it is asked for.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(path)
        self._found: dict[str, Any] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._made: dict[tuple, np.ndarray] = {}
        try:
            with h5py.File(self.path, "r") as file:
                self._check(file)
                for name, dataset in file.items():
                    self._arrays[name] = self._map(dataset)
                    if verify and zlib.crc32(self._arrays[name].data) != dataset.attrs["crc32"]:
                        raise StorageError(f"{self.path}: is damaged, the checksum of {name} is wrong")
            self._outline = json.loads(self._arrays["outline"].tobytes())
        except (OSError, KeyError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{self.path}: cannot be read as a plan: {error}") from error

    def _check(self, file: Any) -> None:
        written = (file.attrs.get("format"), file.attrs.get("version"))
        if written != (FORMAT, __version__):
            raise StorageError(
                f"{self.path}: has format {written[0]} of taskfmm {written[1]}, expected format {FORMAT} of "
                f"{__version__}: write it again with this version"
            )
        if not file.attrs.get("complete"):
            raise StorageError(f"{self.path}: is not complete: write it again")

    def _map(self, dataset: Any) -> np.ndarray:
        if dataset.size == 0:
            return np.empty(0, dataset.dtype)
        offset = dataset.id.get_offset()
        if offset is None:
            raise StorageError(f"{self.path}: {dataset.name} is not contiguous")
        # copy on write, so that arrays count as writeable: Numba compiles a loop again for read-only ones
        return np.asarray(np.memmap(self.path, dataset.dtype, "c", offset, dataset.shape))

    def names(self) -> list[str]:
        """Of all values."""
        return list(self._outline)

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = self._read(self._outline[name])
        return self._found[name]

    def _read(self, described: Any) -> Any:
        if isinstance(described, list):
            return tuple(self._read(item) for item in described)
        if not isinstance(described, dict):
            return described
        if "array" in described:
            kind, first, shape = described["array"]
            place = (kind, first, *shape)
            if place not in self._made:
                size = int(np.prod(shape, dtype=np.int64))
                self._made[place] = self._arrays[kind][first : first + size].reshape(shape)
            return self._made[place]
        if "pairs" in described:
            return {self._read(key): self._read(value) for key, value in described["pairs"]}
        members = dict(described)
        return CLASSES[members.pop("is")](**{name: self._read(value) for name, value in members.items()})
