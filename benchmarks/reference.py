"""The rates that bound everything: what this machine does in loops over pairs, matrix products and copies.

An operator cannot beat the rate it is made of, so these say what bounds a timing, see `taskfmm.bounds`. One core.
"""

from __future__ import annotations

import json

import click

from benchmarks import machine
from taskfmm import bounds
from taskfmm.kernels.roots import ENOUGH

SHAPES = ((1024, 1024, 1024), (128, 150, 25))
"""Of products: large, and of the size that M2L makes."""


def pairs(seconds: float) -> dict[str, float]:
    """Gpairs/s; loops that serve both sides count a pair for each of them."""
    found = {}
    for output in ("potential", "gradient"):
        for eps in (0.0, ENOUGH):
            one, two = bounds.pairs(output, eps, seconds)
            found[f"{output}, one-sided, roots for eps of {eps:g} on"] = 1e-9 / one
            found[f"{output}, both sides at once, for eps of {eps:g} on"] = 2e-9 / two
    return found


def gemm(seconds: float) -> dict[str, float]:
    """GFLOP/s of matrix products."""
    return {
        f"{dtype} {m} x {k} x {n}": 2e-9 / bounds.product(m, k, n, dtype, seconds)
        for dtype in ("float64", "float32")
        for m, k, n in SHAPES
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--seconds", type=float, default=0.5, help="For each rate.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(seconds: float, as_json: bool) -> None:
    """Measure loops over pairs, products and copies on one core."""
    copied = bounds.measure(seconds=seconds).as_rates()["copy_rate"]
    found = {
        "machine": machine.facts(),
        "pairs": pairs(seconds),
        "gemm": gemm(seconds),
        "memory": {"copies": copied},
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    facts = found["machine"]
    click.echo(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_average'][0]:.1f}")
    for library in facts["blas"]:
        click.echo(
            f"BLAS {library['internal_api']} {library['version']}, kernels for {library['architecture']}"
        )
    for title, unit in (("pairs", "Gpairs/s"), ("gemm", "GFLOP/s"), ("memory", "GB/s")):
        click.echo(f"\n{unit}")
        for name, rate in found[title].items():
            click.echo(f"  {name:<54} {rate:8.2f}")


if __name__ == "__main__":
    main()
