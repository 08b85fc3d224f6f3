"""The picture of a profile: one lane for each thread, each task a bar in the colour of its operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskfmm.errors import InputError
from taskfmm.files.disk import write_picture
from taskfmm.profiling import analysis
from taskfmm.profiling.names import colour
from taskfmm.profiling.recording import Record
from taskfmm.profiling.tables import idle_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, LANE, TALLEST, FRAME = 9.0, 0.5, 12.0, 1.5
"""Inches: of the picture, of a lane, of all lanes at most, and of what stands above and below them."""

IDLE = "#d4d4d4"


def draw(
    records: Sequence[Record],
    threads: Sequence[dict[str, Any]],
    totals: dict[str, Any],
    notes: Sequence[str],
    path: str | Path | None,
) -> Figure:
    """The figure, saved if there is a path; notes go where the lanes would be if there are none."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("matplotlib is not installed: pip install 'taskfmm[viz]'") from error

    lanes = min(LANE * max(2, len(threads)), TALLEST)
    figure = Figure(figsize=(WIDTH, FRAME + lanes), layout="constrained")
    axes = figure.subplots()
    if records:
        _lanes(axes, records, threads)
        _legend(figure, records)
        _title(figure, totals)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "\n".join(notes), ha="center", va="center", wrap=True)
    if path is not None:
        write_picture(figure, path, dpi=100)
    return figure


def _lanes(axes: Axes, records: Sequence[Record], threads: Sequence[dict[str, Any]]) -> None:
    lane = {(row["worker"], row["thread"]): number for number, row in enumerate(threads)}
    start = min(record.begin for record in records)
    for begin, end in analysis.spans(records):
        for number in range(len(threads)):
            axes.broken_barh([(begin - start, end - begin)], (number - 0.4, 0.8), color=IDLE, lw=0)
    bars: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for record in records:
        at = (lane[record.worker, record.thread], record.operator)
        bars.setdefault(at, []).append((record.begin - start, record.seconds))
    for (number, operator), where in bars.items():
        axes.broken_barh(
            where, (number - 0.4, 0.8), facecolor=colour(operator), edgecolor="white", linewidth=0.2
        )
    labels = [f"{row['label']}\n{idle_share(row):.1%} idle" for row in threads]
    axes.set_yticks(range(len(threads)), labels, fontsize=min(10.0, 200.0 / len(threads)))
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.margins(x=0.005)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _legend(figure: Figure, records: Sequence[Record]) -> None:
    from matplotlib.patches import Patch

    rows = analysis.rows(records, ("operator",))
    whole = sum(row["seconds"] for row in rows) or 1.0
    entries = [
        Patch(color=colour(row["operator"]), label=f"{row['operator']} {row['seconds'] / whole:.1%}")
        for row in rows
    ]
    entries.append(Patch(color=IDLE, label="idle"))
    figure.legend(handles=entries, loc="outside lower center", ncols=6, frameon=False, handlelength=1.0)


def _title(figure: Figure, found: dict[str, Any]) -> None:
    threads = f"{found['threads']} thread" + "s" * (found["threads"] > 1)
    figure.suptitle(
        f"{found['tasks']:,} tasks on {threads}: {found['elapsed_seconds']:.2f} s elapsed, "
        f"{found['seconds']:.2f} s in tasks, critical path {found['critical_seconds']:.2f} s",
        fontsize="medium",
    )
