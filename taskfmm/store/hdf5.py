"""The HDF5 side of a plan file: HDF5 writes the structure alone, the arrays go past it to the places that it gave."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from taskfmm.files import disk

BLOCK = 2**23
"""Bytes copied and written at a time."""

Table = dict[str, list[Any]]
"""Of each dataset: dtype, place in the file, number of elements, checksum."""


def _blocks(arrays: list[np.ndarray]) -> Iterator[np.ndarray]:
    """All elements in runs of about `BLOCK` bytes."""
    run: list[np.ndarray] = []
    for array in arrays:
        run.append(array.reshape(-1))
        if sum(piece.nbytes for piece in run) >= BLOCK:
            yield np.concatenate(run) if len(run) > 1 else run[0]
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


def write(
    descriptor: int,
    arrays: Mapping[str, list[np.ndarray]],
    attributes: Mapping[str, Any],
    front: int,
    outline: Callable[[Table], bytes],
    sums: bool = True,
) -> tuple[int, bytes]:
    """Write an HDF5 file behind ``front`` bytes that are left free.

    arrays : of each dataset, one after the other
    outline : the text of the last dataset, once it is known where the others are
    sums : whether datasets get checksums

    Returns
    -------
    Where that text is, and the text; raises OSError.
    """
    layout: dict[str, Any] = dict(alignment_threshold=1, alignment_interval=64, userblock_size=front)
    with _Patient(descriptor, "r+", closefd=False) as raw:
        try:
            with h5py.File(raw, "w", libver="latest", **layout) as file:
                file.attrs.update(attributes)
                text = outline(
                    {name: _put(descriptor, file, name, found, sums) for name, found in arrays.items()}
                )
                place = _put(descriptor, file, "outline", [np.frombuffer(text, np.uint8)], False)[1]
        except RuntimeError as error:
            raise raw.failed or OSError(str(error)) from error
        if raw.failed is not None:
            raise raw.failed
    return place, text


def _put(descriptor: int, file: Any, name: str, arrays: list[np.ndarray], sums: bool) -> list[Any]:
    """Make a dataset and write it; returns its dtype, place, number of elements and checksum, or None for that."""
    shape = arrays[0].shape if len(arrays) == 1 else (sum(array.size for array in arrays),)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)
    groups = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    groups.set_create_intermediate_group(True)
    kind = h5py.h5t.py_create(arrays[0].dtype)
    made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), layout, groups)
    place = made.get_offset() if sum(array.size for array in arrays) else 0
    at, crc = place, 0
    for block in _blocks(arrays):
        if block.size:
            block = np.ascontiguousarray(block)
            disk.write_all(descriptor, block.data, at)
            crc = zlib.crc32(block.data, crc) if sums else 0
            at += block.nbytes
    return [arrays[0].dtype.name, place, (at - place) // arrays[0].itemsize, crc if sums else None]
