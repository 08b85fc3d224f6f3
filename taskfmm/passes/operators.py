"""The table of the operators: what each runs on the work of one shard, and what comes of it.

All functions take the work, what the shard reads, and how the evaluation goes. Names are the field's; the shards of a
plan hold the work of each under its name in small letters, and `taskfmm.forecast.effort` counts it under that name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes import images, near, source, target, transfer
from taskfmm.plan.works import (
    FarImages,
    Moments,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class How:
    """What is the same for all operators of an evaluation, and the shard's level.

    kernel : with the kinds of sources that are given
    output : the last of those that are wanted
    threads : of Numba
    """

    kernel: Kernel
    operators: Operators | Matrices
    output: str
    level: int
    threads: int = 1


def p2m(work: PointsToSurfaces, charges: Arrays, *, how: How) -> np.ndarray:
    return source.p2m(work, charges, how.kernel, how.operators.at(how.level), how.threads)


def m2m(work: Translation, own: np.ndarray | None, children: Arrays, *, how: How) -> np.ndarray:
    at = how.operators.at(how.level)
    return source.m2m(work, own, children, at, how.threads, how.kernel.first_moment)


def m2l(work: Siblings, multipoles: Arrays, *, how: How) -> np.ndarray:
    at = how.operators.at(how.level)
    return transfer.m2l(work, multipoles, at, how.threads, how.kernel.first_moment)


def p2l(work: PointsToSurfaces, charges: Arrays, *, how: How) -> np.ndarray:
    return transfer.p2l(work, charges, how.kernel, how.operators.at(how.level), how.threads)


def l2l(work: Translation | None, n_boxes: int, parents: Arrays, parts: Arrays, *, how: How) -> np.ndarray:
    at = how.operators.at(how.level)
    shape = (n_boxes, how.kernel.columns, at.rank)
    above = None if work is None else how.operators.at(how.level - 1)
    own = at if how.kernel.first_moment else None
    return target.l2l(work, parents, parts, shape, above, how.threads, own, at.dtype)


def m2p(work: SurfacesToPoints, multipoles: Arrays, *, how: How) -> np.ndarray:
    below = how.operators.at(how.level + 1)
    return target.m2p(work, multipoles, how.kernel, below, how.output, how.threads)


def l2p(work: SurfacesToPoints, local: np.ndarray, from_m2p: np.ndarray | None, *, how: How) -> np.ndarray:
    found = target.l2p(work, [local], how.kernel, how.operators.at(how.level), how.output, how.threads)
    return found if from_m2p is None else found + from_m2p


def p2p(work: PointsToPoints, charges: Arrays, own: Arrays, *, how: How) -> np.ndarray:
    # of a direct sum there are no operators
    close = None if work.itself is None else how.operators.accuracy.close
    return near.p2p(work, charges, own, how.kernel, how.output, how.threads, close)


def p2i(work: Moments, charges: Arrays, *, how: How) -> np.ndarray:
    return images.p2i(work, charges, how.kernel, how.operators.at(how.level).half_width)


def i2l(work: FarImages, multipoles: Arrays, moments: Arrays, *, how: How) -> np.ndarray:
    at, cell, matrices = how.operators.at(how.level), how.operators.cell, how.operators.images
    assert cell is not None and matrices is not None
    return images.i2l(work, multipoles, moments, how.kernel, at, matrices, cell)


@dataclass(frozen=True, slots=True)
class Operator:
    """A step of the method.

    run : on the work of one shard
    gives : what comes of it: a "multipole" or a "local" of each box, "values" at targets, or "moments" of charges
    """

    run: Callable[..., np.ndarray]
    gives: str


OPERATORS = {
    "P2M": Operator(p2m, "multipole"),
    "M2M": Operator(m2m, "multipole"),
    "P2I": Operator(p2i, "moments"),
    "I2L": Operator(i2l, "local"),
    "M2L": Operator(m2l, "local"),
    "P2L": Operator(p2l, "local"),
    "L2L": Operator(l2l, "local"),
    "L2P": Operator(l2p, "values"),
    "M2P": Operator(m2p, "values"),
    "P2P": Operator(p2p, "values"),
}
"""By the names that the dashboard shows."""

FAR = tuple(name for name in OPERATORS if name not in ("P2I", "P2P"))
"""Those whose works are parts of a shard of the far field."""


def giving(what: str) -> tuple[str, ...]:
    """The names of the operators that give multipoles, locals or values."""
    return tuple(name for name, operator in OPERATORS.items() if operator.gives == what)
