"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource


class Count(click.ParamType):
    """A whole number above 0 that may be written as 1e6."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 1 <= number < 2**63 or number != int(number):
            self.fail(f"{value!r} is not a whole number above 0", param, ctx)
        return int(number)


def parameters(
    context: click.Context | None, parameter: click.Parameter | None, given: Iterable[str]
) -> dict[str, float | complex | str]:
    """Numbers, and words, by their names, from NAME=VALUE; raises BadParameter."""
    found: dict[str, float | complex | str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, as lam=2.0")
        if name in found:
            raise click.BadParameter(f"{name} is given twice")
        found[name] = _number(value)
    return found


def _number(text: str) -> float | complex | str:
    """What a text says; itself where it is no number, as the kind of a softening."""
    for kind in (float, complex):
        with suppress(ValueError):
            return kind(text)
    return text


def sides(
    context: click.Context | None, parameter: click.Parameter | None, given: str | None
) -> tuple[float, ...] | float | None:
    """The sides of a box from LX,LY,LZ, or the side of a cube; raises BadParameter."""
    if given is None:
        return None
    try:
        found = tuple(float(side) for side in given.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 3):
        raise click.BadParameter(f"{given!r} is not LX,LY,LZ, as 10,10,20, or one number")
    return found if len(found) == 3 else found[0]


def axes(
    context: click.Context | None, parameter: click.Parameter | None, given: str | None
) -> tuple[bool, ...] | bool:
    """Whether there are x, y and z; raises BadParameter where there is anything else."""
    if given is None:
        return True
    if not given or set(given) - set("xyz") or len(set(given)) < len(given):
        raise click.BadParameter(f"{given!r} is none of x, y, z, xy, xz, yz and xyz")
    return tuple(axis in given for axis in "xyz")


def columns(
    context: click.Context | None, parameter: click.Parameter | None, given: Iterable[str]
) -> dict[str, list[str]]:
    """Names in a file, by what they are, from WHAT=NAME,...; raises BadParameter."""
    found: dict[str, list[str]] = {}
    for text in given:
        what, _, names = text.partition("=")
        each = [name.strip() for name in names.split(",")]
        if not (what.strip() and all(each)):
            raise click.BadParameter(f"{text!r} is not WHAT=NAME, as charges=q or sources=x,y,z")
        if what.strip() in found:
            raise click.BadParameter(f"{what.strip()} is given twice")
        found[what.strip()] = each
    return found


input_file = click.argument("input_path", metavar="INPUT", type=click.Path())
plan_options = [
    click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative l2 error to reach."),
    click.option("--order", type=int, help="Order p; overrides the choice made from eps."),
    click.option("--leaf-size", type=int, help="Most points in a leaf; chosen by the library if left out."),
    click.option(
        "--kernel",
        metavar="NAME",
        default="laplace",
        show_default=True,
        help="Pair interaction, as yukawa or stokes; a wrong name lists them all.",
    ),
    click.option(
        "--kernel-param",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parameters,
        help="A parameter of the kernel, as lam=2.0 or k=2+0.5j; once for each.",
    ),
    click.option(
        "--box",
        metavar="LX,LY,LZ",
        callback=sides,
        help="Sides of a periodic box, or one number for a cube; a side along an axis that is not periodic may be 0.",
    ),
    click.option(
        "--periodic",
        metavar="AXES",
        callback=axes,
        help="Along which axes the box is repeated, as xy; xyz if left out.",
    ),
    click.option(
        "--surroundings",
        type=click.Choice(["conductor", "vacuum"]),
        default="conductor",
        show_default=True,
        help="What is around all images of a box that is periodic along x, y and z.",
    ),
    click.option(
        "--wrap/--no-wrap", default=True, help="Move points outside the box into it, or refuse them."
    ),
    click.option("--memory-limit", metavar="BYTES", help="Refuse what would need more, for example 8GiB."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
]


DECIDE = ("eps", "order", "leaf_size", "kernel", "kernel_param", "box", "periodic", "surroundings", "wrap")
"""Those of the options that a plan comes with."""


def with_plan_options(command: Any) -> Any:
    """The options that decide a plan, the same for every command that makes one; it gets them as ``options``."""

    @wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        return command(*args, options={name: given.pop(name) for name in (*DECIDE, "memory_limit")}, **given)

    for option in reversed(plan_options):
        run = option(run)
    return run


def with_columns(command: Any) -> Any:
    """Adds ``--column``, which `taskfmm.files.input.InputFile` takes; the command gets it as ``columns``."""
    return click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="WHAT=NAME,...",
        callback=columns,
        help="What in the file are the sources, their charges or the targets, as sources=x,y,z and charges=q; an "
        "array, or several columns; once for each. Left out, what has the usual names.",
    )(command)


def with_outputs(command: Any) -> Any:
    """Adds ``--outputs`` and ``--gradient``, which `taskfmm.cli.planner.Planner.outputs` takes."""
    for option in (
        click.option("--gradient", is_flag=True, help="Short for --outputs potential,gradient."),
        click.option(
            "--outputs",
            metavar="NAME,...",
            help="Outputs of the kernel, as potential,gradient,hessian; its first one, if left out.",
        ),
    ):
        command = option(command)
    return command


def refuse_with_plan(context: click.Context) -> None:
    """Raise UsageError if an option that decides a plan stands beside one that is made already."""
    given = [name for name in DECIDE if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names} cannot be given with --plan, which was made with its own")


def with_scheduler(command: Any) -> Any:
    """Adds ``--config`` to a command that evaluates, and runs it on the scheduler that this names."""

    @click.option(
        "--config",
        metavar="NAME|FILE",
        help="Scheduler: synchronous, threads, hybrid, local-cluster, slurm, kubernetes or a Dask YAML file. "
        "Left out, what DASK_CONFIG says.",
    )
    @wraps(command)
    def run(*args: Any, config: str | None, **options: Any) -> Any:
        from taskfmm.sessions.schedulers import use

        with use(config):
            return command(*args, **options)

    return run
