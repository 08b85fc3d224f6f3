"""Choose the size of leaves, and of the root cube, by what they would cost; or no tree, where all pairs cost less.

The costs of a few candidates are estimated on a random sample of the points. Leaves shrink with the sample, so
its tree has the shape of the whole one: the numbers of boxes and list entries are those of the whole, and pairs
of points scale with the square of the sample. In a filled cube leaves can only have sizes a factor of eight
apart; a root cube that is somewhat too large gives the sizes between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from taskfmm.cost import counts, rates
from taskfmm.cost.counts import PLAIN, Weights
from taskfmm.geometry.domain import Domain, enlarge
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.plan import within_reach, without_coincident
from taskfmm.tree import lists, octree
from taskfmm.tree.lists import TOP_LEVEL

SAMPLE = 25_000
"""Points of the sample, at least, of sources and of targets: fewer are less alike the whole."""

THINNEST = 16
"""One point in so many is the thinnest sample: a leaf of it still holds a few points."""

SMALLEST, LARGEST = 64, 8192
"""Leaf sizes that are tried, a factor of two apart."""

ALIKE = 1.01
"""Sizes whose costs differ by less give the same leaves of a filled cube, but for a few. Of these the smallest splits
the boxes of an enlarged cube, too."""

ENLARGEMENTS = (1.2, 1.5)
"""Widths of the root cube that are tried, besides the smallest one."""


def choose(
    sources: np.ndarray,
    targets: np.ndarray | None,
    operators: BoxOperators,
    smallest: Domain,
    may_enlarge: bool = True,
    leaf_size: int | None = None,
    threads: int = 1,
    top: int = TOP_LEVEL,
    columns: int = 1,
    weights: Weights = PLAIN,
) -> tuple[int | None, Domain]:
    """Leaf size and root cube with the least estimated time.

    Parameters
    ----------
    sources : float64 [n, 3]; targets : float64 [m, 3], or None when they are the sources
    operators : BoxOperators
    smallest : Domain, around all points
    may_enlarge : bool, whether operators do not hang on the size of the cube
    leaf_size : int, optional
        Given by the caller; then the cube is the smallest one.
    threads : int
    top : int, the first level with expansions
    columns : int, of these, side by side
    weights : Weights, of the pairs

    Returns
    -------
    leaf_size : int, or None where the sum over all pairs takes less than any tree
    domain : Domain
    """
    domain = smallest
    if leaf_size is not None:
        return leaf_size, domain
    at = sources if targets is None else targets
    n = max(len(sources), len(at))
    steps = tuple(min(THINNEST, max(1, len(points) // SAMPLE)) for points in (sources, at))
    rng = np.random.default_rng(n)
    some = _thin(sources, steps[0], rng)
    others = None if targets is None else _thin(targets, steps[1], rng)

    @cache
    def seconds(size: int, factor: float, apart: bool = False) -> float:
        shrunk = round(size / max(steps))
        tree = octree.build(some, others, shrunk, enlarge(domain, factor), threads)
        found = within_reach(tree, lists.build(tree, threads=threads), top)
        if apart:
            found = without_coincident(tree, found)
        done = estimate(tree, found, operators, *steps, top=top, columns=columns, weights=weights)
        return done + cost.tasks(tree.n_levels)

    share = min(len(sources), len(at)) / n
    best = _descend(_guess(operators, share, columns, weights), lambda size: seconds(size, 1.0))
    tried = {(size, e): seconds(size, e) for size in (best, 2 * best) for e in ENLARGEMENTS if may_enlarge}
    size, factor = min(tried, key=tried.__getitem__, default=(best, 1.0))
    if not tried or seconds(best, 1.0) <= tried[size, factor]:
        size, factor = best, 1.0
    all_pairs = cost.direct(len(sources), len(at), targets is None, weights)
    if all_pairs < seconds(size, factor) and all_pairs < seconds(size, factor, apart=True):
        return None, domain
    return size, enlarge(domain, factor)


def _guess(operators: BoxOperators, share: float, columns: int, weights: Weights) -> int:
    """Where near field and M2L cost the same in a filled cube: 27 s^2 pairs of points and 189 of boxes.

    share : targets for each source, or the reverse, whichever are fewer
    """
    rate = rates.current()
    boxes = counts.m2l(operators.m2l.counts(189.0 * columns, columns * 26.0 / 8.0), 0, 0, 0).seconds(rate)
    points = 27.0 * rate.near_one * weights.near_one
    mean = np.sqrt(boxes / points)
    return int(np.clip(2 ** np.round(np.log2(2.0 * mean / np.sqrt(share))), SMALLEST, LARGEST))


def _descend(size: int, seconds: Callable[[int], float]) -> int:
    """The cheapest size on a walk up and down from ``size`` by steps of two; of sizes that cost alike, the smallest.

    A clustered cloud has a second valley, where whole clusters are leaves: the walk up goes on over one rise.
    """
    cost = {size: seconds(size)}
    for step, rises in ((2.0, 2), (0.5, 1)):
        at = size
        while rises and SMALLEST <= (following := int(at * step)) <= LARGEST:
            cost[following] = seconds(following)
            rises -= cost[following] > cost[at]
            at = following
    least = min(cost.values())
    return min(size for size in cost if cost[size] <= ALIKE * least)


def _thin(points: np.ndarray, every: int, rng: np.random.Generator) -> np.ndarray:
    """A random point of each run of ``every``."""
    first = np.arange(0, len(points), every)
    return points[np.minimum(first + rng.integers(every, size=first.size), len(points) - 1)]


def estimate(
    tree: octree.Octree,
    found: lists.Lists,
    operators: BoxOperators,
    every: int = 1,
    of_targets: int | None = None,
    *,
    top: int = TOP_LEVEL,
    columns: int = 1,
    weights: Weights = PLAIN,
) -> float:
    """Seconds of an evaluation, from a tree of one point in ``every``, of targets one in ``of_targets``."""
    of_targets = of_targets or every
    whole = replace(tree, source_ptr=tree.source_ptr * every, target_ptr=tree.target_ptr * of_targets)
    done = cost.counted(whole, found, operators, each=False, top=top, columns=columns, weights=weights)
    return float(sum(cost.seconds(done).values()))
