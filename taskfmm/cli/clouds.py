"""``taskfmm generate``: random clouds to try things on."""

from __future__ import annotations

import click

import taskfmm
from taskfmm.cli.group import main


@main.command()
@click.argument("shape", type=click.Choice(["sphere", "cube", "plummer"]))
@click.option("-n", "n", type=click.IntRange(min=0), default=1_000_000, show_default=True, help="Points.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE.h5")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same cloud.")
@click.option("--charges", type=click.Choice(["signed", "positive"]), default="signed", show_default=True)
def generate(shape: str, n: int, output: str, seed: int | None, charges: str) -> None:
    """Write a random cloud of charges, ready for `taskfmm run`."""
    from taskfmm.files.charges import write_cloud
    from taskfmm.files.output import check_output
    from taskfmm.generate import cloud, new_seed

    check_output(output)
    seed = new_seed() if seed is None else seed
    sources, values = cloud(shape, n, signed=charges == "signed", seed=seed)
    settings = {"shape": shape, "seed": seed, "version": taskfmm.__version__}
    write_cloud(output, sources, values, settings)
    click.echo(f"wrote {n} points ({shape}, charges {charges}, seed {seed}) to {output}")
