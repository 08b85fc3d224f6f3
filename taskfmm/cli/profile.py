"""``taskfmm profile``: where the time of an evaluation goes."""

from __future__ import annotations

import json
from typing import Any

import click

import taskfmm
from taskfmm.cli.group import main
from taskfmm.cli.options import input_file, with_outputs, with_plan_options, with_scheduler
from taskfmm.cli.planner import from_options


@main.command()
@input_file
@with_plan_options
@with_outputs
@click.option(
    "--levels", is_flag=True, help="Print a row for each operator and level, not for each operator."
)
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False), metavar="FILE", help="Write the table.")
@click.option("--plot", "plot_path", type=click.Path(dir_okay=False), metavar="FILE", help="Draw a timeline.")
@with_scheduler
def profile(
    input_path: str,
    options: dict[str, Any],
    as_json: bool,
    outputs: str | None,
    gradient: bool,
    levels: bool,
    csv_path: str | None,
    plot_path: str | None,
) -> None:
    """Evaluate INPUT twice, and show what the operators of the second evaluation took.

    The first one compiles what is not compiled yet. Times, CPU time, bytes moved and the share of the critical path,
    by operator; busy and idle time, by thread.
    """
    import dask

    from taskfmm.files.charges import read

    planner = from_options(**options)
    names = planner.outputs(outputs, gradient)
    data = read(input_path, planner.kernel)
    fmm = planner.make(data)
    others = {name: -numbers for name, numbers in data.given.items()}
    dask.compute(fmm.evaluate(outputs=names, **others))
    with taskfmm.profile() as found:
        dask.compute(fmm.evaluate(outputs=names, **data.given))
    if csv_path is not None:
        found.to_csv(csv_path)
    if plot_path is not None:
        found.plot(plot_path)
    click.echo(
        json.dumps(found.to_dict())
        if as_json
        else found.text(("operator", "level") if levels else "operator")
    )
