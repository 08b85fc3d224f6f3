"""What operators cost, in seconds on an ordinary core: to choose leaves and to cut shards of equal work."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from taskfmm.cost import counts, rates
from taskfmm.cost.counts import PLAIN, Counts, Size, Weights
from taskfmm.geometry import surface
from taskfmm.kernels import Kernel, weights
from taskfmm.operators.box import BoxOperators
from taskfmm.plan.shards import Interactions
from taskfmm.tree.lists import TOP_LEVEL, Lists
from taskfmm.tree.octree import Octree

SHORTEST, LONGEST = 4e-3, 100e-3
"""Bounds, in seconds, of what a shard should cost: well above the scheduler's work, below what spoils balance."""

SHARDS = 48
"""Between the bounds, the whole evaluation is cut into about this many equal pieces."""

DERIVED = 2.0 / 3.0
"""How much leaves for many vectors are those for derivatives: by half, eight gradients of 1e6 points took 25 s at
1e-6 instead of 18; wholly, eight potentials of 1e5 points took 0.77 s instead of 0.56."""

TASKS = 4
"""Tasks of a level with expansions, one after the other: P2M or M2M, M2L, L2L, L2P."""

FEWEST_BOXES = 512
"""Boxes of a far-field shard, as far as a level has them: M2L reads all its cores, up to hundreds of megabytes, for
each shard, and its matrix products need rows (at order 16 shards of 80 boxes took three times as long)."""

DOMINATED = 4.0
"""Where M2L is less than one part in so many of a level, as when sources are many and targets few, shards may have
fewer boxes: P2M and L2P are to run on all threads."""

MUTUAL = 0.3
"""Share of the near field whose distances serve both points, where the targets are the sources: 0.1 to 0.9 were
seen, least with large leaves, of which few are in a block (`taskfmm.plan.shards.NEAR_BLOCK`)."""


def task(seconds: float, longest: float = LONGEST) -> float:
    """What a shard should cost, of so many seconds altogether."""
    return float(np.clip(seconds / SHARDS, SHORTEST, longest))


def first(kernel: Kernel) -> Weights:
    """Of pairs for which a plan is made: of the kernel's first kind of source and first output.

    Of many vectors, something between that and the last usual output: leaves for potentials cost gradients much.
    """
    own = weights(kernel.of_first, kernel.names[0])
    if kernel.vectors == 1:
        return own
    return own.mixed(weights(kernel.of_first, kernel.usual[-1]), DERIVED)


def direct(n_sources: int, n_targets: int, same: bool, weights: Weights) -> float:
    """Seconds of the sum over all pairs; ``same`` if the targets are the sources, so that distances serve both."""
    near = _near(n_sources, n_targets, 0, n_sources, n_sources * n_targets, float(same), weights)
    return float(near.seconds(rates.current()))


def beside(n_wide: int, n_targets: int, same: bool, weights: Weights) -> float:
    """Seconds of the pairs of sources that are in no box with all targets, among which they are if ``same``."""
    # what others do to them, by the same distances
    return direct(n_wide, (1 + same) * n_targets, same, weights)


def least(n_sources: int, n_targets: int, n_check: int, weights: Weights) -> float:
    """Seconds that a tree with a far field takes at least: P2M, L2P, and what its tasks cost besides.

    n_check : numbers on the upward check points around a box
    """
    p2m = counts.to_surfaces(n_sources, n_sources, 0, 0, n_check, 0, weights)
    l2p = counts.to_points(n_targets, n_targets, 0, 0, n_check, 0, weights=weights)
    return float(sum(done.seconds(rates.current()) for done in (p2m, l2p))) + tasks(TOP_LEVEL + 1)


def is_surely_direct(n_sources: int, n_targets: int, same: bool, kernel: Kernel, order: int) -> bool:
    """Whether the sum over all pairs costs less than any tree, by the numbers of points alone."""
    n_check = surface.check(kernel.expands.surfaces, order).shape[1] * kernel.n_potential
    pairs = first(kernel)
    return direct(n_sources, n_targets, same, pairs) < least(n_sources, n_targets, n_check, pairs)


def tasks(n_levels: int) -> float:
    """Seconds of the tasks of a far field besides what they do, where one has to wait for the other."""
    rate = rates.current()
    return TASKS * max(0, n_levels - TOP_LEVEL) * (rate.call + rate.task)


