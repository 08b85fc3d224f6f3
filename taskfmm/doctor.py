"""What this machine is, and what a core of it takes for the parts of an evaluation."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import fields
from importlib import metadata
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from threadpoolctl import threadpool_info

from taskfmm.bench import Clock, evaluate
from taskfmm.fmm import Fmm
from taskfmm.operators import rates
from taskfmm.operators.cache import directory
from taskfmm.operators.levels import load
from taskfmm.operators.rates import Rates
from taskfmm.plan.cost import row_sums
from taskfmm.runtime.threads import budget, concurrent_calls_are_safe, n_cores
from taskfmm.version import __version__

N = 30_000
"""Points of the measured evaluations: up to a second each."""

LEAF_SIZE = 100

REPEATS = 3

PACKAGES = ("numpy", "scipy", "numba", "dask", "distributed", "h5py")


def machine() -> dict[str, Any]:
    """Cores, versions, threading layer, BLAS kernels, caches."""
    import scipy.linalg.cython_blas  # noqa: F401  the BLAS that loops call must be loaded to be listed

    return {
        "cpu, as LLVM names it": llvmlite.binding.get_host_cpu_name(),
        "cores": n_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"taskfmm": __version__} | {name: metadata.version(name) for name in PACKAGES},
        "parallel loops under several threads": "safe" if concurrent_calls_are_safe() else "serial instead",
        "blas": [
            f"{info['internal_api']} {info['version']}, kernels for {info.get('architecture', '?')}"
            for info in threadpool_info()
            if info["user_api"] == "blas"
        ],
        "cache": _or_why_not(directory),
        "rates": _or_why_not(rates.path) if rates.is_kept() else "defaults: none measured here yet",
    }


def _or_why_not(place: Callable[[], Any]) -> str:
    try:
        return str(place())
    except OSError as error:
        return f"nowhere: {error}"


def measure() -> Rates:
    """This machine's rates, one thread: from small evaluations whose operators are clocked and counted."""
    a = np.random.default_rng(70657).random((512, 512))
    with budget():
        multiply_add = min(_cpu_seconds(lambda: a @ a) for _ in range(10)) / 512**3
    loose, tight, single = (_evaluation(eps) for eps in (1e-2, 1e-9, 1e-6))
    # two orders tell what a pair of boxes costs from what a multiply-add costs
    slope = (tight.m2l - loose.m2l) / (tight.m2l_size - loose.m2l_size)
    m2l_pair = max(tight.m2l - slope * tight.m2l_size, 1e-9)
    products = 2.0 * tight.n_products * multiply_add
    return Rates(
        near_pair=tight.near,
        surface_pair=(tight.leaves - products) / tight.n_surface,
        multiply_add=multiply_add,
        m2l_multiply_add_64=slope,
        m2l_multiply_add_32=max(single.m2l - m2l_pair, 0.1 * slope * single.m2l_size) / single.m2l_size,
        m2l_pair=m2l_pair,
        box=rates.DEFAULT.box,
    )


class _Counted(NamedTuple):
    """CPU seconds of one evaluation and what they were spent on.

    near : for a pair of points; m2l : for a pair of boxes; leaves : of P2M and L2P together
    """

    near: float
    m2l: float
    leaves: float
    m2l_size: float
    n_surface: float
    n_products: float


def _evaluation(eps: float) -> _Counted:
    rng = np.random.default_rng(60013)
    fmm = Fmm(rng.random((N, 3)), eps=eps, leaf_size=LEAF_SIZE)
    charges = rng.uniform(-1.0, 1.0, N)
    spent: list[dict[str, float]] = []
    for _ in range(REPEATS):
        clock = Clock()
        evaluate(fmm, charges, ("potential",), 1, clock)
        spent.append({name: row["cpu_seconds"] for name, row in clock.by_operator().items()})
    least = {name: min(row[name] for row in spent) for name in spent[0]}

    assert fmm.plan is not None
    tree, lists = fmm.plan.tree, fmm.plan.lists
    operators = load("laplace", fmm.accuracy("potential")).at(0)
    n_points = np.diff(tree.source_ptr, axis=1)[:, 0]
    near_pairs = float((n_points * row_sums(lists.u, n_points)).sum())
    m2l_size = 2.0 * operators.rank * operators.m2l.mean_rank
    n_surface = operators.upward_check.shape[1]
    return _Counted(
        near=least["near"] / near_pairs,
        m2l=least["m2l"] / lists.v.idx.size,
        leaves=least["p2m"] + least["l2p"],
        m2l_size=m2l_size,
        n_surface=2.0 * N * n_surface,
        n_products=float(tree.is_leaf.sum()) * operators.rank * n_surface,
    )


def _cpu_seconds(once: Callable[[], Any]) -> float:
    started = time.thread_time()
    once()
    return time.thread_time() - started


def text(facts: dict[str, Any], measured: Rates) -> str:
    """Facts and rates, one a line."""
    lines = []
    for name, value in facts.items():
        shown = (
            ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, dict)
            else "; ".join(value)
            if isinstance(value, list)
            else value
        )
        lines.append(f"{name:<36} {shown}")
    lines += ["", f"{'seconds on one core':<36} {'here':>10} {'default':>10}"]
    lines += [
        f"{field.name:<36} {getattr(measured, field.name):>10.2e} {getattr(rates.DEFAULT, field.name):>10.2e}"
        for field in fields(Rates)
    ]
    return "\n".join(lines)
