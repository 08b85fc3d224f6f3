"""Datasets of files as lazy arrays, whose chunks are read by the tasks that need them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import dask.array as da

from taskfmm.errors import InputError
from taskfmm.files.slices import Slices

BLOCK, MOST_ROWS = 2**15, 2**20
"""Chunks have a multiple of so many rows, and no more than so many, unless they are told otherwise."""

CHUNK = 2**26
"""Bytes of a chunk, at most, where it has more rows than `BLOCK`."""


def dataset(path: str | os.PathLike[str], name: str, rows: int | None = None) -> da.Array:
    """A dataset of an HDF5 file, or an array in a directory of Zarr, as a lazy array; nothing of it is read now.

    Each chunk is read by the task that computes it, in a process of its own with bounds on its memory and time, so
    that a damaged file harms nobody. Workers have to see the file under the same name.

    Parameters
    ----------
    path : path
    name : str
        As "sources" or "run/points".
    rows : int, optional
        Of a chunk, along the first axis, which is the only one that is cut. If left out, as many as take 64 MiB,
        2**20 at most, and a multiple of 2**15.

    Returns
    -------
    dask.array
        Of the shape and dtype of the dataset.

    Raises
    ------
    InputError
        What `taskfmm run` refuses of its input: no such file or dataset, links that lead elsewhere, what are no
        numbers, and so on; when a chunk is computed also a file that is not the same any more. The package zarr is
        missing.

    Examples
    --------
    >>> import taskfmm
    >>> x, q = (taskfmm.dataset("huge.h5", name) for name in ("sources", "charges"))  # doctest: +SKIP
    >>> taskfmm.Fmm.from_dask(x).potential(q).to_zarr("phi.zarr")  # doctest: +SKIP
    """
    found = Slices.at(path, name)
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
        raise InputError(f"rows is {rows!r}, expected a whole number of 1 or more, or None")
    return lazy(found, rows or rows_of_chunks([math.prod(found.shape[1:]) * found.dtype.itemsize]))


def rows_of_chunks(row_bytes: Iterable[int]) -> int:
    """Rows of a chunk of arrays that have so many bytes a row."""
    fits = CHUNK // max([1, *row_bytes]) // BLOCK * BLOCK
    return min(max(fits, BLOCK), MOST_ROWS)


def lazy(found: Slices, rows: int) -> da.Array:
    """A dataset in chunks of so many rows."""
    chunks = (min(rows, max(1, found.shape[0])), *found.shape[1:])
    return da.from_array(found, chunks=chunks, fancy=False, inline_array=True, meta=found[:0])
