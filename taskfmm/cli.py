"""The command ``taskfmm``: run, generate, explain, bench.

Exit codes: 0 done, 1 the input or the computation failed (one line says why), 2 the command line is wrong.
Numba and Dask take a second to import, so each command imports what it needs and ``--help`` stays quick.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import click

import taskfmm
from taskfmm.errors import TaskfmmError

N_CHECK = 1000
"""Random targets of the error estimate: enough to pin a relative l2 error to a few per cent."""

input_file = click.argument("input_path", metavar="INPUT.h5", type=click.Path(dir_okay=False))
plan_options = [
    click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative l2 error to reach."),
    click.option("--order", type=int, help="Order p; overrides the choice made from eps."),
    click.option("--leaf-size", type=int, help="Most points in a leaf; chosen by the library if left out."),
    click.option("--kernel", default="laplace", show_default=True, help="Pair interaction."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
]


class Commands(click.Group):
    """A group whose commands fail in one line on standard error, with a traceback only on ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            known = isinstance(error, TaskfmmError)
            text = str(error) if known else f"{type(error).__name__}: {error} (taskfmm --debug shows where)"
            click.echo(f"Error: {' '.join(text.split())}", err=True)
            ctx.exit(1)


def with_plan_options(command: Any) -> Any:
    """The options that decide a plan, the same for every command that makes one."""
    for option in reversed(plan_options):
        command = option(command)
    return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(taskfmm.__version__, prog_name="taskfmm")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error, and the log.")
def main(debug: bool) -> None:
    """Potentials of charges in 3D by a kernel-independent fast multipole method on a Dask task graph."""
    if debug:
        logging.basicConfig()
        logging.getLogger("taskfmm").setLevel(logging.DEBUG)


@main.command()
@input_file
@with_plan_options
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="OUTPUT.h5")
@click.option("--gradient", is_flag=True, help="Also write /gradient.")
@click.option("--check/--no-check", default=False, help="Compare with the direct sum at random targets.")
def run(
    input_path: str,
    output: str,
    eps: float,
    order: int | None,
    leaf_size: int | None,
    kernel: str,
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
        data.sources, targets=data.targets, kernel=kernel, eps=eps, order=order, leaf_size=leaf_size
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
@click.argument("shape", type=click.Choice(["sphere", "cube", "plummer"]))
@click.option("-n", "n", type=click.IntRange(min=0), default=1_000_000, show_default=True, help="Points.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE.h5")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same cloud.")
@click.option("--charges", type=click.Choice(["signed", "positive"]), default="signed", show_default=True)
def generate(shape: str, n: int, output: str, seed: int | None, charges: str) -> None:
    """Write a random cloud of charges, ready for `taskfmm run`."""
    from taskfmm import io
    from taskfmm.generate import cloud, new_seed

    io.check_output(output)
    seed = new_seed() if seed is None else seed
    sources, values = cloud(shape, n, signed=charges == "signed", seed=seed)
    settings = {"shape": shape, "seed": seed, "version": taskfmm.__version__}
    io.write_cloud(output, sources, values, settings)
    click.echo(f"wrote {n} points ({shape}, charges {charges}, seed {seed}) to {output}")


@main.command()
@input_file
@with_plan_options
def explain(
    input_path: str, eps: float, order: int | None, leaf_size: int | None, kernel: str, as_json: bool
) -> None:
    """Plan INPUT.h5 and say what an evaluation would do, without doing it."""
    from taskfmm import io

    data = io.read(input_path)
    started = time.perf_counter()
    fmm = taskfmm.Fmm(
        data.sources, targets=data.targets, kernel=kernel, eps=eps, order=order, leaf_size=leaf_size
    )
    seconds = time.perf_counter() - started
    if as_json:
        found = {"summary": str(fmm), "explain": fmm.explain(), "plan_seconds": seconds}
        click.echo(json.dumps(found))
    else:
        click.echo(f"{fmm}\n\n{fmm.explain()}")


@main.command()
@click.option("-n", "n", type=click.IntRange(min=2), default=100_000, show_default=True, help="Points.")
@click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative l2 error to reach.")
@click.option("--shape", type=click.Choice(["sphere", "cube", "plummer"]), default="cube", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same cloud.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def bench(n: int, eps: float, shape: str, seed: int | None, as_json: bool) -> None:
    """Time one case on this machine: plan, evaluations of new charges, the operators, the error.

    Pair-equivalents a point compare machines: seconds on one thread times the rate of a plain loop over pairs,
    timed in the same run, divided by the points.
    """
    from taskfmm import bench
    from taskfmm.generate import new_seed

    found = bench.case(shape, n, eps, new_seed() if seed is None else seed)
    click.echo(json.dumps(found) if as_json else bench.text(found))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def doctor(as_json: bool) -> None:
    """Show this machine as taskfmm sees it, measure what a core takes, and keep that for planning."""
    from dataclasses import asdict

    from taskfmm import doctor
    from taskfmm.operators import rates

    measured = doctor.measure()
    try:
        kept = str(rates.keep(measured))
    except OSError as error:
        kept = f"nowhere: {error}"
    facts = {**doctor.machine(), "rates": kept}
    click.echo(
        json.dumps({**facts, "seconds": asdict(measured)}) if as_json else doctor.text(facts, measured)
    )


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
