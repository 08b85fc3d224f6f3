"""Choose the size of leaves, and of the root cube, by what they would cost; or no tree, where all pairs cost less.

The costs of a few candidates are estimated on a random sample of the points. Leaves shrink with the sample, so
its tree has the shape of the whole one: the numbers of boxes and list entries are those of the whole, and pairs
of points scale with the square of the sample. In a filled cube leaves can only have sizes a factor of eight
apart; a root cube that is somewhat too large gives the sizes between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import count, takewhile

import numpy as np

from taskfmm.cost import counts, rates
from taskfmm.cost.counts import PLAIN, Weights
from taskfmm.geometry.domain import PARTS, THIRDS, Domain, enlarge
from taskfmm.geometry.periodic import MOST_CUBES
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.plan import within_reach, without_coincident
from taskfmm.plan.softened import direct_within_reach
from taskfmm.tree import lists, octree
from taskfmm.tree.lists import TOP_LEVEL

SAMPLE = 25_000
"""Points of the sample, at least, of sources and of targets: fewer are less alike the whole."""

THINNEST = 16
"""One point in so many is the thinnest sample: a leaf of it still holds a few points."""

PARENTS = 1000
"""Of about so many boxes the lists of their children are sought: those of all would be most of the time of an
estimate."""

MIX = tuple(
    np.uint64(2 * number + 1) for number in (0x4F1BBCDCBFA53E0A, 0x1B56C4E9F3A6D58B, 0x2545F4914F6CDD1E)
)
"""Odd factors, which spread the bits of coordinates."""

SMALLEST, LARGEST = 64, 8192
"""Leaf sizes that are tried, a factor of two apart."""

WIDEST = 256
"""Sources that reach furthest, which are always in the sample: boxes are no narrower than their reach."""

FEWER = 16
"""At most one source in so many is in no box."""

WORTHWHILE = 1.2
"""Sources are in no box only if it would take so many times as long otherwise."""

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
    reach: np.ndarray | None = None,
    times: float = 1.0,
    every: float = 1.0,
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
    threads : int, of which each estimates one candidate at a time: loops over a sample are too short to share
    top : int, the first level with expansions
    columns : int, of these, side by side
    weights : Weights, of the pairs
    reach : float64 [n], optional, see `taskfmm.tree.octree.build`
    times : float, as many points there are as are given: these fill some cells and leave out the others
    every : float, one point in so many is given of those that fill these cells

    Returns
    -------
    leaf_size : int, or None where the sum over all pairs takes less than any tree
    domain : Domain
    """
    domain = smallest
    if leaf_size is not None:
        return leaf_size, domain
    at = sources if targets is None else targets
    seconds = _estimator(sources, targets, operators, domain, top, columns, weights, reach, times, every)
    first = guess(operators, len(sources), len(at), columns, weights)
    with ThreadPoolExecutor(threads) as pool:
        if threads > 1:  # the walk asks for these in nearly all cases
            sizes = [
                size for size in (first, 2 * first, 4 * first, first // 2) if SMALLEST <= size <= LARGEST
            ]
            list(pool.map(seconds, sizes))
        best = _descend(first, seconds)
        factors = _factors(domain) if may_enlarge else ()
        cases = [(size, factor) for size in (best, 2 * best) for factor in factors]
        tried = dict(zip(cases, pool.map(lambda case: seconds(*case), cases), strict=True))
    size, factor = min(tried, key=tried.__getitem__, default=(best, 1.0))
    if not tried or seconds(best) <= tried[size, factor]:
        size, factor = best, 1.0
    parts = times * every
    all_pairs = cost.direct(round(parts * len(sources)), round(parts * len(at)), targets is None, weights)
    if (
        domain.cell is None
        and all_pairs < seconds(size, factor)
        and all_pairs < seconds(size, factor, apart=True)
    ):
        return None, domain
    return size, enlarge(domain, factor)


def _factors(domain: Domain) -> tuple[float, ...]:
    """Of the width of the root, that are tried."""
    if domain.cell is None:
        return ENLARGEMENTS
    return (THIRDS,) if PARTS**3 * math.prod(domain.cell.cubes) <= MOST_CUBES else ()


def wide(
    sources: np.ndarray,
    targets: np.ndarray | None,
    operators: BoxOperators,
    domain: Domain,
    leaf_size: int | None,
    threads: int,
    top: int,
    columns: int,
    weights: Weights,
    reach: np.ndarray,
) -> np.ndarray:
    """The sources that are better in no box, ascending rows, int64: those that reach furthest, if any.

    To sum their pairs with all targets costs less than boxes that are as wide as they reach. Several numbers of them
    are tried, at one leaf size. Parameters as those of `choose`.
    """
    n_targets, same = len(sources if targets is None else targets), targets is None
    size = leaf_size or guess(operators, len(sources), n_targets, columns, weights)
    furthest = np.argsort(-reach, kind="stable")

    def seconds(n_wide: int, reach: np.ndarray | None) -> float:
        kept = np.sort(furthest[n_wide:])
        of_kept = None if reach is None else reach[kept]
        found = _estimator(sources[kept], targets, operators, domain, top, columns, weights, of_kept)
        return found(size) + (cost.beside(n_wide, n_targets, same, weights) if n_wide else 0.0)

    took = {0: seconds(0, reach)}
    if took[0] > WORTHWHILE * seconds(0, None):
        numbers = list(takewhile(lambda n: n <= len(sources) // FEWER, (8**power for power in count())))
        with ThreadPoolExecutor(threads) as pool:
            took |= zip(numbers, pool.map(lambda n_wide: seconds(n_wide, reach), numbers), strict=True)
    best = min(took, key=took.__getitem__)
    return np.sort(furthest[: best if took[0] > WORTHWHILE * took[best] else 0])


def _estimator(
    sources: np.ndarray,
    targets: np.ndarray | None,
    operators: BoxOperators,
    domain: Domain,
    top: int,
    columns: int,
    weights: Weights,
    reach: np.ndarray | None,
    times: float = 1.0,
    every: float = 1.0,
) -> Callable[..., float]:
    """Estimated seconds by leaf size and enlargement of the cube, of a sample; parameters as those of `choose`."""
    at = sources if targets is None else targets
    n = max(len(sources), len(at))
    thinnest = max(1, int(THINNEST / every))
    steps = tuple(min(thinnest, max(1, len(points) // SAMPLE)) for points in (sources, at))
    each = tuple(every * step for step in steps)
    rng = np.random.default_rng(n)
    rows = _thin(len(sources), steps[0], rng)
    if reach is not None and steps[0] > 1:
        # without the few that reach far, a sample would have smaller boxes
        rows = np.union1d(rows, np.argsort(reach)[-WIDEST:])
    some = sources[rows]
    of_some = None if reach is None else reach[rows]
    others = None if targets is None else targets[_thin(len(targets), steps[1], rng)]

    points = some if others is None else np.concatenate((some, others))

    @cache
    def keys(factor: float) -> octree.Keys:
        return octree.sorted_keys(points, enlarge(domain, factor), 1)

    # the costs take the numbers of entries; which boxes these are counts where some are left out, or are images
    only_count_v = top <= TOP_LEVEL and domain.cell is None

    @cache
    def seconds(size: int, factor: float = 1.0, apart: bool = False) -> float:
        # sources and targets are sampled more or less, and either of them splits a box
        shrunk = (max(1, round(size / each[0])), max(1, round(size / each[1])))
        cube = enlarge(domain, factor)
        tree = octree.build(some, others, shrunk, cube, 1, of_some, keys(factor))
        stands_for = _stands_for(tree, shrunk) if only_count_v and of_some is None and not apart else None
        listed = None if stands_for is None else stands_for > 0.0
        found = within_reach(tree, lists.build(tree, 1, only_count_v, listed), top)
        if apart:
            found = without_coincident(tree, found)
        if of_some is not None:
            found = direct_within_reach(tree, found, of_some[tree.source_order] * tree.domain.scale)
        done = estimate(
            tree, found, operators, *each, top=top, columns=columns, weights=weights, stands_for=stands_for
        )
        return times * done + cost.tasks(tree.n_levels)

    return seconds


def _stands_for(tree: octree.Octree, most: tuple[int, int]) -> np.ndarray | None:
    """For how many boxes each stands, float64 [n_boxes], if the lists of some do: the children of random parents.

    A place decides whether a box is among these parents, so trees that are alike have the same ones, and their costs
    compare. Crowded leaves have most pairs where there are any, so they and their siblings stand for themselves.
    """
    n_sources, n_targets = (np.diff(ptr, axis=1)[:, 0] for ptr in (tree.source_ptr, tree.target_ptr))
    of_parent, crowded = np.zeros(tree.n_boxes), np.zeros(tree.n_boxes, bool)
    crowded[tree.parent[tree.is_leaf & ((n_sources > most[0]) | (n_targets > most[1]))]] = True
    usual = np.flatnonzero(~tree.is_leaf & (n_targets > 0) & ~crowded)
    if usual.size < 2 * PARENTS:
        return None
    mixed = tree.level[usual].astype(np.uint64)
    for axis, factor in enumerate(MIX):
        mixed = (mixed ^ tree.anchor[usual, axis].astype(np.uint64)) * factor
        mixed ^= mixed >> np.uint64(32)
    chosen = usual[mixed < np.uint64(2**64 // usual.size * PARENTS)]
    of_parent[crowded], of_parent[chosen] = 1.0, usual.size / chosen.size
    return of_parent[tree.parent]  # -1, of the root, names the last box, a leaf


def guess(operators: BoxOperators, n_sources: int, n_targets: int, columns: int, weights: Weights) -> int:
    """Where near field and M2L cost the same in a filled cube: 27 s^2 pairs of points and 189 of boxes."""
    share = min(n_sources, n_targets) / max(n_sources, n_targets)
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


def _thin(n: int, every: int, rng: np.random.Generator) -> np.ndarray:
    """The row of a random point of each run of ``every``, of n points."""
    first = np.arange(0, n, every)
    return np.minimum(first + rng.integers(every, size=first.size), n - 1)


def estimate(
    tree: octree.Octree,
    found: lists.Lists,
    operators: BoxOperators,
    every: float = 1,
    of_targets: float | None = None,
    *,
    top: int = TOP_LEVEL,
    columns: int = 1,
    weights: Weights = PLAIN,
    stands_for: np.ndarray | None = None,
) -> float:
    """Seconds of an evaluation, from a tree of one point in ``every``, of targets one in ``of_targets``.

    stands_for : as of `taskfmm.plan.cost.counted`
    """
    of_targets = of_targets or every
    whole = replace(tree, source_ptr=tree.source_ptr * every, target_ptr=tree.target_ptr * of_targets)
    done = cost.counted(whole, found, operators, False, top, columns, weights, stands_for)
    return float(sum(cost.seconds(done).values()))
