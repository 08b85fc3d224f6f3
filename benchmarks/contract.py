"""Is eps kept, and is nothing wasted? Errors of finished plans over everything that decides them.

``python -m benchmarks.contract -o contract.jsonl --plot contract.png``. For each eps (four a decade), distribution
(regular grids are one more) and number of points a plan is made as a user would make it; charges of each kind are
evaluated, potential and gradient on their own, and compared with the direct sum at random targets. A line for each
result goes to the output, and a run that was stopped goes on where it was. The order is random, so that a part is a
fair sample of the whole.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

import taskfmm
from benchmarks.paper import report
from taskfmm import testing
from taskfmm.errors import AccuracyError
from taskfmm.kernels import KERNELS

OUTPUTS = ("potential", "gradient")
EXPONENTS = tuple(-2.0 - i / 4 for i in range(41))
"""Of eps: 1e-2 to 1e-12, four a decade."""

SIZES = (1_000, 10_000, 100_000)
WASTE = 30.0
"""The median error may lie this far below eps: accuracy not asked for is speed lost."""

Case = tuple[float, str, int]


def grid(n: int, rng: np.random.Generator) -> np.ndarray:
    """About ``n`` points, open or closed."""
    return testing.grid(round(n ** (1 / 3)), bool(rng.integers(2)))


CLOUDS = {**testing.DISTRIBUTIONS, "grid": grid}


def cases(kernel: str, sizes: tuple[int, ...], seed: int) -> list[Case]:
    """Every eps, distribution and size, in random order."""
    found = [(e, name, n) for e in EXPONENTS for name in CLOUDS for n in sizes]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def measure(case: Case, kernel: str, n_check: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each kind of charges and output; below the floor of an output, the error that says so."""
    exponent, name, n = case
    rng = np.random.default_rng([seed, round(-4 * exponent), list(CLOUDS).index(name), n])
    points = CLOUDS[name](n, rng)
    eps = 10.0**exponent
    row = {"kernel": kernel, "exponent": exponent, "distribution": name, "n": n}
    try:
        fmm = taskfmm.Fmm(points, kernel=kernel, eps=eps)
    except AccuracyError as error:
        yield {**row, "refused": str(error)}
        return
    rows = rng.choice(len(points), min(len(points), n_check), replace=False)
    for kind in testing.CHARGE_KINDS:
        q = testing.charges(kind, len(points), rng)
        exact = taskfmm.direct(points, q, points[rows], kernel, outputs=OUTPUTS)
        for output in OUTPUTS:
            here = {**row, "charges": kind, "output": output}
            try:
                found = fmm.evaluate(q, output)[output].compute()[rows]
            except AccuracyError as error:
                yield {**here, "refused": str(error)}
                continue
            size = float(np.linalg.norm(exact[output]))
            wrong = float(np.linalg.norm(found - np.asarray(exact[output])))
            facts = {
                "order": fmm.accuracy(output).order,
                "leaf_size": fmm.leaf_size,
                "far": has_far_field(fmm),
            }
            yield {**here, "error": wrong / size if wrong else 0.0, **facts}


def has_far_field(fmm: taskfmm.Fmm) -> bool:
    """Whether anything is approximated: a small cloud, or one of few boxes, is summed directly."""
    return fmm.plan is not None and any(shard.l2p or shard.m2p for shards in fmm.plan.far for shard in shards)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows so far; a last line that was cut short is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def ratios(rows: list[dict[str, Any]], output: str) -> dict[float, list[float]]:
    """error / eps by the exponent of eps, of results that have a far field."""
    found: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        if row.get("output") == output and row.get("far"):
            found[row["exponent"]].append(row["error"] / 10.0 ** row["exponent"])
    return dict(sorted(found.items(), reverse=True))


def summary(rows: list[dict[str, Any]]) -> str:
    """What was kept: for each output, and for both together, the worst and the median ratio of error and eps."""
    lines = []
    found = {output: [r for group in ratios(rows, output).values() for r in group] for output in OUTPUTS}
    for name, every in {**found, "both": [r for group in found.values() for r in group]}.items():
        if every:
            lines.append(
                f"{name:<10} {len(every):>6} results, {sum(r > 1 for r in every)} above eps, "
                f"largest {max(every):.2f} eps, median eps / {1 / np.median(every):.1f}"
            )
    broken = [row for row in rows if row.get("error", 0.0) > 10.0 ** row["exponent"]]
    lines += [f"above eps: {json.dumps(row)}" for row in broken]
    return "\n".join(lines)


def by_size(rows: list[dict[str, Any]]) -> str:
    """Worst and median by output and number of points, and by distribution."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.get("far"):
            ratio = row["error"] / 10.0 ** row["exponent"]
            groups[row["output"], f"n = {row['n']:,}"].append(ratio)
            groups[row["output"], row["distribution"]].append(ratio)
    table = [
        [output, name, len(found), f"{max(found):.2f}", f"{1 / np.median(found):.1f}"]
        for (output, name), found in sorted(groups.items())
    ]
    return report.table(("output", "results", "count", "largest error / eps", "eps / median error"), table)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Errors against eps: every result a dot, the medians a line, and the line that none may cross."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for ax, output in zip(axes, OUTPUTS, strict=True):
        found = ratios(rows, output)
        for color, n in zip(("C0", "C2", "C1"), sorted({row["n"] for row in rows}), strict=False):
            dots = [r for r in rows if r.get("output") == output and r.get("far") and r["n"] == n]
            eps = [10.0 ** row["exponent"] for row in dots]
            ax.loglog(
                eps, [row["error"] for row in dots], ".", ms=3, alpha=0.5, color=color, label=f"N = {n:,}"
            )
        eps = [10.0**exponent for exponent in found]
        medians = [np.median(found[e]) * 10.0**e for e in found]
        ax.loglog(eps, medians, "-", color="black", lw=1.5, label="median")
        ax.loglog(eps, eps, "--", color="crimson", lw=1.2, label="eps")
        ax.loglog(eps, [e / WASTE for e in eps], ":", color="grey", lw=1.2, label=f"eps / {WASTE:.0f}")
        ax.set(title=output, xlabel="eps asked for", ylim=(1e-16, 1e-1))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("relative l2 error at random targets")
    axes[0].legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--kernel", type=click.Choice([k for k in KERNELS if k != "one"]), default="laplace")
@click.option("--size", "sizes", type=click.IntRange(min=2), multiple=True, default=SIZES, help="Points.")
@click.option("--targets", type=click.IntRange(min=1), default=400, help="Points where errors are measured.")
@click.option("--part", type=click.FloatRange(0, 1), default=1.0, help="Of all cases; a random one.")
@click.option("--seed", type=int, default=20267)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="contract.jsonl")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path))
def main(
    kernel: str,
    sizes: tuple[int, ...],
    targets: int,
    part: float,
    seed: int,
    output: Path,
    picture: Path | None,
) -> None:
    """Measure, or go on measuring; print what was kept and what was not."""
    rows = read(output)
    output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = {(row["exponent"], row["distribution"], row["n"]) for row in rows if row["kernel"] == kernel}
    chosen = cases(kernel, sizes, seed)
    with output.open("a") as file:
        for case in tqdm(chosen[: math.ceil(part * len(chosen))], disable=None, unit="case"):
            if case not in done:
                found = list(measure(case, kernel, targets, seed))
                file.write("".join(json.dumps(row) + "\n" for row in found))
                file.flush()
                rows += found
    click.echo(by_size(rows))
    click.echo(summary(rows))
    if picture:
        plot(rows, picture)
    if any(row.get("error", 0.0) > 10.0 ** row["exponent"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
