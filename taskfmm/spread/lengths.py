"""The lengths of softened sources, which come to regions with the points; and how deep boxes may be for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain
from taskfmm.kernels import Kernel
from taskfmm.kernels.softening import refuse_negative
from taskfmm.spread.bringing import as_declared
from taskfmm.spread.chunks import Piece
from taskfmm.tree import octree


def of_pieces(kernel: Kernel, pieces: Sequence[Piece]) -> list[da.Array | None]:
    """The lengths of the sources of each chunk, not computed yet; None without softening, and of targets.

    Raises InputError where they are those of other sources; chunks of lazy ones are checked when they are known.
    """
    found: list[da.Array | None] = [None] * len(pieces)
    softening, own = kernel.softening, [piece for piece in pieces if piece.name == "sources"]
    if softening is not None:
        softening.refuse_others(sum(piece.n for piece in own), kernel.name)
        every = _in_chunks(softening.lengths, tuple(piece.n for piece in own))
        for piece in own:
            found[piece.number] = every[piece.first : piece.first + piece.n]
    return found


def _in_chunks(lengths: Any, sizes: tuple[int, ...]) -> da.Array:
    """One length for all, or one for each source; those of a dask.array are checked."""
    if not isinstance(lengths, np.ndarray):
        known = {"dtype": lengths.dtype, "meta": lengths._meta}
        return da.map_blocks(checked, lengths, **known).rechunk((sizes,))
    if lengths.ndim:
        return da.from_array(lengths, (sizes,))
    return da.full(sum(sizes), lengths, chunks=(sizes,))


def checked(chunk: Any, block_info: Any = None) -> np.ndarray:
    """A chunk of lazy lengths, if it is as its array declares; block_info : what dask knows of the chunk"""
    lengths = as_declared(chunk, "softening", block_info)
    known = block_info[0]
    ((begin, _),) = known["array-location"]
    refuse_negative(lengths, begin, f", in chunk {known['chunk-location'][0]}")
    return lengths


def deepest_level(reach: float | None, domain: Domain) -> int:
    """The level below which there are no boxes, as these would be narrower than the furthest reach of a source."""
    return morton.MAX_LEVEL if reach is None else int(octree.deepest_level(np.array([reach]), domain)[0])
