"""The whole FMM, read from top to bottom. No Dask: the graph runs the same functions and gives the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.kernels import Kernel
from taskfmm.operators.levels import Matrices, Operators
from taskfmm.passes import near as near_field
from taskfmm.passes import result, source, target, transfer
from taskfmm.passes.given import exponent, ranked
from taskfmm.plan.cost import TOP_LEVEL
from taskfmm.plan.plan import Plan


def evaluate(
    plan: Plan,
    operators: Operators | Matrices,
    kernel: Kernel,
    charges: np.ndarray,
    output: str,
    threads: int = 1,
) -> list[np.ndarray]:
    """Values at every target, before they are put into the caller's order.

    charges : float64 [n_numbers, n_sources], sorted
    output : the last of those that are wanted

    Returns
    -------
    list of float64 [n_components, n_targets of the task], in the order of the plan's L2P works, then near works
    """
    multipoles: list[list[np.ndarray]] = [[] for _ in plan.far]
    locals_: list[list[np.ndarray]] = [[] for _ in plan.far]

    def read(expansions: list[list[np.ndarray]], halo) -> list[np.ndarray]:
        return [expansions[halo.level][s] for s in halo.shards]

    # Upward: multipoles of leaves from their sources, of inner boxes from their children, finest level first.
    levels = range(TOP_LEVEL, len(plan.far))
    for level in reversed(levels):
        at = operators.at(level)
        for shard in plan.far[level]:
            multipole = source.p2m(shard.p2m, charges, kernel, at, threads) if shard.p2m else None
            if shard.m2m:
                multipole = source.m2m(shard.m2m, multipole, read(multipoles, shard.m2m.halo), at, threads)
            multipoles[level].append(np.zeros((shard.n_boxes, at.rank)) if multipole is None else multipole)

    # Across and downward: locals from the V list, the X list and the parent, coarsest level first.
    for level in levels:
        at = operators.at(level)
        for shard in plan.far[level]:
            parts = []
            if shard.m2l:
                parts.append(transfer.m2l(shard.m2l, read(multipoles, shard.m2l.halo), at, threads))
            if shard.p2l:
                parts.append(transfer.p2l(shard.p2l, charges, kernel, at, threads))
            parents = read(locals_, shard.l2l.halo) if shard.l2l else []
            shape = (shard.n_boxes, at.rank)
            above = operators.at(level - 1) if shard.l2l else None
            locals_[level].append(target.l2l(shard.l2l, parents, parts, shape, above, threads))

    # At the leaves: values from the local, from the multipoles of the W list, and from the U list directly.
    values = []
    for level in levels:
        at = operators.at(level)
        for shard in plan.far[level]:
            if shard.l2p:
                far = target.l2p(shard.l2p, [locals_[level][shard.number]], kernel, at, output, threads)
                if shard.m2p:
                    finer = operators.at(level + 1)
                    far += target.m2p(
                        shard.m2p, read(multipoles, shard.m2p.halo), kernel, finer, output, threads
                    )
                values.append(far)
    return values + [near_field.near(work, charges, kernel, output, threads) for work in plan.near]


def run(
    plan: Plan,
    operators: Operators | Matrices,
    kernel: Kernel,
    charges: Sequence[np.ndarray],
    output: str,
    dtype: np.dtype,
    threads: int = 1,
) -> np.ndarray:
    """One output at every target, in the caller's order and units, as the charges of each kind are."""
    scale = plan.tree.domain.scale
    power = exponent(charges, kernel, scale)
    numbers = ranked(charges, plan.tree.source_order, kernel, scale, power)
    values = evaluate(plan, operators, kernel, numbers, output, threads)
    return result.gather(plan, values, kernel, output, dtype, power)
