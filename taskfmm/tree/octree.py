"""The adaptive linear octree, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskfmm.geometry.domain import Domain


@dataclass(frozen=True, slots=True)
class Octree:
    """Boxes in level order, in Morton order within a level; points in Morton order.

    Only boxes that hold a point exist. The children of box ``b`` are ``child_ptr[b]:child_ptr[b + 1]``; a leaf
    has none. A box's points, leaf or inner, are one contiguous run of the sorted points.

    domain : Domain
    level_ptr : int64 [n_levels + 1]
        The boxes of level ``l`` are ``level_ptr[l]:level_ptr[l + 1]``; the root is box 0 at level 0.
    level : int8 [n_boxes]
    anchor : int64 [n_boxes, 3]
        Integer coordinates of the box in the grid of its own level, 0 to 2**level - 1, order x, y, z.
    parent : int32 [n_boxes]
        -1 for the root.
    child_ptr : int32 [n_boxes + 1]
    source_ptr, target_ptr : int64 [n_boxes, 2]
        First and one past the last sorted source (target) of the box.
    sources, targets : float64 [3, n]
        Sorted, scaled coordinates; each row is contiguous. The same array when targets are the sources.
    source_order, target_order : int64 [n]
        The caller's row of each sorted point.
    """

    domain: Domain
    level_ptr: np.ndarray
    level: np.ndarray
    anchor: np.ndarray
    parent: np.ndarray
    child_ptr: np.ndarray
    source_ptr: np.ndarray
    target_ptr: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    source_order: np.ndarray
    target_order: np.ndarray

    @property
    def n_levels(self) -> int:
        return self.level_ptr.size - 1

    @property
    def n_boxes(self) -> int:
        return self.level.size

    @property
    def is_leaf(self) -> np.ndarray:
        """bool [n_boxes]"""
        return np.diff(self.child_ptr) == 0
