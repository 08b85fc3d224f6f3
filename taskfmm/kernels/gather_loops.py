"""Template: loops that end at points. Bound to one kernel and output by `taskfmm.kernels.instances`.

Each row of a list is one box of targets. A row first packs everything it reads into contiguous buffers, then
runs long vector loops over them; rows are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskfmm.geometry.domain import from_center
from taskfmm.jit import loop, part
from taskfmm.kernels.packing import NONE, length, pack

if TYPE_CHECKING:
    from taskfmm.jit import wide_vectors

    def gather_run(*numbers: object) -> None: ...

    def gather_run_mutual(*numbers: object) -> None: ...

    MUTUAL = True


TILE = 8192
"""Sources packed at a time: they stay in the cache while all targets of a row run over them."""


@loop
def points_to_points(first, last, target_ptr, x, y, z, ptr, begin, end, sx, sy, sz, charges, parameters, out):
    """Potentials at the points of boxes, from points: pair by pair.

    first, last : the rows, a part of them or all
    target_ptr : int64 [n_rows + 1]; x, y, z : float64 [n_t], of the targets
    ptr : int64 [n_rows + 1], entries of a row; begin, end : int64 [n_entries], the run of points of an entry
    sx, sy, sz : float64 [n], of the points; charges : float64 [n_numbers, n]
    parameters : float64 [n_parameters], of the kernel
    out : float64 [n_components, n_t], zero on entry
    """
    targets, points = (x, y, z), (sx, sy, sz)
    for row in range(first, last):
        _one_sided(target_ptr, targets, ptr, begin, end, points, charges, parameters, out, row)


@part
def _one_sided(target_ptr, targets, ptr, begin, end, points, charges, parameters, out, row):
    wide_vectors()
    begin, end = begin[ptr[row] : ptr[row + 1]], end[ptr[row] : ptr[row + 1]]
    first, last = target_ptr[row], target_ptr[row + 1]
    x, y, z = targets[0][first:last], targets[1][first:last], targets[2][first:last]
    size = length(begin, end)
    for skip in range(0, size, TILE):
        n = min(TILE, size - skip)
        packed, q = pack(begin, end, points, charges, skip, n, np.zeros(3), np.float64, 1)
        sx, sy, sz = packed[0], packed[1], packed[2]
        gather_run(x, y, z, sx, sy, sz, q, out, first, parameters)


@loop
def points_to_points_mutual(
    first,
    last,
    block_ptr,
    target_ptr,
    x,
    y,
    z,
    own,
    ptr,
    begin,
    end,
    sx,
    sy,
    sz,
    charges,
    pair_ptr,
    pair,
    parameters,
    out,
):
    """The near field where targets are sources: inside a block of rows each distance serves both of its points.

    Entries of ``ptr`` run one-sided; those of ``pair_ptr`` name a later row of the same block and run two-sided.
    A block adds into its own rows only, in one order, so the result does not depend on the number of threads.

    first, last : the blocks, a part of them or all
    own : float64 [n_numbers, n_t], charges of the targets
    pair_ptr : int64 [n_rows + 1]; pair : int32 [n_pairs], rows
    Others as in `points_to_points`; block_ptr : int64 [n_blocks + 1], rows of a block
    """
    targets, points = (x, y, z), (sx, sy, sz)
    for block in range(first, last):
        for row in range(block_ptr[block], block_ptr[block + 1]):
            _one_sided(target_ptr, targets, ptr, begin, end, points, charges, parameters, out, row)
            _two_sided(target_ptr, targets, own, pair_ptr, pair, parameters, out, row)


@part
def _two_sided(target_ptr, targets, own, pair_ptr, pair, parameters, out, row):
    wide_vectors()
    rows = pair[pair_ptr[row] : pair_ptr[row + 1]]
    if rows.size == 0:
        return
    begin = target_ptr[rows]
    end = target_ptr[rows + 1]
    packed, q = pack(begin, end, targets, own, NONE, length(begin, end), np.zeros(3), np.float64, 1)
    sx, sy, sz = packed[0], packed[1], packed[2]
    first, last = target_ptr[row], target_ptr[row + 1]
    x, y, z = targets[0][first:last], targets[1][first:last], targets[2][first:last]
    if not MUTUAL:
        gather_run(x, y, z, sx, sy, sz, q, out, first, parameters)
        itself = target_ptr[row : row + 1], target_ptr[row + 1 : row + 2]
        packed, q = pack(*itself, targets, own, NONE, last - first, np.zeros(3), np.float64, 1)
        sx, sy, sz = packed[0], packed[1], packed[2]
        for entry in range(rows.size):
            other = slice(begin[entry], end[entry])
            x, y, z = targets[0][other], targets[1][other], targets[2][other]
            gather_run(x, y, z, sx, sy, sz, q, out, begin[entry], parameters)
        return
    back = np.zeros((out.shape[0], sx.size))
    gather_run_mutual(x, y, z, own, sx, sy, sz, q, out, first, back, parameters)
    at = 0
    for entry in range(rows.size):
        n = end[entry] - begin[entry]
        for c in range(out.shape[0]):
            _add(back[c, at : at + n], out[c, begin[entry] : end[entry]])
        at += n


@part
def _add(values, out):
    for j in range(out.size):
        out[j] += values[j]


@loop
def surfaces_to_points(
    first,
    last,
    surface,
    target_ptr,
    x,
    y,
    z,
    hi,
    lo,
    unit,
    ptr,
    idx,
    box_hi,
    box_lo,
    density,
    parameters,
    out,
):
    """Potentials at the points of boxes, from densities on surfaces: the second half of L2P and of M2P.

    Measured from the centre of the row's box in the unit of the surface; the caller scales the result.

    Parameters
    ----------
    first, last : the rows, a part of them or all
    surface : float64 [3, n_s], of the boxes that own the densities
    target_ptr : int64 [n_rows + 1]; x, y, z : float64 [n_t], of the targets
    hi, lo : float64 [3, n_rows], centres of the rows' boxes
    unit : float, by which distances are multiplied to be in the unit of the surface
    ptr : int64 [n_rows + 1]; idx : int32 [n_entries], rows of density
    box_hi, box_lo : float64 [3, n_boxes]; density : float64 [n_boxes, n_numbers, n_s]
    out : float64 [n_components, n_t], zero on entry
    """
    for row in range(first, last):
        _from_surfaces(
            surface,
            target_ptr,
            (x, y, z),
            hi,
            lo,
            unit,
            ptr,
            idx,
            box_hi,
            box_lo,
            density,
            parameters,
            out,
            row,
        )


@part
def _from_surfaces(
    surface, target_ptr, targets, hi, lo, unit, ptr, idx, box_hi, box_lo, density, parameters, out, row
):
    wide_vectors()
    n = surface.shape[1]
    packed = np.empty((3, n), surface.dtype)
    here = np.empty((3, target_ptr[row + 1] - target_ptr[row]), surface.dtype)
    for axis in range(3):
        for i in range(here.shape[1]):
            x = from_center(targets[axis][target_ptr[row] + i], 0.0, hi[axis, row], lo[axis, row])
            here[axis, i] = x * unit
    for entry in range(ptr[row], ptr[row + 1]):
        box = idx[entry]
        for axis in range(3):
            shift = from_center(box_hi[axis, box], box_lo[axis, box], hi[axis, row], lo[axis, row])
            for s in range(n):
                packed[axis, s] = shift * unit + surface[axis, s]
        sx, sy, sz = packed[0], packed[1], packed[2]
        gather_run(here[0], here[1], here[2], sx, sy, sz, density[box], out, target_ptr[row], parameters)
