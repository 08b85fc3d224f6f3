"""Time plans and evaluations over kernels, shapes, sizes and accuracies, beside the rates of a core and other codes.

``python -m benchmarks.evaluate --n 1e5 --n 1e6 --eps 1e-6 --shape cube --threads 1``. Every case runs in a
fresh process; one that fails or takes too long is reported and the others go on. See benchmarks/README.md.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks import fresh, machine, peers
from benchmarks.problem import label, with_kernel

COLUMNS = (
    f"{'code':<14}{'kernel, sources: outputs':<32} {'shape':<8}{'N':>9} {'eps':>7} {'thr':>3} {'operators s':>11} "
    f"{'plan s':>8} {'eval s':>8} {'error':>8} {'pairs':>8} {'FLOP':>8} {'Gpair/s':>7} {'GFLOP/s':>7} {'B/point':>8} "
    f"{'tasks':>6} {'outside':>7} {'order':>5} {'leaf':>5}"
)

RATIOS = (
    f"{'kernel':<20} {'sources':<18} {'outputs':<36} {'shape':<8}{'N':>9} {'eps':>7} {'thr':>3} {'peer':<14} "
    f"{'its s':>8} {'eval s':>8} {'/ eval':>7} {'/ plan + eval':>13} {'its error':>9} {'error':>8}"
)


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    head = (
        f"{found['code']:<14}{label(found):<32} {found['shape']:<8}{found['n']:>9.3g} {found['eps']:>7.0e} "
        f"{found['threads']:>3}"
    )
    if "missing" in found:
        return f"{head} {'-':>11} {'-':>8} {'-':>8} {'-':>8}"
    if "failed" in found:
        return f"{head} failed: {found['failed'][:90]}"

    def shown(name: str, form: str) -> str:
        value = found.get(name)
        return "-" if value is None else format(value, form)

    return (
        f"{head} {shown('operator_seconds', '.3f'):>11} {found['plan_seconds']:>8.3f} "
        f"{found['evaluation_seconds']:>8.3f} {max(found['errors'].values()):>8.1e} "
        f"{found['pairs_a_point']:>8.0f} {found['flops_a_point']:>8.0f} {found['pair_rate']:>7.2f} "
        f"{found['gemm_rate']:>7.1f} {found['bytes_a_point']:>8.0f} {shown('tasks', 'd'):>6} "
        f"{shown('outside', '.1%'):>7} {shown('order', 'd'):>5} {shown('leaf_size', 'd'):>5}"
    )


def operator_rows(results: list[dict[str, Any]]) -> list[str]:
    """Seconds by operator of every case of ours, side by side, below it what part they would take at best."""
    ours = [found for found in results if "operators" in found]
    names = list(dict.fromkeys(name for found in ours for name in found["operators"]))
    head = f"{'seconds in':<54}" + "".join(f"{name:>10.9}" for name in names)
    lines = [head] if ours else []
    for found in ours:
        case = f"{label(found)} {found['shape']} {found['n']:.3g} {found['eps']:.0e} x{found['threads']}"
        seconds = (found["operators"].get(name, {}).get("seconds", 0.0) for name in names)
        lines.append(f"{case:<54}" + "".join(f"{value:>10.4f}" for value in seconds))
        parts = (
            row["least_cpu_seconds"] / max(row["cpu_seconds"], 1e-9) if row else 0.0
            for row in (found["operators"].get(name) for name in names)
        )
        lines.append(f"{'':<54}" + "".join(f"{part:>10.0%}" for part in parts))
    return lines


def ratio_rows(results: list[dict[str, Any]]) -> list[str]:
    """Seconds of the peers for points and charges, over ours for charges, and over ours for both."""
    lines = []
    for _, of_case in itertools.groupby(results, _same):
        found = {each["code"]: each for each in of_case}
        ours = found.pop("taskfmm")
        for peer, its in found.items():
            kernel = " ".join((ours["kernel"], *ours["parameters"]))
            names = (",".join(ours[each]) for each in ("sources", "outputs"))
            head = "{:<20} {:<18} {:<36} ".format(kernel, *names)
            head += f"{ours['shape']:<8}{ours['n']:>9.3g} {ours['eps']:>7.0e} {ours['threads']:>3} {peer:<14}"
            if "errors" not in its or "errors" not in ours:
                lines.append(f"{head} {'-':>8}")
                continue
            seconds, own = its["plan_seconds"] + its["evaluation_seconds"], ours["evaluation_seconds"]
            errors = (max(each["errors"].values()) for each in (its, ours))
            lines.append(
                f"{head} {seconds:>8.3f} {own:>8.3f} {seconds / own:>7.1f} "
                f"{seconds / (ours['plan_seconds'] + own):>13.1f} {{:>9.1e}} {{:>8.1e}}".format(*errors)
            )
    return [RATIOS, *lines] if lines else []


def _same(found: dict[str, Any]) -> list[Any]:
    """What the case of a result has in common with those of the other codes."""
    return [
        found[name] for name in ("kernel", "parameters", "sources", "outputs", "shape", "n", "eps", "threads")
    ]


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@with_kernel
@click.option("--shape", "shapes", multiple=True, default=("cube", "sphere", "plummer"))
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**5, 10**6), help="Points.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-3, 1e-6, 1e-9, 1e-12))
@click.option("--threads", type=click.IntRange(min=1), multiple=True, default=(1, 2))
@click.option("--order", type=int, help="Order, instead of the one that eps chooses.")
@click.option("--leaf-size", type=int, help="Leaf size, instead of the chosen one.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Evaluations; the median counts.")
@click.option("--seed", type=int, default=20240611, help="Of clouds and charges.")
@click.option(
    "--peer", "chosen_peers", type=click.Choice(list(peers.PEERS)), multiple=True, help="All installed."
)
@click.option("--no-peers", is_flag=True, help="Only taskfmm.")
@click.option("--timeout", type=float, default=900.0, help="Seconds a case may take.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="evaluate.json")
def main(
    wanted: list[dict[str, Any]],
    shapes: tuple[str, ...],
    sizes: tuple[int, ...],
    accuracies: tuple[float, ...],
    threads: tuple[int, ...],
    order: int | None,
    leaf_size: int | None,
    repeats: int,
    seed: int,
    chosen_peers: tuple[str, ...],
    no_peers: bool,
    timeout: float,
    output: Path,
) -> None:
    """Time plan and evaluation of new charges for every combination of the options; writes JSON."""
    codes = ["taskfmm", *([] if no_peers else chosen_peers or peers.installed())]
    facts = machine.facts()
    blas = ", ".join(sorted({str(library["architecture"]) for library in facts["blas"]})) or "none found"
    click.echo(
        f"{facts['cpu']}, {facts['cores']} cores, BLAS kernels {blas}, load {facts['load_average'][0]:.1f}"
    )
    click.echo(f"\n{COLUMNS}")
    report: dict[str, Any] = {"machine": facts, "started": time.strftime("%Y-%m-%d %H:%M:%S"), "cases": []}
    combinations = itertools.product(wanted, shapes, sizes, accuracies, threads, codes)
    for problem, shape, n, eps, n_threads, code in combinations:
        case = {"code": code, **problem, "shape": shape, "n": n, "eps": eps, "threads": n_threads}
        case |= {"order": order, "leaf_size": leaf_size, "repeats": repeats, "seed": seed}
        if code == "taskfmm" or peers.offers(code, case):
            found = fresh.run("benchmarks.case", case, timeout)
        else:
            found = case | {"missing": True}
        click.echo(row(found))
        report["cases"].append(found)
        output.write_text(json.dumps(report, indent=1))
    for table in (operator_rows(report["cases"]), ratio_rows(report["cases"])):
        click.echo("\n" + "\n".join(table))
    click.echo(f"\nwritten to {output}")


if __name__ == "__main__":
    main()
