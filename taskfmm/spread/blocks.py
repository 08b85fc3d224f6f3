"""How charges come to regions, and results go back to chunks: by files, of which each task writes one.

A task of a chunk writes its charges in the order of the regions, and each region reads its own run from each file.
With results it is the other way round. So there is a task for each chunk and for each region, and none for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm import validate
from taskfmm.graph import tasks
from taskfmm.kernels import Kernel, Source
from taskfmm.passes import scaled
from taskfmm.plan.works import Chunk
from taskfmm.spread import depot
from taskfmm.spread.chunks import Piece
from taskfmm.spread.depot import Directory


def declared(array: Any, piece: Piece, kind: Source) -> tuple[Any, ...]:
    """What is known of a chunk of charges, see `taskfmm.validate.chunks`; array : a dask.array of all"""
    return (piece.n,), array.shape[1:], str(array.dtype), piece.within, piece.first, kind.given_as


def enter(
    chunk: Any,
    declared: tuple[Any, ...],
    kind: Source,
    scale: float,
    name: str,
    number: int,
    path: Path,
    at: Directory,
) -> int | None:
    """Write the charges of a chunk; returns their `taskfmm.passes.scaled.power`.

    declared : what is known of the chunk, see `taskfmm.validate.chunks`
    name : of the kind and its vector, in names of files
    path, at : directories of the plan and of the evaluation
    """
    charges = validate.chunks([chunk], *declared)
    order = depot.get(path, "order", number)
    _put(at.value, name, number, charges[np.asarray(order["rows"])], order["ptr"])
    return scaled.power(charges, kind, scale)


def charges(
    region: int,
    names: Sequence[str],
    n_chunks: int,
    kernel: Kernel,
    scale: float,
    exponents: Sequence[int],
    path: Path,
    at: Directory,
) -> np.ndarray:
    """The charges of a region in the units of the passes, see `taskfmm.graph.tasks.charges`."""
    order = np.asarray(depot.get(path, "blocks", region)["sources"])
    kinds = [_runs(at.value, name, range(n_chunks), region)[order] for name in names]
    lengths = None if kernel.softening is None else depot.get(path, "points", region)["lengths"]
    return tasks.charges(kinds, kernel, scale, exponents, lengths)


def collect(
    chunk: Chunk,
    values: Sequence[np.ndarray],
    how: Sequence[Any],
    name: str,
    region: int,
    path: Path,
    at: Directory,
) -> None:
    """Write the results of a region, by the chunks to which they go; how : as `taskfmm.graph.tasks.collect` has it"""
    found = tasks.collect(chunk, values, *how)
    blocks = depot.get(path, "blocks", region)
    dealt = np.empty_like(found)
    dealt[np.asarray(blocks["targets" if "targets" in blocks.names() else "sources"])] = found
    _put(at.value, name, region, dealt, blocks["ptr"])


def in_order(
    name: str, number: int, file: int, n_regions: int, path: Path, at: Directory, *_: None
) -> np.ndarray:
    """The results of a chunk in its own order.

    number : of the chunk among those of the targets; file : of its order
    """
    found = _runs(at.value, name, range(n_regions), number)
    out = np.empty_like(found)
    out[np.asarray(depot.get(path, "order", file)["rows"])] = found
    return out


def _put(at: Path, name: str, number: int, values: np.ndarray, ptr: np.ndarray) -> None:
    """Write runs of values, each by its number, so that a reader looks at no others."""
    runs = {str(run): _real(values[begin:end]) for run, (begin, end) in enumerate(pairwise(ptr.tolist()))}
    depot.put(at, name, number, {**runs, "complex": int(values.dtype.kind == "c")}, apart=True)


def _real(values: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs: files have none."""
    values = np.ascontiguousarray(values)
    return values[..., None].view(values.real.dtype) if values.dtype.kind == "c" else values


def _runs(at: Path, name: str, numbers: Sequence[int], which: int) -> np.ndarray:
    """Of some files the run that goes to one region, or one chunk, one after the other."""
    found = [depot.get_apart(at, name, number, (str(which), "complex")) for number in numbers]
    values = np.concatenate([run for run, _ in found])
    return values.view(f"c{2 * values.itemsize}")[..., 0] if found[0][1] else values
