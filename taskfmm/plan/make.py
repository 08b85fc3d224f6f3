"""From points to a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taskfmm.errors import InputError
from taskfmm.geometry.cell import Box
from taskfmm.geometry.domain import Domain, as_wide, enclose, with_room
from taskfmm.geometry.periodic import enclose as enclose_cell
from taskfmm.geometry.periodic import into
from taskfmm.geometry.resolution import refuse_unresolved, unresolved_pair
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy, of_order
from taskfmm.operators.levels import Operators
from taskfmm.operators.radial import first_level
from taskfmm.plan import cost, tune
from taskfmm.plan.base import Base
from taskfmm.plan.plan import build, sum_directly, within_reach, without_coincident
from taskfmm.plan.planned import Asked, Planned
from taskfmm.plan.softened import direct_within_reach, with_wide
from taskfmm.tree import beside as beside_tree
from taskfmm.tree import lists, octree
from taskfmm.tree.lists import TOP_LEVEL
from taskfmm.tree.octree import Octree

FEW_POINTS = 300_000
"""Up to here a plan takes a tenth of a second on one thread, less than compiling what several threads need."""


WIDTHS = (1e-12, 1e15)
"""Half-widths of clouds that are summed in the caller's unit. Squares of all distances have to be float32 numbers,
and points should be allowed to be much closer to each other than the cloud is wide."""

FEW_TARGETS = 64
"""Targets whose nearest source is looked for, to tell how close points usually are."""


def make(
    asked: Asked,
    accuracy: Accuracy,
    sources: np.ndarray,
    targets: np.ndarray | None,
    leaf_size: int | None,
    threads: int = 1,
    lengths: np.ndarray | None = None,
    vectors: int = 1,
    before: Octree | None = None,
) -> Planned:
    """Choose the leaves, build the tree and its lists, and cut them into shards.

    accuracy : of the first output, where it is known before the points are
    targets : None where they are the sources
    leaf_size : None where the estimated cost decides
    lengths : float64 [n], softening of the sources
    vectors : of charges, which most evaluations will have at once
    before : the tree of the same points elsewhere, where leaves are to be as they were there
    """
    priced = asked.kernel.with_vectors(vectors)
    at = sources if targets is None else targets
    if not (len(sources) and len(at)):
        sources = sources.copy()
        return Planned(asked, leaf_size, None, points=(sources, sources if targets is None else at.copy()))
    threads = threads if len(sources) + len(at) > FEW_POINTS else 1
    if asked.box is not None:
        return _in_box(asked, asked.box, accuracy, sources, targets, leaf_size, threads, priced, before)
    scaled = asked.kernel.degree is not None
    smallest = enclose(sources, sources[:0] if targets is None else targets, scaled)
    if lengths is not None:
        smallest = with_room(smallest, float(lengths.max()))
    reach = asked.reach(lengths)
    refuse_width(asked, smallest)
    if leaf_size is None and cost.is_surely_direct(
        len(sources), len(at), targets is None, priced, accuracy.order
    ):
        return _summed_directly(asked, sources, targets, smallest, lengths)
    top = top_level(asked, sources, at, smallest.half_width, len(sources))
    if not (asked.chosen or asked.calibrated(asked.first)):
        accuracy = asked.accuracy(asked.first, None, half_width=smallest.half_width, top=top)
    operators = Operators(asked.kernel, accuracy, smallest.half_width).at(top)
    columns, weights = priced.columns, cost.first(priced).of(operators.accuracy.dtype)
    how = threads, top, columns, weights
    boxed, of_boxed, wide = sources, reach, np.empty(0, np.int64)
    if reach is not None:
        wide = tune.wide(sources, targets, operators, smallest, leaf_size, *how, reach)
        boxed, of_boxed = np.delete(sources, wide, axis=0), np.delete(reach, wide)
    leaf_size, domain = tune.choose(boxed, targets, operators, smallest, scaled, leaf_size, *how, of_boxed)
    if leaf_size is None:
        return _summed_directly(asked, sources, targets, smallest, lengths)
    if before is not None and scaled:
        domain = as_wide(domain, before.domain)
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, domain.scale)
    order = None if before is None or wide.size else before.order
    tree = octree.build(boxed, targets, leaf_size, domain, threads, of_boxed, before=order)
    if wide.size:
        tree = with_wide(tree, sources, wide)
    if lengths is not None:
        tree = replace(tree, lengths=lengths[tree.source_order] * domain.scale)
    found = lists.build(tree, threads)
    if not asked.kernel.counts_itself:
        found = without_coincident(tree, found)
    top = max(TOP_LEVEL, min(top, tree.n_levels - 1))
    found = within_reach(tree, found, top)
    if reach is not None:
        found = direct_within_reach(tree, found, reach[tree.source_order] * domain.scale)
    return Planned(asked, leaf_size, build(tree, found, operators, top, columns, weights))


def beside(planned: Planned, targets: np.ndarray, threads: int = 1) -> Planned | None:
    """A plan of the same sources with other targets, which reads the multipoles of the first one.

    planned : of a tree, and not itself such a plan
    targets : float64 [n, 3], n at least 1
    None where no such plan can be: targets are too far from the sources, or divide what softening keeps whole; or
    operators came with the plan, and are those of its levels alone.
    """
    asked, plan, leaf_size = planned.asked, planned.plan, planned.leaf_size
    assert plan is not None and leaf_size is not None
    other, kernel = plan.tree, asked.kernel
    if planned.brought and kernel.degree is None:
        return None
    within = targets if asked.box is None else into(asked.box, other.domain, targets)
    if within is None:
        return None
    threads = threads if planned.n_sources + len(targets) > FEW_POINTS else 1
    accuracy = asked.any_accuracy()
    if not (asked.chosen or asked.calibrated(asked.first)):
        accuracy = planned.accuracy(asked.first, None)
    operators = planned.made(accuracy).at(plan.top)
    how = kernel.columns, cost.first(kernel).of(operators.accuracy.dtype)

    def size(n_sources: int, n_targets: int) -> int:
        return max(leaf_size, tune.guess(operators, n_sources, n_targets, *how)) if n_targets else leaf_size

    found = beside_tree.build(other, within, size, kernel.degree is not None, threads)
    if found is None or (other.lengths is not None and beside_tree.divides_sources(found, other)):
        return None
    tree = found.tree
    refuse_width(asked, tree.domain)
    met = lists.build(tree, threads)
    if not kernel.counts_itself:
        if unresolved_pair(tree.sources.T, tree.targets.T, 1.0) is not None:
            refuse_unresolved(planned.sources, within, tree.domain.scale)
        met = without_coincident(tree, met)
    if tree.domain.cell is not None:
        top = tree.domain.cell.level
    else:
        where = tree.sources.T / tree.domain.scale
        top = top_level(asked, where, within, tree.domain.half_width, len(where))
        top = max(TOP_LEVEL, min(top, tree.n_levels - 1))
        met = within_reach(tree, met, top)
    reach = asked.reach(tree.lengths)
    if reach is not None:
        met = direct_within_reach(tree, met, reach)
    base = Base(plan, found.up, found.box)
    return Planned(asked, leaf_size, build(tree, met, operators, top, *how, base), brought=planned.brought)


def _in_box(
    asked: Asked,
    box: Box,
    accuracy: Accuracy,
    sources: np.ndarray,
    targets: np.ndarray | None,
    leaf_size: int | None,
    threads: int,
    priced: Kernel,
    before: Octree | None = None,
) -> Planned:
    """As `make`, in a periodic box: no sum over all pairs is finite, and the root follows from the box."""
    domain, moved = enclose_cell(box, [sources] if targets is None else [sources, targets])
    sources, targets = moved[0], None if targets is None else moved[1]
    assert domain.cell is not None
    top = domain.cell.level
    operators = Operators(asked.kernel, accuracy).at(top)
    columns, weights = priced.columns, cost.first(priced).of(operators.accuracy.dtype)
    how = threads, top, columns, weights
    size, domain = tune.choose(sources, targets, operators, domain, True, leaf_size, *how)
    if before is not None:
        domain = as_wide(domain, before.domain)
    assert size is not None and domain.cell is not None
    top = domain.cell.level
    refuse_unresolved(sources, targets, domain.scale)
    order = None if before is None else before.order
    tree = octree.build(sources, targets, size, domain, threads, before=order)
    found = without_coincident(tree, lists.build(tree, threads))
    return Planned(asked, size, build(tree, found, operators, top, columns, weights))


def refuse_width(asked: Asked, smallest: Domain) -> None:
    """Raise InputError for a cloud that is too wide, or too narrow, to be summed in the caller's unit."""
    if asked.kernel.degree is None and not WIDTHS[0] <= smallest.half_width <= WIDTHS[1]:
        raise InputError(
            f"the points are {2 * smallest.half_width:.1e} wide, and lengths in kernel {asked.kernel.name!r} cannot "
            f"be rescaled: give points and parameters in another unit, in which they are {WIDTHS[0]:.0e} to "
            f"{WIDTHS[1]:.0e} wide"
        )


