"""M2L alone, in each precision: CPU seconds of one core, and what they are of matrix products.

The works are those of the finest level of a filled cube, the expansions are random numbers.
"""

from __future__ import annotations

import time

import click
import numpy as np

import taskfmm
from benchmarks import machine
from taskfmm.kernels import KERNELS
from taskfmm.operators import levels
from taskfmm.operators.accuracy import MIXED, Accuracy
from taskfmm.runtime.threads import one_blas_thread

CHOICES = ((4, 3e-4), (8, 2e-7), (12, 2e-10), (17, 1e-13))
"""Orders, and the cuts that go with them for potentials of many charges at 1e-3, 1e-6, 1e-9 and 1e-12."""

WORKS = 6


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--n", type=int, default=300_000, help="Points.")
@click.option("--leaf-size", type=int, default=110, help="110 leaves all of 300,000 points at one level.")
@click.option("--repeats", type=int, default=4)
def main(n: int, leaf_size: int, repeats: int) -> None:
    """Time M2L of some shards."""
    kernel, rng = KERNELS["laplace"].of_first, np.random.default_rng(5)
    plan = taskfmm.Fmm(rng.random((n, 3)), eps=1e-9, leaf_size=leaf_size).plan
    assert plan is not None
    works, pairs, first = [], [], int(plan.tree.level_ptr[len(plan.far) - 1])
    for shard in plan.far[-1][:WORKS]:
        assert shard.m2l is not None
        works.append(shard.m2l)
        pairs.append(float(np.diff(plan.lists.v.ptr[[first, first + shard.n_boxes]])[0]))
        first += shard.n_boxes
    click.echo(f"{machine.facts()['cpu']}; {len(works)} shards of {works[0].n_rows} boxes")
    click.echo("order      cut  precision  numbers  CPU ms  GFLOP/s")
    for order, cut in CHOICES:
        for precision in ("float64", MIXED, "float32"):
            form = levels.load(kernel, Accuracy(order, cut, cut, precision)).m2l
            k = form.source_parity.shape[1]
            took = np.full((repeats, len(works)), np.inf)
            operations = 0.0
            for i in range(repeats):
                for j, work in enumerate(works):
                    expansions = rng.standard_normal((work.halo.rows.size, 1, k)).astype(form.dtype)
                    with one_blas_thread():
                        started = time.thread_time()
                        form.translate(work, form.prepare(expansions), 1)
                        took[i, j] = time.thread_time() - started
                    if not i:
                        counted = form.counts(pairs[j], work.target.size, np.diff(work.code_ptr, axis=1))
                        operations += 2 * sum(c for name, c in counted.items() if "multiply_add" in name)
            seconds = took.min(axis=0).sum()
            rate = operations / seconds / 1e9
            click.echo(f"{order:5d} {cut:8.0e} {precision:>10} {k:8d} {1e3 * seconds:7.1f} {rate:8.1f}")


if __name__ == "__main__":
    main()