def row_sums(ptr: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum over each row of a list, float64 [n_rows]; values : of its entries."""
    total = np.zeros(values.size + 1)
    np.cumsum(values, out=total[1:])
    return total[ptr[1:]] - total[ptr[:-1]]


OF_LISTS = ("met", "pairs", "w_pairs", "m2p", "w_rows", "x", "v", "families", "w", "p2l")
"""Of what is counted for a box, what follows from its lists."""


def counted(
    tree: Octree,
    lists: Lists | Interactions,
    operators: BoxOperators,
    each: bool = True,
    top: int = TOP_LEVEL,
    columns: int = 1,
    weights: Weights = PLAIN,
    stands_for: np.ndarray | None = None,
) -> dict[str, Counts]:
    """What each operator does, for each box (arrays [n_boxes]) or for all of them together.

    W and X entries that cost less directly are counted where the plan has them, in the near field. Works are not
    known yet. So each entry of a list reads its own row of the halo, except in M2L, which reads as many rows as it
    gives; batches of M2L are half full; and a fixed share of the near field is mutual.

    top : the first level with expansions; columns : of these, side by side
    weights : of the pairs
    stands_for : float64 [n_boxes], for how many boxes the lists of each stand, where those of some are not known
    """
    n_sources, n_targets = (ptr[:, 1] - ptr[:, 0] for ptr in (tree.source_ptr, tree.target_ptr))
    far, below, leaf = tree.level >= top, tree.level > top, tree.is_leaf
    sources, targets = n_sources * (leaf & far), n_targets * (leaf & far)
    # sources of the U and the X list, and what moves from W and X lists to the U list
    of_all = lists.images.with_own(n_sources)
    met, x = (row_sums(csr.ptr, of_all[csr.idx]) for csr in (lists.u, lists.x))
    few = of_all <= operators.upward_equivalent.shape[1]
    x_moved = x * (leaf & (n_targets <= operators.downward_check.shape[1]))
    met, x = met + row_sums(lists.w.ptr, (of_all * few)[lists.w.idx]) + x_moved, x - x_moved
    w = row_sums(lists.w.ptr, ~few[lists.w.idx])
    sizes = dict(sources=sources, targets=targets, near=n_targets * leaf, met=met, pairs=n_targets * met)
    sizes |= dict(w_pairs=n_targets * w, m2p=n_targets * (w > 0), w_rows=w > 0, x=x)
    # of these there are as many as columns
    boxes = dict(far=far, up=below & (n_sources > 0), down=below & (n_targets > 0), v=np.diff(lists.v.ptr))
    families = _families(tree, lists) * (n_targets > 0)
    boxes |= dict(p2m=sources > 0, l2p=targets > 0, families=families, w=w, p2l=x > 0)
    sizes |= {name: columns * found for name, found in boxes.items()}
    if stands_for is not None:
        sizes |= {name: sizes[name] * stands_for for name in OF_LISTS}
    n = {name: found.astype(np.float64) if each else float(found.sum()) for name, found in sizes.items()}
    n_out, k = operators.check_to_multipole.shape  # numbers on the points further out, and on those within
    n_in = operators.check_to_local.shape[0]
    mutual = MUTUAL if tree.targets is tree.sources else 0.0
    return {
        "P2M": counts.to_surfaces(n["sources"], n["sources"], n["p2m"], n["p2m"], n_out, k, weights),
        "M2M": counts.translation(n["up"], n["up"], n["up"], k, k),
        "M2L": counts.m2l(operators.m2l.counts(n["v"], n["families"]), n["far"], n["far"], k),
        "P2L": counts.to_surfaces(n["x"], n["x"], n["p2l"], n["p2l"], n_in, k, weights),
        "L2L": counts.translation(n["down"], n["down"], n["far"], k, k, 2 * n["far"]),
        "L2P": counts.to_points(n["targets"], n["targets"], n["l2p"], n["l2p"], n_out, k, weights=weights),
        "M2P": counts.to_points(n["w_pairs"], n["m2p"], n["w_rows"], n["w"], n_in, k, weights=weights),
        "P2P": _near(n["sources"], n["near"], n["l2p"], n["met"], n["pairs"], mutual, weights),
    }


def _families(tree: Octree, lists: Lists | Interactions) -> np.ndarray:
    """Pairs of neighbouring parents, shared out to the children of one of them, float64 [n_boxes]."""
    inner, pairs = ~tree.is_leaf, np.zeros(tree.n_boxes)  # -1 names the last box, a leaf
    neighbours = np.maximum(0, inner[lists.colleagues[inner]].sum(axis=1) - 1)
    pairs[inner] = neighbours / np.diff(tree.child_ptr)[inner]
    return pairs[tree.parent]


def _near(
    n_sources: Size, n_targets: Size, n_leaves: Size, met: Size, pairs: Size, mutual: float, weights: Weights
) -> Counts:
    """P2P; met : sources of U lists; mutual : share of the pairs whose distances serve both, 0 where none can."""
    one, two, sides = 1.0 - mutual, mutual / 2.0, 1 + (mutual > 0.0)
    n_charges = n_sources + (sides - 1) * n_targets
    rows, runs = sides * n_leaves, sides * n_targets
    return counts.p2p(
        n_targets, rows, runs, one * pairs, two * pairs, one * met, two * met, n_charges, weights=weights
    )


def seconds(counted: Mapping[str, Counts]) -> dict[str, Size]:
    """Of what each operator does."""
    rate = rates.current()
    return {name: done.seconds(rate) for name, done in counted.items()}


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
