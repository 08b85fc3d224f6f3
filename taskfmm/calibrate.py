"""What a core of this machine takes for the parts of an evaluation."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import dask
import numpy as np
from dask import threaded
from dask.task_spec import TaskRef

from taskfmm.bench import by_operator, evaluate
from taskfmm.cost import rates
from taskfmm.cost.rates import Rates
from taskfmm.fmm import Fmm
from taskfmm.forecast.effort import efforts
from taskfmm.graph.spec import add, sequence
from taskfmm.operators.levels import Operators
from taskfmm.profiling.profile import profile
from taskfmm.runtime.threads import budget

N = 30_000
"""Points of the measured evaluations: up to a second each."""

LEAF_SIZE = 100

REPEATS = 3

MANY = 500_000
"""Numbers that are copied: more than the nearest caches hold."""

FEW = 200
"""Tasks that do nothing."""

EMPTY_TASK, HASHED = 70e-6, 6.7e-9
"""Seconds of such a task, and to hash and check a charge, on the machine of the default rates."""


def measure() -> Rates:
    """This machine's rates, one thread.

    Products, copies and tasks are clocked alone. Then small evaluations are, and each operator that has only one
    unknown rate left gives it.
    """
    a = np.random.default_rng(70657).random((512, 512))
    with budget():
        multiply_add = min(_cpu_seconds(lambda: a @ a) for _ in range(10)) / 512**3
    # M2L of so few boxes mostly waits for its cores, which are counted as copies: take them out of its rates
    slower = multiply_add / rates.DEFAULT.multiply_add
    small = {name: slower * getattr(rates.DEFAULT, name) for name in ("m2l_meeting", "row")}
    found = Rates(multiply_add=multiply_add, **small, **_copies(), **_overheads())
    rng = np.random.default_rng(80149)
    sources, targets = rng.random((N, 3)), rng.random((N, 3))
    for suffix, outputs in (("", ("potential",)), ("_gradient", ("potential", "gradient"))):
        with dask.config.set({"taskfmm.compile-ahead": False}):  # nothing else runs while this is timed
            other, same = (Fmm(sources, points, eps=1e-6, leaf_size=LEAF_SIZE) for points in (targets, None))
        one_sided, both = (_Operators(fmm, outputs) for fmm in (other, same))
        found = replace(found, **one_sided.solve(found, "P2P", f"near_one{suffix}"))
        found = replace(found, **both.solve(found, "P2P", f"near_two{suffix}"))
        found = replace(found, **both.solve(found, "L2P", f"surface_pair{suffix}"))
    alone = _Operators(Fmm(sources, eps=1e-6, leaf_size=LEAF_SIZE), ("potential",))
    found = replace(found, **alone.solve(found, "M2L", "m2l_multiply_add_32"))
    in_double = rates.DEFAULT.m2l_multiply_add_64 / rates.DEFAULT.m2l_multiply_add_32
    found = replace(found, m2l_multiply_add_64=in_double * found.m2l_multiply_add_32)
    return found


class _Operators:
    """Seconds of each operator in an evaluation, and the counts they are spent on."""

    def __init__(self, fmm: Fmm, outputs: tuple[str, ...]) -> None:
        assert fmm.plan is not None
        charges = np.random.default_rng(60013).uniform(-1.0, 1.0, N)
        self.seconds = _least(fmm, charges, outputs)
        operators = Operators(fmm.kernel, fmm.accuracy(outputs[-1], charges)).of((0,))
        self.efforts = efforts(fmm.plan, operators, fmm.kernel.of_first, outputs)

    def solve(self, known: Rates, operator: str, name: str) -> dict[str, float]:
        """The one rate that makes the forecast of an operator right; within a factor of five of the default."""
        default = getattr(rates.DEFAULT, name)
        ours = [effort for key, effort in self.efforts.items() if key[0] == operator]
        without = sum(effort.seconds(replace(known, **{name: 0.0})) for effort in ours)
        count = sum(effort.counts.shared[name] for effort in ours)
        return {
            name: float(np.clip((self.seconds[operator] - without) / count, default / 5.0, default * 5.0))
        }


def _copies() -> dict[str, float]:
    """Rates of moving numbers, and of what is done to charges before any task."""
    values = np.random.default_rng(92251).random(MANY)
    places = np.random.default_rng(31847).permutation(MANY)

    def least(once: Callable[[], Any]) -> float:
        return min(_cpu_seconds(once) for _ in range(5)) / MANY

    hashed = least(lambda: (hashlib.sha256(values.data), np.isfinite(values).all()))
    return {
        "copied": least(values.copy),
        "gathered": least(lambda: values[places]),
        "charge": rates.DEFAULT.charge * hashed / HASHED,
    }


def _overheads() -> dict[str, float]:
    """What Dask and the thread budget take, relative to the machine of the defaults."""

    def task(*_: Any) -> None:
        with budget():
            pass

    keys = [("task", i) for i in range(FEW)]
    graph: dict[Any, Any] = {}
    for i, key in enumerate(keys):
        add(graph, key, task, sequence([TaskRef(k) for k in keys[max(0, i - 3) : i]]))
    with ThreadPoolExecutor(1) as pool:
        seconds = min(_cpu_seconds(lambda: threaded.get(graph, keys[-1], pool=pool)) for _ in range(5))
    slower = float(np.clip(seconds / FEW / EMPTY_TASK, 0.2, 5.0))
    return {name: slower * getattr(rates.DEFAULT, name) for name in ("call", "task", "edge", "start")}


def _least(fmm: Fmm, charges: np.ndarray, outputs: tuple[str, ...]) -> dict[str, float]:
    """CPU seconds of each operator on one thread, the least of several evaluations."""
    spent: list[dict[str, float]] = []
    for _ in range(REPEATS):
        with profile() as recorded:
            evaluate(fmm, charges, outputs, 1)
        spent.append({name: row["cpu_seconds"] for name, row in by_operator(recorded).items()})
    return {name: min(row[name] for row in spent) for name in spent[0]}


def _cpu_seconds(once: Callable[[], Any]) -> float:
    """Of all threads: other programs on the machine do not count."""
    started = time.process_time()
    once()
    return time.process_time() - started


def text(measured: Rates, kept: str) -> str:
    """The rates, one a line, beside those of an ordinary core; kept : where"""
    lines = [f"{'seconds on one core':<36} {'here':>10} {'default':>10}"]
    lines += [
        f"{field.name:<36} {getattr(measured, field.name):>10.2e} {getattr(rates.DEFAULT, field.name):>10.2e}"
        for field in fields(Rates)
    ]
    return "\n".join([*lines, "", f"kept in {kept}"])
