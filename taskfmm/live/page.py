"""The page of Dask's dashboard: Bokeh figures of `taskfmm.live.columns`, drawn anew while the table grows."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    Div,
    FactorRange,
    HoverTool,
    LinearColorMapper,
)
from bokeh.plotting import figure
from bokeh.transform import dodge

from taskfmm.live import columns
from taskfmm.live.table import Table
from taskfmm.profiling.names import COLOURS

ROUTE = "/taskfmm"
"""Of the page, on the dashboard of the scheduler."""

MILLISECONDS = 500
"""Between two looks at the table."""

LEFT, RIGHT, ROW, FRAME = 620, 560, 24, 90
"""Pixels: the widths of both columns, the height of a row of a chart, and of what stands around the rows."""

FORECAST = dict(fill_color=columns.FORECAST_FILL, line_color=columns.FORECAST_EDGE)
"""How its bars look."""

BEST, PAPER = "#111111", "white"
"""Colours of what a core does at best, and of letters; of what lies behind."""


def serve(scheduler: Any, table: Table) -> None:
    """Add the page to the scheduler's dashboard, which it has."""
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    known = dashboard_of(scheduler)
    variables = template_variables(scheduler)
    if ROUTE.strip("/") not in variables["pages"]:
        variables["pages"].append(ROUTE.strip("/"))  # in the head of all pages
    draw = {ROUTE: lambda server, extra, doc: document(table, extra, doc)}
    found = BokehApplication(draw, scheduler, prefix=known.prefix, template_variables=variables)
    scheduler.http_application.add_application(found)
    found.initialize(IOLoop.current())
    found.start()


def dashboard_of(scheduler: Any) -> Any:
    """What serves the pages of a scheduler's dashboard; None if it has none."""
    from bokeh.server.tornado import BokehTornado

    return next(
        (each for each in scheduler.http_application.applications if isinstance(each, BokehTornado)), None
    )


def document(table: Table, extra: dict[str, Any], doc: Any) -> None:
    """Fill Bokeh's document for one browser."""
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env

    page = Page(table)
    doc.title = "taskfmm"
    doc.add_root(page.layout)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME
    doc.add_periodic_callback(page.update, MILLISECONDS)


class Page:
    """What one browser sees. layout : of Bokeh; sources : by name, the data of `taskfmm.live.columns.shown`"""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.version = -1
        self.sources = {name: ColumnDataSource(found) for name, found in columns.shown(table).items()}
        self.head, self.operators = Div(width=LEFT + RIGHT - 140), Div(width=LEFT + RIGHT)
        self.levels, self.workers = self._levels(), self._workers()
        self.rates, self.sent = self._rates(), self._sent()
        clear = Button(label="Begin anew", width=110)
        clear.on_click(self._clear)
        self.layout = column(
            row(self.head, clear),
            row(column(self.levels), column(self.workers, self.rates, self.sent)),
            self.operators,
        )
        self.update()

    def _clear(self) -> None:
        self.table.clear()
        self.update()

    def update(self) -> None:
        """Take over what has changed."""
        if self.version == self.table.version:
            return
        self.version = self.table.version
        found = columns.shown(self.table)
        for name, source in self.sources.items():
            source.data = found[name]
        lines = [*columns.summary(self.table), columns.FIRST_TASKS]
        self.head.text = "<br>".join(map(escape, lines))
        self.rates.xaxis.axis_label = columns.best_rates(self.table)
        _rows(self.levels, found["levels"]["row"])
        _rows(self.workers, found["workers"]["worker"])
        _rows(self.rates, found["rates"]["operator"])
        both = sorted({*found["sent"]["source"], *found["sent"]["target"]})
        _rows(self.sent, both)
        self.sent.x_range.factors = both
        self.operators.text = html(found["operators"])
        self.colours.high = max(found["sent"]["bytes"], default=1)

    def _levels(self) -> Any:
        drawn = _bars("Seconds in tasks, by operator and level", LEFT, "seconds")
        source = self.sources["levels"]
        above, below = (dodge("row", by, range=drawn.y_range) for by in (0.13, -0.28))
        kept = dict(source=source, left=0)
        drawn.hbar([""], right=0, color=COLOURS["M2L"], legend_label=columns.LABELS["seconds"])
        measured = drawn.hbar(above, right="seconds", height=0.5, color="colour", **kept)
        forecast = dict(FORECAST, legend_label=columns.LABELS["forecast"])
        below_it = drawn.hbar(below, right="forecast", height=0.24, **forecast, **kept)
        drawn.scatter(
            "at_best",
            above,
            source=source,
            marker="dash",
            angle=1.5708,
            size=14,
            line_width=3,
            color=BEST,
            legend_label=columns.LABELS["at_best"],
        )
        tips = [
            ("", "@row"),
            ("tasks", "@tasks"),
            ("measured", "@seconds{0.0000} s"),
            ("forecast", "@forecast{0.0000} s"),
            ("at best", "@at_best{0.0000} s"),
            ("a task does", "@rate"),
        ]
        drawn.add_tools(HoverTool(renderers=[measured, below_it], tooltips=tips))
        _legend_above(drawn)
        return drawn

    def _workers(self) -> Any:
        drawn = _bars("Seconds in tasks, by worker", RIGHT, "seconds")
        above, below = (dodge("worker", by, range=drawn.y_range) for by in (0.1, -0.34))
        pieces = drawn.hbar(
            above,
            left="left",
            right="right",
            height=0.55,
            color="colour",
            line_color=PAPER,
            line_width=0.5,
            source=self.sources["parts"],
        )
        drawn.hbar(below, left=0, right="forecast", height=0.24, source=self.sources["workers"], **FORECAST)
        tips = [("@operator", "@seconds{0.0000} s"), ("tasks", "@tasks")]
        drawn.add_tools(HoverTool(renderers=[pieces], tooltips=tips))
        return drawn

    def _rates(self) -> Any:
        drawn = _bars("What a task does, of what a core does at best", RIGHT, None)
        drawn.x_range.end = 2.0
        drawn.xaxis.axis_label_text_font_size = "11px"
        drawn.xaxis.ticker = [0.0, 0.25, 0.5, 0.75, 1.0]
        drawn.xaxis.major_label_overrides = {each / 4: f"{25 * each} %" for each in range(5)}
        source = self.sources["rates"]
        drawn.hbar("operator", left=0, right="of_best", height=0.6, color="colour", source=source)
        drawn.text(
            1.03, "operator", "rate", source=source, text_font_size="11px", text_baseline="middle", color=BEST
        )
        return drawn

    def _sent(self) -> Any:
        drawn = figure(
            title="Results that other workers read, from (rows) to (columns)",
            width=RIGHT,
            x_range=FactorRange(),
            y_range=FactorRange(),
            tools="",
            toolbar_location=None,
        )
        self.colours = LinearColorMapper(
            ["#eef3fa", "#cfdff2", "#a9c6e8", "#7fa9da", "#5b8bc9"], low=0, high=1
        )
        source = self.sources["sent"]
        fill = {"field": "bytes", "transform": self.colours}
        cells = drawn.rect("target", "source", 1, 1, source=source, fill_color=fill, line_color=PAPER)
        drawn.text(
            "target", "source", "text", source=source, text_align="center", text_baseline="middle",
            text_font_size="11px", color=BEST,
        )  # fmt: skip
        tips = [("from", "@source"), ("to", "@target"), ("", "@parts")]
        drawn.add_tools(HoverTool(renderers=[cells], tooltips=tips))
        drawn.xgrid.grid_line_color = drawn.ygrid.grid_line_color = None
        return drawn


