"""Template: loops that end at points. Bound to one pair formula and output by `taskfmm.kernels.instances`.

Each row of a list is one box of targets. A row first packs everything it reads into contiguous buffers, then
runs long vector loops over them; rows are independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import prange

from taskfmm.jit import loop

if TYPE_CHECKING:
    from taskfmm.kernels.laplace import potential as gather


@loop
def points_to_points(target_ptr, targets, ptr, begin, end, points, charges, out):
    """Potentials at the points of boxes, from points: the near field.

    target_ptr : int64 [n_rows + 1]; targets : float64 [3, n_t]
    ptr : int64 [n_rows + 1], entries of a row; begin, end : int64 [n_entries], the run of points of an entry
    points : float64 [3, n]; charges : float64 [n_charge, n]
    out : float64 [n_components, n_t], zero on entry
    """
    for row in prange(ptr.size - 1):
        size = 0
        for entry in range(ptr[row], ptr[row + 1]):
            size += end[entry] - begin[entry]
        packed = np.empty((3, size))
        q = np.empty((charges.shape[0], size), charges.dtype)
        at = 0
        for entry in range(ptr[row], ptr[row + 1]):
            first, last = begin[entry], end[entry]
            packed[:, at : at + last - first] = points[:, first:last]
            q[:, at : at + last - first] = charges[:, first:last]
            at += last - first
        for i in range(target_ptr[row], target_ptr[row + 1]):
            gather(targets[0, i], targets[1, i], targets[2, i], packed[0], packed[1], packed[2], q, out, i)


@loop
def surfaces_to_points(
    surface, ratio, target_ptr, targets, hi, lo, inverse_width, ptr, idx, box_hi, box_lo, density, out
):
    """Potentials at the points of boxes, from densities on surfaces: the second half of L2P and of M2P.

    Measured from the centre of the row's box in units of its half-width; the caller scales the result.

    Parameters
    ----------
    surface : float64 [3, n_s], of the unit box
    ratio : float, half-width of the boxes that own the densities / half-width of the rows' boxes
    target_ptr : int64 [n_rows + 1]; targets : float64 [3, n_t]
    hi, lo : float64 [3, n_rows], centres of the rows' boxes; inverse_width : float
    ptr : int64 [n_rows + 1]; idx : int32 [n_entries], rows of density
    box_hi, box_lo : float64 [3, n_boxes]; density : float64 [n_boxes, n_charge, n_s]
    out : float64 [n_components, n_t], zero on entry
    """
    n = surface.shape[1]
    for row in prange(ptr.size - 1):
        packed = np.empty((3, n))
        unit = np.empty((3, target_ptr[row + 1] - target_ptr[row]))
        for axis in range(3):
            for i in range(unit.shape[1]):
                x = (targets[axis, target_ptr[row] + i] - hi[axis, row]) - lo[axis, row]
                unit[axis, i] = x * inverse_width
        for entry in range(ptr[row], ptr[row + 1]):
            box = idx[entry]
            for axis in range(3):
                shift = (box_hi[axis, box] - hi[axis, row]) + (box_lo[axis, box] - lo[axis, row])
                for s in range(n):
                    packed[axis, s] = shift * inverse_width + ratio * surface[axis, s]
            for i in range(unit.shape[1]):
                gather(
                    unit[0, i],
                    unit[1, i],
                    unit[2, i],
                    packed[0],
                    packed[1],
                    packed[2],
                    density[box],
                    out,
                    target_ptr[row] + i,
                )
