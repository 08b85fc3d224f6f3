"""Names of plans, by what decides their results: tasks of one name are computed once."""

from __future__ import annotations

import hashlib

import numpy as np

from taskfmm.kernels import fingerprint
from taskfmm.plan.planned import Planned
from taskfmm.version import __version__


def identify(planned: Planned) -> str:
    """Names the plan: what decides its results, the chosen leaves and cube among it."""
    digest = hashlib.sha256()
    tree = planned.plan and planned.plan.tree
    facts = (
        __version__,
        planned.asked.kernel,
        fingerprint(planned.asked.kernel),
        planned.asked.dtype.str,
        planned.leaf_size,
        tree and (tree.domain.half_width, tree.domain.scale, tree.domain.lower.tolist(), tree.domain.cell),
        tree and tree.n_wide,
        planned.plan and planned.plan.top,
    )
    digest.update(repr(facts).encode())
    if tree:
        for array in (
            tree.sources,
            tree.source_order,
            *(() if planned.same else (tree.targets, tree.target_order)),
        ):
            digest.update(array.data)
        if tree.lengths is not None:
            digest.update(np.ascontiguousarray(tree.lengths).data)
    return digest.hexdigest()[:24]


def identify_targets(planned: Planned, of_base: str) -> str:
    """The same of a plan with a base.

    of_base : the name of that
    """
    plan = planned.plan
    assert plan is not None and plan.base is not None
    # coordinates are in the unit of the cube, which hangs on ``up``
    digest = hashlib.sha256(f"{of_base} {planned.leaf_size} {plan.top} {plan.base.up}".encode())
    for array in (plan.tree.targets, plan.tree.target_order):
        digest.update(array.data)
    return digest.hexdigest()[:24]
