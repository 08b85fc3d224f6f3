"""The capacitance matrix of eight spheres: eight vectors of charges at once on one plan.

``python -m taskfmm.gallery.vectors`` holds each of eight conducting spheres at the potential 1 in its turn, and the
others at 0. The charges C[k, l] of sphere k when sphere l has the potential 1 are the capacitance matrix. The eight
systems of equations have one matrix, so one plan serves all of them, and each product takes all vectors together. The
capacitance matrix has to be symmetric, and that of two spheres has to be the one of Maxwell, by the series of images.
The time for a vector among eight and for one alone is printed as a ratio; with Matplotlib there, a picture of charges
and matrix is saved.

Two spheres of the radii a and b, their middles c apart, with cosh t = (c^2 - a^2 - b^2) / (2 a b), have

    C11 = sum over n >= 0 of a b sinh t / (a sinh n t + b sinh (n + 1) t),
    C12 = - sum over n >= 1 of a b sinh t / (c sinh n t),

in the unit 4 pi eps0 times the length; C22 is C11 with a and b exchanged. Maxwell, Treatise (1873), art. 173; Smythe,
Static and Dynamic Electricity (1968), section 5.08.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

import taskfmm
from taskfmm.gallery.example import CheckError, Draw, example, expect
from taskfmm.profiling.progress import progress

POINTS = 2_000
"""On each sphere."""

MIDDLES = 2.4 * np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
RADII = np.array([1.1, 0.6, 0.8, 1.0, 0.9, 1.1, 0.7, 0.5])
"""Of the eight spheres, at the corners of a cube."""

TWO = (np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), np.array([1.0, 0.7]))
"""Middles and radii of the two that are compared with the series."""

TOLERANCE, ITERATIONS = 1e-7, 200
"""Of conjugate gradients: relative residuals to reach, and in how many steps at most."""

SYMMETRIC_WITHIN, MAXWELL_WITHIN = 1e-6, 1e-4
"""Relative to the largest number of the matrix."""


@dataclass(frozen=True, slots=True)
class Spheres:
    """points : float64 [k * POINTS, 3], those of one sphere after the other; radii : float64 [k]"""

    points: np.ndarray
    radii: np.ndarray

    @classmethod
    def around(cls, middles: np.ndarray, radii: np.ndarray) -> Spheres:
        """Points as seeds in a sunflower: each has the same area."""
        k = np.arange(POINTS) + 0.5
        height, angle = 1.0 - 2.0 * k / POINTS, np.pi * (1.0 + np.sqrt(5.0)) * k
        across = np.sqrt(1.0 - height**2)
        unit = np.stack([across * np.cos(angle), across * np.sin(angle), height], axis=1)
        return cls((middles[:, None] + radii[:, None, None] * unit).reshape(-1, 3), radii)

    @property
    def members(self) -> np.ndarray:
        """1 where a point is on a sphere, else 0: float64 [k * POINTS, k]."""
        return np.repeat(np.eye(len(self.radii)), POINTS, axis=0)

    def of_itself(self) -> np.ndarray:
        """What a unit charge spread around a point adds there, so that equal charges make equal potentials.

        The potential of a sphere with the charge 1 is 1 / radius; the other points of the sphere make a part of it.
        """
        one = self.points[:POINTS]
        others = 4.0 * np.pi * self.radii[0] * taskfmm.direct(one, np.ones(POINTS))
        return ((POINTS - others) / self.radii[:, None]).ravel()


def together(times: Callable[[np.ndarray], np.ndarray], right: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Solutions [n, k] of k systems by conjugate gradients, side by side; scale [n] is the matrix' diagonal."""
    found, left = np.zeros_like(right), right.copy()
    along = better = left / scale[:, None]
    size = (left * better).sum(axis=0)
    for _ in range(ITERATIONS):
        product = times(along)
        step = size / (along * product).sum(axis=0)
        found, left = found + step * along, left - step * product
        if np.all(np.linalg.norm(left, axis=0) <= TOLERANCE * np.linalg.norm(right, axis=0)):
            return found
        better, before = left / scale[:, None], size
        size = (left * better).sum(axis=0)
        along = better + size / before * along
    raise CheckError(f"conjugate gradients have not converged after {ITERATIONS} iterations")


@dataclass(frozen=True, slots=True)
class Solution:
    """charges : float64 [n, k], of all points when sphere k has the potential 1; matrix : float64 [k, k]"""

    charges: np.ndarray
    matrix: np.ndarray
    products: int
    times: Callable[[np.ndarray], np.ndarray]


def solve(spheres: Spheres, eps: float) -> Solution:
    """The capacitance matrix in units of 4 pi eps0 times the length."""
    itself, members = spheres.of_itself(), spheres.members
    far = taskfmm.Fmm(spheres.points, eps=eps, columns=len(spheres.radii)).as_linear_operator()
    n_products = 0

    def times(charges: np.ndarray) -> np.ndarray:
        nonlocal n_products
        n_products += 1
        return 4.0 * np.pi * (far @ charges) + itself[:, None] * charges

    charges = together(times, members, itself)
    return Solution(charges, members.T @ charges, n_products, times)