CELLS = {
    "tasks": ("tasks", "{:,}"),
    "seconds": ("measured, s", "{:.4f}"),
    "forecast": ("forecast, s", "{:.4f}"),
    "over_forecast": ("measured / forecast", "{:.2f}"),
    "at_best": ("at best, s", "{:.4f}"),
    "of_best": ("at best / measured", "{:.0%}"),
    "gpairs": ("Gpairs/s", "{:.3f}"),
    "gflops": ("GFLOP/s", "{:.2f}"),
    "moved": ("read by other workers", "{}"),
}
"""Titles of the table's columns after the first one, and how numbers are written there."""

UNKNOWN = "\N{EN DASH}"


def html(found: columns.Columns) -> str:
    """The table of operators."""
    cell, line = "padding:3px 14px;text-align:right", "border-bottom:1px solid #ccc"
    titles = ["operator", *(title for title, _ in CELLS.values())]
    lines = [f'<tr style="{line}">{"".join(f"<th style={cell!r}>{title}</th>" for title in titles)}</tr>']
    for i, (operator, colour) in enumerate(zip(found["operator"], found["colour"], strict=True)):
        values = [(found[name][i], how) for name, (_, how) in CELLS.items()]
        texts = [UNKNOWN if value != value else how.format(value) for value, how in values]
        first = f'<td style="{cell}">{escape(operator)} <span style="color:{colour}">&#9632;</span></td>'
        lines.append(
            f'<tr style="{line}">{first}{"".join(f"<td style={cell!r}>{text}</td>" for text in texts)}</tr>'
        )
    return f'<table style="border-collapse:collapse;font-size:12px">{"".join(lines)}</table>'


def _bars(title: str, width: int, axis: str | None) -> Any:
    drawn = figure(
        title=title, width=width, y_range=FactorRange(), tools="", toolbar_location=None, x_axis_label=axis
    )
    drawn.x_range.start = 0
    drawn.ygrid.grid_line_color = None
    drawn.outline_line_color = None
    return drawn


def _legend_above(drawn: Any) -> None:
    drawn.legend.orientation = "horizontal"
    drawn.legend.border_line_color = None
    drawn.legend.padding = drawn.legend.margin = 0
    drawn.add_layout(drawn.legend[0], "above")


def _rows(drawn: Any, names: list[str]) -> None:
    """One below the other, the first at the top."""
    if list(drawn.y_range.factors) != names[::-1]:
        drawn.y_range.factors = names[::-1]
        drawn.height = FRAME + ROW * max(2, len(names))
