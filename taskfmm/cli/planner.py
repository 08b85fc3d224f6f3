"""Where the plan of a command comes from: points and options, or a file that ``taskfmm plan`` wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import taskfmm


class Planner:
    """Makes a plan of what an input file holds.

    make : from `taskfmm.files.charges.Charges`, `Points` or `Batch`
    settings : to record with the results
    points : sources and targets where the plan is there already; input files need not hold them
    seconds : taken so far, to load it or to make it
    """

    def __init__(
        self,
        make: Callable[[Any], taskfmm.Fmm],
        eps: float,
        kernel: str,
        points: Any = None,
        seconds: float = 0.0,
    ) -> None:
        self._make = make
        self.settings = {"eps": eps, "kernel": kernel, "version": taskfmm.__version__}
        self.points = points
        self.seconds = seconds

    def make(self, data: Any) -> taskfmm.Fmm:
        """The plan for these points."""
        started = time.perf_counter()
        fmm = self._make(data)
        self.seconds += time.perf_counter() - started
        return fmm

    def report(self, data: Any) -> dict[str, Any]:
        """What there is to say of every plan that was made."""
        sizes = {
            "n_sources": len(data.sources),
            "n_targets": len(data.sources if data.targets is None else data.targets),
        }
        return {**sizes, **self.settings, "plan_seconds": self.seconds}


def error_estimates(
    fmm: taskfmm.Fmm, charges: Any, found: Mapping[str, Any], n_samples: int
) -> dict[str, float]:
    """To report of each output: ``error_estimate`` of a potential, ``error_estimate_gradient`` of a gradient."""
    return {
        "error_estimate" + ("_gradient" if output == "gradient" else ""): float(
            fmm.error_estimate(charges, values, n_samples, output=output)
        )
        for output, values in found.items()
    }


def from_options(**options: Any) -> Planner:
    """Of the points in the input file."""
    return Planner(
        lambda data: taskfmm.Fmm(data.sources, targets=data.targets, **options),
        options["eps"],
        options["kernel"],
    )


def from_file(path: str, memory_limit: str | None) -> Planner:
    """Of a plan file."""
    started = time.perf_counter()
    fmm = taskfmm.Fmm.load(path, memory_limit=memory_limit)
    targets = fmm.targets if fmm.separate else None
    seconds = time.perf_counter() - started
    return Planner(lambda _: fmm, fmm.eps, fmm.kernel.name, (fmm.sources, targets), seconds)
