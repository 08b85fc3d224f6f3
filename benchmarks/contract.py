"""Is eps kept, and is nothing wasted? Errors of finished plans over everything that decides them.

``python -m benchmarks.contract -o contract.jsonl --plot contract.png``. For each eps (four a decade), cloud (random,
regular, and with other targets than the sources) and number of points a plan is made as a user would make it; charges
of each kind, one that outweighs all others among them, are evaluated, potential and gradient on their own, and
compared with the direct sum at random targets. A line for each result goes to the output, and a run that was stopped
goes on where it was. The order is random, so that a part is a fair sample of the whole.
"""

from __future__ import annotations

import json
import math
import time
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

SIZES = (1_000, 10_000, 100_000, 200_000)
WASTE = 30.0
"""The median error may lie this far below eps: accuracy not asked for is speed lost."""

SMALL, LEAVES = 10_000, 50
"""Up to so many points leaves have this size: the library would rather sum over all pairs, which is exact."""

LARGEST = 200
"""Errors are measured at so many targets with the largest values, too. Where one charge outweighs all others, a few
targets beside it have most of the norm, and a random sample of thousands would miss them."""

SEPARATE = {"among": 0.0, "beside": 1.5, "far": 30.0}
"""Other targets than the sources, a third as many, and how many widths of the cloud they are moved."""

USUAL = ("signed", "equal")
"""The kinds of charges whose seconds others are compared with."""

Case = tuple[float, str, int]


def ring(n: int, rng: np.random.Generator) -> np.ndarray:
    """Debris around a star: thin, wide, and in the plane of the faces of boxes."""
    angle, radius = 2 * np.pi * rng.random(n), 130 + 10 * rng.random(n)
    return np.column_stack((radius * np.cos(angle), radius * np.sin(angle), rng.standard_normal(n)))


CLOUDS = {**testing.DISTRIBUTIONS, **testing.REGULAR, "ring": ring}
NAMES = (*CLOUDS, *(f"{name} {where}" for name in ("uniform", "sphere") for where in SEPARATE))


