"""What operators cost, in seconds on an ordinary core, to cut shards of equal work."""

from __future__ import annotations

import numpy as np

from taskfmm.csr import Csr
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.rates import MULTIPLY_ADD, PAIR
from taskfmm.tree.octree import Octree

SHORTEST, LONGEST = 4e-3, 40e-3
"""Bounds, in seconds, of the time a task should take: above the scheduler's cost, below its balance."""

TASKS = 128
"""Between the bounds, the whole evaluation is cut into about this many equal pieces."""


def row_sums(csr: Csr, values: np.ndarray) -> np.ndarray:
    """Sum of values[idx] over each row."""
    total = np.concatenate([[0.0], np.cumsum(values[csr.idx], dtype=np.float64)])
    return total[csr.ptr[1:]] - total[csr.ptr[:-1]]


def near(tree: Octree, u: Csr) -> np.ndarray:
    """Seconds of the near field of each box, float64 [n_boxes]."""
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    return PAIR * n_targets * row_sums(u, n_sources)


def far(tree: Octree, v: Csr, w: Csr, x: Csr, operators: Expansions) -> np.ndarray:
    """Seconds of all far-field operators of each box, float64 [n_boxes]."""
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    n_surface = operators.upward_check.shape[1]
    k = operators.rank
    pairs = n_surface * (tree.is_leaf * (n_sources + n_targets) + n_targets * np.diff(w.ptr))
    pairs = pairs + n_surface * row_sums(x, n_sources)
    products = 2.0 * k * operators.m2l.mean_rank * np.diff(v.ptr) + 2.0 * k * k + 2.0 * k * n_surface
    return PAIR * pairs + MULTIPLY_ADD * products


def cut(cost: np.ndarray, task: float) -> np.ndarray:
    """Bounds of runs of about equal cost, each about ``task`` seconds: int64 [n_runs + 1]."""
    total = np.concatenate([[0.0], np.cumsum(cost)])
    n = min(max(1, round(total[-1] / task)), cost.size)
    inner = np.searchsorted(total, total[-1] * np.arange(1, n) / n)
    return np.unique(np.concatenate([[0], inner, [cost.size]]))
