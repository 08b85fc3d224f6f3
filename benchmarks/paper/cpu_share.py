"""CPU time as a share of wall time for each operator: how little of an operator is waiting.

``python -m benchmarks.paper.cpu_share``. Both clocks run inside the task, in the thread that runs it: a share below
one is time in which the thread was not running: another thread held Python's lock, or the machine was busy, so the
load is printed and a load above the cores makes the shares meaningless.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

import taskfmm
from benchmarks.paper import published, report
from taskfmm.bench import evaluate, new_charges
from taskfmm.generate import cloud
from taskfmm.runtime.threads import n_cores


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@report.of_the_sphere
@report.plot_option("cpu_share.png")
def main(n: int, order: int, leaf_size: int, threads: int, seed: int, plot: Path) -> None:
    """Evaluate charges on a sphere twice, and profile the second evaluation."""
    sources, charges = cloud("sphere", n, signed=True, seed=seed)
    fmm = taskfmm.Fmm(sources, order=order, leaf_size=leaf_size)
    evaluate(fmm, new_charges(charges, 0), threads=threads)
    with taskfmm.profile() as recorded:
        evaluate(fmm, charges, threads=threads)
    found = {row["operator"]: row for row in recorded.table(by="operator")}
    shares = {name: row["cpu_per_wall"] for name, row in found.items() if name in published.CPU_MILLISECONDS}
    rows = [
        [name, found[name]["seconds"], found[name]["cpu_seconds"], f"{share:.1%}", _published(name)]
        for name, share in shares.items()
    ]
    click.echo(f"{n:,} charges on a sphere, order {order}, leaf size {leaf_size}")
    click.echo(f"{threads} threads, load {os.getloadavg()[0]:.1f} on {n_cores()} cores")
    click.echo(report.table(("operator", "wall s", "CPU s", "share", "published"), rows))
    theirs = [published.CPU_SHARES.get(name) for name in shares]
    series = {"taskfmm": list(shares.values()), "published, where below 0.97": theirs}
    report.bars(plot, list(shares), series, "CPU time / wall time")


def _published(name: str) -> str:
    return f"{published.CPU_SHARES[name]:.0%}" if name in published.CPU_SHARES else "97 to 100%"


if __name__ == "__main__":
    main()
