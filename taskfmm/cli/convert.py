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
    first = known.sources[0].given_as
    if neutralize:
        if report["sum"] is None:
            raise taskfmm.InputError(
                f"{input_path}: there are no {first} to neutralize: leave --neutralize out"
            )
        data.given[first] = data.given[first] - data.given[first].mean()
    if output is not None and not dry_run:
        settings = {"from": Path(input_path).name, "kernel": known.name, "version": taskfmm.__version__}
        targets = {} if data.targets is None else {"targets": data.targets}
        charges.write(output, {"sources": data.sources, **data.given, **targets}, settings)
    report |= {"neutralized": neutralize, "written": None if dry_run else output}
    click.echo(json.dumps(report) if as_json else _text(report))


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
        "sum": float(data.given[first].real.sum()) if first in data.given and is_number else None,
        "not_used": [name for name in file.found if name not in used],
        "notes": file.notes,
    }


def _text(report: dict[str, Any]) -> str:
    shapes = ", ".join(f"{name} {tuple(shape)}" for name, shape in report["found"].items())
    lines = [("file", f"{report['file']}: {report['kind']}"), ("found", shapes), ("units", report["units"])]
    lines += [(name, f"from {', '.join(names)}") for name, names in report["from"].items()]
    lines += [("points", f"{report['n_sources']} sources, {report['n_targets']} targets")]
    if report["sum"] is not None:
        taken = ": taken from all of them in equal parts" if report["neutralized"] else ""
        lines.append(("sum", f"{report['sum']:g}, of all charges or masses{taken}"))
    if report["not_used"]:
        lines.append(("not used", ", ".join(report["not_used"])))
    lines += [("note", note) for note in report["notes"]]
    lines.append(("written to", report["written"] or "nothing, as it is a dry run"))
    return "\n".join(f"{name:<12} {what}" for name, what in lines)
