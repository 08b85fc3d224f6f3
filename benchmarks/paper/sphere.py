"""A million charges on a sphere, order 6, at most 150 points a leaf: our times beside the published ones.

``python -m benchmarks.paper.sphere``. Published on 32 cores, where the evaluation is parallel inside operators;
CPU milliseconds are summed over threads. Our W and X entries go directly to the near field where a box has fewer
points than a surface, so M2P and P2L shrink, here to nothing, and the near field grows.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

import taskfmm
from benchmarks.paper import published, report
from taskfmm import bench
from taskfmm.generate import cloud
from taskfmm.tree import lists


def mean_sizes(fmm: taskfmm.Fmm) -> dict[str, float]:
    """Mean sizes of the lists as the tree has them: U and W a leaf, V and X a box.

    W and X are duals, so their sums are equal and the means differ by what they are taken over.
    """
    tree = fmm.plan.tree
    found = lists.build(tree)
    n_leaves = int(tree.is_leaf.sum())
    over = {"u": n_leaves, "v": tree.n_boxes, "w": n_leaves, "x": tree.n_boxes}
    return {name: getattr(found, name).idx.size / n for name, n in over.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@report.of_the_sphere
@report.plot_option("sphere.png")
def main(n: int, order: int, leaf_size: int, threads: int, seed: int, plot: Path) -> None:
    """Plan and evaluate the published case; print both columns."""
    sources, charges = cloud("sphere", n, signed=True, seed=seed)
    started = time.perf_counter()
    taskfmm.Fmm(sources[:3000], order=order, leaf_size=leaf_size)
    operator_seconds = time.perf_counter() - started
    started = time.perf_counter()
    fmm = taskfmm.Fmm(sources, order=order, leaf_size=leaf_size)
    plan_seconds = time.perf_counter() - started
    found = bench.timed_evaluations(fmm, charges, threads=threads)
    sizes = mean_sizes(fmm)

    click.echo(
        f"{n:,} charges on a sphere, order {order}, leaf size {leaf_size}; ours: {threads} threads, theirs: 32"
    )
    rows = [
        ["evaluation, s", found["evaluation_seconds"], published.EVALUATION_SECONDS],
        ["plan (theirs: precompute), s", plan_seconds, published.PRECOMPUTE_SECONDS],
        ["operators, made or read, s", operator_seconds, None],
        ["relative l2 error", found["errors"]["potential"], None],
    ]
    names = list(published.CPU_MILLISECONDS)
    ours = {name: 1e3 * found["operators"].get(name, {}).get("cpu_seconds", 0.0) for name in names}
    rows += [[f"{name}, CPU ms", ours[name], published.CPU_MILLISECONDS[name]] for name in names]
    rows += [[f"mean |{name.upper()}|", sizes[name], value] for name, value in published.LIST_SIZES.items()]
    click.echo(report.table(("", "ours", "published"), rows))
    both = {"taskfmm": [ours[name] for name in names], "published": list(published.CPU_MILLISECONDS.values())}
    report.bars(plot, names, both, "CPU time (ms)", log=True)


if __name__ == "__main__":
    main()
