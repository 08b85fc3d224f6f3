"""The tasks: one function for each operator, pure and picklable, that asks for its threads and runs a pass.

Arguments are the shard's work or a `Reference` to it, results of other tasks, and small names. Operators are loaded
where the task runs, so that neither matrices nor works travel in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from taskfmm import validate
from taskfmm.graph.reference import fetch
from taskfmm.graph.spec import Declared
from taskfmm.kernels import Kernel
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.levels import Operators
from taskfmm.passes import given, result, source, target, transfer
from taskfmm.passes import near as near_field
from taskfmm.plan.work import Chunk, PointsToPoints, PointsToSurfaces, Siblings, SurfacesToPoints, Translation
from taskfmm.runtime.threads import budget

Arrays = Sequence[np.ndarray]


def _at(operators: Operators, level: int) -> Expansions:
    """The operators of a level, or those that a plan from a file brought with it, by reference."""
    return fetch(operators).at(level)


def exponent(pieces: Arrays, declared: Sequence[Declared | None], kernel: Kernel, scale: float) -> int:
    """The exponent of charges that are known only now."""
    return given.exponent(_whole(pieces, declared), kernel, scale)


def charges(
    order: np.ndarray,
    pieces: Arrays,
    declared: Sequence[Declared | None],
    kernel: Kernel,
    scale: float,
    exponent: int,
) -> np.ndarray:
    """The caller's charges, sorted and in the units of the passes: [n_numbers, n]."""
    return given.ranked(_whole(pieces, declared), fetch(order), kernel, scale, exponent)


def _whole(pieces: Arrays, declared: Sequence[Declared | None]) -> list[np.ndarray]:
    """For each kind one array that was checked when it was given, or chunks, which are checked now."""
    found, left = [], iter(pieces)
    for of in declared:
        some = list(islice(left, 1 if of is None else len(of[0])))
        found.append(fetch(some[0]) if of is None else validate.chunks(some, *of, np.float64))
    return found


def p2m(
    level: int, work: PointsToSurfaces, charges: np.ndarray, kernel: Kernel, operators: Operators
) -> np.ndarray:
    with budget() as threads:
        return source.p2m(fetch(work), charges, kernel, _at(operators, level), threads)


def m2m(
    level: int, work: Translation, own: np.ndarray | None, children: Arrays, operators: Operators
) -> np.ndarray:
    with budget() as threads:
        return source.m2m(fetch(work), own, children, _at(operators, level), threads)


def m2l(level: int, work: Siblings, multipoles: Arrays, operators: Operators) -> np.ndarray:
    with budget() as threads:
        return transfer.m2l(fetch(work), multipoles, _at(operators, level), threads)


def p2l(
    level: int, work: PointsToSurfaces, charges: np.ndarray, kernel: Kernel, operators: Operators
) -> np.ndarray:
    with budget() as threads:
        return transfer.p2l(fetch(work), charges, kernel, _at(operators, level), threads)


def l2l(
    level: int, work: Translation | None, n_boxes: int, parents: Arrays, parts: Arrays, operators: Operators
) -> np.ndarray:
    shape = (n_boxes, _at(operators, level).rank)
    above = None if work is None else _at(operators, level - 1)
    with budget() as threads:
        return target.l2l(fetch(work), parents, parts, shape, above, threads)


def m2p(
    level: int, work: SurfacesToPoints, multipoles: Arrays, kernel: Kernel, operators: Operators, output: str
) -> np.ndarray:
    with budget() as threads:
        return target.m2p(fetch(work), multipoles, kernel, _at(operators, level + 1), output, threads)


def l2p(
    level: int,
    work: SurfacesToPoints,
    local: np.ndarray,
    from_m2p: np.ndarray | None,
    kernel: Kernel,
    operators: Operators,
    output: str,
) -> np.ndarray:
    with budget() as threads:
        values = target.l2p(fetch(work), [local], kernel, _at(operators, level), output, threads)
    return values if from_m2p is None else values + from_m2p


def near(work: PointsToPoints, charges: np.ndarray, kernel: Kernel, output: str) -> np.ndarray:
    with budget() as threads:
        return near_field.near(fetch(work), charges, kernel, output, threads)


def collect(
    chunk: Chunk, values: Arrays, kernel: Kernel, output: str, scale: float, exponent: int, dtype: np.dtype
) -> np.ndarray:
    return result.collect(fetch(chunk), values, kernel, output, scale, exponent, dtype)
