"""How the examples save what they draw."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _save(figure: Any, path: Path) -> None:
    """Write a PNG of 256 colours, a third of the size of the full one."""
    from PIL import Image

    with io.BytesIO() as full:
        figure.savefig(full, format="png", dpi=100)
        small = Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, format="png", optimize=True)


def picture(draw: Callable[[], Any], path: Path) -> None:
    """Draw a Matplotlib figure and save it, or say what is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        click.echo('no picture: pip install "taskfmm[viz]" for Matplotlib')
        return
    try:
        _save(draw(), path)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the picture cannot be written: {error}") from error
    click.echo(f"picture             {path}")
