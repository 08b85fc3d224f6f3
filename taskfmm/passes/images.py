"""Far images of a periodic box: from the multipoles of its cubes, and from moments of its sources, to locals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.kernels import Kernel
from taskfmm.operators import basis, moment
from taskfmm.operators.box import BoxOperators
from taskfmm.passes import background, given
from taskfmm.passes.halo import pull, pull_charges
from taskfmm.plan.works import FarImages, Moments


def p2i(work: Moments, charges: Sequence[np.ndarray], kernel: Kernel, half_width: float = 1.0) -> np.ndarray:
    """P2I, on runs of sources: their moments, see `taskfmm.passes.background.moments`.

    half_width : of a cube in the unit of its surfaces
    """
    unit = half_width / work.half_width
    numbers = kernel.in_width(pull_charges(work.charges, charges), 1.0 / unit)
    return background.moments(kernel, numbers, (work.points - work.center[:, None]) * unit)


def i2l(
    work: FarImages,
    multipoles: Sequence[np.ndarray],
    moments: Sequence[np.ndarray],
    kernel: Kernel,
    operators: BoxOperators,
    matrices: np.ndarray,
    cell: Cell,
) -> np.ndarray:
    """I2L, on the cubes of the cell: what far images do. Returns [n_boxes, columns, k].

    matrices : see `taskfmm.operators.lattice.matrices`
    """
    sources = pull(work.halo, multipoles)
    out = np.zeros((work.n_rows, *sources.shape[1:]))
    away = work.target[:, None, :] - work.source
    which = np.ravel_multi_index(tuple(np.moveaxis(np.abs(away), 2, 0)), cell.cubes)
    mirror = (away < 0) @ np.array([4, 2, 1])
    of_source, of_target = (
        basis.signs(each) for each in (operators.m2l.source_parity, operators.m2l.target_parity)
    )
    for case in np.unique(8 * which + mirror):
        to, of = np.nonzero(8 * which + mirror == case)
        reflected = sources[of] * of_source[case % 8]
        moved = reflected @ matrices[0, case // 8]
        if kernel.first_moment:
            _add_first_moments(moved, reflected, matrices[1:, case // 8], case % 8)
        out[to] += moved * of_target[case % 8]  # a target has one source at each distance
    of_all = np.sum(moments, axis=0)
    given.refuse_charged(*background.sums(of_all), kernel)
    if all(cell.periodic):
        center = 2.0 * work.target + 1.0 - np.array(cell.cubes)
        points = operators.downward_check.astype(np.float64) / operators.half_width
        out += background.potentials(kernel, of_all, cell, center, points) @ operators.check_to_local
    return out.astype(operators.dtype, copy=False)


def _add_first_moments(moved: np.ndarray, columns: np.ndarray, matrices: np.ndarray, mirror: int) -> None:
    """Refer the last of every four columns to the centres of the targets; an image that is reflected lies reflected.

    moved, columns : float64 [n, columns, k], locals and multipoles; matrices : float64 [3, k, k]
    """
    to, of = (each.reshape(len(each), -1, moment.COLUMNS, each.shape[2]) for each in (moved, columns))
    for axis in range(3):
        sign = -1.0 if mirror & (4 >> axis) else 1.0
        to[:, :, 3] += sign * (of[:, :, axis] @ matrices[axis])
