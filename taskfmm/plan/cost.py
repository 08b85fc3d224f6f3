"""What operators cost, in seconds on an ordinary core: to choose leaves and to cut shards of equal work."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.cost import rates
from taskfmm.csr import Csr
from taskfmm.geometry import surface
from taskfmm.operators.box import BoxOperators
from taskfmm.tree.lists import TOP_LEVEL
from taskfmm.tree.octree import Octree

SHORTEST, LONGEST = 4e-3, 100e-3
"""Bounds, in seconds, of what a shard should cost: well above the scheduler's work, below what spoils balance."""

SHARDS = 48
"""Between the bounds, the whole evaluation is cut into about this many equal pieces."""

TASKS = 4
"""Tasks of a level with expansions, one after the other: P2M or M2M, M2L, L2L, L2P."""

FEWEST_BOXES = 512
"""Boxes of a far-field shard, as far as a level has them: M2L reads all its cores, up to hundreds of megabytes, for
each shard, and its matrix products need rows (at order 16 shards of 80 boxes took three times as long)."""

DOMINATED = 4.0
"""Where M2L is less than one part in so many of a level, as when sources are many and targets few, shards may have
fewer boxes: P2M and L2P are to run on all threads."""


def task(seconds: float) -> float:
    """What a shard should cost, of so many seconds altogether."""
    return float(np.clip(seconds / SHARDS, SHORTEST, LONGEST))


def direct(n_sources: int, n_targets: int, same: bool) -> float:
    """Seconds of the sum over all pairs; ``same`` if the targets are the sources, so that distances serve both."""
    rate = rates.current()
    pair = rate.near_two / 2.0 if same else rate.near_one
    return pair * n_sources * n_targets + rate.gathered * (n_sources + n_targets)


def least(n_sources: int, n_targets: int, order: int) -> float:
    """Seconds that a tree with a far field takes at least: P2M, L2P, and what its tasks cost besides."""
    rate = rates.current()
    to_surfaces = rate.surface_pair * surface.n_points(order) * (n_sources + n_targets)
    return to_surfaces + tasks(TOP_LEVEL + 1)


def is_surely_direct(n_sources: int, n_targets: int, same: bool, order: int) -> bool:
    """Whether the sum over all pairs costs less than any tree, by the numbers of points alone."""
    return direct(n_sources, n_targets, same) < least(n_sources, n_targets, order)


def tasks(n_levels: int) -> float:
    """Seconds of the tasks of a far field besides what they do, where one has to wait for the other."""
    rate = rates.current()
    return TASKS * max(0, n_levels - TOP_LEVEL) * (rate.call + rate.task)


def row_sums(csr: Csr, values: np.ndarray) -> np.ndarray:
    """Sum of values[idx] over each row."""
    total = np.concatenate([[0.0], np.cumsum(values[csr.idx], dtype=np.float64)])
    return total[csr.ptr[1:]] - total[csr.ptr[:-1]]


def near(tree: Octree, u: Csr) -> np.ndarray:
    """Seconds of the near field of each box, float64 [n_boxes]."""
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    return rates.current().near_pair * n_targets * row_sums(u, n_sources)


def far(tree: Octree, n_v: np.ndarray, w: Csr, x: Csr, operators: BoxOperators) -> np.ndarray:
    """Seconds of all far-field operators of each box, float64 [n_boxes].

    n_v : int64 [n_boxes], entries of the V lists
    """
    n_sources = np.diff(tree.source_ptr, axis=1)[:, 0]
    n_targets = np.diff(tree.target_ptr, axis=1)[:, 0]
    n_surface = operators.upward_check.shape[1]
    k = operators.rank
    rate = rates.current()
    pairs = tree.is_leaf * (n_sources + n_targets) + n_targets * np.diff(w.ptr) + row_sums(x, n_sources)
    products = 2.0 * k * np.where(tree.is_leaf, n_surface, 0) + 2.0 * k * k
    return (
        rate.surface_pair * n_surface * pairs
        + transfers(n_v, operators)
        + rate.multiply_add * products
        + rate.box
    )


def transfers(n_v: np.ndarray, operators: BoxOperators) -> np.ndarray:
    """Seconds of M2L of each box, float64 [n_boxes]."""
    rate = rates.current()
    return (
        rate.m2l_pair + operators.m2l.multiply_adds * rate.m2l_multiply_add(operators.accuracy.m2l_dtype)
    ) * n_v


def fewest_boxes(far: np.ndarray, m2l: np.ndarray, operators: BoxOperators) -> int:
    """Of a shard of a level; far, m2l : seconds of its boxes, and of M2L among them."""
    cores = operators.m2l.size * rates.current().copied
    shards = (far.sum() - DOMINATED * m2l.sum()) / (DOMINATED * cores)
    return min(FEWEST_BOXES, math.ceil(far.size / max(1.0, shards)))


def cut(cost: np.ndarray, task: float, fewest: int = 1) -> np.ndarray:
    """Bounds of runs of about equal cost, each about ``task`` seconds and ``fewest`` long: int64 [n_runs + 1]."""
    total = np.concatenate([[0.0], np.cumsum(cost)])
    n = max(1, min(round(total[-1] / task), cost.size // fewest))
    inner = np.searchsorted(total, total[-1] * np.arange(1, n) / n)
    return np.unique(np.concatenate([[0], inner, [cost.size]]))
