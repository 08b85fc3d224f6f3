"""The electrostatic potential at every atom of a protein in water, in the periodic box of its simulation.

``python -m taskfmm.gallery.protein`` takes cobrotoxin, a toxin of cobras, with its ions and its water, 19,385 sites,
from the test files of MDAnalysis: positions and the box from a trajectory of GROMACS, partial charges from the
topology beside it. The potential at every site is checked against the direct sum over all pairs and images; with
Matplotlib there, a picture of the potential in a plane through the protein is saved, whose pixels are targets apart
from the sources.

Units: lengths in angstrom, and charges in e / (eps0 angstrom), which is a number of volts, so that potentials are in
volts. The sum is Ewald's: its mean over the box is zero.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from scipy.spatial import KDTree

import taskfmm
from taskfmm.errors import InputError
from taskfmm.gallery.example import Draw, example, expect
from taskfmm.profiling.progress import progress

PIXEL = 0.12
"""Angstrom: ten pixels across the radius of an oxygen."""

SPAN = 10.0
"""Volts where the colours end; beyond, only the immediate surroundings of a nucleus."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A protein in its water.

    side : of the cube that is repeated, angstrom
    positions : float64 [n, 3], angstrom
    charges : float64 [n], divided by eps0 and an angstrom: volts
    is_protein : bool [n]
    """

    side: float
    positions: np.ndarray
    charges: np.ndarray
    is_protein: np.ndarray


def load() -> Solution:
    """Read the structure; needs the ``gallery`` extra."""
    try:
        import MDAnalysis
        from MDAnalysisTests.datafiles import TPR_xvf, TRR_xvf

        from taskfmm.interop.mdanalysis import VOLTS
    except ImportError as error:
        raise InputError(
            f"the protein comes with MDAnalysisTests, and {error.name} is missing: "
            'pip install "taskfmm[gallery]" (from a clone: pip install ".[gallery]")'
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bonds and units that play no part here
        universe = MDAnalysis.Universe(TPR_xvf, TRR_xvf)
        is_protein = np.zeros(len(universe.atoms), dtype=bool)
        is_protein[universe.select_atoms("protein").ix] = True
        positions = universe.atoms.positions.astype(np.float64)
        charges = universe.atoms.charges.astype(np.float64)
        side = float(universe.dimensions[0])
    # single precision left a sum of 3e-8 e
    return Solution(side, positions, VOLTS * (charges - charges.mean()), is_protein)


def evaluate(solution: Solution, eps: float) -> None:
    """The main job: the potential at every site, timed, and checked against all pairs and images."""
    started = time.perf_counter()
    fmm = taskfmm.Fmm(solution.positions, eps=eps, box=solution.side)
    planned = time.perf_counter()
    with progress():
        phi = fmm.potential(solution.charges).compute()
    evaluated = time.perf_counter()
    exact = np.asarray(taskfmm.direct(solution.positions, solution.charges, box=solution.side))
    checked = time.perf_counter()
    error = np.linalg.norm(phi - exact) / np.linalg.norm(exact)
    click.echo(f"box                 {solution.side:.3f} angstrom wide, periodic along x, y and z")
    click.echo(f"atoms               {len(phi)}, {np.count_nonzero(solution.is_protein)} of the protein")
    click.echo(f"potential           {phi.min():.1f} V to {phi.max():.1f} V")
    click.echo(f"plan                {planned - started:8.2f} s")
    click.echo(f"evaluation          {evaluated - planned:8.2f} s")
    click.echo(f"direct sum          {checked - evaluated:8.2f} s")
    click.echo(f"relative l2 error   {error:8.1e}   (at every atom, eps {eps:g})")
    expect(error <= eps, f"potentials differ from sums over all pairs by {error:.1e}, and eps is {eps:g}")


def plane(solution: Solution) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels of a plane z = constant through the middle of the protein: points (m, 3), rows and columns.

    It is as wide as the box, around the protein: what leaves the picture on one side enters on the other.
    """
    middle = solution.positions[solution.is_protein].mean(axis=0)
    n = round(solution.side / PIXEL)
    line = (np.arange(n) - (n - 1) / 2) * solution.side / n
    pixels = np.empty((n, n, 3))
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = middle[0] + line, middle[1] + line[:, None], middle[2]
    return pixels.reshape(-1, 3), (n, n)


def draw(solution: Solution, pixels: np.ndarray, volts: np.ndarray, shape: tuple[int, int]) -> Any:
    """A Matplotlib figure of the plane, with the border between what is nearer to protein and to water."""
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    tree = KDTree(solution.positions % solution.side, boxsize=solution.side)
    _, nearest = tree.query(pixels % solution.side)
    inside = solution.is_protein[nearest].reshape(shape)
    x, y = pixels[: shape[1], 0], pixels[:: shape[1], 1]
    x, y = x - x.mean(), y - y.mean()
    values, extent = volts.reshape(shape), (x[0], x[-1], y[0], y[-1])
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    axes = figure.subplots()
    norm = SymLogNorm(linthresh=1.0, vmin=-SPAN, vmax=SPAN)
    image = axes.imshow(values, norm=norm, cmap="RdBu_r", origin="lower", extent=extent)
    axes.contour(x, y, inside, levels=[0.5], colors="black", linewidths=1.1)
    axes.set(xlabel="x (Å)", ylabel="y (Å)", title="Cobrotoxin, outlined, in water")
    bar = figure.colorbar(image, ax=axes, extend="both", shrink=0.9, label="electrostatic potential (V)")
    bar.set_ticks([-10, -3, -1, 0, 1, 3, 10], labels=["−10", "−3", "−1", "0", "1", "3", "10"])
    return figure


def draw_plane(solution: Solution) -> Any:
    """A Matplotlib figure of the potential in the plane, which is evaluated for it."""
    pixels, shape = plane(solution)
    fmm = taskfmm.Fmm(solution.positions, targets=pixels, eps=1e-4, box=solution.side)
    with progress():
        volts = fmm.potential(solution.charges).compute()
    return draw(solution, pixels, volts, shape)


@example("protein.png", 1e-6, "Relative l2 error to reach.")
def main(eps: float) -> Draw:
    """The electrostatic potential at every atom of a protein in water, checked and drawn."""
    solution = load()
    evaluate(solution, eps)
    return lambda: draw_plane(solution)


if __name__ == "__main__":
    main()
