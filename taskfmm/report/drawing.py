"""The graph of an evaluation as a picture: a node for each operator and level.

Levels are rows, the root on top. What goes up stands on the left, M2L in the middle, what comes down on the right.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import format_bytes

from taskfmm.files.disk import write_picture
from taskfmm.forecast.forecast import Forecast
from taskfmm.profiling.names import colour, rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("P2M", "M2M", "P2I", "I2L", "M2L", "P2L", "L2L", "M2P", "L2P", "P2P")
"""From left to right; charges and results stand below them."""

ROW, WIDTH = 0.95, 1.55
"""Height of a level and width of a column, in inches."""

NARROWEST = 6.8
"""Inches of a picture, for its title."""

LARGEST, SMALLEST = 1100.0, 18.0
"""Areas of nodes, in square points."""

WIDEST, THINNEST = 6.0, 0.5
"""Widths of lines, in points."""

Node = tuple[str, int]


def draw(forecast: Forecast, filename: str | Path | None = None) -> Figure:
    """Draw a graph, and write it to a file if one is named.

    Raises
    ------
    ImportError
        Matplotlib is missing.
    StorageError, InputError
        As `taskfmm.files.disk.write_picture`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('drawing needs Matplotlib: pip install "taskfmm[viz]"') from error

    nodes, lines = aggregate(forecast)
    place = _places(nodes)
    levels = sorted({level for operator, level in nodes if operator in COLUMNS})
    across = max(x for x, _ in place.values()) + 2.2
    size = (max(NARROWEST, WIDTH * across), ROW * (len(levels) + 1) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    _lines(axes, lines, place)
    _nodes(axes, nodes, place)
    _frame(axes, forecast, nodes, place, levels)
    if filename is not None:
        write_picture(figure, filename, dpi=150)
    return figure


def aggregate(forecast: Forecast) -> tuple[dict[Node, dict[str, float]], dict[tuple[Node, Node], float]]:
    """Tasks and seconds by operator and level, and bytes from one to the other."""
    nodes: dict[Node, dict[str, float]] = defaultdict(lambda: {"tasks": 0, "seconds": 0.0})
    lines: dict[tuple[Node, Node], float] = defaultdict(float)
    node_of = [(key[0], 0 if key[0] not in COLUMNS else key[1]) for key in forecast.keys]
    for i, node in enumerate(node_of):
        nodes[node]["tasks"] += 1
        nodes[node]["seconds"] += float(forecast.tasks.seconds[i])
        for source in forecast.tasks.inputs[i]:
            lines[node_of[source], node] += float(forecast.tasks.result[source])
    return dict(nodes), dict(lines)


def _places(nodes: dict[Node, Any]) -> dict[Node, tuple[float, float]]:
    """Coordinates: columns without a node are closed, and so are rows."""
    names = {operator for operator, _ in nodes}
    x = {name: i for i, name in enumerate(name for name in COLUMNS if name in names)}
    rows = sorted({level for operator, level in nodes if operator in COLUMNS})
    y = {level: -i for i, level in enumerate(rows)}
    last = max(2.0, *x.values())
    results = sorted({operator for operator, _ in nodes} - {*COLUMNS, "charges"}, key=rank)
    below = {"charges": 0.5 * last - 0.5, **{name: last - i for i, name in enumerate(reversed(results))}}
    return {
        (operator, level): (below[operator], -len(rows) - 0.25)
        if operator not in COLUMNS
        else (float(x[operator]), float(y[level]))
        for operator, level in nodes
    }


def _nodes(axes: Axes, nodes: dict[Node, dict[str, float]], place: dict[Node, tuple[float, float]]) -> None:
    longest = max(row["seconds"] for row in nodes.values())
    for node, row in nodes.items():
        area = max(SMALLEST, LARGEST * row["seconds"] / longest)
        axes.scatter(*place[node], s=area, color=colour(node[0]), edgecolor="white", linewidth=0.8, zorder=3)
        text = f"{row['tasks']:.0f} task{'s' * (row['tasks'] > 1)}\n{_milliseconds(row['seconds'])}"
        side = 0.35 * np.sqrt(area) + 2.0  # on the circle's upper right, where no line ends
        axes.annotate(
            text,
            place[node],
            xytext=(side, side),
            textcoords="offset points",
            fontsize=7.5,
            va="bottom",
            linespacing=0.95,
            zorder=4,
        )


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f} ms" if value >= 10.0 else f"{value:.1f} ms"


def _lines(axes: Axes, lines: dict[tuple[Node, Node], float], place: dict[Node, tuple[float, float]]) -> None:
    from matplotlib.patches import FancyArrowPatch

    most = max(lines.values(), default=1.0)
    for (source, target), size in lines.items():
        width = max(THINNEST, WIDEST * np.sqrt(size / most))
        shared = not {source[0], target[0]} <= set(COLUMNS)
        axes.add_patch(
            FancyArrowPatch(
                place[source],
                place[target],
                arrowstyle="-",
                connectionstyle="arc3,rad=0.08",
                linewidth=width,
                color=colour(source[0]),
                alpha=0.25 if shared else 0.6,
                capstyle="round",
                zorder=1 if shared else 2,
            )
        )


def _frame(
    axes: Axes,
    forecast: Forecast,
    nodes: dict[Node, Any],
    place: dict[Node, tuple[float, float]],
    levels: list[int],
) -> None:
    """Names above the columns and left of the rows, a title, and what the sizes mean."""
    top = 0.62
    for operator in {operator for operator, _ in nodes if operator in COLUMNS}:
        x = next(place[node][0] for node in nodes if node[0] == operator)
        axes.text(
            x,
            top,
            operator,
            color="black",
            fontsize=10,
            ha="center",
            weight="bold",
        )
        axes.plot([x - 0.22, x + 0.22], [top - 0.09] * 2, color=colour(operator), linewidth=4.0)
    for operator in {operator for operator, _ in nodes} - set(COLUMNS):
        x, y = place[operator, 0]
        axes.text(x, y - 0.42, operator, fontsize=10, ha="center", weight="bold")
    for i, level in enumerate(levels):
        axes.text(-0.75, -i, f"level {level}", fontsize=8, ha="right", va="center", color="0.35")
    right = max(x for x, _ in place.values())
    axes.set_xlim(-1.3, right + 0.9)
    axes.set_ylim(-len(levels) - 0.95, top + 0.35)
    axes.set_axis_off()
    axes.set_title(
        f"{len(forecast.keys):,} tasks, {forecast.edges:,} edges, {format_bytes(forecast.edge_bytes)} along them; "
        f"expected {forecast.seconds:.3g} s on {forecast.layout}\n"
        "area: expected seconds of the tasks; width of a line: bytes along it",
        fontsize=9,
        loc="left",
    )
