"""The tree that one region needs: its own boxes, those above units, and those of other regions that its lists meet.

It is an ordinary tree. What is not the region's own has no targets, and so no lists. Its sources are the region's
own, and after these the ones of other regions that are asked for, once lists are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from taskfmm.geometry.domain import Domain
from taskfmm.tree.octree import Octree
from taskfmm.tree.regional import Boxes
from taskfmm.tree.units import Cells, Units, ancestors, around, distinct, index, joined

TOP = -1
"""Stands for the region of the boxes above units."""


@dataclass(frozen=True, slots=True)
class Essential:
    """The tree of one region.

    tree : the boxes; until `with_points`, runs of sources of other regions are beyond the end of its sources
    owner, row : int64 [n_boxes], the region of each box, or `TOP`, and its row among the boxes there
    begin : int64 [n_boxes], the first of its sources among those of all regions
    own : bool [n_boxes]
    first : int64 [n_regions + 1], the first of each region's sources among those of all, and how many these are
    """

    tree: Octree
    owner: np.ndarray
    row: np.ndarray
    begin: np.ndarray
    own: np.ndarray
    first: np.ndarray


def needed(units: Units, region: int, own: Cells) -> Cells:
    """The cells whose children a region needs: those that touch its boxes or the boxes above them."""
    if region == TOP:
        return around(units.top)
    return around(distinct(own, ancestors(units.of(region))))


def meets(children_of: Cells, boxes: Boxes) -> np.ndarray:
    """Which boxes of another region are children of some cells, bool [n]."""
    found = np.zeros(len(boxes.cells), bool)
    deep = boxes.cells.level > 0
    found[deep] = index(children_of, boxes.cells[deep].above()) >= 0
    return found


def neighbours(units: Units, region: int, children_of: Cells) -> list[int]:
    """The regions some of whose boxes may be children of cells; the region itself among them."""
    near = index(children_of, units.cells) >= 0
    deep = units.cells.level > 0
    near[deep] |= index(children_of, units.cells[deep].above()) >= 0
    found = set((np.searchsorted(units.first, np.flatnonzero(near), side="right") - 1).tolist())
    return sorted(found if region == TOP else found | {region})


@dataclass(frozen=True, slots=True)
class Points:
    """The sources and the targets of a region in the order of the tree, one array where they are the same.

    sources, targets : float64 [3, n], scaled
    source_rows, target_rows : int64 [n], in the caller's order
    lengths : float64 [n], scaled, of the sources where these are softened
    """

    sources: np.ndarray
    targets: np.ndarray
    source_rows: np.ndarray
    target_rows: np.ndarray
    lengths: np.ndarray | None = None

    @classmethod
    def none(cls) -> Points:
        nowhere, nothing = np.empty((3, 0)), np.empty(0, np.int64)
        return cls(nowhere, nowhere, nothing, nothing)


def build(
    domain: Domain,
    units: Units,
    region: int,
    points: Points,
    others: Mapping[int, Boxes],
    children_of: Cells,
) -> Essential:
    """The tree of a region.

    points : of the region
    others : the boxes of this region and of its `neighbours`; children_of : the cells that are `needed`
    """
    first = np.concatenate([[0], np.cumsum(units.n_sources)])
    pieces, owners, rows = [units.top], [np.full(len(units.top), TOP)], [np.arange(len(units.top))]
    sources, targets = ([each] for each in units.in_top())
    for number, boxes in others.items():
        every = number == region
        some = np.arange(len(boxes.cells)) if every else np.flatnonzero(meets(children_of, boxes))
        pieces.append(boxes.cells[some])
        owners.append(np.full(some.size, number))
        rows.append(some)
        sources.append(first[number] + boxes.sources[some])
        targets.append(boxes.targets[some])
    cells = joined(*pieces)
    order_of = cells.order
    cells = cells[order_of]
    owner, row, source_ptr, target_ptr = (
        np.concatenate(each)[order_of] for each in (owners, rows, sources, targets)
    )
    mine, begin = owner == region, source_ptr[:, 0].copy()
    source_ptr += np.where(mine & (region != TOP), -first[region], points.source_rows.size)[:, None]
    tree = _tree(domain, cells, source_ptr, np.where(mine[:, None], target_ptr, 0), points)
    return Essential(tree, owner, row, begin, mine, first)


def _tree(
    domain: Domain, cells: Cells, source_ptr: np.ndarray, target_ptr: np.ndarray, points: Points
) -> Octree:
    n_levels = int(cells.level.max(initial=0)) + 1
    level_ptr = np.searchsorted(cells.level, np.arange(n_levels + 1))
    parent = np.full(len(cells), -1, np.int32)
    parent[1:] = index(cells, cells[1:].above())
    n_children = np.bincount(parent[1:], minlength=len(cells))
    child_ptr = np.cumsum(np.concatenate([[1], n_children]), dtype=np.int32)
    return Octree(
        domain, level_ptr, cells.level, cells.anchor, parent, child_ptr,
        source_ptr, target_ptr, points.sources, points.targets, points.source_rows, points.target_rows,
        points.lengths,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Runs:
    """Sources of other regions: runs among those of their regions, by region and ascending.

    region, begin, end : int64 [n]
    """

    region: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    @property
    def size(self) -> np.ndarray:
        return self.end - self.begin


def asked(found: Essential, boxes: np.ndarray) -> Runs:
    """The sources of some boxes that are not the region's own, each once."""
    boxes = np.unique(boxes[~found.own[boxes]])
    begin = found.begin[boxes]
    end = begin + np.diff(found.tree.source_ptr[boxes], axis=1)[:, 0]
    order = np.lexsort((-end, begin))
    begin, end = begin[order], end[order]
    # a box may lie in one before it
    fresh = np.append(True, end[1:] > np.maximum.accumulate(end)[:-1])[: end.size]
    begin, end = begin[fresh], end[fresh]
    # those of a box above units may be in several regions
    edges = np.unique(np.concatenate([begin, end, found.first]))
    covered = np.searchsorted(begin, edges[:-1], side="right") > np.searchsorted(
        end, edges[:-1], side="right"
    )
    begin, end = edges[:-1][covered], edges[1:][covered]
    region = np.searchsorted(found.first, begin, side="right") - 1
    return Runs(region, begin - found.first[region], end - found.first[region])


def with_points(found: Essential, boxes: np.ndarray, runs: Runs, points: np.ndarray) -> Essential:
    """With the sources of `asked`, float64 [3, n], after the region's own; without lengths, as charges have them."""
    tree, boxes = found.tree, np.unique(boxes[~found.own[boxes]])
    first = tree.sources.shape[1] + np.concatenate([[0], np.cumsum(runs.size)])
    run_begin = found.first[runs.region] + runs.begin
    host = np.searchsorted(run_begin, found.begin[boxes], side="right") - 1
    begin = first[host] + found.begin[boxes] - run_begin[host]
    count = np.diff(tree.source_ptr[boxes], axis=1)[:, 0]
    source_ptr = tree.source_ptr.copy()
    source_ptr[boxes] = np.stack([begin, begin + count], axis=1)
    sources = np.concatenate([tree.sources, points], axis=1)
    targets = sources if tree.targets is tree.sources else tree.targets
    whole = replace(tree, source_ptr=source_ptr, sources=sources, targets=targets, lengths=None)
    return replace(found, tree=whole)
