"""Which kernels, sources and outputs a benchmark is about: the options, and what a case says of them.

A case is a JSON object. Of its kernel it has ``kernel`` and ``parameters``, a list of NAME=VALUE, and ``sources`` and
``outputs``, lists of names.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from taskfmm import bench
from taskfmm.choices import known_name
from taskfmm.cli.options import parameters
from taskfmm.errors import InputError
from taskfmm.kernels import Kernel, named


def with_kernel(command: Any) -> Any:
    """Adds ``--kernel``, ``--kernel-param``, ``--sources`` and ``--outputs``; the command gets their `problems`."""

    @functools.wraps(command)
    def main(
        kernels: tuple[str, ...],
        kernel_param: tuple[str, ...],
        sources: tuple[str, ...],
        outputs: tuple[str, ...],
        **others: Any,
    ) -> Any:
        return command(problems(kernels, kernel_param, sources, outputs), **others)

    for option in (
        click.option(
            "--outputs",
            multiple=True,
            metavar="NAME,...",
            help="Outputs together, as potential,gradient. Left out: the kernel's first.",
        ),
        click.option(
            "--sources",
            multiple=True,
            metavar="NAME,...",
            help="Kinds of sources together, as charges,dipoles. Left out: the kernel's first.",
        ),
        click.option(
            "--kernel-param",
            multiple=True,
            metavar="NAME=VALUE",
            help="A parameter of the one kernel that is named, as k=6.28; once for each.",
        ),
        click.option("--kernel", "kernels", multiple=True, metavar="NAME", default=("laplace",)),
    ):
        main = option(main)
    return main


def problems(
    kernels: Sequence[str], kernel_param: Sequence[str], sources: Sequence[str], outputs: Sequence[str]
) -> list[dict[str, Any]]:
    """What cases say of their kernels, for every combination of the options; raises UsageError."""
    if kernel_param and len(kernels) > 1:
        raise click.UsageError("--kernel-param is of one kernel: give one --kernel with it")
    found = []
    for name, some, wanted in itertools.product(kernels, sources or (None,), outputs or (None,)):
        case: dict[str, Any] = {"kernel": name, "parameters": list(kernel_param)}
        try:
            kernel = kernel_of(case)
            kinds = [kind.given_as for kind in kernel.sources]
            case["sources"] = _names("sources", some, kinds)
            case["outputs"] = _names("outputs", wanted, kernel.names)
        except InputError as error:
            raise click.UsageError(f"kernel {name}: {error}") from error
        found.append(case)
    return found


def _names(option: str, given: str | None, known: Sequence[str]) -> list[str]:
    """Some of the known names, in their order; the first one, if none are given."""
    asked = {known_name(option, name.strip(), known) for name in given.split(",")} if given else {known[0]}
    return [name for name in known if name in asked]


def kernel_of(case: dict[str, Any]) -> Kernel:
    """The kernel of a case."""
    return named(case["kernel"], parameters(None, None, case["parameters"]))


def points_and_charges(case: dict[str, Any], n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """So many points of the case's shape, and random numbers of its sources."""
    points, found = bench.sources_of(kernel_of(case), case["shape"], n, case["seed"])
    return points, {name: found[name] for name in case["sources"]}


def label(case: dict[str, Any]) -> str:
    """Kernel, sources and outputs in few letters: ``helmholtz k=6.28 c,d: p,g``."""
    kernel = " ".join((case["kernel"], *case["parameters"]))
    return f"{kernel} {_short(case['sources'])}: {_short(case['outputs'])}"


def _short(names: Sequence[str]) -> str:
    """The first letters of all words."""
    return ",".join("".join(word[0] for word in name.split("_")) for name in names)