def top_level(
    asked: Asked, sources: np.ndarray, targets: np.ndarray, half_width: float, n_sources: int
) -> int:
    """The first level with expansions; n_sources : of all, where some are given that fill some cells"""
    if asked.kernel.degree is not None:
        return TOP_LEVEL
    from scipy.spatial import cKDTree  # here, as kernels with a degree have no need of it

    eps = of_order(asked.order).basis_tol if asked.order else asked.eps
    rows = np.random.default_rng(len(targets)).choice(
        len(targets), min(FEW_TARGETS, len(targets)), replace=False
    )
    points = cKDTree(sources, compact_nodes=False, balanced_tree=False)
    distance = points.query(targets[rows], 2)[0]  # to the source at the target as well, if there is one
    close = float(np.median(np.where(distance > 0.0, distance, np.inf).min(axis=1)))
    return first_level(asked.kernel, eps, half_width, n_sources, close, TOP_LEVEL)


def _summed_directly(
    asked: Asked,
    sources: np.ndarray,
    targets: np.ndarray | None,
    domain: Domain,
    lengths: np.ndarray | None,
) -> Planned:
    scaled = None if lengths is None else lengths * domain.scale
    plan = sum_directly(sources, targets, domain, cost.first(asked.kernel), scaled)
    if not asked.kernel.counts_itself:
        refuse_unresolved(sources, targets, plan.tree.domain.scale)
    return Planned(asked, None, plan)
