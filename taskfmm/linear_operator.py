"""A plan as a matrix, for the solvers of SciPy: one linear map, whatever vectors it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from scipy.sparse.linalg import LinearOperator

from taskfmm import choices, foreign, validate
from taskfmm.direct_sum import direct
from taskfmm.errors import InputError
from taskfmm.evaluation import Evaluator
from taskfmm.kernels import Kernel, Output, Source
from taskfmm.operators.accuracy import Accuracy
from taskfmm.passes.given import Given, of_kind, together, whole
from taskfmm.planning import from_points

FEW_PAIRS = 4_000_000
"""Up to here plain calls are quicker than a scheduler, which takes a millisecond or two for a graph of any size."""

OFFSETS = np.array([[0.7, -0.4, 0.5], [-0.3, 0.9, 0.4], [0.6, 0.5, -0.8], [-0.5, -0.6, -0.9]])
"""From a source to targets, where matrices of a kernel are compared; of no symmetry."""

WIDTHS = (1.0, *(10.0 ** (sign * power) for power in range(1, 13) for sign in (-1, 1)))
"""Units of length in which these are tried: parameters of a kernel may be lengths of any size."""

FADED = 1e-3
"""Where a matrix is this part of another one, or less, the kernel has died away: another unit is taken."""

CLOSE = 1e-9
"""Relative difference of what should be equal."""


@dataclass(frozen=True, slots=True)
class Side:
    """A plan, as a matrix needs it: from the sources to the targets.

    choose : the accuracy of an output for some sources, which may be lazy; raises AccuracyError
    run : an output of sources, of that many vectors, with an accuracy
    at_once : how many of so many vectors are taken at once for an output
    exchange : makes the plan with sources and targets exchanged; None where they are the same points
    """

    kernel: Kernel
    dtype: np.dtype
    n_sources: int
    n_targets: int
    periodic: bool
    choose: Callable[[str, Given], Accuracy]
    run: Callable[[Given, str, Accuracy], np.ndarray]
    at_once: Callable[[Kernel, str, int], int]
    exchange: Callable[[], Side] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """What one kind of source does to one output, always with the same accuracy."""

    side: Side
    source: Source
    output: Output
    accuracy: Accuracy

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of the output at all targets, and numbers of all sources."""
        rows, numbers = math.prod(self.output.shape), math.prod(self.source.of_one)
        return self.side.n_targets * rows, self.side.n_sources * numbers

    def times(self, x: np.ndarray) -> np.ndarray:
        """The product with a vector [n], or with several [n, k]."""
        side, columns = self.side, x.shape[1:]
        kernel = side.kernel.with_sources(self.source)
        given = Given.checked(
            kernel, x.reshape(side.n_sources, *self.source.of_one, *columns), {}, side.n_sources
        )
        if side.periodic:
            given.refuse_charged()
        found = np.asarray(whole([self._part(part) for part in given.parts]))
        return found.reshape(self.shape[0], *columns)

    def _part(self, given: Given) -> np.ndarray:
        """The output of real sources, or of those of a complex kernel."""
        if given.vectors is None:
            return self.side.run(given, self.output.name, self.accuracy)
        most = self.side.at_once(given.kernel, self.output.name, given.vectors or 1)
        found = {
            tuple(numbers): self.side.run(group, self.output.name, self.accuracy)
            for numbers, group in given.in_groups(most=most)
        }
        return np.asarray(together(found, self.output, given.vectors))


class PlanOperator(LinearOperator):
    """The matrix that takes the numbers of all sources to those of an output at all targets, see
    `taskfmm.Fmm.as_linear_operator`. Its adjoint is found, and where needed planned, when first asked for."""

    def __init__(self, side: Side, output: Any, source: Any, like: Any) -> None:
        kernel = side.kernel
        out = kernel.output(kernel.names[0] if output is None else choices.output(output, kernel.names))
        kinds = {kind.given_as: kind for kind in kernel.sources}
        kind = kernel.sources[0] if source is None else kinds[choices.known_name("source", source, kinds)]
        self._block = Block(side, kind, out, _accuracy(side, kind, out, like))
        super().__init__(out.dtype(side.dtype), self._block.shape)

    @property
    def accuracy(self) -> Accuracy:
        """With which all products are computed."""
        return self._block.accuracy

    def _matvec(self, x: Any) -> np.ndarray:
        return self._block.times(_vectors(x).reshape(-1))

    def _matmat(self, x: Any) -> np.ndarray:
        return self._block.times(_vectors(x))

    def _rmatvec(self, x: Any) -> np.ndarray:
        return self._rmatmat(_vectors(x).reshape(-1))

    def _rmatmat(self, x: Any) -> np.ndarray:
        return np.conj(self._transpose_block.times(np.conj(_vectors(x))))

    @cached_property
    def _transpose_block(self) -> Block:
        side, source, output = self._block.side, self._block.source, self._block.output
        found = transposed(side.kernel, source, output)
        if found is None:
            raise InputError(
                f"{output.name} of {source.given_as} has no transpose: kernel {side.kernel.name} has no output and "
                "source that are its adjoint. Use a solver that needs none, as gmres, bicgstab and lgmres"
            )
        of, to = found
        same = (of, to) == (source, output)
        if side.exchange is None and same:
            return self._block
        side = side if side.exchange is None else side.exchange()
        return Block(side, of, to, self.accuracy if same else _accuracy(side, of, to, None))


