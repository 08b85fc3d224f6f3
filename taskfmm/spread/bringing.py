"""Charges that come to their regions at once, for what has to be known before an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from taskfmm import validate
from taskfmm.kernels import Kernel, Source
from taskfmm.passes.given import Given
from taskfmm.passes.scaled import largest
from taskfmm.spread import blocks
from taskfmm.spread.depot import Directory
from taskfmm.spread.plan import SpreadPlan
from taskfmm.spread.run import run


@dataclass(frozen=True, slots=True)
class Brought:
    """Charges in files.

    kernel : without softening, as lengths of sources are with the points
    names : of the files, one for each kind and vector; n_chunks : of the sources
    exponents : of the vectors, see `taskfmm.passes.scaled.exponents`
    at : their directory
    """

    kernel: Kernel
    names: tuple[str, ...]
    n_chunks: int
    scale: float
    exponents: tuple[int, ...]
    at: Directory

    def of(self, region: int, path: Path) -> np.ndarray:
        """Those of a region in the units of the passes, float64 [n_numbers, n]; path : of the plan"""
        how = self.kernel, self.scale, self.exponents, path, self.at
        return blocks.charges(region, self.names, self.n_chunks, *how)


def in_chunks(plan: SpreadPlan, given: Given) -> Given:
    """Charges as dask.arrays in the chunks of the sources: which ones a region has is known to tasks alone."""
    sizes = tuple(piece.n for piece in plan.of_sources)

    def chunked(kind: Source, array: Any) -> da.Array:
        chunks = (sizes, *((n,) for n in array.shape[1:]))
        if not isinstance(array, da.Array):
            # a copy, as the caller may fill his array anew before a lazy result is computed
            return da.from_array(array.copy(), chunks)
        if array.chunks != chunks:
            # dask cuts chunks by what was declared of them, and drops rows that are there besides
            known = {"dtype": array.dtype, "meta": array._meta}
            array = da.map_blocks(as_declared, array, argument=kind.given_as, **known)
        return array.rechunk(chunks)

    return replace(given, arrays=tuple(map(chunked, given.kernel.kinds, given.arrays)))


def as_declared(chunk: Any, argument: str, block_info: Any = None) -> np.ndarray:
    """A chunk of lazy charges, if it is as its array declares; see `taskfmm.validate.chunks`

    argument : its name; block_info : what dask knows of the chunk
    """
    known = block_info[0]
    (begin, end), *others = known["array-location"]
    numbers = tuple(last - first for first, last in others)
    where = known["chunk-location"][0], begin, argument
    return validate.chunks([chunk], (end - begin,), numbers, str(block_info[None]["dtype"]), *where)


def bring(plan: SpreadPlan, given: Given) -> Brought:
    """Bring charges to all regions, now."""
    given = in_chunks(plan, given)
    path, at, calls, names = plan.depot.path, plan.depot.directory("charges"), [], []
    for number, (kind, array) in enumerate(zip(given.kernel.kinds, given.arrays, strict=True)):
        names.append(f"charges_{number}")
        for piece in plan.of_sources:
            chunk = array[piece.first : piece.first + piece.n]
            declared = blocks.declared(array, piece, kind)
            calls.append((chunk, declared, kind, plan.scale, names[-1], piece.number, path, at))
    exponents = largest(run(blocks.enter, calls), given.kernel)
    kernel = given.kernel.unsoftened
    return Brought(kernel, tuple(names), len(plan.of_sources), plan.scale, exponents, at)
