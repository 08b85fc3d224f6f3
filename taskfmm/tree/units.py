"""The units of a tree whose points are in many places: its maximal cells with few points.

Units follow from how many points all cells hold, and so from the points alone: not from how they are dealt to chunks
or workers. They are leaves or inner boxes of the tree. Cells above units are boxes that are split, its top. A run of
units on the Morton curve is a region, which one task can hold and plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import morton
from taskfmm.jit import jit, loop

STEP = 3
"""Levels by which cells with too many points are refined at a time: each is asked of all chunks."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Some cells: their levels, int8 [n], and the smallest key in each, uint64 [n], both words."""

    level: np.ndarray
    hi: np.ndarray
    lo: np.ndarray

    @classmethod
    def root(cls) -> Cells:
        return cls(np.zeros(1, np.int8), np.zeros(1, np.uint64), np.zeros(1, np.uint64))

    def __len__(self) -> int:
        return self.level.size

    def __getitem__(self, which: np.ndarray | slice) -> Cells:
        return Cells(self.level[which], self.hi[which], self.lo[which])

    @property
    def anchor(self) -> np.ndarray:
        """int64 [n, 3], in the grids of their levels."""
        out = np.empty((len(self), 3), np.int64)
        _anchors(0, len(self), self.level, self.hi, self.lo, out)
        return out

    @classmethod
    def of(cls, level: np.ndarray, anchor: np.ndarray) -> Cells:
        """From their anchors."""
        return cls(np.asarray(level, np.int8), *morton.box_keys(np.asarray(level, np.int8), anchor))

    @property
    def order(self) -> np.ndarray:
        """That puts them in Morton order within each level, int64 [n]."""
        return np.lexsort((self.lo, self.hi, self.level))

    def refined(self, steps: int) -> Cells:
        """All cells within them that are so many levels deeper, in Morton order if they are."""
        n = 2**steps
        inside = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), axis=-1).reshape(-1, 3)
        anchor = (self.anchor[:, None] * n + inside).reshape(-1, 3)
        found = Cells.of(np.repeat(self.level + np.int8(steps), n**3), anchor)
        return found[np.lexsort((found.lo, found.hi))] if steps > 1 else found

    def above(self, steps: np.ndarray | int = 1) -> Cells:
        """The cells so many levels above them."""
        return Cells.of(self.level - steps, self.anchor >> np.reshape(steps, (-1, 1)))


def joined(*some: Cells) -> Cells:
    """All of them, one after the other."""
    return Cells(*(np.concatenate([getattr(each, name) for each in some]) for name in ("level", "hi", "lo")))


def ancestors(cells: Cells) -> Cells:
    """All cells above some, each once, in Morton order within each level."""
    found = [cells[:0]]
    for level in range(int(cells.level.max(initial=0))):
        deeper = cells[cells.level > level]
        found.append(deeper.above(deeper.level - level))
    return distinct(*found)


def distinct(*some: Cells) -> Cells:
    """Each cell of some once, in Morton order within each level."""
    every = joined(*some)
    every = every[every.order]
    if not len(every):
        return every
    fresh = [np.diff(each) != 0 for each in (every.level, every.hi, every.lo)]
    return every[np.append(True, np.logical_or.reduce(fresh))]


