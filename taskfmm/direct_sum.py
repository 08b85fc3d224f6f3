"""The exact sum, the reference that everything is checked against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taskfmm import choices, foreign, kernels, validate
from taskfmm.geometry.cell import Box
from taskfmm.geometry.domain import enclose, with_room
from taskfmm.geometry.periodic import checked
from taskfmm.geometry.periodic import enclose as enclose_cell
from taskfmm.geometry.resolution import refuse_unresolved
from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators.levels import of_cubes
from taskfmm.passes.around import Around
from taskfmm.passes.given import Given, all_together, whole
from taskfmm.passes.result import in_units_of_vectors
from taskfmm.passes.scaled import exponents, ranked
from taskfmm.runtime.threads import budget
from taskfmm.tree import octree

FEW_PAIRS = 1_000_000_000
"""Up to here one thread takes half a second or so, less than compiling what several threads need."""

TILE = 4096
"""Sources that stay in a core's cache while a block of targets runs over them."""

BLOCK = 256
"""Targets that one thread takes at a time."""


def direct(
    sources: Any,
    charges: Any = None,
    targets: Any = None,
    kernel: str | Kernel = "laplace",
    outputs: Sequence[str] | str | None = None,
    box: Any = None,
    periodic: Any = True,
    wrap: bool = True,
    surroundings: str = "conductor",
    **others: Any,
) -> np.ndarray | Mapping[str, np.ndarray]:
    """Sum over all sources at every target, pair by pair.

    For the Laplace kernel ``phi_j = sum_i q_i / (4 pi |x_j - y_i|)``, in units of charge / length; a pair at
    zero distance adds nothing. Work grows as targets x sources: a billion pairs take about a second.

    Parameters
    ----------
    sources : array_like, real, (n, 3)
    charges : array_like, real, (n,), or (n, numbers) where a source of the kernel has several
    targets : array_like, real, (m, 3), optional
        The sources, if left out.
    kernel : str or taskfmm.kernels.Kernel
    outputs : sequence of the kernel's outputs, as "potential" and "gradient", optional
    box, periodic, wrap, surroundings
        As for `taskfmm.Fmm`. Images that are further away than the next cubes of the box go through expansions whose
        errors are below 1e-12.
    **others
        As ``charges``, of the kernel's other kinds of sources.

    Returns
    -------
    float64 [m], or [m, 3] for a vector
        The kernel's first output, in the order of the targets. With ``outputs`` a dict by name instead; the gradient,
        with respect to the target, is float64 [m, 3].

    Raises
    ------
    InputError
        Shapes, dtypes, lengths or units that do not fit, values that are not finite, an unknown kernel or output; a
        source and a target apart by less than 1e-37 of the width of the cloud, but not in one place.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> 4 * np.pi * taskfmm.direct([[0, 0, 0]], [1.0], targets=[[0, 0, 2]])
    array([0.5])
    """
    facts = kernels.find(kernel)
    at_sources = validate.points("sources", sources)
    at_targets = at_sources if targets is None else validate.points("targets", targets)
    foreign.same_unit(sources, targets)
    lengths = facts.lengths(len(at_sources))
    repeated = checked(box, periodic, wrap, surroundings, sources)
    if repeated is not None:
        kernels.refuse_without_sum(facts, repeated.periodic)
    given = Given.checked(facts.without_lengths, charges, others, len(at_sources))
    wanted = facts.names[:1] if outputs is None else choices.outputs(outputs, facts.names)
    if repeated is not None:
        given.refuse_charged()
    found = sum_pairs(
        given, at_sources, None if targets is None else at_targets, wanted, lengths, box=repeated
    )
    return found[wanted[0]] if outputs is None else found


