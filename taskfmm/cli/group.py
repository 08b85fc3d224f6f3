"""The group that all commands belong to, and how they fail."""

from __future__ import annotations

import logging
from typing import Any

import click

import taskfmm
from taskfmm.cli.interrupt import prompt_interrupt
from taskfmm.errors import TaskfmmError


class Commands(click.Group):
    """A group whose commands fail in one line on standard error, with a traceback only on ``--debug``."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with prompt_interrupt():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            known = isinstance(error, (TaskfmmError, MemoryError))
            text = str(error) if known else f"{type(error).__name__}: {error} (taskfmm --debug shows where)"
            click.echo(f"Error: {' '.join(text.split())}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(taskfmm.__version__, prog_name="taskfmm")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error, and the log.")
def main(debug: bool) -> None:
    """Potentials of charges in 3D by a kernel-independent fast multipole method on a Dask task graph."""
    if debug:
        logging.basicConfig()
        logging.getLogger("taskfmm").setLevel(logging.DEBUG)
