"""The exact sum, the reference that everything is checked against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from taskfmm import foreign, validate
from taskfmm.geometry.domain import enclose
from taskfmm.geometry.resolution import refuse_unresolved
from taskfmm.kernels import KERNELS, OFFERED, Kernel, gather_loops
from taskfmm.passes.result import exponent, in_units, normalized
from taskfmm.runtime.threads import budget

FEW_PAIRS = 1_000_000_000
"""Up to here one thread takes half a second or so, less than compiling the parallel loop."""

TILE = 4096
"""Sources that stay in a core's cache while a block of targets runs over them."""

BLOCK = 256
"""Targets that one thread takes at a time."""


def direct(
    sources: Any,
    charges: Any,
    targets: Any = None,
    kernel: str = "laplace",
    outputs: Sequence[str] | str | None = None,
) -> np.ndarray | Mapping[str, np.ndarray]:
    """Sum over all sources at every target, pair by pair.

    For the Laplace kernel ``phi_j = sum_i q_i / (4 pi |x_j - y_i|)``, in units of charge / length; a pair at
    zero distance adds nothing. Work grows as targets x sources: a billion pairs take about a second.

    Parameters
    ----------
    sources : array_like, real, (n, 3)
    charges : array_like, real, (n,)
    targets : array_like, real, (m, 3), optional
        The sources, if left out.
    kernel : str
    outputs : sequence of "potential" and "gradient", optional

    Returns
    -------
    float64 [m]
        The potential, in the order of the targets. With ``outputs`` a dict by name instead; the gradient, with
        respect to the target, is float64 [m, 3].

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
    name = validate.kernel(kernel, KERNELS, OFFERED)
    facts = KERNELS[name]
    at_sources = validate.points("sources", sources)
    at_targets = at_sources if targets is None else validate.points("targets", targets)
    foreign.same_unit(sources, targets)
    q = validate.charges(charges, len(at_sources))
    wanted = ("potential",) if outputs is None else validate.outputs(outputs)

    mode = "gradient" if "gradient" in wanted else "potential"
    values = np.zeros((facts.n_components(mode), len(at_targets)))
    scale, power = 1.0, exponent(q)
    if len(at_sources) and len(at_targets):
        scale = enclose(at_sources, at_targets).scale
        if not facts.counts_itself:
            refuse_unresolved(at_sources, None if targets is None else at_targets, scale)
        y, x = (np.ascontiguousarray(points.T * scale) for points in (at_sources, at_targets))
        _sum(facts, mode, y, x, normalized(q, power)[None, :], values)
    found = {output: in_units(values[facts.rows(output)], facts, output, scale, power) for output in wanted}
    return found["potential"] if outputs is None else found


def sampled_error(
    found: np.ndarray,
    sources: np.ndarray,
    charges: Any,
    targets: np.ndarray,
    kernel: str,
    output: str,
    n_samples: int,
    seed: int | None,
) -> float:
    """The relative l2 error of an output at targets drawn at random, 0 if it is as zero as the sum there."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(found), min(n_samples, len(found)), replace=False)
    exact = direct(sources, charges, targets[rows], kernel, output)[output]
    # squares of numbers of any size: both are divided by the largest first
    largest = np.abs(exact).max(initial=0.0) or np.abs(found[rows]).max(initial=0.0) or 1.0
    wrong, size = np.linalg.norm(found[rows] / largest - exact / largest), np.linalg.norm(exact / largest)
    with np.errstate(divide="ignore"):
        return float(wrong / size) if wrong else 0.0


def _sum(
    kernel: Kernel,
    mode: str,
    sources: np.ndarray,
    targets: np.ndarray,
    charges: np.ndarray,
    values: np.ndarray,
) -> None:
    n = targets.shape[1]
    target_ptr = np.append(np.arange(0, n, BLOCK), n)
    rows = np.arange(target_ptr.size)
    loop = gather_loops(kernel, mode).points_to_points
    with budget() as threads:
        if charges.shape[1] * n < FEW_PAIRS:
            threads = 1
        for first in range(0, sources.shape[1], TILE):
            tile = np.ascontiguousarray(sources[:, first : first + TILE])
            q = np.ascontiguousarray(charges[:, first : first + TILE])
            begin = np.zeros(rows.size - 1, np.int64)
            end = np.full(rows.size - 1, tile.shape[1])
            loop(target_ptr, targets, rows, begin, end, tile, q, kernel.constants, values, threads=threads)
