"""The error of results at a sample of targets, by the direct sum over the sources of all regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.direct_sum import relative_error
from taskfmm.kernels import Kernel
from taskfmm.passes import regional
from taskfmm.passes.given import Given
from taskfmm.passes.result import in_units_of_vectors
from taskfmm.passes.scaled import targets_with_lengths, with_lengths
from taskfmm.spread import stages
from taskfmm.spread.bringing import Brought, bring
from taskfmm.spread.plan import SpreadPlan
from taskfmm.spread.run import run


def sampled_error(plan: SpreadPlan, given: Given, values: Any, output: str, rows: np.ndarray) -> float:
    """As `taskfmm.direct_sum.sampled_error`; values : at the rows, an array; rows : ascending"""
    parts = [_exact(plan, part, output, rows) for part in given.exact.parts]
    exact = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
    if given.vectors is None:
        return relative_error(values, exact)
    return max((relative_error(values[..., v], exact[..., v]) for v in range(given.vectors)), default=0.0)


def _exact(plan: SpreadPlan, given: Given, output: str, rows: np.ndarray) -> np.ndarray:
    """An output at some targets, [n, *shape of the output], with an axis for vectors if there is one."""
    path, everyone = plan.depot.path, range(plan.facts.units.n_regions)
    points = np.sum(run(targets, [(region, rows, path) for region in everyone]), axis=0)
    groups = [([0], given)] if given.vectors is None else given.in_groups()
    found = []
    for _, group in groups:
        charges, kernel = bring(plan, group), group.kernel.computing((output,))
        args = points, charges, kernel, output, path
        sums = np.sum(run(at_points, [(region, *args) for region in plan.with_sources]), axis=0)
        of_vector = sums.reshape(kernel.vectors, -1, rows.size)[:, kernel.rows(output)]
        values = in_units_of_vectors(of_vector, kernel, output, plan.scale, charges.exponents)
        found.append(values[..., None] if given.vectors is not None and kernel.vectors == 1 else values)
    return found[0] if given.vectors is None else np.concatenate(found, axis=-1)


def targets(region: int, rows: np.ndarray, path: Path) -> np.ndarray:
    """The targets of a region that are among some rows, float64 [3, n], zeros for those of other regions.

    Of softened sources with a row more, the lengths of the targets.
    """
    points = stages.points_of(region, path)
    known = targets_with_lengths(points)
    found = np.zeros((len(known), rows.size))
    at = np.searchsorted(rows, points.target_rows)
    mine = rows[np.minimum(at, rows.size - 1)] == points.target_rows
    found[:, at[mine]] = known[:, mine]
    return found


def at_points(
    region: int, points: np.ndarray, charges: Brought, kernel: Kernel, output: str, path: Path
) -> np.ndarray:
    """What the sources of a region do at some points."""
    own = stages.points_of(region, path)
    numbers = with_lengths(charges.of(region, path), own.lengths)
    return regional.at_points(points, own.sources, numbers, kernel, output)
