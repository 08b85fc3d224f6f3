"""Where the plan of a command comes from: points and options, or a file that ``taskfmm plan`` wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import taskfmm


@dataclass(frozen=True)
class Planner:
    """Makes a plan of what an input file holds.

    make : from `taskfmm.files.charges.Charges` or `Batch`
    settings : to record with the results
    points : sources and targets where the plan is there already; input files need not hold them
    seconds : taken to load it
    """

    make: Callable[[Any], taskfmm.Fmm]
    settings: dict[str, Any]
    points: Any = None
    seconds: float = 0.0


def from_options(**options: Any) -> Planner:
    """Of the points in the input file."""
    return Planner(
        lambda data: taskfmm.Fmm(data.sources, targets=data.targets, **options),
        _settings(options["eps"], options["kernel"]),
    )


def from_file(path: str, memory_limit: str | None) -> Planner:
    """Of a plan file."""
    started = time.perf_counter()
    fmm = taskfmm.Fmm.load(path, memory_limit=memory_limit)
    targets = None if fmm.targets is fmm.sources else fmm.targets
    seconds = time.perf_counter() - started
    return Planner(lambda _: fmm, _settings(fmm.eps, fmm.kernel.name), (fmm.sources, targets), seconds)


def _settings(eps: float, kernel: str) -> dict[str, Any]:
    return {"eps": eps, "kernel": kernel, "version": taskfmm.__version__}
