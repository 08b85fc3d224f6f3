"""``taskfmm convert``: files of other programs, and what of them taskfmm reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

import taskfmm
from taskfmm.cli.group import main
from taskfmm.cli.options import with_columns

ROUNDING = 1e-6
"""A net charge of more than this part of the sum of the magnitudes is none of rounding."""


@main.command()
@click.argument("input_path", metavar="FILE", type=click.Path())
@click.argument("output", metavar="[OUT.h5]", required=False, type=click.Path())
@click.option(
    "--kernel", metavar="NAME", default="laplace", show_default=True, help="Whose sources the numbers are."
)
@with_columns
@click.option(
    "--neutralize",
    is_flag=True,
    help="Subtract the mean from the charges: in a periodic box they have to add up to zero.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.h5, if it is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def convert(
    input_path: str,
    output: str | None,
    kernel: str,
    columns: dict[str, list[str]],
    neutralize: bool,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say what is in FILE, of another program, and write it as HDF5 for `taskfmm run`.

    Tables of text and arrays of NumPy, molecules that MDAnalysis reads, meshes that meshio reads, snapshots of
    Gadget, and HDF5 or Zarr with other names. Points and charges are found by the names of columns and arrays, or are
    those of --column. Units stay as they are.
    """
    from taskfmm import choices
    from taskfmm.files import charges
    from taskfmm.files.input import InputFile
    from taskfmm.files.results import check_output
    from taskfmm.kernels.registry import CONSTRUCTORS, KERNELS

    if output is None and not dry_run:
        raise click.UsageError("give OUT.h5, or --dry-run")
    try:
        known = KERNELS[choices.known_name("kernel", kernel, KERNELS.keys() & CONSTRUCTORS.keys())]
    except taskfmm.InputError as error:
        raise click.BadParameter(str(error), param_hint="--kernel") from error
    if output is not None:
        check_output(output, input_path)
        if os.path.lexists(output) and not overwrite:
            raise taskfmm.InputError(f"{output}: is there already: give another name, or --overwrite")
    with InputFile(input_path, known, named=columns) as file:
        data = charges.read_open(file, known)
        report = _report(file, data, known)
    report["neutralized"], report["taken_from_each"] = neutralize, None
    if neutralize:
        report["taken_from_each"] = _neutralize(data, report, known.sources[0].given_as)
    if output is not None and not dry_run:
        settings = {"from": Path(input_path).name, "kernel": known.name, "version": taskfmm.__version__}
        targets = {} if data.targets is None else {"targets": data.targets}
        charges.write(output, {"sources": data.sources, **data.given, **targets}, settings)
    report["written"] = None if dry_run else output
    click.echo(json.dumps(report, default=str) if as_json else _text(report))


def _report(file: Any, data: Any, kernel: Any) -> dict[str, Any]:
    """What was found, and what becomes of it."""
    used = {each for names in file.origin.values() for each in names}
    first, is_number = kernel.sources[0].given_as, not kernel.sources[0].of_one
    return {
        "file": str(file.path),
        "kind": file.kind,
        "units": file.format.units if file.format else "those of the file",
        "found": file.found,
        "kernel": kernel.name,
        "from": {name: list(names) for name, names in file.origin.items()},
        "n_sources": len(data.sources),
        "n_targets": len(data.sources if data.targets is None else data.targets),
        "sum": data.given[first].sum() if first in data.given and is_number else None,
        "not_used": [name for name in file.found if name not in used],
        "notes": file.notes,
    }


def _neutralize(data: Any, report: dict[str, Any], first: str) -> complex:
    """Subtract their mean from the charges; returns it. Raises InputError where there are masses, or no charges."""
    from taskfmm.files.columns import is_mass

    if report["sum"] is None:
        raise taskfmm.InputError(
            f"{report['file']}: there are no {first} to neutralize: leave --neutralize out"
        )
    if masses := [name for name in (first, *report["from"][first]) if is_mass(name)]:
        raise taskfmm.InputError(
            f"{report['file']}: --neutralize is for charges, and {masses[0]} are masses, which all attract: "
            "leave it out"
        )
    charges = data.given[first]
    if abs(report["sum"]) > ROUNDING * abs(charges).sum():
        report["notes"] = [
            *report["notes"],
            f"a net charge of {report['sum']:g} is more than rounding leaves over",
        ]
    mean: complex = report["sum"] / max(1, len(charges))
    data.given[first] = charges - mean
    return mean


def _text(report: dict[str, Any]) -> str:
    shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in report["found"].items())
    lines = [("file", f"{report['file']}: {report['kind']}"), ("found", shapes), ("units", report["units"])]
    lines += [(name, f"from {', '.join(names)}") for name, names in report["from"].items()]
    lines += [("points", f"{report['n_sources']} sources, {report['n_targets']} targets")]
    if report["sum"] is not None:
        lines.append(("sum", f"{report['sum']:g}, of all charges or masses"))
    if report["neutralized"]:
        lines.append(("neutralized", f"{report['taken_from_each']:g} is taken from each of them"))
    if report["not_used"]:
        lines.append(("not used", ", ".join(report["not_used"])))
    lines += [("note", note) for note in report["notes"]]
    lines.append(("written to", report["written"] or "nothing, as it is a dry run"))
    return "\n".join(f"{name:<12} {what}" for name, what in lines)
