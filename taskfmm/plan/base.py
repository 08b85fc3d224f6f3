"""A plan that reads the multipoles of another one: what both call the same boxes and shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from taskfmm.plan.shards import Bounds, halo
from taskfmm.plan.works import Halo
from taskfmm.tree.octree import Octree

if TYPE_CHECKING:
    from taskfmm.plan.plan import Plan


@dataclass(frozen=True, slots=True)
class Base:
    """A plan of the same sources, some of whose boxes are those of another plan.

    up : the level of its root in the tree of the other plan
    box : int32 [n_boxes of the other], of each box the same one here, if it has sources; else -1
    """

    plan: Plan
    up: int
    box: np.ndarray

    def sends(self, tree: Octree) -> np.ndarray:
        """The boxes of the other plan's tree that have multipoles here, bool [n_boxes]."""
        return (self.box >= 0) & (tree.level >= self.plan.top + self.up)

    def place(self, far: Sequence[Sequence[Any]], level: int, number: int) -> tuple[int, int]:
        """What a shard of this plan is called beside the shards of the other one: its number comes after theirs."""
        there = level + self.up
        return there, number + (len(far[there]) if there < len(far) else 0)


@dataclass(frozen=True, slots=True)
class OfBase:
    """In which rows of which shards boxes are where another plan has multipoles of some."""

    base: Base
    own: Bounds

    def boxes(self, level: int, boxes: np.ndarray) -> Halo:
        return self.own.boxes(level, boxes)

    def sources(self, rows: np.ndarray) -> Halo:
        return self.own.sources(rows)

    def sending(self, level: int, boxes: np.ndarray) -> Halo:
        there, plan, bounds = self.base.box[boxes], self.base.plan, self.own.levels[level]
        shard = np.searchsorted(bounds, boxes, side="right") - 1
        row, level_there = boxes - bounds[shard], level - self.base.up
        if plan.top <= level_there < len(plan.far):
            some, shards = there >= 0, plan.far[level_there]
            of_base = plan.tree.level_ptr[level_there] + np.cumsum([0, *(each.n_boxes for each in shards)])
            at = np.searchsorted(of_base, there[some], side="right") - 1
            shard[some] = bounds.size - 1 + at
            row[some] = there[some] - of_base[at]
        return halo(level, shard, row)
