"""The near field: sources straight to targets."""

from __future__ import annotations

import numpy as np

from taskfmm.kernels import Kernel, gather_loops
from taskfmm.plan.works import PointsToPoints


def near(
    work: PointsToPoints, charges: np.ndarray, kernel: Kernel, output: str, threads: int = 1
) -> np.ndarray:
    """Near field, on leaves: sum over the U list. Returns float64 [n_components, n_targets]."""
    out = np.zeros((kernel.n_components(output), work.targets.shape[1]))
    loops = gather_loops(kernel, output)
    lists = (work.ptr, work.begin, work.end, work.points, charges.take(work.charge_rows, axis=1))
    if work.mutual is None:
        loops.points_to_points(work.target_ptr, work.targets, *lists, kernel.constants, out, threads=threads)
    else:
        loops.points_to_points_mutual(
            work.mutual.block_ptr,
            work.target_ptr,
            work.targets,
            charges.take(work.mutual.own_rows, axis=1),
            *lists,
            work.mutual.ptr,
            work.mutual.idx,
            kernel.constants,
            out,
            threads=threads,
        )
    return out
