"""Results block by block, as they are computed, under any of Dask's schedulers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.base import get_scheduler

Write = Callable[[str, int, np.ndarray], None]
"""Of the name of an array, the first row of a block, and the block."""


def each_block(arrays: Mapping[str, da.Array], write: Write) -> None:
    """Compute arrays together and hand every block of rows to ``write``, in the order in which they get ready.

    ``write`` is called in this process, one call at a time. No more results stay in memory than are under way, in
    threads and on a cluster; the scheduler with processes of its own returns all of them at once.

    Parameters
    ----------
    arrays : mapping of dask.array
        Chunked along the first axis only.
    write : callable of (name, first row, block)
        An exception of it ends the computation.

    Examples
    --------
    >>> import dask.array as da
    >>> each_block({"ones": da.ones(4, chunks=4)}, lambda name, first, block: print(name, first, block))
    ones 0 [1. 1. 1. 1.]
    """
    blocks, places = _blocks(arrays)
    get = get_scheduler(collections=list(arrays.values()))
    client: Any = getattr(get, "__self__", None)
    if get is None or get in (dask.threaded.get, dask.local.get_sync):
        lock = threading.Lock()

        def put(name: str, first: int, block: np.ndarray) -> None:
            with lock:
                write(name, first, block)

        # A task for each block, so that Dask lets go of a block once it is written.
        store = dask.delayed(put, pure=False)
        dask.compute(*(store(*place, block) for place, block in zip(places, blocks, strict=True)))
    elif hasattr(client, "futures"):
        from distributed import as_completed

        futures = client.compute(blocks)
        place_of = {future.key: place for future, place in zip(futures, places, strict=True)}
        # as_completed then holds the only reference to a future. Its block stays with the workers until it is asked
        # for here, or all that are ready would wait in this process.
        ready = as_completed(futures)
        del futures
        for future in ready:
            write(*place_of[future.key], future.result())
    else:
        for place, block in zip(places, dask.compute(*blocks), strict=True):
            write(*place, block)


def each_block_in_tasks(arrays: Mapping[str, da.Array], write: Write) -> None:
    """As `each_block`, but ``write`` is called by a task for each block, wherever that runs, and by several at once.

    No block comes to this process. A task may run twice, and then writes the same again.
    """
    store = dask.delayed(write, pure=False)
    dask.compute(*(store(*place, block) for block, place in zip(*_blocks(arrays), strict=True)))


def _blocks(arrays: Mapping[str, da.Array]) -> tuple[list[da.Array], list[tuple[str, int]]]:
    """The blocks of rows of all arrays, and of each the name of its array and its first row."""
    blocks, places = [], []
    for name, array in arrays.items():
        for n_rows, first in zip(array.chunks[0], accumulate(array.chunks[0], initial=0), strict=False):
            blocks.append(array[first : first + n_rows])
            places.append((name, first))
    return blocks, places
