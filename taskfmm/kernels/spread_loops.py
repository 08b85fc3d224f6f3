"""Template: loops that end on surfaces. Bound to one kernel by `taskfmm.kernels.instances`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskfmm.geometry.domain import from_center
from taskfmm.jit import loop, part, wide_vectors

if TYPE_CHECKING:

    def spread(*numbers: object) -> None: ...

    REAL = float


@loop
def points_to_surfaces(first, last, surface, hi, lo, unit, ptr, begin, end, points, charges, parameters, out):
    """Potentials on the surfaces of boxes, from points: the first half of P2M and of P2L.

    Everything is measured from the centre of the row's box in the unit of the surface, which serves every box.

    Parameters
    ----------
    first, last : the rows, a part of them or all
    surface : float64 [3, n_s]
    hi, lo : float64 [3, n_rows], box centres as unevaluated sums
    unit : float, by which distances are multiplied to be in the unit of the surface
    ptr : int64 [n_rows + 1], entries of a row; begin, end : int64 [n_entries], the run of points of an entry
    points : float64 [3, n]; charges : float64 [n_numbers, n], in that unit
    out : float64 [n_rows, columns * n_potential, n_s], zero on entry
    """
    for row in range(first, last):
        _onto_surface(surface, hi, lo, unit, ptr, begin, end, points, charges, parameters, out[row], row)


@part
def _onto_surface(surface, hi, lo, unit, ptr, begin, end, points, charges, parameters, out, row):
    wide_vectors()
    sx, sy, sz = surface[0], surface[1], surface[2]
    for entry in range(ptr[row], ptr[row + 1]):
        for j in range(begin[entry], end[entry]):
            x = REAL(from_center(points[0, j], 0.0, hi[0, row], lo[0, row]) * unit)
            y = REAL(from_center(points[1, j], 0.0, hi[1, row], lo[1, row]) * unit)
            z = REAL(from_center(points[2, j], 0.0, hi[2, row], lo[2, row]) * unit)
            spread(x, y, z, charges, j, sx, sy, sz, out, parameters)


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
        x, y, z = sources[0, j], sources[1, j], sources[2, j]
        spread(x, y, z, unit, 0, targets[0], targets[1], targets[2], out[row], parameters)
