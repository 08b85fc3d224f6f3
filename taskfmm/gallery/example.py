"""What the examples share: their command, how they say that something is wrong, and how they save what they draw."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from taskfmm.errors import TaskfmmError
from taskfmm.files.disk import write_picture
from taskfmm.profiling.progress import progress

Draw = Callable[[], Any]
"""Makes a Matplotlib figure."""


class CheckError(TaskfmmError):
    """What an example found is too far from what is known."""


def expect(holds: bool | np.bool_, message: str) -> None:
    """Raise CheckError where a condition does not hold: unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise CheckError(message)


@contextmanager
def timed() -> Iterator[None]:
    """Show a bar of progress, and print the seconds that the block took."""
    started = time.perf_counter()
    with progress():
        yield
    click.echo(f"seconds             {time.perf_counter() - started:.1f}")


def example(output: str, eps: float, error: str) -> Callable[[Callable[..., Draw]], click.Command]:
    """Make a command of a function that computes, prints and checks, and gives what draws its picture.

    output : the file of the picture, unless ``-o`` names another one
    eps, error : the default of ``--eps``, which the function gets, and what error it is

    Where the function raises an error of taskfmm, as `expect` does, the command ends with its sentence and code 1.
    """

    def command(run: Callable[..., Draw]) -> click.Command:
        @click.command()
        @click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=output)
        @click.option("--eps", type=float, default=eps, show_default=True, help=error)
        @functools.wraps(run)
        def main(output: Path, **options: Any) -> None:
            try:
                picture(run(**options), output)
            except TaskfmmError as wrong:
                raise click.ClickException(str(wrong)) from wrong

        return main

    return command


def picture(draw: Draw, path: Path) -> None:
    """Draw a figure and save it, or say what is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        click.echo('no picture: pip install "taskfmm[viz]" for Matplotlib')
        return
    path = path if path.suffix else path.with_suffix(".png")  # as Matplotlib names it
    write_picture(draw(), path, dpi=100)
    if path.suffix == ".png":
        _fewer_colours(path)
    click.echo(f"picture             {path}")


def _fewer_colours(path: Path) -> None:
    """Leave a PNG 256 colours: it is a third of the size then, and pictures of the gallery are in the package."""
    from PIL import Image

    with Image.open(path) as full:
        small = full.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
