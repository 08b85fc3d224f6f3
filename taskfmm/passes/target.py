"""Downward: from locals, and from the multipoles of small boxes near a large leaf, to values at targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators import folding, moment
from taskfmm.operators.box import BoxOperators
from taskfmm.passes.halo import pull
from taskfmm.passes.translations import translate_dense
from taskfmm.plan.works import SurfacesToPoints, Translation


def l2l(
    work: Translation | None,
    parents: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    shape: tuple[int, int, int],
    above: BoxOperators | None,
    threads: int = 1,
    own: BoxOperators | None = None,
    dtype: Any = np.float64,
) -> np.ndarray:
    """L2L, on every box: the parents' locals moved to the children, plus the parts from M2L and P2L.

    above : operators of the parents, where there are any
    own : operators of the boxes, where the kernel has a first moment
    Returns the whole local of each box of the shard, [n_boxes, columns, k] = shape, in a dtype.
    """
    out = np.zeros(shape, dtype)
    for part in parts:
        out += part
    if work is not None:
        assert above is not None
        translate_dense(
            0,
            len(work.code_ptr),
            work.code_ptr,
            work.target,
            work.source,
            pull(work.halo, parents, dtype),
            above.m2m,
            True,
            above.to_child,
            moment.NONE if own is None else moment.DOWN,
            out,
            threads=threads,
        )
    if own is not None:
        moment.without_constant(out.reshape(-1, moment.COLUMNS, shape[2]), own.check_to_local)
    return out


def _values(
    work: SurfacesToPoints,
    surface: np.ndarray,
    half_width: float,
    density: np.ndarray,
    kernel: Kernel,
    output: str,
    threads: int,
) -> np.ndarray:
    out = np.zeros((kernel.n_values(output), work.targets.shape[1]), surface.dtype)
    unit = half_width / work.half_width
    numbers = density.reshape(work.halo.rows.size, kernel.vectors * kernel.dense.n_numbers, -1)
    if kernel.first_moment:
        moment.at_densities(numbers.reshape(-1, moment.COLUMNS, numbers.shape[2]), surface)
    gather_loops(kernel.of_densities, output, surface.dtype).surfaces_to_points(
        0,
        work.ptr.size - 1,
        surface,
        work.target_ptr,
        *work.targets,
        work.hi,
        work.lo,
        unit,
        work.ptr,
        work.idx,
        work.box_hi,
        work.box_lo,
        numbers,
        kernel.constants.astype(surface.dtype, copy=False),
        out,
        threads=threads,
    )
    out = out.astype(np.float64, copy=False)  # powers of the unit need its range
    kernel.scale(out, 1.0 / unit)
    return out


def l2p(
    work: SurfacesToPoints,
    local: Sequence[np.ndarray],
    kernel: Kernel,
    operators: BoxOperators,
    output: str,
    threads: int = 1,
) -> np.ndarray:
    """L2P, on leaves: the locals at the targets. Returns float64 [n_values, n_targets]."""
    coefficients = pull(work.halo, local, operators.dtype).reshape(-1, operators.rank)
    density = folding.densities(operators, kernel, coefficients, local=True)
    return _values(
        work, operators.downward_equivalent, operators.half_width, density, kernel, output, threads
    )


def m2p(
    work: SurfacesToPoints,
    multipoles: Sequence[np.ndarray],
    kernel: Kernel,
    operators: BoxOperators,
    output: str,
    threads: int = 1,
) -> np.ndarray:
    """M2P, on leaves: the multipoles of the W list at the targets. Returns float64 [n_values, n_targets].

    operators : of the W list's boxes, a level below the leaves
    """
    coefficients = pull(work.halo, multipoles, operators.dtype).reshape(-1, operators.rank)
    density = folding.densities(operators, kernel, coefficients, local=False)
    return _values(work, operators.upward_equivalent, operators.half_width, density, kernel, output, threads)
