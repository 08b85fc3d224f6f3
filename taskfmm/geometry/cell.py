"""The cell of a periodic box: cubes that fill it, and its images.

The box is cut into cubes of one size, which are the boxes of one level of the octree. So a cube is next to other
cubes or to images of them, exactly, and the same holds for the boxes of all finer levels. Where nothing is repeated
along an axis, there are as many cubes along it as the points need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOME = 13
"""The neighbourhood slot of the cell itself: a cell is told as neighbours of a box are, see `taskfmm.tree.lists`."""

AWAY = np.indices((3, 3, 3)).reshape(3, 27) - 1
"""By neighbourhood slot, how many cells away an image is along each axis."""

N_CELLS = AWAY.shape[1]
"""A cell and those around it."""


@dataclass(frozen=True, slots=True)
class Box:
    """What a caller asks for.

    lengths : of the sides, in the caller's unit; of an axis along which nothing is repeated it means nothing
    periodic : whether the box is repeated along each axis
    in_vacuum : whether what lies around all images is vacuum, and not a conductor
    wrap : whether points outside the box that begins at 0 are moved into it, and no fault
    """

    lengths: tuple[float, float, float]
    periodic: tuple[bool, bool, bool]
    in_vacuum: bool = False
    wrap: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """A periodic box as cubes.

    periodic : whether it is repeated along each axis
    cubes : along each axis, counted from its corner
    level : of the cubes, in the octree
    lengths : of the sides, scaled
    in_vacuum : as `Box` has it
    """

    periodic: tuple[bool, bool, bool]
    cubes: tuple[int, int, int]
    level: int
    lengths: tuple[float, float, float]
    in_vacuum: bool = False

    def boxes(self, level: int) -> np.ndarray:
        """How many boxes of a level there are along each axis, int64 [3]; 0 where nothing is repeated."""
        return np.where(self.periodic, np.array(self.cubes, np.int64) << (level - self.level), 0)

    def shift(self, image: np.ndarray) -> np.ndarray:
        """How far images are away, float64 [3, n], by their neighbourhood slots."""
        return AWAY[:, image] * np.array(self.lengths)[:, None]

    def middle(self, lower: np.ndarray) -> np.ndarray:
        """Of the cell, float64 [3]; lower : its corner."""
        return lower + 0.5 * np.array(self.lengths)

    @property
    def images(self) -> np.ndarray:
        """The slots of the cell itself and of its images next to it, int64."""
        return np.flatnonzero((np.abs(AWAY) <= np.array(self.periodic)[:, None]).all(axis=0))
