"""Boxes of a tree, and the lists of one of them, as they are cut by a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from taskfmm import choices, validate
from taskfmm.errors import InputError
from taskfmm.geometry.domain import Domain
from taskfmm.plan.plan import Plan
from taskfmm.profiling.names import colour
from taskfmm.report.axes import axes
from taskfmm.tree.octree import Octree

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (6.4, 5.6)
"""Inches of a picture."""

MOST_DOTS = 5000
"""Sources that are shown; of more, every second, third, ... one."""

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])

LISTS = {"u": "P2P", "v": "M2L", "w": "M2P", "x": "P2L"}
"""By whose operator each list is worked through: it has the colour of that."""


class Cubes(NamedTuple):
    """Boxes in the caller's unit.

    low : float64 [n, 3], their lower corners
    width : float64 [n]
    """

    low: np.ndarray
    width: np.ndarray

    @classmethod
    def of(cls, domain: Domain, level: np.ndarray, anchor: np.ndarray) -> Cubes:
        width = np.ldexp(2.0 * domain.half_width / domain.scale, -level.astype(np.int64))
        return cls(domain.lower / domain.scale + anchor * width[:, None], width)

    def take(self, rows: np.ndarray) -> Cubes:
        return Cubes(self.low[rows], self.width[rows])

    def reach(self, axis: int, at: float) -> np.ndarray:
        """bool [n]: which of them a plane cuts. One that lies in their faces belongs to those above it."""
        return (self.low[:, axis] <= at) & (at < self.low[:, axis] + self.width)

    def squares(self, axis: int) -> np.ndarray:
        """Their outlines as seen along an axis, float64 [n, 4, 2]."""
        return self.low[:, None, _across(axis)] + self.width[:, None, None] * CORNERS


def plot_tree(plan: Plan | None, axis: str, at: float | None, ax: Axes | None) -> Axes:
    """See `taskfmm.Fmm.plot_tree`."""
    tree = _tree(plan)
    number = _number(axis)
    leaves = np.flatnonzero(tree.is_leaf)
    cubes = Cubes.of(tree.domain, tree.level, tree.anchor)
    if at is None:
        at = float(np.median(tree.sources[number] if tree.sources.size else tree.targets[number]))
        at /= tree.domain.scale
    cut = leaves[cubes.take(leaves).reach(number, at)]
    if not cut.size:
        raise InputError(f"the plane {axis} = {at:g} cuts no leaf of the tree: give an `at` among the points")
    drawn = axes(ax, SIZE)
    _levels(drawn, cubes.take(cut).squares(number), tree.level[cut])
    x, y = _sources(tree, cut)[_across(number)] / tree.domain.scale
    drawn.plot(x, y, ".", color="black", markersize=1.5)
    drawn.set_title(f"{cut.size:,} of {leaves.size:,} leaves: those cut by {axis} = {at:.4g}", fontsize=10)
    return _framed(drawn, number)


def plot_lists(plan: Plan | None, box: Any, axis: str, ax: Axes | None) -> Axes:
    """See `taskfmm.Fmm.plot_lists`."""
    tree = _tree(plan)
    assert plan is not None
    lists, number = plan.lists, _number(axis)
    cell, level, anchor = tree.domain.cell, tree.level, tree.anchor
    chosen = _chosen(tree, box)
    if cell is not None and lists.images.box.size:
        anchor = np.concatenate([anchor, lists.images.anchors(anchor, level, cell)])
        level = lists.images.with_own(level)
    cubes = Cubes.of(tree.domain, level, anchor)
    own = cubes.take(np.array([chosen]))
    at = float(own.low[0, number] + 0.5 * own.width[0])
    drawn = axes(ax, SIZE)
    for name, operator in LISTS.items():
        csr = getattr(lists, name)
        row = csr.idx[csr.ptr[chosen] : csr.ptr[chosen + 1]]
        there = cubes.take(row[cubes.take(row).reach(number, at)])
        label = f"{name.upper()}, {operator}: {row.size:,} ({len(there.width):,})"
        _fill(drawn, there.squares(number), colour(operator), label)
    drawn.plot(
        *np.vstack([own.squares(number)[0], own.squares(number)[0, :1]]).T, color="black", linewidth=2.0
    )
    kind = "leaf" if tree.is_leaf[chosen] else "box"
    drawn.set_title(f"{kind} {chosen:,} of level {level[chosen]}, cut by {axis} = {at:.4g}", fontsize=10)
    drawn.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="boxes in lists (shown)")
    return _framed(drawn, number)


def _tree(plan: Plan | None) -> Octree:
    if plan is None:
        raise InputError("there are no sources or no targets, so there are no boxes to draw")
    return plan.tree


def _number(axis: Any) -> int:
    """Of the plane's normal."""
    return "xyz".index(choices.known_name("axis", axis, "xyz"))


def _across(axis: int) -> list[int]:
    return [other for other in range(3) if other != axis]


def _chosen(tree: Octree, box: Any) -> int:
    """The number of a box: that number, or that of the leaf at a place."""
    if isinstance(box, int | np.integer) and not isinstance(box, bool):
        if not 0 <= box < tree.n_boxes:
            raise InputError(f"there is no box {box}: boxes have the numbers 0 to {tree.n_boxes - 1}")
        return int(box)
    place = validate.points("box", [box])[0]
    cubes = Cubes.of(tree.domain, tree.level, tree.anchor)
    inside = tree.is_leaf & np.all([cubes.reach(axis, place[axis]) for axis in range(3)], axis=0)
    if not inside.any():
        raise InputError(
            f"no leaf is at {place.tolist()}: give a place among the points, or the number of a box"
        )
    return int(np.flatnonzero(inside)[0])


def _sources(tree: Octree, leaves: np.ndarray) -> np.ndarray:
    """Some sources of leaves, float64 [3, n], scaled."""
    begin, end = tree.source_ptr[leaves].T
    counts = end - begin
    rows = np.arange(counts.sum()) + np.repeat(begin - (np.cumsum(counts) - counts), counts)
    return tree.sources[:, rows[:: 1 + rows.size // MOST_DOTS]]


def _levels(drawn: Axes, squares: np.ndarray, level: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection

    low, high = int(level.min()), int(level.max())
    found = PolyCollection(list(squares), array=level, cmap="GnBu", edgecolor="0.35", linewidth=0.5)
    found.set_clim(low - 1.0, high + 0.5)
    drawn.add_collection(found)
    bar = drawn.figure.colorbar(found, ax=drawn, shrink=0.7, label="level")
    bar.ax.set_ylim(low - 0.5, high + 0.5)
    bar.set_ticks(range(low, high + 1, 1 + (high - low) // 10))


def _fill(drawn: Axes, squares: np.ndarray, face: str, label: str) -> None:
    from matplotlib.collections import PolyCollection

    drawn.add_collection(
        PolyCollection(list(squares), facecolor=face, edgecolor="white", linewidth=0.6, label=label)
    )


def _framed(drawn: Axes, axis: int) -> Axes:
    drawn.set_aspect("equal")
    drawn.autoscale_view()
    across, upward = ("xyz"[other] for other in _across(axis))
    drawn.set_xlabel(across)
    drawn.set_ylabel(upward, rotation=0)
    return drawn
