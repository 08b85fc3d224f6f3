"""Boundary operators of bempp-cl on a sphere, through the module exafmm of taskfmm, beside its dense matrices.

``python -m benchmarks.bempp --level 4 --order 5``, after ``pip install bempp-cl``. Seconds of a product are the least
of some; those of the dense matrix are of its assembly, once its loops are compiled.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from taskfmm.interop import exafmm

WAVENUMBERS: dict[str, tuple[float, ...]] = {"laplace": (), "helmholtz": (2.5,), "modified_helmholtz": (1.5,)}
NAMES = ("single_layer", "double_layer", "adjoint_double_layer", "hypersingular")


def least(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Seconds, and the result."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = call()
        taken.append(time.perf_counter() - started)
    return min(taken), found


def row(mode: str, name: str, space: Any, small: Any, repeats: int) -> str:
    """A line of the table.

    small : another space, on which everything is compiled
    """
    from bempp_cl.api.operators import boundary

    make = getattr(getattr(boundary, mode), name)

    def matrix(on: Any, assembler: str) -> Any:
        return make(on, on, on, *WAVENUMBERS[mode], assembler=assembler).weak_form()

    matrix(small, "dense")
    dense_seconds, dense = least(lambda: matrix(space, "dense"), 1)
    x = np.random.default_rng(11).uniform(-1, 1, dense.shape[1])
    exact = dense @ x
    first, (found, product) = least(lambda: [made := matrix(space, "fmm"), made @ x], 1)
    seconds, product = least(lambda: found @ x, repeats)
    error = np.linalg.norm(product - exact) / np.linalg.norm(exact)
    return f"{mode:<20}{name:<22}{error:>9.1e}{first:>9.2f}{seconds:>12.3f}{dense_seconds:>9.2f}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--level", type=click.IntRange(min=0), default=4, help="Of the sphere: 8 x 4^level triangles.")
@click.option("--order", type=int, default=5, help="expansion_order of bempp-cl.")
@click.option(
    "--mode", "modes", type=click.Choice(list(WAVENUMBERS)), multiple=True, default=tuple(WAVENUMBERS)
)
@click.option("--repeats", type=click.IntRange(min=1), default=5)
def main(level: int, order: int, modes: tuple[str, ...], repeats: int) -> None:
    """Relative l2 errors and seconds of the four operators, with piecewise linear functions."""
    exafmm.install()
    os.chdir(tempfile.mkdtemp())  # bempp-cl makes a folder where it runs
    import bempp_cl.api as bempp

    bempp.GLOBAL_PARAMETERS.fmm.expansion_order = order
    space, small = (bempp.function_space(bempp.shapes.regular_sphere(each), "P", 1) for each in (level, 1))
    n = space.grid.number_of_elements
    click.echo(f"{n} triangles, {6 * n} points, {space.global_dof_count} unknowns, order {order}")
    click.echo(f"{'kernel':<20}{'operator':<22}{'error':>9}{'first s':>9}{'product s':>12}{'dense s':>9}")
    for mode in modes:
        for name in NAMES:
            click.echo(row(mode, name, space, small, repeats))


if __name__ == "__main__":
    main()
