"""A matrix of cases through any scheduler configuration: one table, four pictures, or a SLURM job array.

``python -m benchmarks.batch MATRIX.yaml --config scheduler_configs/FILE.yaml -o DIR``. Exit codes: 0 when every case
is done, 1 when some case failed or is missing, 2 when the command line or the matrix is wrong, 130 after Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.batches import array, matrix, plots, run, scheduling, table
from taskfmm.errors import InputError


def run_cases(
    cases: Sequence[matrix.Case],
    config: scheduling.Config,
    timeout: float,
    folder: Path,
    retry_failed: bool = False,
) -> None:
    """Run the cases that have no record yet, one after the other."""
    left = [case for case in cases if run.waiting(case, config, folder, retry_failed)]
    if len(left) < len(cases):
        click.echo(f"{len(cases) - len(left)} of {len(cases)} cases have a record already")
    if left:
        click.echo(table.HEAD)
    for case in left:
        click.echo(table.row(run.once(case, config, timeout, folder)))


def finish(cases: Sequence[matrix.Case], config: scheduling.Config, folder: Path, draw: bool) -> int:
    """Write the table and the pictures of the folder; gives the exit code for these cases."""
    records = table.write(folder)
    names = {case.name(config) for case in cases}
    ours = [record for record in records if record["name"] in names]
    files = [folder / "results.json", folder / "results.csv"]
    files += plots.draw(records, folder) if draw else []
    missing = len(cases) - len(ours)
    click.echo(f"{table.summary(ours, missing)}; written: {', '.join(map(str, files))}")
    return int(missing > 0 or any(record["state"] != "done" for record in ours))


def interrupt(number: int, frame: Any) -> None:
    """End on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("matrix_path", metavar="MATRIX.yaml", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--config",
    "config_name",
    metavar="FILE.yaml",
    required=True,
    help="Dask configuration, such as scheduler_configs/threads.yaml; the matrix decides threads and workers.",
)
@click.option("-o", "--output", "folder", type=click.Path(file_okay=False, path_type=Path), default="batch")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds a case may take, instead of the matrix's.",
)
@click.option("--retry-failed", is_flag=True, help="Run the cases that failed again.")
@click.option(
    "--array", "as_array", is_flag=True, help="Write a script for sbatch, one job a case; run nothing."
)
@click.option("--index", type=int, help="Run one case, counted from 0: what a job of the array does.")
@click.option("--gather", is_flag=True, help="Only write table and pictures of what has been run.")
def main(
    matrix_path: Path,
    config_name: str,
    folder: Path,
    timeout: float | None,
    retry_failed: bool,
    as_array: bool,
    index: int | None,
    gather: bool,
) -> None:
    """Run the cases of MATRIX.yaml, each in a fresh process; what is done already is not run again."""
    if as_array + gather + (index is not None) > 1:
        raise click.UsageError("--array, --index and --gather exclude each other")
    try:
        wanted, config = matrix.read(matrix_path), scheduling.read(config_name)
        cases = wanted.cases
        if as_array:
            click.echo(f"sbatch {array.write(matrix_path, cases, config, folder)}  # {len(cases)} cases")
            return
        scheduling.check(config, cases)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    if index is not None and not 0 <= index < len(cases):
        raise click.UsageError(f"--index is {index}, the matrix has cases 0 to {len(cases) - 1}")
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        chosen = cases if index is None else cases[index : index + 1]
        if not gather:
            run_cases(chosen, config, timeout or wanted.timeout, folder, retry_failed)
        if index is None:
            sys.exit(finish(cases, config, folder, draw=True))
        record = run.load(run.record_path(folder, chosen[0].name(config)))
        sys.exit(record is None or record["state"] != "done")
    except KeyboardInterrupt:
        click.echo(f"stopped at {time.strftime('%H:%M:%S')}; the same command goes on from here", err=True)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
