"""Where the plan of a command comes from: points and options, or a file that ``taskfmm plan`` wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

import taskfmm

GRADIENT = ("potential", "gradient")
"""What ``--gradient`` stands for."""


class Planner:
    """Makes a plan of what an input file holds.

    make : from `taskfmm.files.charges.Input`, `Points` or `Batch`
    kernel : taskfmm.kernels.Kernel
    settings : to record with the results
    points : sources and targets where the plan is there already; input files need not hold them
    seconds : taken so far, to load it or to make it
    box : taskfmm.geometry.cell.Box, where it is periodic
    """

    def __init__(
        self,
        make: Callable[[Any], taskfmm.Fmm],
        eps: float,
        kernel: Any,
        points: Any = None,
        seconds: float = 0.0,
        box: Any = None,
    ) -> None:
        self._make = make
        self.kernel = kernel
        parameters = {"parameters": kernel.parameters} if kernel.parameters else {}
        self.settings = {"eps": eps, "kernel": kernel.name, **parameters, "version": taskfmm.__version__}
        if box is not None:
            axes = "".join(axis for axis, repeated in zip("xyz", box.periodic, strict=True) if repeated)
            around = "vacuum" if box.in_vacuum else "conductor"
            self.settings |= {"box": box.lengths, "periodic": axes, "surroundings": around}
        self.points = points
        self.seconds = seconds

    def make(self, data: Any) -> taskfmm.Fmm:
        """The plan for these points."""
        started = time.perf_counter()
        fmm = self._make(data)
        self.seconds += time.perf_counter() - started
        return fmm

    def outputs(self, outputs: str | None, gradient: bool) -> tuple[str, ...]:
        """The names of the outputs that the options ask for; raises UsageError."""
        from taskfmm import choices

        known = self.kernel.names
        if outputs is None:
            names = GRADIENT if gradient else known[:1]
            if not set(names) <= set(known):
                raise click.UsageError(
                    f"--gradient is for kernels with potential and gradient: give --outputs with some of "
                    f"{', '.join(known)}, those of kernel {self.kernel.name}"
                )
            return names
        if gradient:
            raise click.UsageError("--gradient cannot be given with --outputs: name gradient there")
        try:
            return choices.outputs([name.strip() for name in outputs.split(",")], known)
        except taskfmm.InputError as error:
            raise click.BadParameter(str(error), param_hint="--outputs") from error

    def report(self, data: Any) -> dict[str, Any]:
        """What there is to say of every plan that was made."""
        sizes = {
            "n_sources": len(data.sources),
            "n_targets": len(data.sources if data.targets is None else data.targets),
        }
        return {**sizes, **self.settings, "plan_seconds": self.seconds}


def error_estimates(
    fmm: taskfmm.Fmm | taskfmm.spread.Spread,
    given: Mapping[str, Any],
    found: Mapping[str, Any],
    n_samples: int,
) -> dict[str, float]:
    """To report of each output: ``error_estimate`` of the kernel's first, ``error_estimate_<name>`` of others."""
    first, sources = fmm.kernel.names[0], {"charges": None, **given}
    return {
        "error_estimate" + ("" if output == first else f"_{output}"): float(
            fmm.error_estimate(values=values, n_samples=n_samples, output=output, **sources)
        )
        for output, values in found.items()
    }


def from_options(kernel: str, kernel_param: Mapping[str, Any], **options: Any) -> Planner:
    """Of the points in the input file; raises UsageError for a kernel that cannot be made."""
    from taskfmm.geometry.periodic import checked
    from taskfmm.kernels import named

    try:
        made = named(kernel, kernel_param)
    except taskfmm.InputError as error:
        raise click.BadParameter(str(error), param_hint="--kernel / --kernel-param") from error
    return Planner(
        lambda data: taskfmm.Fmm(data.sources, targets=data.targets, kernel=made, **options),
        options["eps"],
        made,
        box=checked(*(options[name] for name in ("box", "periodic", "wrap", "surroundings"))),
    )


def from_file(path: str, memory_limit: str | None) -> Planner:
    """Of a plan file."""
    started = time.perf_counter()
    fmm = taskfmm.Fmm.load(path, memory_limit=memory_limit)
    targets = fmm.targets if fmm.separate else None
    seconds = time.perf_counter() - started
    return Planner(lambda _: fmm, fmm.eps, fmm.kernel, (fmm.sources, targets), seconds, fmm.box)
