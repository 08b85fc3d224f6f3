"""What everybody has to know of the works of a region: whose rows they read, and how much there is of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.regional import How, Survey, Works
from taskfmm.plan.works import FarShard, Halo


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a region, or of all of them: boxes, leaves, bytes of works, and sources that works of the near field
    hold; seconds on one core by operator, where charges are lazy."""

    boxes: int
    leaves: int
    n_bytes: int
    met: int
    seconds: dict[str, float]

    @classmethod
    def of(cls, found: Survey, made: Works, n_bytes: int, evaluated: BoxOperators, how: How) -> Sizes:
        """Of one region; n_bytes : of the file of its works; evaluated : with which lazy charges are"""
        tree, own = found.essential.tree, found.essential.own
        counted = cost.counted(
            tree, found.lists, evaluated, top=how.top, columns=how.columns, weights=how.weights
        )
        met = sum(work.points.shape[1] for work in made.near.values())
        seconds = {name: float(np.sum(each[own])) for name, each in cost.seconds(counted).items()}
        return cls(int(own.sum()), int((tree.is_leaf & own).sum()), n_bytes, met, seconds)

    def __add__(self, other: Sizes) -> Sizes:
        seconds = {name: each + other.seconds[name] for name, each in self.seconds.items()}
        n_bytes, met = self.n_bytes + other.n_bytes, self.met + other.met
        return Sizes(self.boxes + other.boxes, self.leaves + other.leaves, n_bytes, met, seconds)


@dataclass(frozen=True, slots=True)
class Sketch:
    """What the graph has to know of a work: whose rows it reads. See `taskfmm.plan.works`."""

    level: int = 0
    halo: Halo | None = None
    charges: Halo | None = None
    own: Halo | None = None

    @property
    def mutual(self) -> Sketch | None:
        return None if self.own is None else self


WORKS = tuple(field.name for field in fields(FarShard)[3:])
"""The works of a shard, by the names of their fields."""


def sketched(made: Works, names: tuple[str, ...], sizes: Sizes) -> Sketches:
    """Of all works; names : of the values that tasks refer to."""
    far = {}
    for at, shard in made.far.items():
        of_works: dict[str, Any] = {name: _sketch(getattr(shard, name)) for name in WORKS}
        far[at] = replace(shard, **of_works)
    near = {number: _sketch(work) for number, work in made.near.items()}
    no_part: Any = None
    far_parts, near_parts = dict.fromkeys(made.chunk.far, no_part), dict.fromkeys(made.chunk.near, no_part)
    return Sketches(far, near, replace(made.chunk, far=far_parts, near=near_parts), names, sizes)


@dataclass(frozen=True, slots=True)
class Sketches:
    """What the graph has to know of the works of a region, see `Works`; names : of the values in its file."""

    far: dict[tuple[int, int], Any]
    near: dict[int, Any]
    chunk: Any
    names: tuple[str, ...]
    sizes: Sizes


def _sketch(work: Any) -> Sketch | None:
    if work is None:
        return None
    mutual = getattr(work, "mutual", None)
    read = (getattr(work, "halo", None), getattr(work, "charges", None), mutual and mutual.own)
    return Sketch(getattr(work, "level", 0), *(None if each is None else _shards(each) for each in read))


def _shards(of: Halo) -> Halo:
    return Halo(of.level, of.shards, np.empty(0, np.int64), np.empty(0, np.int32))