def cases(sizes: tuple[int, ...], names: tuple[str, ...], seed: int) -> list[Case]:
    """Every eps, distribution and size, in random order."""
    found = [(e, name, n) for e in EXPONENTS for name in names for n in sizes]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def problems(name: str, n: int, rng: np.random.Generator) -> Iterator[tuple[str, Any, Any, np.ndarray]]:
    """Kinds of charges, with sources, targets and charges: plain ones, and one that outweighs all others."""
    cloud, _, where = name.partition(" ")
    points = CLOUDS[cloud](n, rng)
    targets = None
    if where:
        shift = SEPARATE[where] * np.ptp(points, axis=0).max()
        targets = CLOUDS[cloud](n // 3, rng) + shift * np.array([1.0, 0.3, 0.1])
    for kind in testing.CHARGE_KINDS:
        yield kind, points, targets, testing.charges(kind, len(points), rng)
    if cloud == "mesh":
        yield "areas", points, targets, testing.mesh_areas(n)
    if cloud == "plane_grid":
        yield "image", points, targets, 1 + np.sin(points[:, 0] / 50) * np.cos(points[:, 1] / 30)
    for place in testing.HEAVY_PLACES:
        ratio = 10.0 ** rng.uniform(0, 12)
        moved, q = testing.with_heavy(points, place, ratio, rng)
        yield f"heavy {place}", moved, targets, q


def measure(case: Case, kernel: str, n_check: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each kind of charges and output; below the floor of an output, the error that says so."""
    exponent, name, n = case
    rng = np.random.default_rng([seed, round(-4 * exponent), NAMES.index(name), n])
    eps = 10.0**exponent
    plan, planned = None, None
    for kind, points, targets, q in problems(name, n, rng):
        row = {"kernel": kernel, "exponent": exponent, "distribution": name, "n": n, "charges": kind}
        try:
            if planned is not points:
                leaf_size = LEAVES if n <= SMALL else None
                plan, planned = taskfmm.Fmm(points, targets, kernel, eps, leaf_size=leaf_size), points
        except AccuracyError as error:
            yield {**row, "refused": str(error)}
            continue
        assert plan is not None
        at = points if targets is None else targets
        found: dict[str, tuple[np.ndarray, float]] = {}
        for output in OUTPUTS:
            here = {**row, "output": output, "leaf_size": plan.leaf_size, "far": has_far_field(plan)}
            try:
                started = time.process_time()
                values = plan.evaluate(q, output)[output].compute()
                found[output] = values, time.process_time() - started
            except AccuracyError as error:
                yield {**here, "refused": str(error)}
        rows, weight = sample([values for values, _ in found.values()], n_check, rng)
        exact = taskfmm.direct(points, q, at[rows], kernel, outputs=OUTPUTS)
        for output, (values, seconds) in found.items():
            size = norm(np.asarray(exact[output]), weight)
            wrong = norm(values[rows] - np.asarray(exact[output]), weight)
            chosen = plan.accuracy(output, q)
            yield {
                **row,
                "output": output,
                "leaf_size": plan.leaf_size,
                "far": has_far_field(plan),
                "error": wrong / size if wrong else 0.0,
                "seconds": round(seconds, 4),
                "order": chosen.order,
                "cut": chosen.m2l_tol,
                "m2l_dtype": chosen.m2l_dtype,
            }


def sample(outputs: list[np.ndarray], n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Targets with the `LARGEST` values, each for itself, and ``n`` random others, each for as many as it stands for.

    Returns
    -------
    rows : int64 [m]; weight : float64 [m]
    """
    n_targets = len(outputs[0]) if outputs else 0
    size = [np.abs(values.reshape(n_targets, -1)).max(axis=1) for values in outputs]
    large = np.unique([np.argsort(values)[-LARGEST:] for values in size])
    others = np.setdiff1d(np.arange(n_targets), large)
    drawn = rng.choice(others, min(others.size, n), replace=False)
    each = others.size / max(1, drawn.size)
    return np.r_[large, drawn].astype(np.int64), np.r_[np.ones(large.size), np.full(drawn.size, each)]


def norm(values: np.ndarray, weight: np.ndarray) -> float:
    """The l2 norm over all targets, by a sample of them."""
    return float(np.sqrt(weight @ (values.reshape(len(weight), -1) ** 2).sum(axis=1)))


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
        if row.get("output") == output and row.get("far") and "error" in row:
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
        if row.get("far") and "error" in row:
            ratio = row["error"] / 10.0 ** row["exponent"]
            groups[row["output"], f"n = {row['n']:,}"].append(ratio)
            groups[row["output"], row["distribution"]].append(ratio)
            groups[row["output"], f"charges {row['charges']}"].append(ratio)
    table = [
        [output, name, len(found), f"{max(found):.2f}", f"{1 / np.median(found):.1f}"]
        for (output, name), found in sorted(groups.items())
    ]
    return report.table(("output", "results", "count", "largest error / eps", "eps / median error"), table)


def price(rows: list[dict[str, Any]]) -> str:
    """What kinds of charges cost: seconds over those of the usual ones on the same plan, medians by kind."""
    usual: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        if row.get("far") and row.get("charges") in USUAL and "seconds" in row:
            usual[row["output"], row["exponent"], row["distribution"], row["n"]].append(row["seconds"])
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        of_usual = usual.get((row.get("output"), row["exponent"], row["distribution"], row["n"]))
        if row.get("far") and "seconds" in row and of_usual and row["n"] >= 10_000:
            found[row["output"], row["charges"]].append(row["seconds"] / min(of_usual))
    table = [
        [output, kind, len(ratios), f"{np.median(ratios):.2f}", f"{np.quantile(ratios, 0.9):.2f}"]
        for (output, kind), ratios in sorted(found.items())
    ]
    return report.table(("output", "charges", "count", "median of seconds / usual", "9 of 10 below"), table)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Errors against eps: every result a dot, the medians a line, and the line that none may cross."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    for ax, output in zip(axes, OUTPUTS, strict=True):
        found = ratios(rows, output)
        for color, n in zip(("C0", "C2", "C1", "C4"), sorted({row["n"] for row in rows}), strict=False):
            dots = [
                r for r in rows if r.get("output") == output and r.get("far") and "error" in r and r["n"] == n
            ]
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
@click.option("--cloud", "names", type=click.Choice(NAMES), multiple=True, default=NAMES)
@click.option("--targets", type=click.IntRange(min=1), default=400, help="Points where errors are measured.")
@click.option("--part", type=click.FloatRange(0, 1), default=1.0, help="Of all cases; a random one.")
@click.option("--seed", type=int, default=20267)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="contract.jsonl")
@click.option("--plot", "picture", type=click.Path(dir_okay=False, path_type=Path))
def main(
    kernel: str,
    sizes: tuple[int, ...],
    names: tuple[str, ...],
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
    chosen = cases(sizes, names, seed)
    with output.open("a") as file:
        for case in tqdm(chosen[: math.ceil(part * len(chosen))], disable=None, unit="case"):
            if case not in done:
                found = list(measure(case, kernel, targets, seed))
                file.write("".join(json.dumps(row) + "\n" for row in found))
                file.flush()
                rows += found
    click.echo(by_size(rows))
    click.echo(price(rows))
    click.echo(summary(rows))
    if picture:
        plot(rows, picture)
    if any(row.get("error", 0.0) > 10.0 ** row["exponent"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
