"""``taskfmm run`` and ``plan``: what starts from a file of points."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from taskfmm.cli.group import main
from taskfmm.cli.options import (
    input_file,
    refuse_with_plan,
    with_columns,
    with_outputs,
    with_plan_options,
    with_scheduler,
)
from taskfmm.cli.planner import Planner, error_estimates, from_file, from_options

N_CHECK = 1000
"""Random targets of the error estimate: enough to pin a relative l2 error to a few per cent."""


@main.command()
@input_file
@with_plan_options
@click.option("-o", "--output", required=True, type=click.Path(), metavar="OUTPUT.h5|OUTPUT.zarr")
@with_outputs
@with_columns
@click.option(
    "--check/--no-check", default=False, help="Compare each output with the direct sum at random targets."
)
@click.option("--charges-batch", is_flag=True, help="/charges is (k, n): evaluate every row of it.")
@click.option("--plan", "plan_path", type=click.Path(), metavar="PLAN.h5", help="What `taskfmm plan` wrote.")
@click.option(
    "--spread/--one-process",
    default=None,
    help="Leave points in their file, for tasks to read, or read them all here. Left out, they stay there if points "
    "and sources take more than a tenth of this machine's memory.",
)
@with_scheduler
@click.pass_context
def run(
    context: click.Context,
    input_path: str,
    output: str,
    options: dict[str, Any],
    outputs: str | None,
    gradient: bool,
    columns: dict[str, list[str]],
    check: bool,
    charges_batch: bool,
    plan_path: str | None,
    spread: bool | None,
    as_json: bool,
) -> None:
    """Evaluate the potential of /charges at /sources (or at /targets, if there) of INPUT, HDF5 or Zarr.

    Reads /sources (n, 3), optionally /targets (m, 3), and those sources of the kernel that are there, as /charges
    (n,) or /dipoles (n, 3). Writes the kernel's first output, as /potential (m,), or those of --outputs, in the order
    of the targets. The output appears whole or not at all.

    Files of other programs are read as `taskfmm convert` says.

    With --charges-batch, /charges is (k, n), one vector a row, and the outputs are (k, m) and (k, m, 3). Finished
    vectors are kept in OUTPUT.h5.part; the same command goes on from there if it was stopped.

    With --plan, points, kernel and accuracy are those of the plan, and INPUT needs the sources of its kernel only.

    With --spread, no process holds all points: tasks on the scheduler of --config read them from INPUT, and
    results go to the output chunk by chunk.
    """
    from taskfmm.files.results import check_output

    check_output(output, input_path)
    if spread and (plan_path is not None or charges_batch):
        other = "--charges-batch" if charges_batch else "--plan"
        raise click.UsageError(f"--spread cannot be given with {other}, whose points are all in one process")
    if columns and (spread or charges_batch):
        other = "--charges-batch" if charges_batch else "--spread"
        raise click.UsageError(
            f"--column cannot be given with {other}: write the file by taskfmm convert first"
        )
    if plan_path is None:
        planner = from_options(**options)
    else:
        refuse_with_plan(context)
        check_output(output, plan_path)
        planner = from_file(plan_path, options["memory_limit"])
    names = planner.outputs(outputs, gradient)
    if charges_batch:
        from taskfmm.cli import batch

        report = batch.evaluate(input_path, output, planner, names, N_CHECK if check else 0)
    else:
        data = None if spread else _read(input_path, planner, spread is None, columns)
        if data is not None:
            report = _evaluate(data, output, planner, names, check)
        else:
            from taskfmm.cli import spread as in_tasks

            in_tasks.refuse_options(context)
            report = in_tasks.evaluate(input_path, output, planner, names, options, N_CHECK if check else 0)
    _report({**report, "output": output}, as_json, planner.kernel.names[0])


def _read(input_path: str, planner: Planner, may_stay: bool, columns: dict[str, list[str]]) -> Any:
    """What the file holds; None where it may stay there, and is so much that it does."""
    from taskfmm.cli.spread import too_large
    from taskfmm.files import charges
    from taskfmm.files.input import InputFile

    with InputFile(input_path, planner.kernel, planner.points, named=columns) as file:
        may_stay &= planner.points is None and file.format is None and not columns
        if may_stay and too_large(file):
            return None
        if file.format is not None or columns:
            found = "; ".join(f"{name} from {', '.join(names)}" for name, names in file.origin.items())
            click.echo(f"{input_path}: {file.kind}: {found}", err=True)
        return charges.read_open(file, planner.kernel)


def _evaluate(
    data: Any,
    output: str,
    planner: Planner,
    names: tuple[str, ...],
    check: bool,
) -> dict[str, Any]:
    """Plan, evaluate and write one vector, block by block; returns what there is to report."""
    import numpy as np

    from taskfmm.files.results import result
    from taskfmm.profiling.progress import progress
    from taskfmm.runtime.blocks import each_block

    fmm = planner.make(data)
    started = time.perf_counter()
    arrays = fmm.evaluate(outputs=names, **data.given)
    checked = {name: np.empty(array.shape, array.dtype) for name, array in arrays.items() if check}
    with result(output, {name: (array.shape, array.dtype) for name, array in arrays.items()}) as file:

        def write(name: str, first: int, block: np.ndarray) -> None:
            file.write(name, first, block)
            if check:
                checked[name][first : first + len(block)] = block

        with progress():
            each_block(arrays, write)
        report = planner.report(data) | {"evaluation_seconds": time.perf_counter() - started}
        if check:
            report |= error_estimates(fmm, data.given, checked, N_CHECK)
        file.attributes(planner.settings)
    return report


@main.command()
@input_file
@with_plan_options
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="PLAN.h5")
def plan(
    input_path: str,
    output: str,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Plan for the points of INPUT and write the plan, for `taskfmm run --plan` and `Fmm.load`.

    Reads /sources (n, 3) and optionally /targets (m, 3).
    """
    from taskfmm.files.charges import read_points
    from taskfmm.files.output import check_output

    check_output(output, input_path)
    planner = from_options(**options)
    data = read_points(input_path)
    fmm = planner.make(data)
    started = time.perf_counter()
    fmm.save(output)
    seconds = time.perf_counter() - started
    _report({**planner.report(data), "save_seconds": seconds, "output": output}, as_json)


def _report(report: dict[str, Any], as_json: bool, first: str = "") -> None:
    """Print what there is to report; first : the kernel's first output."""
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"sources      {report['n_sources']}")
    click.echo(f"targets      {report['n_targets']}")
    if "n_vectors" in report:
        click.echo(f"vectors      {report['n_vectors']}, {report['n_found']} of them finished before")
    if "n_regions" in report:
        click.echo(f"regions      {report['n_regions']}, whose points stayed in files")
    numbers = ", ".join(f"{value:g}" for value in report.get("parameters", ()))
    click.echo(f"kernel       {report['kernel']}{f' ({numbers})' if numbers else ''}")
    click.echo(f"eps          {report['eps']:g}")
    click.echo(f"plan         {report['plan_seconds']:.2f} s")
    if "evaluation_seconds" in report:
        click.echo(f"evaluation   {report['evaluation_seconds']:.2f} s")
    for name, value in report.items():
        if name.startswith("error_estimate"):
            output = name.removeprefix("error_estimate").removeprefix("_")
            click.echo(f"error        {value:.2e} ({output or first}, relative l2, {N_CHECK} random targets)")
    click.echo(f"written to   {report['output']}")
