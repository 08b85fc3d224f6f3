"""``taskfmm bench``, ``taskfmm doctor`` and ``taskfmm calibrate``: this machine."""

from __future__ import annotations

import json

import click

from taskfmm.cli.group import main


@main.command()
@click.option("-n", "n", type=click.IntRange(min=2), default=100_000, show_default=True, help="Points.")
@click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative l2 error to reach.")
@click.option(
    "--shape", type=click.Choice(["sphere", "cube", "plummer", "clusters"]), default="cube", show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same cloud.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def bench(n: int, eps: float, shape: str, seed: int | None, as_json: bool) -> None:
    """Time one case on this machine: plan, evaluations of new charges, the operators, the error.

    What a core does at best, in loops over pairs of points, matrix products and copies, is clocked in the same run.
    It tells how much of each operator's time is needed at least, and compares machines.
    """
    from taskfmm import bench
    from taskfmm.generate import new_seed

    found = bench.case(shape, n, eps, new_seed() if seed is None else seed)
    click.echo(json.dumps(found) if as_json else bench.text(found))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def doctor(as_json: bool) -> None:
    """Show this machine as taskfmm sees it, and say what could be better; measures and changes nothing."""
    from taskfmm import doctor

    facts, advice = doctor.machine(), doctor.advice()
    click.echo(json.dumps({**facts, "advice": advice}) if as_json else doctor.text(facts, advice))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def calibrate(as_json: bool) -> None:
    """Measure what a core of this machine takes, and keep that for plans and forecasts."""
    from dataclasses import asdict

    from taskfmm import calibrate
    from taskfmm.cost import rates

    measured = calibrate.measure()
    try:
        kept = str(rates.keep(measured))
    except OSError as error:
        kept = f"nowhere: {error}"
    found = {"seconds": asdict(measured), "kept": kept}
    click.echo(json.dumps(found) if as_json else calibrate.text(measured, kept))
