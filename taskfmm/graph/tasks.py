"""The tasks: one function for each operator, pure and picklable, that asks for its threads and runs a pass.

Arguments are the shard's work or a `Reference` to it, results of other tasks, and small names. Operators are loaded
where the task runs, so that neither matrices nor works travel in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm import validate
from taskfmm.graph.reference import fetch
from taskfmm.graph.spec import Declared
from taskfmm.kernels import Kernel
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.levels import Operators, load
from taskfmm.passes import near as near_field
from taskfmm.passes import result, source, target, transfer
from taskfmm.plan.work import Chunk, PointsToPoints, PointsToSurfaces, Siblings, SurfacesToPoints, Translation
from taskfmm.runtime.threads import budget

Arrays = Sequence[np.ndarray]


def _at(kernel: Kernel, accuracy: Accuracy, level: int) -> Expansions:
    """The operators of an accuracy, or those that a plan from a file brought with it, by reference."""
    found = fetch(accuracy)
    return (found if isinstance(found, Operators) else load(kernel, found)).at(level)


def exponent(pieces: Arrays, declared: Declared | None, dtype: np.dtype) -> int:
    """The exponent of charges that are known only now."""
    return result.exponent(_whole(pieces, declared, dtype))


def charges(
    order: np.ndarray, pieces: Arrays, declared: Declared | None, dtype: np.dtype, exponent: int
) -> np.ndarray:
    """The caller's charges, sorted and normalized: [1, n]."""
    values = _whole(pieces, declared, dtype)[fetch(order)]
    return result.normalized(values, exponent)[None, :]


def _whole(pieces: Arrays, declared: Declared | None, dtype: np.dtype) -> np.ndarray:
    """One array that was checked when it was given, or chunks, which are checked now that they are there."""
    found = fetch(pieces[0]) if declared is None else validate.chunks(pieces, *declared, dtype)
    return np.asarray(found, np.float64)


def p2m(
    level: int, work: PointsToSurfaces, charges: np.ndarray, kernel: Kernel, accuracy: Accuracy
) -> np.ndarray:
    with budget() as threads:
        return source.p2m(fetch(work), charges, kernel, _at(kernel, accuracy, level), threads)


def m2m(
    level: int,
    work: Translation,
    own: np.ndarray | None,
    children: Arrays,
    kernel: Kernel,
    accuracy: Accuracy,
) -> np.ndarray:
    with budget() as threads:
        return source.m2m(fetch(work), own, children, _at(kernel, accuracy, level), threads)


def m2l(level: int, work: Siblings, multipoles: Arrays, kernel: Kernel, accuracy: Accuracy) -> np.ndarray:
    with budget() as threads:
        return transfer.m2l(fetch(work), multipoles, _at(kernel, accuracy, level), threads)


def p2l(
    level: int, work: PointsToSurfaces, charges: np.ndarray, kernel: Kernel, accuracy: Accuracy
) -> np.ndarray:
    with budget() as threads:
        return transfer.p2l(fetch(work), charges, kernel, _at(kernel, accuracy, level), threads)


def l2l(
    level: int,
    work: Translation | None,
    n_boxes: int,
    parents: Arrays,
    parts: Arrays,
    kernel: Kernel,
    accuracy: Accuracy,
) -> np.ndarray:
    operators = _at(kernel, accuracy, level)
    with budget() as threads:
        return target.l2l(fetch(work), parents, parts, (n_boxes, operators.rank), operators, threads)


def m2p(
    level: int, work: SurfacesToPoints, multipoles: Arrays, kernel: Kernel, accuracy: Accuracy, output: str
) -> np.ndarray:
    with budget() as threads:
        return target.m2p(fetch(work), multipoles, kernel, _at(kernel, accuracy, level + 1), output, threads)


def l2p(
    level: int,
    work: SurfacesToPoints,
    local: np.ndarray,
    from_m2p: np.ndarray | None,
    kernel: Kernel,
    accuracy: Accuracy,
    output: str,
) -> np.ndarray:
    with budget() as threads:
        values = target.l2p(fetch(work), [local], kernel, _at(kernel, accuracy, level), output, threads)
    return values if from_m2p is None else values + from_m2p


def near(work: PointsToPoints, charges: np.ndarray, kernel: Kernel, output: str) -> np.ndarray:
    with budget() as threads:
        return near_field.near(fetch(work), charges, kernel, output, threads)


def collect(
    chunk: Chunk, values: Arrays, kernel: Kernel, output: str, scale: float, exponent: int, dtype: np.dtype
) -> np.ndarray:
    return result.collect(fetch(chunk), values, kernel, output, scale, exponent, dtype)
