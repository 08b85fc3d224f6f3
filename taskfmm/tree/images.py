"""Boxes of neighbouring cells, which lists hold beside those of the tree.

While lists are filled, an entry is the number of a box, and for an image in addition so many times the number of all
boxes as its cell has come in a count of the 26 cells around. `number` then gives images numbers without gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.csr import Csr
from taskfmm.geometry.cell import AWAY, HOME, N_CELLS, Cell
from taskfmm.jit import loop


@dataclass(frozen=True, slots=True)
class Images:
    """The images that lists meet; in these they have the numbers from ``n_boxes`` on.

    box : int32 [n], of the tree
    cell : int8 [n], the neighbourhood slot of the cell of each, as seen from the cell itself
    """

    box: np.ndarray
    cell: np.ndarray

    @classmethod
    def none(cls) -> Images:
        return cls(np.empty(0, np.int32), np.empty(0, np.int8))

    def with_own(self, of_boxes: np.ndarray) -> np.ndarray:
        """What is known of boxes, [n_boxes, ...], also of the images, behind them: the same as of their boxes."""
        return np.concatenate([of_boxes, of_boxes[self.box]]) if self.box.size else of_boxes

    def boxes(self, numbers: np.ndarray, n_boxes: int) -> np.ndarray:
        """The boxes of the tree that entries of lists are, or are images of."""
        if not self.box.size:
            return numbers
        return self.with_own(np.arange(n_boxes, dtype=np.int32))[numbers]

    def cells(self, numbers: np.ndarray, n_boxes: int) -> np.ndarray:
        """The neighbourhood slots of the cells of entries of lists, int64."""
        found = np.full(numbers.size, HOME)
        if self.box.size:
            image = numbers >= n_boxes
            found[image] = self.cell[numbers[image] - n_boxes]
        return found

    def anchors(self, anchor: np.ndarray, level: np.ndarray, cell: Cell) -> np.ndarray:
        """Those of the images, int64 [n, 3], in the grids of their levels, where the box's begin at 0."""
        boxes = np.array(cell.cubes) << (level[self.box].astype(np.int64) - cell.level)[:, None]
        return anchor[self.box] + AWAY.T[self.cell] * boxes


def of_cells(n_boxes: int, away: np.ndarray) -> np.ndarray:
    """What entries grow by, int32 [...], where their boxes are in cells that are so many away, int64 [..., 3]."""
    slot = (away + 1) @ np.array([9, 3, 1])
    return (n_boxes * ((slot - HOME) % N_CELLS)).astype(np.int32)


def number(n_boxes: int, *lists: Csr) -> Images:
    """The images in some lists, whose entries get their numbers; rows are sorted anew."""
    every = [csr.idx[csr.idx >= n_boxes] for csr in lists]
    found = np.unique(np.concatenate(every))
    if not found.size:
        return Images.none()
    for csr in lists:
        image = csr.idx >= n_boxes
        csr.idx[image] = n_boxes + np.searchsorted(found, csr.idx[image])
        _sort(0, len(csr), csr.ptr, csr.idx)
    slot = (found // n_boxes + HOME) % N_CELLS
    return Images((found % n_boxes).astype(np.int32), slot.astype(np.int8))


@loop
def _sort(first, last, ptr, idx):
    for row in range(first, last):
        idx[ptr[row] : ptr[row + 1]].sort()
