"""The near field: sources straight to targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.kernels import Kernel, gather_loops
from taskfmm.passes.halo import pull_charges
from taskfmm.plan.works import PointsToPoints


def p2p(
    work: PointsToPoints,
    charges: Sequence[np.ndarray],
    own: Sequence[np.ndarray],
    kernel: Kernel,
    output: str,
    threads: int = 1,
) -> np.ndarray:
    """P2P, on leaves: sum over the U list. Returns float64 [n_components, n_targets].

    charges, own : float64 [n_numbers, n], of the shards that the halos of the sources, and of the targets, name; of
        softened sources with their lengths in a further row
    """
    out = np.zeros((kernel.n_components(output), work.targets.shape[1]))
    loops = gather_loops(kernel, output)
    lists = (work.ptr, work.begin, work.end, work.points, pull_charges(work.charges, charges))
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
            work.targets,
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
            work.targets,
            at_targets,
            *lists,
            work.mutual.ptr,
            work.mutual.idx,
            constants,
            out,
            threads=threads,
        )
    return out
