"""Directories of Zarr that appear under their names only once they are whole, written block by block.

Blocks of rows that are whole chunks may be written by several processes at once (`write_block`).
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files import disk
from taskfmm.files.datasets import is_zarr, need_zarr
from taskfmm.files.output import CHUNK_ROWS, chunks_of, unwritable

SUFFIX = ".zarr"


def check_zarr(path: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> None:
    """As `taskfmm.files.output.check_output`; only what taskfmm has written is replaced."""
    need_zarr(path)
    target = Path(path).absolute()
    if source is not None:
        places = target.resolve(), Path(source).resolve()
        for outer, inner in (places, places[::-1]):
            if inner.is_relative_to(outer):
                raise InputError(f"{path}: is the input, or one is inside the other: give another output")
    if (target.exists() or target.is_symlink()) and not _is_ours(target):
        raise InputError(f"{path}: is there, and not a result of taskfmm: remove it, or give another output")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise unwritable(target, error) from error


class ZarrOutput:
    """A group of Zarr that appears under its name only once it is whole; otherwise as `OutputFile`.

    Each chunk carries a checksum, and a chunk that gets lost is read as NaN.

    rows : the axis of the rows, as of `OutputFile`
    chunk_rows : of each chunk; who writes chunks in several processes, writes so many rows at once
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]],
        rows: int = 0,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        self.path = Path(path).absolute()
        self._shapes, self._rows, self._chunk_rows = shapes, rows, chunk_rows

    def __enter__(self) -> ZarrOutput:
        check_zarr(self.path)
        import zarr
        from zarr.codecs import Crc32cCodec
        from zarr.storage import LocalStore

        try:
            parent = self.path.parent
            room = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self._shapes.values())
            if room > shutil.disk_usage(parent).free:
                raise OSError(f"{room:.1e} bytes are needed, and less is free")
            self.directory = Path(tempfile.mkdtemp(dir=parent, prefix=f".{self.path.name}.", suffix=".part"))
        except OSError as error:
            raise unwritable(self.path, error) from error
        disk.UNFINISHED.add(self.directory)
        try:
            self._group = zarr.create_group(store=LocalStore(self.directory), zarr_format=3)
            for name, (shape, dtype) in self._shapes.items():
                self._group.create_array(
                    name,
                    shape=shape,
                    dtype=dtype,
                    chunks=tuple(max(1, extent) for extent in chunks_of(shape, self._rows, self._chunk_rows)),
                    compressors=(Crc32cCodec(),),
                    fill_value=dtype.type(complex(math.nan, math.nan) if dtype.kind == "c" else math.nan),
                    config={"write_empty_chunks": True},
                )
        except BaseException:
            self._remove()
            raise
        return self

    def write(self, name: str, first: int | tuple[int, ...], block: np.ndarray) -> None:
        """As `OutputFile.write`."""
        leading = (first,) if isinstance(first, int) else first
        if len(block):
            _write(self._group[name], leading, block, self.path)

    def attributes(self, values: Mapping[str, Any]) -> None:
        """Record settings on the group itself."""
        self._group.attrs.update(dict(values))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._group.attrs["complete"] = True
                _keep(self.directory)
                _replace(self.path, self.directory)
        except OSError as failed:
            raise unwritable(self.path, failed) from failed
        finally:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        disk.UNFINISHED.discard(self.directory)


def write_block(directory: str, name: str, first: int, block: np.ndarray) -> None:
    """Write rows from ``first`` on, whole chunks, into an array of `ZarrOutput.directory`, from any process."""
    import zarr
    from zarr.storage import LocalStore

    _write(
        zarr.open_array(store=LocalStore(directory), path=name, mode="r+"), (first,), block, Path(directory)
    )


def _write(array: Any, first: tuple[int, ...], block: np.ndarray, path: Path) -> None:
    try:
        array[(*first[:-1], slice(first[-1], first[-1] + len(block)))] = block
    except OSError as error:
        raise unwritable(path, error) from error


def _is_ours(target: Path) -> bool:
    """Whether this is a finished result, which another one may replace."""
    if target.is_symlink() or not is_zarr(target):
        return False
    import zarr

    try:
        attributes = zarr.open_group(target, mode="r").attrs
        return bool(attributes.get("complete")) and {"kernel", "eps", "version"} <= set(attributes)
    except Exception:  # damaged, or no group: it stays
        return False


def _keep(directory: Path) -> None:
    """Have all of it on the disk, and readable by whoever may read any new file."""
    mask = os.umask(0)
    os.umask(mask)
    for place, _, names in os.walk(directory):
        for each in (place, *(os.path.join(place, name) for name in names)):
            descriptor = os.open(each, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    directory.chmod(0o777 & ~mask)


def _replace(target: Path, directory: Path) -> None:
    """Put a directory into the place of an older one, which is there until then and comes back if that fails."""
    older = directory.with_suffix(".old")
    if target.exists():
        os.rename(target, older)
    try:
        os.rename(directory, target)
    except BaseException:
        if older.exists():
            os.rename(older, target)
        raise
    shutil.rmtree(older, ignore_errors=True)