def maxwell(a: float, b: float, c: float) -> np.ndarray:
    """The capacitance matrix [2, 2] of two spheres."""
    t, n = np.arccosh((c * c - a * a - b * b) / (2.0 * a * b)), np.arange(60)
    sinh, following = np.sinh(n * t), np.sinh((n + 1) * t)
    scale = a * b * np.sinh(t)
    one, other = (scale / (a * sinh + b * following)).sum(), (scale / (b * sinh + a * following)).sum()
    mutual = -(scale / (c * following)).sum()
    return np.array([[one, mutual], [mutual, other]])


def ratio(solution: Solution) -> tuple[float, float]:
    """Seconds of a product for each of its vectors, and of one with one vector."""
    many = solution.charges
    one = many[:, :1].copy()
    took = []
    for vectors in (many, one):
        solution.times(vectors)
        started = time.perf_counter()
        for _ in range(3):
            solution.times(vectors)
        took.append((time.perf_counter() - started) / 3.0 / vectors.shape[1])
    return took[0], took[1]


def check(matrix: np.ndarray, two: np.ndarray) -> str:
    """How right both matrices are, as text; raises CheckError where they are not."""
    skew = abs(matrix - matrix.T).max() / matrix.max()
    (a, b), c = TWO[1], float(np.linalg.norm(TWO[0][1] - TWO[0][0]))
    right = maxwell(a, b, c)
    wrong = abs(two - right).max() / right.max()
    expect(skew <= SYMMETRIC_WITHIN, f"the matrix is not symmetric: entries differ by {skew:.1e}")
    expect(wrong <= MAXWELL_WITHIN, f"that of two spheres differs from Maxwell's by {wrong:.1e}")
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    right_signs = off.max() < 0.0 < matrix.sum(axis=1).min()
    expect(right_signs, "charges of both signs on one sphere, or too much shielding")
    return (
        f"symmetric           to {skew:.1e} of the largest\n"
        f"two spheres         {two[0, 0]:.5f} {two[0, 1]:.5f} {two[1, 1]:.5f}\n"
        f"series of images    {right[0, 0]:.5f} {right[0, 1]:.5f} {right[1, 1]:.5f}   (differs by {wrong:.1e})"
    )


def draw(spheres: Spheres, solution: Solution) -> Any:
    """A Matplotlib figure: the charge of all spheres when the first has the potential 1, and the matrix."""
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left = figure.add_subplot(1, 2, 1, projection="3d", computed_zorder=True)
    right = figure.add_subplot(1, 2, 2)
    areas = np.repeat(4.0 * np.pi * spheres.radii**2 / POINTS, POINTS)
    density = 4.0 * np.pi * solution.charges[:, 0] / areas
    colours = SymLogNorm(linthresh=0.01, vmin=-3.0, vmax=3.0)
    shown = left.scatter(*spheres.points.T, c=density, cmap="RdBu_r", norm=colours, s=6, alpha=1.0)
    left.set_box_aspect((1.0, 1.0, 1.0), zoom=1.35)
    left.set(title="Sphere 1 has the potential 1, others 0")
    left.view_init(elev=24, azim=-118)
    left.set_axis_off()
    bar = figure.colorbar(shown, ax=left, shrink=0.7, label="charge density (ε₀ × potential / length)")
    bar.set_ticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], labels=["−1", "−0.1", "−0.01", "0", "0.01", "0.1", "1"])
    matrix, k = solution.matrix, len(spheres.radii)
    image = right.imshow(matrix, cmap="RdBu_r", norm=SymLogNorm(linthresh=0.01, vmin=-2.0, vmax=2.0))
    for row in range(k):
        for column in range(k):
            colour = "white" if abs(matrix[row, column]) > 0.1 else "black"
            right.text(
                column, row, f"{matrix[row, column]:.2f}", ha="center", va="center", size=7, color=colour
            )
    right.set(xticks=range(k), yticks=range(k), xticklabels=range(1, k + 1), yticklabels=range(1, k + 1))
    right.set(xlabel="sphere with the potential 1", ylabel="charge of sphere", title="Capacitance matrix")
    bar = figure.colorbar(image, ax=right, shrink=0.7, label="4 π ε₀ × length")
    bar.set_ticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1], labels=["−1", "−0.1", "−0.01", "0", "0.01", "0.1", "1"])
    return figure


@example("vectors.png", 1e-6, "Relative l2 error of a product.")
def main(eps: float) -> Draw:
    """The capacitance matrix of eight spheres, checked and drawn."""
    spheres, started = Spheres.around(MIDDLES, RADII), time.perf_counter()
    with progress():
        solution = solve(spheres, eps)
        solved = time.perf_counter() - started
        among, alone = ratio(solution)
        two = solve(Spheres.around(*TWO), eps)
    click.echo(f"points              {len(spheres.points)} on {len(RADII)} spheres")
    click.echo(f"plan and solution   {solved:8.2f} s, {solution.products} products of {len(RADII)} vectors")
    click.echo(f"a vector among {len(RADII)}    takes {among / alone:.2f} of the time of one alone")
    click.echo(check(solution.matrix, two.matrix))
    return lambda: draw(spheres, solution)


if __name__ == "__main__":
    main()
