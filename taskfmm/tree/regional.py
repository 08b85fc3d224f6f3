"""The boxes of one region: those of the tree of all points that lie in its units.

Whether a cell within a unit holds too many points is known where the points of the unit are. What 2:1 balance asks of
cells in other regions is sent there as demands. The set of split cells only grows, so demands end, and then it is the
one that a process with all points would have found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import morton
from taskfmm.tree.units import Cells, Units, distinct, points_in, runs_of


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of a region, level by level, in Morton order within a level.

    sources, targets : int64 [n, 2], the runs of their points among those of the region
    """

    cells: Cells
    sources: np.ndarray
    targets: np.ndarray

    def at_level(self, level: int) -> slice:
        """Those of one level."""
        first, last = np.searchsorted(self.cells.level, [level, level + 1])
        return slice(int(first), int(last))


def crowded(
    units: Cells,
    hi: np.ndarray,
    lo: np.ndarray,
    leaf_size: int,
    before: np.ndarray | None = None,
    deepest: int = morton.MAX_LEVEL,
) -> Cells:
    """The cells in some units that hold too many sources, or too many targets, which can be told apart.

    hi, lo : uint64 [n], the sorted keys of these units' points
    before : int64 [n + 1], how many sources come before each of them; None where each is a target as well
    deepest : the level below which there are no boxes
    """
    found, level = [units[:0]], int(units.level.min(initial=morton.MAX_LEVEL))
    cells = units[units.level == level]
    while len(cells) or level < units.level.max(initial=0):
        begin, end = runs_of(cells, hi, lo)
        some = end > begin
        cells, begin, end = cells[some], begin[some], end[some]
        apart = (hi[begin] != hi[end - 1]) | (lo[begin] != lo[end - 1])
        most = end - begin
        if before is not None:
            n_sources = before[end] - before[begin]
            most = np.maximum(n_sources, most - n_sources)
        cells = cells[(most > leaf_size) & apart & (level < deepest)]
        found.append(cells)
        level += 1
        cells = distinct(cells.refined(1), units[units.level == level])
    return distinct(*found)


def touched(cells: Cells) -> Cells:
    """The cells one level above that touch some cells, their parents among them: balance splits them as well."""
    deep = cells.level > 0
    level, anchor = cells.level[deep] - 1, cells.anchor[deep]
    corners = np.indices((2, 2, 2)).reshape(3, 8).T
    outward = 2 * (anchor & 1) - 1
    found = (anchor[:, None] >> 1) + outward[:, None] * corners
    inside = ((found >= 0) & (found < (1 << level.astype(np.int64))[:, None, None])).all(axis=2)
    return distinct(Cells.of(np.repeat(level, 8)[inside.ravel()], found[inside]))


def close(split: Cells, units: Units, region: int, hi: np.ndarray, lo: np.ndarray) -> tuple[Cells, Cells]:
    """Split cells of a region and those that balance asks for, and what it asks of other regions.

    split : in units of the region, some of which are not balanced yet; hi, lo : as for `crowded`
    """
    asked, found, below = [], [], split[:0]
    for level in range(int(split.level.max(initial=-1)), -1, -1):
        near = touched(below)
        owner = units.owner(near)
        own = near[owner == region]
        asked.append(near[(owner >= 0) & (owner != region)])
        below = distinct(split[split.level == level], own[points_in(own, hi, lo) > 0])
        found.append(below)
    return distinct(*found) if found else split, distinct(*asked) if asked else split


def beside_top(units: Units, region: int, hi: np.ndarray, lo: np.ndarray) -> Cells:
    """The cells in units of a region that touch a cell above units of the next level, which is split."""
    near = touched(units.top)
    near = near[units.owner(near) == region]
    return near[points_in(near, hi, lo) > 0]


def boxes(
    split: Cells, units: Cells, hi: np.ndarray, lo: np.ndarray, before: np.ndarray | None = None
) -> Boxes:
    """The boxes of a region: its units, and the cells with points in those that are split; before : see `crowded`"""
    cells = distinct(units, split.refined(1)) if len(split) else distinct(units)
    runs = np.stack(runs_of(cells, hi, lo), axis=1)
    some = runs[:, 1] > runs[:, 0]
    cells, runs = cells[some], runs[some]
    return Boxes(cells, runs, runs) if before is None else Boxes(cells, before[runs], runs - before[runs])
