"""The whole FMM, read from top to bottom: which operators run, and what each reads.

`drive` is run with plain calls by `taskfmm.passes.serial`, with tasks by `taskfmm.graph.build`, and with counts by
`taskfmm.forecast.effort`. What it hands on is never looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskfmm.plan.works import CHARGES, Chunk, Halo

Place = tuple[int, int]
"""Level and number of a shard, or of a work of the near field."""


class Shards(Protocol):
    """What there is to do: a `taskfmm.plan.plan.Plan`, or what is known of one whose works are elsewhere."""

    @property
    def far(self) -> Sequence[Sequence[Any]]: ...

    @property
    def near(self) -> Sequence[Any]: ...

    @property
    def moments(self) -> Sequence[Any]: ...

    @property
    def top(self) -> int: ...


class Call(Protocol):
    """Runs one operator on one work, or says that it is to be run."""

    def __call__(self, name: str, at: Place, work: Any, *inputs: Any) -> Any:
        """Inputs are what other calls gave, lists of such, None, or numbers."""


@dataclass
class Values:
    """What arrives at the targets: of each shard with leaves from far away, and of each work of the near field."""

    far: dict[Place, Any] = field(default_factory=dict)
    near: list[Any] = field(default_factory=list)

    def of(self, chunk: Chunk) -> list[Any]:
        """Those that a chunk of the result is made of: the far field by level and shard, then the near field."""
        return [*(self.far[at] for at in chunk.far), *(self.near[number] for number in chunk.near)]


@dataclass(frozen=True)
class Sent:
    """What boxes send: the multipoles of each shard, and the moments of each shard of charges in a periodic box."""

    multipoles: Mapping[Place, Any] = field(default_factory=dict)
    moments: Sequence[Any] = ()

    def called(self, place: Callable[[int, int], Place]) -> Sent:
        """The same, under other levels and numbers of shards."""
        return Sent({place(*at): found for at, found in self.multipoles.items()}, self.moments)


def drive(plan: Shards, charges: Sequence[Any], call: Call) -> Values:
    """Call every operator of a plan, each after those that it reads.

    charges : for each shard of charges, what is handed to the operators that read it
    """
    return downward(plan, charges, call, upward(plan, charges, call))


def _read(what: Mapping[Place, Any], halo: Halo) -> list[Any]:
    return [what[halo.level, number] for number in halo.shards]


def _numbers(charges: Sequence[Any]) -> dict[Place, Any]:
    return {(CHARGES, number): each for number, each in enumerate(charges)}


def upward(plan: Shards, charges: Sequence[Any], call: Call, before: Sent | None = None) -> Sent:
    """Multipoles of leaves from their sources, of inner boxes from their children, finest level first.

    before : of shards that another plan has
    """
    numbers, before = _numbers(charges), before or Sent()
    multipoles = dict(before.multipoles)
    for level in reversed(range(plan.top, len(plan.far))):
        for shard in plan.far[level]:
            at, found = (level, shard.number), None
            if shard.p2m:
                found = call("P2M", at, shard.p2m, _read(numbers, shard.p2m.charges))
            if shard.m2m:
                found = call("M2M", at, shard.m2m, found, _read(multipoles, shard.m2m.halo))
            if found is not None:
                multipoles[at] = found

    moments = [
        call("P2I", (plan.top, number), work, _read(numbers, work.charges))
        for number, work in enumerate(plan.moments)
    ]
    return Sent(multipoles, [*before.moments, *moments])


def downward(plan: Shards, charges: Sequence[Any], call: Call, sent: Sent) -> Values:
    """Across and downward: locals from the V list, the X list and the parent, coarsest level first. At the leaves:
    values from the local, and from the multipoles of the W list. Then the near field."""
    numbers, multipoles, moments = _numbers(charges), sent.multipoles, sent.moments
    locals_: dict[Place, Any] = {}
    values = Values()
    for level in range(plan.top, len(plan.far)):
        for shard in plan.far[level]:
            at, parts, parents = (level, shard.number), [], []
            if shard.i2l:
                parts.append(call("I2L", at, shard.i2l, _read(multipoles, shard.i2l.halo), moments))
            if shard.m2l:
                parts.append(call("M2L", at, shard.m2l, _read(multipoles, shard.m2l.halo)))
            if shard.p2l:
                parts.append(call("P2L", at, shard.p2l, _read(numbers, shard.p2l.charges)))
            if shard.l2l:
                parents = _read(locals_, shard.l2l.halo)
            if parts or shard.l2l or _is_read(plan, at):
                locals_[at] = call("L2L", at, shard.l2l, shard.n_boxes, parents, parts)
            if shard.l2p:
                from_w = call("M2P", at, shard.m2p, _read(multipoles, shard.m2p.halo)) if shard.m2p else None
                values.far[at] = call("L2P", at, shard.l2p, locals_[at], from_w)

    # The near field: from the U list directly.
    for number, work in enumerate(plan.near):
        own = _read(numbers, work.mutual.own) if work.mutual else []
        values.near.append(call("P2P", (work.level, number), work, _read(numbers, work.charges), own))
    return values


def _is_read(plan: Shards, at: Place) -> bool:
    """Whether the locals of a shard that nothing reaches are read: they are zero, as where all boxes are near all."""
    level, number = at
    below: Sequence[Any] = plan.far[level + 1] if level + 1 < len(plan.far) else ()
    own = plan.far[level][number].l2p is not None
    return own or any(shard.l2l and number in shard.l2l.halo.shards for shard in below)
