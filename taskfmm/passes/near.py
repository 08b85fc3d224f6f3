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

    charges, own : float64 [n_numbers, n], of the shards that the halos of the sources, and of the targets, name
    """
    out = np.zeros((kernel.n_components(output), work.targets.shape[1]))
    loops = gather_loops(kernel, output)
    lists = (work.ptr, work.begin, work.end, work.points, pull_charges(work.charges, charges))
    if work.mutual is None:
        loops.points_to_points(
            0,
            work.ptr.size - 1,
            work.target_ptr,
            work.targets,
            *lists,
            kernel.constants,
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
            pull_charges(work.mutual.own, own),
            *lists,
            work.mutual.ptr,
            work.mutual.idx,
            kernel.constants,
            out,
            threads=threads,
        )
    return out
