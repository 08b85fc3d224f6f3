"""Template: loops that end on surfaces. Bound to one kernel by `taskfmm.kernels.instances`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskfmm.geometry.domain import from_center
from taskfmm.jit import loop, part

if TYPE_CHECKING:
    from taskfmm.jit import wide_vectors

    def spread_run(*numbers: object) -> None: ...

    REAL = float


@loop
def points_to_surfaces(
    first, last, surface, hi, lo, unit, ptr, begin, end, x, y, z, charges, parameters, out
):
    """Potentials on the surfaces of boxes, from points: the first half of P2M and of P2L.

    Everything is measured from the centre of the row's box in the unit of the surface, which serves every box.

    Parameters
    ----------
    first, last : the rows, a part of them or all
    surface : float64 [3, n_s]
    hi, lo : float64 [3, n_rows], box centres as unevaluated sums
    unit : float, by which distances are multiplied to be in the unit of the surface
    ptr : int64 [n_rows + 1], entries of a row; begin, end : int64 [n_entries], the run of points of an entry
    x, y, z : float64 [n], of the points; charges : float64 [n_numbers, n], in that unit
    out : float64 [n_rows, columns * n_potential, n_s], zero on entry
    """
    points = (x, y, z)
    for row in range(first, last):
        _onto_surface(surface, hi, lo, unit, ptr, begin, end, points, charges, parameters, out[row], row)


@part
def _onto_surface(surface, hi, lo, unit, ptr, begin, end, points, charges, parameters, out, row):
    wide_vectors()
    tx, ty, tz = surface[0], surface[1], surface[2]
    for entry in range(ptr[row], ptr[row + 1]):
        first, last = begin[entry], end[entry]
        here = np.empty((3, last - first), REAL)
        for axis in range(3):
            for j in range(last - first):
                place = from_center(points[axis][first + j], 0.0, hi[axis, row], lo[axis, row])
                here[axis, j] = place * unit
        spread_run(here[0], here[1], here[2], charges, first, tx, ty, tz, out, parameters)


@loop
def matrix(first, last, targets, sources, n_numbers, parameters, out):
    """The matrix of the kernel: row c * n_s + j of out is the potential of source j whose number c is 1.

    first, last : the rows of out, a part of them or all
    targets : float64 [3, n_t]; sources : float64 [3, n_s]
    out : float64 [n_numbers * n_s, columns * n_potential, n_t], zero on entry
    """
    n = sources.shape[1]
    for row in range(first, last):
        j = row % n
        unit = np.zeros((n_numbers, 1))
        unit[row // n, 0] = 1.0
        x, y, z = sources[0, j : j + 1], sources[1, j : j + 1], sources[2, j : j + 1]
        spread_run(x, y, z, unit, 0, targets[0], targets[1], targets[2], out[row], parameters)
