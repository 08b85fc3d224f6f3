"""A row with more sources than one tile: every source counts once."""

from __future__ import annotations

import numpy as np
from bounds import ROUNDING

from taskfmm.kernels import KERNELS, gather_loops


def test_runs_across_tiles():
    rng = np.random.default_rng(5550131)
    loops = gather_loops(KERNELS["laplace"].of_first, "potential")
    n = 3 * loops.TILE + 17
    points, q = rng.random((3, n)), rng.random((1, n))
    targets = rng.random((3, 5)) + 2.0
    edges = np.array([0, 100, loops.TILE - 1, 2 * loops.TILE + 5, n])
    out = np.zeros((1, 5))
    lists = (np.array([0, edges.size - 1]), edges[:-1], edges[1:])
    loops.points_to_points(0, 1, np.array([0, 5]), *targets, *lists, *points, q, np.empty(0), out)
    distance = np.linalg.norm(targets[:, :, None] - points[:, None, :], axis=0)
    np.testing.assert_allclose(out[0], (q / distance).sum(axis=1), rtol=10 * ROUNDING)
