"""``taskfmm run`` and ``taskfmm explain``: what starts from a file of points."""

from __future__ import annotations

import json
import time
from typing import Any

import click

import taskfmm
from taskfmm.cli.group import main
from taskfmm.cli.options import input_file, with_plan_options, with_scheduler

N_CHECK = 1000
"""Random targets of the error estimate: enough to pin a relative l2 error to a few per cent."""


@main.command()
@input_file
@with_plan_options
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="OUTPUT.h5")
@click.option("--gradient", is_flag=True, help="Also write /gradient.")
@click.option("--check/--no-check", default=False, help="Compare with the direct sum at random targets.")
@with_scheduler
def run(
    input_path: str,
    output: str,
    eps: float,
    order: int | None,
    leaf_size: int | None,
    kernel: str,
    memory_limit: str | None,
    gradient: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Evaluate the potential of /charges at /sources (or at /targets, if there) of INPUT.h5.

    Reads /sources (n, 3), /charges (n,) and optionally /targets (m, 3); writes /potential and, with
    --gradient, /gradient, in the order of the targets. The output appears whole or not at all.
    """
    from taskfmm import io
    from taskfmm.runtime.progress import progress

    io.check_output(output, input_path)
    data = io.read(input_path)
    started = time.perf_counter()
    fmm = taskfmm.Fmm(
        data.sources,
        targets=data.targets,
        kernel=kernel,
        eps=eps,
        order=order,
        leaf_size=leaf_size,
        memory_limit=memory_limit,
    )
    planned = time.perf_counter()
    names = ("potential", "gradient") if gradient else ("potential",)
    with progress():
        arrays = _compute(fmm.evaluate(data.charges, outputs=names))
    evaluated = time.perf_counter()
    settings = {"eps": eps, "kernel": kernel, "version": taskfmm.__version__}
    report: dict[str, Any] = {
        "n_sources": len(data.sources),
        "n_targets": len(arrays["potential"]),
        **settings,
        "plan_seconds": planned - started,
        "evaluation_seconds": evaluated - planned,
    }
    if check:
        report["error_estimate"] = float(fmm.error_estimate(data.charges, arrays["potential"], N_CHECK))
    with io.OutputFile(output) as file:
        for name, array in arrays.items():
            file.write(name, array)
        file.attributes(settings)
    report["output"] = output
    _report(report, as_json)


@main.command()
@input_file
@with_plan_options
def explain(
    input_path: str,
    eps: float,
    order: int | None,
    leaf_size: int | None,
    kernel: str,
    memory_limit: str | None,
    as_json: bool,
) -> None:
    """Plan INPUT.h5 and say what an evaluation would do, without doing it."""
    from taskfmm import io

    data = io.read(input_path)
    started = time.perf_counter()
    fmm = taskfmm.Fmm(
        data.sources,
        targets=data.targets,
        kernel=kernel,
        eps=eps,
        order=order,
        leaf_size=leaf_size,
        memory_limit=memory_limit,
    )
    seconds = time.perf_counter() - started
    if as_json:
        found = {"summary": str(fmm), "explain": fmm.explain(), "plan_seconds": seconds}
        click.echo(json.dumps(found))
    else:
        click.echo(f"{fmm}\n\n{fmm.explain()}")


def _compute(lazy: dict[str, Any]) -> dict[str, Any]:
    """All outputs in one computation, so that what they share is done once."""
    import dask

    return dict(zip(lazy, dask.compute(*lazy.values()), strict=True))


def _report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"sources      {report['n_sources']}")
    click.echo(f"targets      {report['n_targets']}")
    click.echo(f"eps          {report['eps']:g}")
    click.echo(f"plan         {report['plan_seconds']:.2f} s")
    click.echo(f"evaluation   {report['evaluation_seconds']:.2f} s")
    if "error_estimate" in report:
        click.echo(f"error        {report['error_estimate']:.2e} (relative l2, {N_CHECK} random targets)")
    click.echo(f"written to   {report['output']}")
