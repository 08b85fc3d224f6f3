"""What the four experiments share: options, a table of text and a plot of bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from taskfmm.runtime.threads import n_cores


def plot_option(name: str) -> Any:
    """The option ``--plot``: where the picture goes."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("--plot", type=path, default=name, show_default=True, help="Where the plot goes.")


def of_the_sphere(main: Any) -> Any:
    """Adds the options of the published case, charges on a sphere."""
    for option in (
        click.option("--seed", type=int, default=150),
        click.option(
            "--threads", type=click.IntRange(min=1), default=n_cores, help="All cores, if left out."
        ),
        click.option("--leaf-size", type=int, default=150),
        click.option("--order", type=int, default=6),
        click.option("-n", "n", type=click.IntRange(min=1000), default=1_000_000, help="Points."),
    ):
        main = option(main)
    return main


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 3) -> str:
    """Columns of text; the first is set to the left, a None is shown as a dash."""
    shown = [[_cell(cell, digits) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *shown]) for i in range(len(head))]
    lines = []
    for line in [list(head), *shown]:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
    return "\n".join(lines)


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) and abs(value) < 100 else _whole(value)


def _whole(value: Any) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def bars(
    path: Path,
    labels: Sequence[Any],
    series: dict[str, Sequence[float | None]],
    y_label: str,
    x_label: str = "",
    log: bool = False,
) -> None:
    """Save groups of bars, one for each label; a missing value leaves a gap."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.0, 3.6), layout="constrained")
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        at = [x - 0.4 + (i + 0.5) * width for x in range(len(labels))]
        axes.bar(at, [value or 0.0 for value in values], width, label=name)
    axes.set_xticks(range(len(labels)), [str(label) for label in labels])
    axes.set_ylabel(y_label)
    axes.set_xlabel(x_label)
    if log:
        axes.set_yscale("log")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(series))  # over no bar
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    click.echo(f"\nplot: {path}")
