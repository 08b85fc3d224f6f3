"""Template: the near field in float32. Bound to one kernel and output by `taskfmm.kernels.instances`.

Coordinates are measured from a point of the leaf before they are rounded, so an offset has an error of about 1e-7 of
the width of the leaf, whatever its length. A target that has a source so close that this matters is summed again in
float64. Such targets are rare, as long as a target that is a source does not count itself among the close ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskfmm.jit import loop, part, wide_vectors
from taskfmm.kernels.packing import length, pack

if TYPE_CHECKING:

    def gather_run_apart(*numbers: object) -> None: ...

    def gather_run_exactly(*numbers: object) -> None: ...


WIDTH = 16
"""Numbers of a vector: buffers are filled up to a multiple of it, since what is left over is slow."""

TILE = 8192
"""Sources packed at a time: they stay in the cache while all targets of a row run over them."""


@loop
def points_to_points(
    first,
    last,
    target_ptr,
    x,
    y,
    z,
    itself,
    ptr,
    begin,
    end,
    sx,
    sy,
    sz,
    charges,
    parameters,
    close,
    out,
):
    """Potentials at the points of leaves, from points.

    Parameters
    ----------
    first, last : the rows, a part of them or all
    target_ptr : int64 [n_rows + 1]
    x, y, z : float64 [n_t], of the targets, in a unit in which leaves have half-widths of 1/2 to 1
    itself : int8 [n_rows], 1 where each target of a row is among its sources
    ptr : int64 [n_rows + 1], entries of a row; begin, end : int64 [n_entries], the run of points of an entry
    sx, sy, sz : float64 [n], of the points, in that unit; charges : float64 [n_numbers, n]
    parameters : float64 [n_parameters], of the kernel
    close : float32, the squared distance below which pairs are not left to float32
    out : float64 [n_components, n_t], zero on entry
    """
    targets, points = (x, y, z), (sx, sy, sz)
    rounded = parameters.astype(np.float32)
    for row in range(first, last):
        sources = (begin[ptr[row] : ptr[row + 1]], end[ptr[row] : ptr[row + 1]], points, charges)
        some = range(target_ptr[row], target_ptr[row + 1])
        _leaf(targets, some, itself[row], *sources, parameters, rounded, close, out)


@part
def _leaf(targets, rows, itself, begin, end, points, charges, parameters, rounded, close, out):
    wide_vectors()
    size = length(begin, end)
    here = np.array([targets[0][rows.start], targets[1][rows.start], targets[2][rows.start]])
    own = np.empty((3, len(rows)), np.float32)
    for axis in range(3):
        for i in rows:
            own[axis, i - rows.start] = targets[axis][i] - here[axis]
    close_by = np.zeros(len(rows))
    sums = np.zeros((out.shape[0], len(rows)), np.float32)
    for skip in range(0, size, TILE):
        n = min(TILE, size - skip)
        packed, q = pack(begin, end, points, charges, skip, n, here, np.float32, WIDTH)
        sx, sy, sz = packed[0], packed[1], packed[2]
        gather_run_apart(own[0], own[1], own[2], sx, sy, sz, q, sums, rounded, close, close_by)
    for i in rows:
        if close_by[i - rows.start] <= itself:
            for c in range(out.shape[0]):
                out[c, i] = sums[c, i - rows.start]
    if close_by.max() > itself:
        _again(targets, rows, close_by, itself, begin, end, points, charges, parameters, out)


@part
def _again(targets, rows, close_by, itself, begin, end, points, charges, parameters, out):
    """Sum targets that have a source close by in float64."""
    size = length(begin, end)
    for skip in range(0, size, TILE):
        n = min(TILE, size - skip)
        packed, q = pack(begin, end, points, charges, skip, n, np.zeros(3), np.float64, 1)
        sx, sy, sz = packed[0], packed[1], packed[2]
        for i in rows:
            if close_by[i - rows.start] > itself:
                x, y, z = targets[0][i : i + 1], targets[1][i : i + 1], targets[2][i : i + 1]
                gather_run_exactly(x, y, z, sx, sy, sz, q, out, i, parameters)
