"""Upward: from charges to the multipoles of every box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.kernels import Kernel, spread_loops
from taskfmm.operators import folding, moment
from taskfmm.operators.box import BoxOperators
from taskfmm.passes.halo import pull, pull_charges
from taskfmm.passes.translations import translate_dense
from taskfmm.plan.works import PointsToSurfaces, Translation


def check_potentials(
    work: PointsToSurfaces,
    surface: np.ndarray,
    half_width: float,
    charges: Sequence[np.ndarray],
    kernel: Kernel,
    threads: int,
) -> np.ndarray:
    """Potentials on the check surfaces of the work's boxes, a row for each column of each: [n * columns, p].

    In the unit and the dtype of the surface; p are the n_potential * n_s numbers that a surface receives.

    half_width : of the boxes in that unit
    charges : float64 [n_numbers, n], of the shards that the halo names
    """
    shape = (work.rows.size, kernel.columns * kernel.n_potential, surface.shape[1])
    out = np.zeros(shape, surface.dtype)
    unit = half_width / work.half_width
    numbers = kernel.in_width(pull_charges(work.charges, charges), 1.0 / unit)
    spread_loops(kernel, surface.dtype).points_to_surfaces(
        0,
        work.rows.size,
        surface,
        work.hi,
        work.lo,
        unit,
        work.ptr,
        work.begin,
        work.end,
        *work.points,
        numbers.astype(surface.dtype, copy=False),
        kernel.constants.astype(surface.dtype, copy=False),
        out,
        threads=threads,
    )
    if kernel.first_moment:
        moment.received(out.reshape(-1, moment.COLUMNS, surface.shape[1]), surface)
    return out.reshape(work.rows.size * kernel.columns, -1)


def p2m(
    work: PointsToSurfaces,
    charges: Sequence[np.ndarray],
    kernel: Kernel,
    operators: BoxOperators,
    threads: int = 1,
) -> np.ndarray:
    """P2M, on leaves: sources to upward check potentials, those to multipoles.

    charges : of the shards that are read. Returns [n_boxes, columns, k], zero where a box is inner.
    """
    out = np.zeros((work.n_rows, kernel.columns, operators.rank), operators.dtype)
    check = check_potentials(work, operators.upward_check, operators.half_width, charges, kernel, threads)
    out[work.rows] = folding.coefficients(operators, kernel, check, local=False).reshape(-1, *out.shape[1:])
    return out


def m2m(
    work: Translation,
    own: np.ndarray | None,
    children: Sequence[np.ndarray],
    operators: BoxOperators,
    threads: int = 1,
    first_moment: bool = False,
) -> np.ndarray:
    """M2M, on inner boxes: add the children's multipoles, moved to the parent, to the shard's own from P2M.

    first_moment : of the kernel
    """
    multipoles = pull(work.halo, children, operators.dtype)
    shape = (work.n_rows, multipoles.shape[1], operators.rank)
    out = np.zeros(shape, operators.dtype) if own is None else own.copy()
    lists = (work.code_ptr, work.target, work.source)
    moments = moment.UP if first_moment else moment.NONE
    by = operators.m2m, False, 1.0, moments
    translate_dense(0, len(work.code_ptr), *lists, multipoles, *by, out, threads=threads)
    return out