def _vectors(x: Any) -> np.ndarray:
    """What a matrix is multiplied by; SciPy passes masked arrays on."""
    return foreign.numpy_array("the vector", x)


def _accuracy(side: Side, source: Source, output: Output, like: Any) -> Accuracy:
    """That of sources like these, or of lazy ones, with M2L in float64 where results are.

    M2L in float32 rounds what a box sends, whose size hangs on the vector: products would be linear to 1e-7 only.
    """
    kernel = side.kernel.with_sources(source)
    if like is None:
        found = side.choose(output.name, Given(kernel, (_lazy(side, source),)))
    else:
        given = of_kind(source, like, side.n_sources, "like")
        validate.of_numbers("like", given.dtype, np.dtype(complex if source.complex else float))
        if side.periodic:
            Given(kernel, (given,)).refuse_charged("like")
        found = side.choose(output.name, Given(kernel, (given,)))
    return found if found.dtype == "float32" else replace(found, m2l_dtype="float64")


def _lazy(side: Side, source: Source) -> da.Array:
    return da.zeros((side.n_sources, *source.of_one), dtype=np.complex128 if source.complex else np.float64)


def transposed(kernel: Kernel, source: Source, output: Output) -> tuple[Source, Output] | None:
    """Which source and output of a kernel have the transposed matrix in the opposite direction; None where none have.

    A potential of charges is its own transpose, a gradient of charges is that of a potential of dipoles. It is not
    declared: the matrices say it.
    """
    plain = kernel.unsoftened
    found = _where_it_lasts(plain, source, output)
    if found is None:
        return None
    width, matrices = found
    wanted = matrices.swapaxes(1, 2)
    pairs = [(source, output), *((kind, out) for kind in kernel.sources for out in kernel.outputs)]
    for kind, out in pairs:
        if (out.shape, kind.of_one) != (source.of_one, output.shape):
            continue
        there = _matrices(plain, kind, out, -width * OFFSETS)
        if np.abs(there - wanted).max() <= CLOSE * np.abs(wanted).max():
            return kind, out
    return None


def _where_it_lasts(kernel: Kernel, source: Source, output: Output) -> tuple[float, np.ndarray] | None:
    """A width at which a kernel has not died away, and its matrices there; None where they are zero."""
    for width in WIDTHS:
        matrices = _matrices(kernel, source, output, width * OFFSETS)
        sizes = np.abs(matrices).max(axis=(1, 2))
        if np.isfinite(sizes).all() and sizes.min() > FADED * sizes.max():
            return width, matrices
    return None


def _matrices(kernel: Kernel, source: Source, output: Output, offsets: np.ndarray) -> np.ndarray:
    """What a source does to targets at some offsets, [n_offsets, rows of the output, numbers of the source]."""
    at, columns = np.zeros((1, 3)), []
    for unit in np.eye(math.prod(source.of_one)):
        given: dict[str, Any] = {source.given_as: unit.reshape(1, *source.of_one)}
        found = direct(at, targets=offsets, kernel=kernel, outputs=output.name, **given)[output.name]
        columns.append(found.reshape(len(offsets), -1))
    return np.stack(columns, axis=2)


def of_evaluator(evaluator: Evaluator, memory_limit: int | None) -> Side:
    """A plan that this process holds."""
    planned = evaluator.planned

    def run(given: Given, output: str, accuracy: Accuracy) -> np.ndarray:
        if planned.n_sources * planned.n_targets <= FEW_PAIRS:
            return evaluator.serial(given, output, accuracy)
        return np.asarray(evaluator.arrays(given, (output,), memory_limit, accuracy)[output].compute())

    def exchange() -> Side:
        asked, kernel = planned.asked, planned.kernel
        if planned.lengths is not None:
            raise InputError(
                f"kernel {kernel.name} has a softening for each source, and targets apart from them have none: "
                "the transpose, in which they are the sources, has no meaning"
            )
        points = planned.targets, planned.sources, kernel, asked.eps, asked.order, planned.leaf_size
        found = from_points(*points, asked.dtype, memory_limit, box=asked.box)
        return of_evaluator(Evaluator(found), memory_limit)

    return Side(
        planned.summed,
        planned.asked.dtype,
        planned.n_sources,
        planned.n_targets,
        planned.asked.box is not None,
        lambda output, given: evaluator.chooser.accuracy(output, given, alone=True),
        run,
        lambda kernel, output, vectors: evaluator.at_once(kernel, (output,), vectors, memory_limit),
        None if planned.same else exchange,
    )
