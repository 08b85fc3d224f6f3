"""What a table shows: time, error, memory and speed-up, a picture each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.batches.run import Record
from benchmarks.batches.table import scheduler_of

SIZE = (4.2, 3.6)
"""Inches of a panel."""

DPI = 150
MARKERS = "osD^vP"

Line = dict[float, float]


def draw(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw what the cases that were done allow; gives the files, none without Matplotlib or without cases.

    Where kernels, outputs or schedulers differ, each combination has pictures of its own, named by it.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record["state"] == "done":
            groups[f"{record['kernel']}-{record['outputs']}-{scheduler_of(record)}"].append(record)
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    pictures: dict[str, Callable[[Any, list[Record]], bool]] = {
        "time": _time,
        "error": _error,
        "memory": _memory,
        "speedup": _speedup,
    }
    written = []
    for (group, alike), (name, picture) in product(groups.items(), pictures.items()):
        figure = Figure(layout="constrained", dpi=DPI)
        if picture(figure, alike):
            written.append(folder / (f"{name}-{group}.png" if len(groups) > 1 else f"{name}.png"))
            figure.savefig(written[-1])
    return written


def _split(record: Record) -> str:
    """Workers x Dask threads x Numba threads; one worker goes without saying."""
    split = f"{record['dask_threads']} x {record['numba_threads']}"
    return split if record["workers"] == 1 else f"{record['workers']} x {split}"


def _cores(record: Record) -> int:
    return record["workers"] * record["dask_threads"] * record["numba_threads"]


def _lines(
    records: Iterable[Record], by: Callable[[Record], Any], x: Callable[[Record], float], y: str
) -> dict[Any, Line]:
    """Curves of the medians over seeds."""
    found: dict[Any, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        found[by(record)][x(record)].append(record[y])
    return {key: {at: median(ys) for at, ys in sorted(line.items())} for key, line in found.items()}


def _colours(values: Iterable[Any]) -> dict[Any, Any]:
    """A colour for each value, dark to light in the order given."""
    from matplotlib import colormaps

    values = list(values)
    return {value: colormaps["viridis"](0.85 * i / max(1, len(values) - 1)) for i, value in enumerate(values)}


def _panels(figure: Any, records: list[Record]) -> dict[str, Any]:
    """A panel for each distribution, side by side with one scale."""
    names = sorted({record["distribution"] for record in records})
    figure.set_size_inches(SIZE[0] * len(names) + 1.6, SIZE[1])
    axes = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name)
        ax.grid(True, which="major", alpha=0.3)
    return dict(zip(names, axes, strict=True))


def _legend(figure: Any, ax: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)


def _against_size(figure: Any, records: list[Record], y: str, label: str) -> dict[str, Any]:
    """Curves over N: colour by eps, a panel for each distribution; full lines for the fewest threads, dashed ones
    for the most. What lies between is for the speed-up to show."""
    splits = sorted({(_cores(record), record["dask_threads"], _split(record)) for record in records})
    dashes = dict(zip(dict.fromkeys(splits[at][-1] for at in (0, -1)), ("-", "--"), strict=False))
    records = [record for record in records if _split(record) in dashes]
    panels = _panels(figure, records)
    colours = _colours(sorted({record["eps"] for record in records}, reverse=True))
    for name, ax in panels.items():
        ours = [record for record in records if record["distribution"] == name]
        lines = _lines(ours, lambda record: (record["eps"], _split(record)), lambda record: record["n"], y)
        for (eps, split), line in lines.items():
            ax.plot(list(line), list(line.values()), dashes[split], color=colours[eps], marker="o", ms=3.5)
        ax.set_xscale("log")
        ax.set_xlabel("points N")
    first = next(iter(panels.values()))
    first.set_ylabel(label)
    for eps, colour in colours.items():
        first.plot([], [], color=colour, label=f"eps {eps:.0e}")
    for split, dash in dashes.items():
        first.plot([], [], dash, color="0.3", label=f"{split} threads")
    return panels


def _time(figure: Any, records: list[Record]) -> bool:
    panels = _against_size(figure, records, "evaluation_seconds", "seconds an evaluation")
    sizes = sorted({record["n"] for record in records})
    low = min(record["evaluation_seconds"] / record["n"] for record in records)
    for ax in panels.values():
        ax.set_yscale("log")
        ax.plot(sizes, [0.5 * low * n for n in sizes], color="0.7", lw=1, zorder=0, label="proportional to N")
    _legend(figure, next(iter(panels.values())))
    return True


def _memory(figure: Any, records: list[Record]) -> bool:
    panels = _against_size(figure, records, "bytes_a_point", "peak bytes a point, plan and evaluation")
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for ax in panels.values():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    _legend(figure, next(iter(panels.values())))
    return True


def _error(figure: Any, records: list[Record]) -> bool:
    figure.set_size_inches(SIZE[0] + 1.9, SIZE[1] + 0.6)
    ax = figure.subplots()
    names = sorted({record["distribution"] for record in records})
    for i, name in enumerate(names):
        points = [(r["eps"], r["error"]) for r in records if r["distribution"] == name and r["error"] > 0]
        if points:
            # hollow and each inside the other, so that none hides another
            size = 9.0 - 5.0 * i / max(1, len(names) - 1)
            ax.plot(*zip(*points, strict=True), MARKERS[i % len(MARKERS)], ms=size, mfc="none", label=name)
    ends = [min(r["eps"] for r in records) / 3, max(r["eps"] for r in records) * 3]
    ax.plot(ends, ends, color="0.3", lw=1, label="error = eps")
    ax.set(xscale="log", yscale="log", xlabel="eps asked for", ylabel="relative l2 error measured")
    ax.grid(True, alpha=0.3)
    _legend(figure, ax)
    return True


def _speedup(figure: Any, records: list[Record]) -> bool:
    """Of the largest N of each distribution and eps that ran on several numbers of cores."""

    def problem(record: Record) -> tuple[Any, ...]:
        return record["distribution"], record["eps"], record["n"]

    cores: dict[Any, set[int]] = defaultdict(set)
    for record in records:
        cores[problem(record)].add(_cores(record))
    largest: dict[Any, int] = {}
    for (name, eps, n), counts in cores.items():
        if len(counts) > 1:
            largest[name, eps] = max(n, largest.get((name, eps), 0))
    chosen = [record for record in records if largest.get(problem(record)[:2]) == record["n"]]
    if not chosen:
        return False
    panels = _panels(figure, chosen)
    colours = _colours(sorted({record["eps"] for record in chosen}, reverse=True))
    splits = sorted({(_cores(record), _split(record)) for record in chosen})
    shapes = {split: MARKERS[i % len(MARKERS)] for i, (_, split) in enumerate(splits)}
    most = max(map(_cores, chosen))
    for name, ax in panels.items():
        ours = [record for record in chosen if record["distribution"] == name]
        lines = _lines(ours, lambda r: (*problem(r), _split(r)), _cores, "evaluation_seconds")
        for key in dict.fromkeys(map(problem, ours)):
            points = [(x, y, k[-1]) for k, line in lines.items() if k[:-1] == key for x, y in line.items()]
            fewest = min(x for x, _, _ in points)
            base = min(y for x, y, _ in points if x == fewest)
            best = {
                x: max(base / y for at, y, _ in points if at == x) for x in sorted({p[0] for p in points})
            }
            ax.plot(list(best), list(best.values()), color=colours[key[1]])
            for x, y, split in points:
                ax.plot(x, base / y, shapes[split], color=colours[key[1]], ms=5)
        ax.plot([1, most], [1, most], color="0.7", lw=1, zorder=0, label="ideal")
        ax.set_xlabel("threads in all")
        ax.xaxis.get_major_locator().set_params(integer=True)
        sizes = sorted({record["n"] for record in ours})
        ax.set_title(f"{name}, N = {', '.join(format(n, '.0e') for n in sizes)}")
    first = next(iter(panels.values()))
    first.set_ylabel("speed-up of an evaluation")
    for eps, colour in colours.items():
        first.plot([], [], color=colour, label=f"eps {eps:.0e}")
    for split, shape in shapes.items():
        first.plot([], [], shape, color="0.3", label=f"{split} threads")
    _legend(figure, first)
    return True
