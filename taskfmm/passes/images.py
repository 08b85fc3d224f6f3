"""Far images of a periodic box: from the multipoles of its cubes, and from moments of its charges, to locals.

Where a box is repeated along all axes, the sum G over all images (`taskfmm.operators.lattice`) is the sum of what
solves Laplace's equation, which matrices between cubes take over, and of (2 pi / 3 V) r^2. The latter is

    (2 pi / 3 V) sum_j q_j |x - y_j|^2 = (2 pi / 3 V) (-2 x . D + M),  D = sum_j q_j y_j,  M = sum_j q_j |y_j|^2,

since charges add up to zero: linear in x, and so a part of the locals as well. With vacuum instead of a conductor
around all images, the surface of a sphere of them adds (4 pi / 3 V) x . D (de Leeuw, Perram and Smith, Proc. R. Soc.
Lond. A 373 (1980) 27). Then nothing is left that hangs on x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.kernels import Kernel
from taskfmm.operators import basis
from taskfmm.operators.box import BoxOperators
from taskfmm.passes import given
from taskfmm.passes.halo import pull, pull_charges
from taskfmm.plan.works import FarImages, Moments

MOMENTS = 6
"""Numbers of a vector of charges, see `p2i`."""


def p2i(work: Moments, charges: Sequence[np.ndarray], kernel: Kernel, half_width: float = 1.0) -> np.ndarray:
    """Moments of some charges about the middle of the cell: float64 [vectors, 6].

    The three numbers of D, then M, the sum of the charges, and that of their magnitudes.

    half_width : of a cube in the unit of its surfaces
    """
    unit = half_width / work.half_width
    y = (work.points - work.center[:, None]) * unit
    numbers = kernel.in_width(pull_charges(work.charges, charges), 1.0 / unit)
    found, row = np.zeros((kernel.vectors, MOMENTS)), 0
    for i, kind in enumerate(kernel.kinds):
        own, vector = numbers[row : row + kind.n_numbers], found[i // len(kernel.sources)]
        if kind.derivative:  # p . grad of q y and of q |y|^2
            vector[:4] += [*own.sum(axis=1), 2.0 * (own * y).sum()]
        else:
            vector += [*(y @ own[0]), own[0] @ (y**2).sum(axis=0), own[0].sum(), np.abs(own[0]).sum()]
        row += kind.n_numbers
    return found


def i2l(
    work: FarImages,
    multipoles: Sequence[np.ndarray],
    moments: Sequence[np.ndarray],
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
        moved = (sources[of] * of_source[case % 8]) @ matrices[case // 8]
        out[to] += moved * of_target[case % 8]  # a target has one source at each distance
    of_all = np.sum(moments, axis=0)
    given.refuse_charged(of_all[:, 4], of_all[:, 5])
    if all(cell.periodic):
        out += _polynomial(work, of_all, operators, cell)
    return out.astype(operators.dtype, copy=False)


def _polynomial(work: FarImages, moments: np.ndarray, operators: BoxOperators, cell: Cell) -> np.ndarray:
    """The part of locals that hangs on moments of all charges, [n_boxes, columns, k]."""
    volume = math.prod(2.0 * n for n in cell.cubes) * operators.half_width**3
    middle = operators.half_width * (2.0 * work.target + 1.0 - np.array(cell.cubes))
    points = operators.downward_check.astype(np.float64)
    x = middle[:, :, None] + points
    along = np.einsum("vi,bip->bvp", (0.0 if cell.in_vacuum else -2.0) * moments[:, :3], x)
    return 2.0 * math.pi / (3.0 * volume) * (along + moments[:, 3, None]) @ operators.check_to_local