@dataclass(frozen=True, slots=True)
class Units:
    """The units in Morton order, and the top.

    cells : the units; count : int64 [n], points of each
    sources : int64 [n], how many of these are sources, where targets are others; None where each is both
    top : the cells above units, in Morton order within each level
    first : int64 [n_regions + 1], the units at which regions begin
    deepest : the level below which there are no boxes
    """

    cells: Cells
    count: np.ndarray
    top: Cells
    first: np.ndarray
    sources: np.ndarray | None = None
    deepest: int = morton.MAX_LEVEL

    @property
    def n_regions(self) -> int:
        return self.first.size - 1

    @property
    def of_both(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources and targets of each unit, int64 [n] twice."""
        return (self.count, self.count) if self.sources is None else (self.sources, self.count - self.sources)

    @property
    def n_sources(self) -> np.ndarray:
        """Of each region, int64 [n_regions]."""
        return np.add.reduceat(self.of_both[0], self.first[:-1])

    @property
    def n_targets(self) -> np.ndarray:
        """Of each region, int64 [n_regions]."""
        return np.add.reduceat(self.of_both[1], self.first[:-1])

    def in_top(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources and targets of the cells above units, runs among those of all regions, int64 [n, 2] twice."""
        runs = np.stack(runs_of(self.top, self.cells.hi, self.cells.lo), axis=1)
        sources, targets = (np.concatenate([[0], np.cumsum(each)])[runs] for each in self.of_both)
        return sources, targets

    def of(self, region: int) -> Cells:
        """The units of a region."""
        return self.cells[self.first[region] : self.first[region + 1]]

    def owner(self, cells: Cells) -> np.ndarray:
        """The region in which each cell lies, int64 [n]; -1 where it is not within a unit."""
        unit = _unit(cells.hi, cells.lo, cells.level, self.cells.hi, self.cells.lo, self.cells.level)
        return np.where(unit < 0, -1, np.searchsorted(self.first, unit, side="right") - 1)

    def split(self, hi: np.ndarray, lo: np.ndarray) -> np.ndarray:
        """Where the regions begin among sorted keys, int64 [n_regions + 1]."""
        begins = self.cells[self.first[:-1]]
        found = np.empty(self.first.size, np.int64)
        _places(0, len(begins), hi, lo, begins.hi, begins.lo, found)
        found[0], found[-1] = 0, hi.size
        return found


@dataclass(frozen=True, slots=True)
class Held:
    """What some cells hold: how many points, int64 [n], and the key of one of them, or 0, and whether all have it."""

    count: np.ndarray
    hi: np.ndarray
    lo: np.ndarray
    alike: np.ndarray

    @classmethod
    def of(cls, cells: Cells, hi: np.ndarray, lo: np.ndarray) -> Held:
        """Of sorted keys."""
        begin, end = runs_of(cells, hi, lo)
        some = end > begin
        first, last = np.where(some, begin, 0), np.where(some, end - 1, 0)
        if not hi.size:
            none = np.zeros(len(cells), np.uint64)
            return cls(end - begin, none, none, ~some)
        alike = ~some | (hi[first] == hi[last]) & (lo[first] == lo[last])
        return cls(end - begin, np.where(some, hi[first], 0), np.where(some, lo[first], 0), alike)

    def with_others(self, other: Held) -> Held:
        """The same cells, with the points of another chunk."""
        here, there = self.count > 0, other.count > 0
        equal = (self.hi == other.hi) & (self.lo == other.lo)
        return Held(
            self.count + other.count,
            np.where(here, self.hi, other.hi),
            np.where(here, self.lo, other.lo),
            self.alike & other.alike & (equal | ~here | ~there),
        )


def find(
    held: Callable[[Cells], Held], n_points: int, cap: int, most: int, deepest: int = morton.MAX_LEVEL
) -> Units:
    """The units, from exact counts.

    held : what each of some cells holds; they come in Morton order, and do not overlap
    cap : points of a unit, at most, unless they cannot be told apart; most : points of a region, about
    deepest : the level below which there are no boxes
    """
    cells, counts = [], []
    crowded, n, split = Cells.root(), np.array([n_points]), np.array([n_points > cap and deepest > 0])
    if split[0]:
        split &= ~held(crowded).alike
    while True:
        cells.append(crowded[~split])
        counts.append(n[~split])
        crowded = crowded[split]
        if not len(crowded):
            break
        steps = min(STEP, deepest - int(crowded.level.max()))
        crowded, n, split = _settled(crowded.refined(steps), held, steps, cap)
        split &= crowded.level < deepest
    found, count = joined(*cells), np.concatenate(counts)
    order = np.lexsort((found.lo, found.hi))
    found, count = found[order], count[order]
    return Units(found, count, ancestors(found), _regions(count, most), deepest=deepest)


def _settled(
    deepest: Cells, held: Callable[[Cells], Held], steps: int, cap: int
) -> tuple[Cells, np.ndarray, np.ndarray]:
    """Of cells that were refined by some levels, the largest ones between that are not to be split, or the deepest.

    Returns these, their points, and which of the deepest are to be split further.
    """
    inside = held(deepest)
    levels = [(deepest, inside.count, (inside.count > cap) & ~inside.alike)]
    apart = ~inside.alike
    for _ in range(steps - 1):
        cells, n, _ = levels[-1]
        some = (n > 0).reshape(-1, 8)
        apart = apart.reshape(-1, 8).any(axis=1) | (np.count_nonzero(some, axis=1) > 1)
        above = n.reshape(-1, 8).sum(axis=1)
        levels.append((cells[::8].above(), above, (above > cap) & apart))
    found, reached = [], np.ones(len(levels[-1][0]) // 8, bool)
    for cells, n, split in reversed(levels):
        reached = np.repeat(reached, 8) & (n > 0)
        last = cells is deepest
        kept = reached if last else reached & ~split
        found.append((cells[kept], n[kept], split[kept] if last else np.zeros(kept.sum(), bool)))
        reached &= split
    every, counts, splits = zip(*found, strict=True)
    return joined(*every), np.concatenate(counts), np.concatenate(splits)


def _regions(count: np.ndarray, most: int) -> np.ndarray:
    """The units at which regions begin, and the number of units: runs of about equal numbers of points."""
    total = np.concatenate([[0], np.cumsum(count)])
    n = max(1, -(-int(total[-1]) // most))
    inner = np.searchsorted(total, total[-1] * np.arange(1, n) / n)
    return np.unique(np.concatenate([[0], inner, [count.size]]))


def index(where: Cells, wanted: Cells) -> np.ndarray:
    """The place of each wanted cell among others, in Morton order within each level; -1 for none: int64 [n]."""
    first, last = (np.searchsorted(where.level, wanted.level, side=side) for side in ("left", "right"))
    out = np.empty(len(wanted), np.int64)
    _indices(0, len(wanted), where.hi, where.lo, first, last, wanted.hi, wanted.lo, out)
    return out


def around(cells: Cells) -> Cells:
    """The cells of the same level that touch some cells, and these themselves, each once."""
    found = cells.anchor[:, None] + np.indices((3, 3, 3)).reshape(3, 27).T - 1
    inside = ((found >= 0) & (found < (1 << cells.level.astype(np.int64))[:, None, None])).all(axis=2)
    return distinct(Cells.of(np.repeat(cells.level, 27)[inside.ravel()], found[inside]))


def points_in(cells: Cells, hi: np.ndarray, lo: np.ndarray) -> np.ndarray:
    """How many of some sorted keys lie in each cell, int64 [n]."""
    begin, end = runs_of(cells, hi, lo)
    return end - begin


def runs_of(cells: Cells, hi: np.ndarray, lo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The runs of sorted keys that lie in each cell, int64 [n] twice."""
    begin, end = np.empty(len(cells), np.int64), np.empty(len(cells), np.int64)
    _places(0, len(cells), hi, lo, cells.hi, cells.lo, begin)
    _ends(0, len(cells), hi, lo, cells.level, cells.hi, cells.lo, end)
    return begin, end


@loop
def _anchors(first, last, level, hi, lo, out):
    for c in range(first, last):
        out[c, 0], out[c, 1], out[c, 2] = morton.anchor(hi[c], lo[c], np.int64(level[c]))


@loop
def _places(first, last, hi, lo, key_hi, key_lo, out):
    for c in range(first, last):
        out[c] = morton.place(hi, lo, key_hi[c], key_lo[c])


@loop
def _ends(first, last, hi, lo, level, key_hi, key_lo, out):
    for c in range(first, last):
        at, end = morton.place(hi, lo, key_hi[c], key_lo[c]), hi.size
        while at < end:
            middle = (at + end) // 2
            if morton.same_cell(hi[middle], lo[middle], key_hi[c], key_lo[c], np.int64(level[c])):
                at = middle + 1
            else:
                end = middle
        out[c] = at


@loop
def _indices(first, last, hi, lo, begin, end, key_hi, key_lo, out):
    for c in range(first, last):
        at = begin[c] + morton.place(hi[begin[c] : end[c]], lo[begin[c] : end[c]], key_hi[c], key_lo[c])
        out[c] = at if at < end[c] and hi[at] == key_hi[c] and lo[at] == key_lo[c] else -1


@jit
def _unit(hi, lo, level, unit_hi, unit_lo, unit_level):
    """The unit that each cell lies in, or is; -1 where it lies in none."""
    out = np.empty(hi.size, np.int64)
    for c in range(hi.size):
        at = morton.place(unit_hi, unit_lo, hi[c], lo[c])
        if at == unit_hi.size or unit_hi[at] != hi[c] or unit_lo[at] != lo[c]:
            at -= 1
        inside = at >= 0 and unit_level[at] <= level[c]
        out[c] = -1
        if inside and morton.same_cell(unit_hi[at], unit_lo[at], hi[c], lo[c], np.int64(unit_level[at])):
            out[c] = at
    return out
