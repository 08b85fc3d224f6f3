"""What charges would do through far images if these did not cancel: errors of expansions follow from that.

In a periodic box the lists end at images that are next to a cube. All others go through one matrix for each pair of
cubes (`taskfmm.operators.lattice`), whose errors are those of boxes that are not adjacent. Far off a slab, or a plane
of charges in a large box, nearly nothing is left of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.geometry.domain import box_half_width
from taskfmm.operators.radial import Radial
from taskfmm.passes.share_loops import SCATTER, TOGETHER, WEIGHT
from taskfmm.tree.octree import Octree

CELLS = 2
"""How many cells away the nearest images that are not adjacent may be: of a box that is one cube wide."""


@dataclass
class FarImages:
    """The cubes of a periodic box, and how far their images are from each other."""

    tree: Octree
    cell: Cell

    @property
    def cubes(self) -> slice:
        """The boxes that are cubes."""
        return slice(*self.tree.level_ptr[self.cell.level : self.cell.level + 2].tolist())

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of a cube with targets and an image of a cube: the number of each, and their distance.

        Of images only those in the nearest layer of cubes that is not adjacent: errors fall with each layer, by a
        power of the distance that is the order of the expansions.
        """
        at = self.tree.anchor[self.cubes].astype(np.int64)
        reach = np.where(self.cell.periodic, CELLS, 0)
        cells = np.indices(tuple((2 * reach + 1).tolist())).reshape(3, -1).T - reach
        offset = at[:, None, None] - at[:, None] - cells * np.array(self.cell.cubes)
        layer = np.abs(offset).max(axis=-1)
        apart = layer > 1
        nearest = np.where(apart, layer, np.iinfo(np.int64).max).min(axis=-1, keepdims=True)
        kept = apart & (layer == nearest)
        target, source, _ = np.nonzero(kept)
        width = 2.0 * box_half_width(self.tree.domain, self.cell.level)
        return target, source, width * np.linalg.norm(offset[kept], axis=1)

    def descended(self, boxes: np.ndarray, size: Radial) -> np.ndarray:
        """What they do to each cube, float64 [n_cubes, 3], by columns FAR, LINE and EACH of `share_loops.descend`.

        boxes : sums over the sources of each box, of which one does as much as ``size`` says
        """
        target, source, r = self._pairs
        of_one, n = size.factor * r**size.power, self.tree.anchor[self.cubes].shape[0]
        some = boxes[self.cubes]
        alone = np.abs(some[:, WEIGHT] - some[:, WEIGHT + 1])
        columns = some[source, SCATTER] * of_one**2, some[source, TOGETHER] * of_one, alone[source] * of_one
        return np.stack([np.bincount(target, each, minlength=n) for each in columns], axis=1)

    def cube_of(self, boxes: np.ndarray) -> np.ndarray:
        """The cube in which some boxes are, counted from the first one."""
        while (self.tree.level[boxes] > self.cell.level).any():
            deeper = self.tree.level[boxes] > self.cell.level
            boxes = np.where(deeper, self.tree.parent[boxes], boxes)
        return boxes - self.cubes.start
