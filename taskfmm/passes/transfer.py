"""Across: from multipoles, or from charges near a large box, to locals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators import folding
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.m2l import M2L
from taskfmm.passes.halo import pull
from taskfmm.passes.source import check_potentials
from taskfmm.plan.works import PointsToSurfaces, Siblings


def m2l(
    work: Siblings,
    multipoles: Sequence[np.ndarray],
    operators: BoxOperators,
    threads: int = 1,
    first_moment: bool = False,
) -> np.ndarray:
    """M2L, on every box: sum over the V list. Returns [n_boxes, columns, k] in the dtype of the M2L stage.

    first_moment : of the kernel
    """
    form: M2L = operators.m2l
    prepared = form.prepare(pull(work.halo, multipoles, form.dtype))
    return form.finish(form.translate(work, prepared, threads, first_moment))


def p2l(
    work: PointsToSurfaces,
    charges: Sequence[np.ndarray],
    kernel: Kernel,
    operators: BoxOperators,
    threads: int = 1,
) -> np.ndarray:
    """P2L, on every box: sum over the sources of the X list. Returns [n_boxes, columns, k]."""
    out = np.zeros((work.n_rows, kernel.columns, operators.rank), operators.dtype)
    check = check_potentials(work, operators.downward_check, operators.half_width, charges, kernel, threads)
    out[work.rows] = folding.coefficients(operators, kernel, check, local=True).reshape(-1, *out.shape[1:])
    return out
