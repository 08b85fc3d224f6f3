"""The electrostatic potential at every atom of a protein in water.

``python -m taskfmm.gallery.protein`` takes adenylate kinase, its ions and its water, 47,681 sites, from the
test files of MDAnalysis: positions from a GROMACS structure, partial charges from the topology beside it. The
potential at every site is checked against the direct sum over all pairs; with Matplotlib there, a picture of
the potential in a plane through the protein is saved, whose pixels are targets apart from the sources.

Units: lengths in angstrom and charges in elementary charges give potentials in e / angstrom, 1 / (4 pi)
included; times e / eps0 they are volts. The bare charges in vacuum are summed, without periodic images.
"""

from __future__ import annotations

import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import constants
from scipy.spatial import KDTree

import taskfmm
from taskfmm.errors import InputError
from taskfmm.profiling.progress import progress

VOLTS = constants.e / (constants.epsilon_0 * constants.angstrom)
"""Volts in one elementary charge per angstrom, divided by eps0."""

VIEW = (90.0, 54.0)
"""Width and height of the picture, in angstrom: the whole protein and the water on both sides."""

PIXEL = 0.18
"""Angstrom: ten pixels across the radius of an oxygen."""

SPAN = 10.0
"""Volts where the colours end; beyond, only the immediate surroundings of a nucleus."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A protein in its water.

    positions : float64 [n, 3], angstrom
    charges : float64 [n], elementary charges
    is_protein : bool [n]
    """

    positions: np.ndarray
    charges: np.ndarray
    is_protein: np.ndarray


def load() -> Solution:
    """Read the structure; needs the ``gallery`` extra."""
    try:
        import MDAnalysis
        from MDAnalysisTests.datafiles import GRO, TPR
    except ImportError as error:
        raise InputError(
            f"the protein comes with MDAnalysisTests, and {error.name} is missing: "
            'pip install "taskfmm[gallery]" (from a clone: pip install ".[gallery]")'
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bonds and units that play no part here
        universe = MDAnalysis.Universe(TPR, GRO)
        is_protein = np.zeros(len(universe.atoms), dtype=bool)
        is_protein[universe.select_atoms("protein").ix] = True
        positions = universe.atoms.positions.astype(np.float64)
        charges = universe.atoms.charges.astype(np.float64)
    return Solution(positions, charges, is_protein)


def evaluate(solution: Solution, eps: float) -> None:
    """The main job: the potential at every site, timed, and checked against all pairs."""
    started = time.perf_counter()
    fmm = taskfmm.Fmm(solution.positions, eps=eps)
    planned = time.perf_counter()
    with progress():
        phi = fmm.potential(solution.charges).compute()
    evaluated = time.perf_counter()
    exact = np.asarray(taskfmm.direct(solution.positions, solution.charges))
    checked = time.perf_counter()
    error = np.linalg.norm(phi - exact) / np.linalg.norm(exact)
    low, high = VOLTS * phi.min(), VOLTS * phi.max()
    click.echo(f"atoms               {len(phi)}, {np.count_nonzero(solution.is_protein)} of the protein")
    click.echo(f"potential           {low:.1f} V to {high:.1f} V")
    click.echo(f"plan                {planned - started:8.2f} s")
    click.echo(f"evaluation          {evaluated - planned:8.2f} s")
    click.echo(f"direct sum          {checked - evaluated:8.2f} s")
    click.echo(f"relative l2 error   {error:8.1e}   (at every atom, eps {eps:g})")


def plane(solution: Solution) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels of a plane z = constant through the middle of the protein: points (m, 3), rows and columns."""
    middle = solution.positions[solution.is_protein].mean(axis=0)
    width, height = (round(extent / PIXEL) for extent in VIEW)
    x = middle[0] + (np.arange(width) - (width - 1) / 2) * PIXEL
    y = middle[1] + (np.arange(height) - (height - 1) / 2) * PIXEL
    pixels = np.empty((height, width, 3))
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = x, y[:, None], middle[2]
    return pixels.reshape(-1, 3), (height, width)


def draw(solution: Solution, pixels: np.ndarray, volts: np.ndarray, shape: tuple[int, int]) -> Any:
    """A Matplotlib figure of the plane, with the border between what is nearer to protein and to water."""
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    _, nearest = KDTree(solution.positions).query(pixels)
    inside = solution.is_protein[nearest].reshape(shape)
    x, y = pixels[: shape[1], 0], pixels[:: shape[1], 1]
    x, y = x - x.mean(), y - y.mean()
    values, extent = volts.reshape(shape), (x[0], x[-1], y[0], y[-1])
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    axes = figure.subplots()
    norm = SymLogNorm(linthresh=1.0, vmin=-SPAN, vmax=SPAN)
    image = axes.imshow(values, norm=norm, cmap="RdBu_r", origin="lower", extent=extent)
    axes.contour(x, y, inside, levels=[0.5], colors="black", linewidths=1.1)
    axes.set(xlabel="x (Å)", ylabel="y (Å)", title="Adenylate kinase, outlined, in water")
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.9, label="electrostatic potential (V)")
    bar.set_ticks([-10, -3, -1, 0, 1, 3, 10], labels=["−10", "−3", "−1", "0", "1", "3", "10"])
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a PNG of 256 colours, a third of the size of the full one."""
    from PIL import Image

    with io.BytesIO() as full:
        figure.savefig(full, format="png", dpi=100)
        small = Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, format="png", optimize=True)


def picture(solution: Solution, path: Path) -> None:
    """Evaluate the potential in the plane and save the picture, if Matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        click.echo('no picture: pip install "taskfmm[viz]" for Matplotlib')
        return
    pixels, shape = plane(solution)
    fmm = taskfmm.Fmm(solution.positions, targets=pixels, eps=1e-4)
    with progress():
        volts = VOLTS * fmm.potential(solution.charges).compute()
    save(draw(solution, pixels, volts, shape), path)
    click.echo(f"picture             {path} ({len(pixels)} targets)")


@click.command()
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="protein.png")
@click.option("--eps", type=float, default=1e-6, show_default=True, help="Relative l2 error to reach.")
def main(output: Path, eps: float) -> None:
    """The electrostatic potential at every atom of a protein in water, checked and drawn."""
    try:
        solution = load()
        evaluate(solution, eps)
        picture(solution, output)
    except InputError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
