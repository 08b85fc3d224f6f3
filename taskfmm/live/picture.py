"""The picture of operators: what the dashboard shows, with Matplotlib."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

from taskfmm.live import columns
from taskfmm.live.table import Table
from taskfmm.profiling.names import COLOURS
from taskfmm.report.axes import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

WIDTH, ROW, FRAME = 9.0, 0.27, 1.5
"""Inches: of the picture, of a row, and of what stands above and below the rows."""

FORECAST: dict[str, Any] = dict(
    facecolor=columns.FORECAST_FILL, edgecolor=columns.FORECAST_EDGE, linewidth=0.7
)
"""How its bars look."""

AT_BEST: dict[str, Any] = dict(color="black", marker="|", markeredgewidth=2)
"""How the marks of what a core takes at best look."""


ROOM = 1.7
"""Inches beside the longest bar, for what its tasks do."""

LEGEND = 6.0
"""Inches of the legend as one row; in narrower axes it is a column."""


def draw(table: Table, ax: Axes | None = None) -> Axes:
    """Bars of seconds by operator and level, with the forecast below each, a mark at best, and rates beside."""
    found = columns.levels(table)
    n = len(found["row"])
    drawn = axes(ax, (WIDTH, FRAME + ROW * max(4, n)))
    width = drawn.get_window_extent().width / drawn.figure.dpi
    legend_rows = 0 if not n else 1 if width >= LEGEND else 3
    title = drawn.set_title("", fontsize="medium", loc="left", pad=8.0 + 15.0 * legend_rows)
    _write(title, columns.summary(table), width)
    if not n:
        drawn.set_axis_off()
        return drawn
    rows = list(range(n))
    drawn.barh([i - 0.12 for i in rows], found["seconds"], 0.5, color=found["colour"])
    drawn.barh([i + 0.26 for i in rows], found["forecast"], 0.2, **FORECAST)
    drawn.plot(found["at_best"], [i - 0.12 for i in rows], linestyle="", markersize=9, **AT_BEST)
    drawn.set_yticks(rows, found["row"], fontsize="small")
    drawn.set_ylim(n - 0.4, -0.6)
    right = max(0.0, *(x for name in ("seconds", "forecast") for x in found[name] if x == x))
    drawn.set_xlim(0.0, right * width / max(width - ROOM, 0.4 * width))
    for i, rate in enumerate(found["rate"]):
        end = max(x for name in ("seconds", "forecast", "at_best") if (x := found[name][i]) == x)
        drawn.text(end + 0.01 * right, i, rate, va="center", fontsize="small", in_layout=False)
    _write(drawn.xaxis.label, ["seconds in tasks", columns.best_rates(table)], width)
    drawn.grid(True, axis="x", alpha=0.3)
    drawn.set_axisbelow(True)
    for side in ("top", "right"):
        drawn.spines[side].set_visible(False)
    _legend(drawn, ncols=3 // legend_rows)
    return drawn


def _write(text: Text, lines: list[str], inches: float) -> None:
    """Wrapped at the width of the axes; Matplotlib would wrap at that of the figure."""
    letters = int(72.0 * inches / (0.5 * float(text.get_fontsize())))
    text.set_text("\n".join(fill(line, max(20, letters)) for line in lines if line))


def _legend(drawn: Axes, ncols: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = [
        Patch(color=COLOURS["M2L"], label=columns.LABELS["seconds"]),
        Patch(**FORECAST, label=columns.LABELS["forecast"]),
        Line2D([], [], linestyle="", label=columns.LABELS["at_best"], **AT_BEST),
    ]
    where: dict[str, Any] = dict(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
    drawn.legend(handles=entries, ncols=ncols, frameon=False, fontsize="small", **where)
