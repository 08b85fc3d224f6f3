"""What is known of charges: whether they are many, and how much of an output comes through expansions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MANY = 100
"""Charges of one magnitude, or as many as weigh the same, whose errors average over the places in their boxes."""

EVEN = 0.2
"""Equal charges that fill their boxes evenly err by this part of a single source's error at order 4, and by half as
much for each order more: 0.17, 0.07 and 0.013 were seen at orders 4, 5 and 8."""

SMOOTH = 3.0
"""Margin over the error of smooth fields at targets that fill a leaf: those near its faces err more. It was 2.2 for
targets a thousand widths of the cloud away, and 2.7 on a line along edges of boxes."""


@dataclass(frozen=True, slots=True)
class Share:
    """What an output of some charges is made of, each the l2 norm over all targets, in one unit.

    total : the output itself, estimated from below
    far : what comes through expansions, where charges have random signs; equal charges on lines and planes count more
    even : what comes through expansions if the charges of each box were one; charges that fill boxes evenly err by a
        small part of it, see `EVEN`
    smooth : of a gradient, the potential that comes through expansions, over the half-width of the target's leaf;
        of dipoles, what charges would do that are as large as they are over the half-width of theirs
    lost : what is left out at most, since the kernel has died away
    rounding : what the near field errs by in float32, to which pairs that cancel contribute as others do
    """

    total: float
    far: float
    even: float = 0.0
    smooth: float = 0.0
    lost: float = 0.0
    rounding: float = 0.0

    @classmethod
    def worst(cls, shares: Sequence[Share]) -> Share:
        """One that stands for several outputs."""
        parts = np.array([(each.far, each.even, each.smooth, each.lost, each.rounding) for each in shares])
        totals = np.array([[each.total] for each in shares])
        relative = np.divide(parts, totals, where=totals > 0.0, out=np.where(parts > 0.0, np.inf, 0.0))
        return cls(1.0, *map(float, relative.max(axis=0)))

    def times(
        self, error: float, order: int, smooth: float = 0.0, single: bool = False, rounded: float = 0.0
    ) -> float:
        """The error of the output, by the yardstick's errors.

        single : whether the near field is in float32
        rounded : what rounding changes in what comes from a box, as a part of what its charges would do as one
        """
        together = EVEN * 2.0 ** (4 - order) * self.even
        wrong = math.hypot(error * math.hypot(self.far, together), SMOOTH * smooth * self.smooth) + self.lost
        wrong = math.hypot(wrong, rounded * self.even, self.rounding if single else 0.0)
        if not wrong:
            return 0.0
        return wrong / self.total if self.total else math.inf


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the charges of an evaluation.

    many : no few of them outweigh all others, see `are_many`, and they are seen from among them
    potential : its share, where charges of both signs might cancel; else None
    gradient : its share, where one is asked for; else None
    all_told : whether the shares are those of all outputs that are asked for, so that nothing else is to be reached
    """

    many: bool
    potential: Share | None = None
    gradient: Share | None = None
    all_told: bool = False


def are_many(charges: np.ndarray) -> bool:
    """Whether charges weigh as much as `MANY` or more of one magnitude: the square of the sum of their squares over
    the sum of their fourth powers."""
    squares = charges * charges
    return bool(squares.sum() ** 2 >= MANY * (squares @ squares))
