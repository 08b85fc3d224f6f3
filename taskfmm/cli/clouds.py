"""``taskfmm generate``: random clouds to try things on."""

from __future__ import annotations

import click

import taskfmm
from taskfmm.cli.group import main


@main.command()
@click.argument("shape", type=click.Choice(["sphere", "cube", "plummer", "clusters"]))
@click.option("-n", "n", type=click.IntRange(min=0), default=1_000_000, show_default=True, help="Points.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE.h5")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same cloud.")
@click.option(
    "--kernel", metavar="NAME", default="laplace", show_default=True, help="Whose first source to write."
)
@click.option("--charges", type=click.Choice(["signed", "positive"]), default="signed", show_default=True)
def generate(shape: str, n: int, output: str, seed: int | None, kernel: str, charges: str) -> None:
    """Write a random cloud of charges, or of another kernel's first source, ready for `taskfmm run`."""
    from taskfmm import choices
    from taskfmm.files.charges import write_cloud
    from taskfmm.files.output import check_output
    from taskfmm.generate import cloud, new_seed, numbers
    from taskfmm.kernels.registry import CONSTRUCTORS, KERNELS

    try:
        name = choices.known_name("kernel", kernel, KERNELS.keys() & CONSTRUCTORS.keys())
    except taskfmm.InputError as error:
        raise click.BadParameter(str(error), param_hint="--kernel") from error
    kind = KERNELS[name].sources[0]
    check_output(output)
    seed = new_seed() if seed is None else seed
    signed = charges == "signed"
    sources, values = cloud(shape, n, signed=signed, seed=seed)
    if kind.of_one or kind.complex:
        values = numbers((n, *kind.of_one), signed=signed, seed=seed, is_complex=kind.complex)
    settings = {"shape": shape, "seed": seed, "version": taskfmm.__version__}
    write_cloud(output, sources, values, settings, kind.given_as)
    click.echo(f"wrote {n} points ({shape}, {kind.given_as} {charges}, seed {seed}) to {output}")
