"""``taskfmm explain``: what an evaluation will take, of a file of points or before there are any."""

from __future__ import annotations

import json
from typing import Any

import click

from taskfmm.cli.group import main
from taskfmm.cli.options import Count, with_plan_options
from taskfmm.cli.planner import from_options

OF_MANY = ("workers", "memory", "shape", "threads", "cores", "chunks", "region", "dtype")
"""Options that go with ``--points``."""

OF_FILES = ("box", "memory_limit")
"""Options that do not."""


@main.command()
@click.argument("input_path", metavar="[INPUT]", required=False, type=click.Path())
@with_plan_options
@click.option("--points", type=Count(), help="So many points that are in no file, on a cluster.")
@click.option("--workers", type=click.IntRange(min=1), default=1, help="With --points: processes.")
@click.option(
    "--memory", metavar="BYTES", default="4GiB", help="With --points: of a worker, for example 8GiB."
)
@click.option(
    "--shape",
    type=click.Choice(["cube", "sphere", "plummer", "clusters"]),
    default="cube",
    help="With --points: how they are distributed.",
)
@click.option("--threads", type=click.IntRange(min=1), default=1, help="With --points: of a worker.")
@click.option("--cores", type=click.IntRange(min=1), help="With --points: that all workers share, if fewer.")
@click.option("--chunks", type=Count(), help="With --points: of the arrays; of half a million, if left out.")
@click.option("--region", type=Count(), help="With --points: those that one task may hold.")
@click.option(
    "--dtype", type=click.Choice(["float64", "float32"]), default="float64", help="With --points: of results."
)
def explain(
    input_path: str | None,
    options: dict[str, Any],
    points: int | None,
    as_json: bool,
    **of_many: Any,
) -> None:
    """Plan INPUT and say what an evaluation would do, without doing it.

    With --points and no INPUT, say what a plan of points that no process holds would take on so many workers, and
    whether it fits, before there are any points.
    """
    if (points is None) == (input_path is None):
        raise click.UsageError("give INPUT, or --points with a number of points")
    for name in OF_MANY if points is None else OF_FILES:
        if click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            kind = "goes with --points" if points is None else "cannot be given with --points"
            raise click.UsageError(f"--{name.replace('_', '-')} {kind}")
    if points is not None:
        found, text = _ahead(points, options, **of_many)
        click.echo(json.dumps(found) if as_json else text)
        return
    from taskfmm.files.charges import read

    planner = from_options(**options)
    fmm = planner.make(read(str(input_path), planner.kernel))
    if as_json:
        click.echo(
            json.dumps({"summary": str(fmm), "explain": fmm.explain(), "plan_seconds": planner.seconds})
        )
    else:
        click.echo(f"{fmm}\n\n{fmm.explain()}")


def _ahead(
    points: int, options: dict[str, Any], shape: str, memory: str, **given: Any
) -> tuple[dict[str, Any], str]:
    """What points that never meet will take, as data and as text."""
    from taskfmm.generate import cloud
    from taskfmm.spread import forecast
    from taskfmm.spread.as_text import text
    from taskfmm.spread.foretold import DRAWN

    kernel = from_options(**options).kernel
    like, _ = cloud(shape, min(points, DRAWN), signed=True, seed=0)
    given |= {name: options[name] for name in ("eps", "order", "leaf_size")}
    found = forecast(points, like, memory_limit=memory, kernel=kernel, shape=shape, **given)
    return found.facts(), text(found)