def sum_pairs(
    given: Given,
    sources: np.ndarray,
    targets: np.ndarray | None,
    outputs: Sequence[str],
    lengths: np.ndarray | None = None,
    of_targets: np.ndarray | None = None,
    box: Box | None = None,
    among: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The same of what has been checked; targets None where they are the sources.

    lengths : float64 [n], of the sources where these are softened; of_targets : float64 [m], where targets are some
        of the sources
    box : of a periodic box
    among : float64 [k, 3], all targets of which these are some, as the cell is laid around all of them
    """
    if len(given.parts) > 1:
        parts = [
            sum_pairs(part, sources, targets, outputs, lengths, of_targets, box, among)
            for part in given.parts
        ]
        return {output: whole([part[output] for part in parts]) for output in outputs}
    if given.vectors is not None:
        groups = {
            tuple(numbers): sum_pairs(group, sources, targets, outputs, lengths, of_targets, box, among)
            for numbers, group in given.in_groups()
        }
        return all_together(groups, given, outputs)
    kernel, at = given.kernel.computing(outputs), sources if targets is None else targets
    last = kernel.last(outputs)
    values = np.zeros((kernel.n_values(last), len(at)))
    scale, powers = 1.0, (0,) * kernel.vectors
    if box is not None and len(sources) and len(at):
        values, scale, powers = _sum_images(given, kernel, sources, targets, last, box, among)
    elif len(sources) and len(at):
        domain = enclose(sources, at, scaled=kernel.degree is not None)
        scale = (domain if lengths is None else with_room(domain, float(lengths.max()))).scale
        powers = exponents(given.arrays, kernel, scale)
        if not kernel.counts_itself:
            refuse_unresolved(sources, targets, scale)
        y, x = (np.ascontiguousarray(points.T * scale) for points in (sources, at))
        q = ranked(given.arrays, np.arange(len(sources)), kernel, scale, powers)
        constants = kernel.constants
        if lengths is not None:
            own = lengths if targets is None else np.zeros(len(at)) if of_targets is None else of_targets
            q, constants = np.vstack([q, lengths * scale]), np.append(constants, own * scale)
        _sum(kernel, last, y, x, q, constants, values)
    of_vector = values.reshape(kernel.vectors, kernel.n_components(last), len(at))
    return {
        output: in_units_of_vectors(of_vector[:, kernel.rows(output)], kernel, output, scale, powers)
        for output in outputs
    }


def _sum_images(
    given: Given,
    kernel: Kernel,
    sources: np.ndarray,
    targets: np.ndarray | None,
    last: str,
    box: Box,
    among: np.ndarray | None,
) -> tuple[np.ndarray, float, tuple[int, ...]]:
    """Sums over all images, scaled, in the order of the targets; the scale, and the power of two of each vector."""
    clouds = [sources] if targets is None else [sources, targets]
    domain, moved = enclose_cell(box, clouds if among is None else [*clouds, among])
    refuse_unresolved(moved[0], None if targets is None else moved[1], domain.scale)
    tree = octree.build(moved[0], None if targets is None else moved[1], choices.MAX_LEAF_SIZE, domain)
    powers = exponents(given.arrays, kernel, domain.scale)
    q = ranked(given.arrays, tree.source_order, kernel, domain.scale, powers)
    assert domain.cell is not None
    rows = np.arange(tree.target_order.size)
    values = np.empty((kernel.n_values(last), rows.size))
    with budget() as threads:
        around = Around(tree, domain.cell, kernel, q, *of_cubes(kernel, domain.cell), threads)
        values[:, tree.target_order] = around.near(last, rows) + around.far(last, rows)
    return values, domain.scale, powers


def sampled_error(
    found: np.ndarray,
    given: Given,
    sources: np.ndarray,
    targets: np.ndarray,
    output: str,
    n_samples: int,
    rng: np.random.Generator,
    lengths: np.ndarray | None = None,
    box: Box | None = None,
) -> float:
    """The relative l2 error of an output at targets drawn at random, 0 if it is as zero as the sum there.

    Of several vectors that of the worst.

    lengths, box : as for `sum_pairs`
    """
    rows = rng.choice(len(found), min(n_samples, len(found)), replace=False)
    own = lengths[rows] if lengths is not None and targets is sources else None
    exact = sum_pairs(given.exact, sources, targets[rows], (output,), lengths, own, box, targets)[output]
    found = found[rows]
    if given.vectors is None:
        return relative_error(found, exact)
    return max((relative_error(found[..., v], exact[..., v]) for v in range(given.vectors)), default=0.0)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    # squares of numbers of any size: both are divided by the largest first
    largest = np.abs(exact).max(initial=0.0) or np.abs(found).max(initial=0.0) or 1.0
    wrong, size = np.linalg.norm(found / largest - exact / largest), np.linalg.norm(exact / largest)
    with np.errstate(divide="ignore"):
        return float(wrong / size) if wrong else 0.0


def _sum(
    kernel: Kernel,
    last: str,
    sources: np.ndarray,
    targets: np.ndarray,
    charges: np.ndarray,
    constants: np.ndarray,
    values: np.ndarray,
) -> None:
    n = targets.shape[1]
    target_ptr = np.append(np.arange(0, n, BLOCK), n)
    rows = np.arange(target_ptr.size)
    loop = gather_loops(kernel, last).points_to_points
    with budget() as threads:
        if charges.shape[1] * n < FEW_PAIRS:
            threads = 1
        for first in range(0, sources.shape[1], TILE):
            tile = np.ascontiguousarray(sources[:, first : first + TILE])
            q = np.ascontiguousarray(charges[:, first : first + TILE])
            begin = np.zeros(rows.size - 1, np.int64)
            end = np.full(rows.size - 1, tile.shape[1])
            sums = (target_ptr, *targets, rows, begin, end, *tile, q, constants, values)
            loop(0, begin.size, *sums, threads=threads)
