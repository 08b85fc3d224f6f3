"""The near field: sources straight to targets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taskfmm.geometry.domain import SIZE
from taskfmm.kernels import Kernel, apart_loops, gather_loops
from taskfmm.passes.halo import pull_charges
from taskfmm.plan.works import PointsToPoints


def p2p(
    work: PointsToPoints,
    charges: Sequence[np.ndarray],
    own: Sequence[np.ndarray],
    kernel: Kernel,
    output: str,
    threads: int = 1,
    close: float | None = None,
) -> np.ndarray:
    """P2P, on leaves: sum over the U list. Returns float64 [n_values, n_targets].

    charges, own : float64 [n_numbers, n], of the shards that the halos of the sources, and of the targets, name; of
        softened sources with their lengths in a further row
    close : the distance, in half-widths of leaves, from which float32 does; None if it nowhere does
    """
    if close is not None and work.itself is not None:
        numbers = pull_charges(work.charges, charges)
        return _in_single(work, work.itself, numbers, kernel, output, threads, close)
    out = np.zeros((kernel.n_values(output), work.targets.shape[1]))
    loops = gather_loops(kernel, output)
    lists = (work.ptr, work.begin, work.end, *work.points, pull_charges(work.charges, charges))
    at_targets = None if work.mutual is None else pull_charges(work.mutual.own, own)
    constants = kernel.constants
    if kernel.softening is not None:  # charges have a further row, the lengths
        lengths = np.zeros(work.targets.shape[1]) if at_targets is None else at_targets[-1]
        constants = np.append(constants, lengths)
    if work.mutual is None:
        loops.points_to_points(
            0,
            work.ptr.size - 1,
            work.target_ptr,
            *work.targets,
            *lists,
            constants,
            out,
            threads=threads,
        )
    else:
        loops.points_to_points_mutual(
            0,
            work.mutual.block_ptr.size - 1,
            work.mutual.block_ptr,
            work.target_ptr,
            *work.targets,
            at_targets,
            *lists,
            work.mutual.ptr,
            work.mutual.idx,
            constants,
            out,
            threads=threads,
        )
    return out


def _in_single(
    work: PointsToPoints,
    itself: np.ndarray,
    charges: np.ndarray,
    kernel: Kernel,
    output: str,
    threads: int,
    close: float,
) -> np.ndarray:
    """In a unit in which leaves have half-widths of 1/2 to 1, as float32 holds no power of the scaled one."""
    unit = math.ldexp(1.0 / SIZE, work.level)
    out = np.zeros((kernel.n_values(output), work.targets.shape[1]))
    apart_loops(kernel, output).points_to_points(
        0,
        work.ptr.size - 1,
        work.target_ptr,
        *(work.targets * unit),
        itself,
        work.ptr,
        work.begin,
        work.end,
        *(work.points * unit),
        kernel.in_width(charges, 1.0 / unit),
        kernel.constants,
        np.float32(close**2),
        out,
        threads=threads,
    )
    kernel.scale(out, 1.0 / unit)
    return out
