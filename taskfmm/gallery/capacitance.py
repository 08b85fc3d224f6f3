"""The capacitance of a cube, by GMRES on the matrix of a plan.

``python -m taskfmm.gallery.capacitance`` holds a cube with edges of length 1 at the potential 1. Faces are divided
into panels, smaller towards the edges, where charge gathers. The charges of all panels are to make the potential 1 at
the middle of each. Panels that are far apart act as points, in the fast multipole method; what a panel does to itself
and to its neighbours is the integral over the rectangle, put in by a sparse matrix. All charges together are the
capacitance, in the unit 4 pi eps0 times the edge: 0.66067815 (Hwang and Mascagni, J. Appl. Phys. 95 (2004) 3798).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, gmres
from scipy.spatial import KDTree

import taskfmm
from taskfmm.gallery.example import Draw, example, expect

EXACT = 0.66067815
"""Of the unit cube, in units of 4 pi eps0; all digits hold."""

MOST_WRONG = 5e-4
"""Relative error that is taken for a mistake: three digits must be right."""

NEAR = 4.0
"""Diagonals of a panel within which it does not act as a point."""


@dataclass(frozen=True, slots=True)
class Panels:
    """Rectangles on the faces of a cube.

    nodes : float64 [k + 1], of the lines that divide an edge, from 0 to 1
    centres : float64 [n, 3]
    axes : int [n], of the normal
    sizes : float64 [n, 2], along the other two axes, the next one after the normal's first
    """

    nodes: np.ndarray
    centres: np.ndarray
    axes: np.ndarray
    sizes: np.ndarray

    @classmethod
    def on_cube(cls, k: int) -> Panels:
        """k times k on each face; their widths fall towards the edges, as the square of the distance to them."""
        nodes = 0.5 - 0.5 * np.cos(np.pi * np.arange(k + 1) / k)
        middle, width = 0.5 * (nodes[1:] + nodes[:-1]), np.diff(nodes)
        u, v = (each.ravel() for each in np.meshgrid(middle, middle, indexing="ij"))
        sizes = np.stack([each.ravel() for each in np.meshgrid(width, width, indexing="ij")], axis=1)
        faces = [np.stack([np.full(k * k, side), u, v], axis=1) for side in (0.0, 1.0)]
        centres = [np.roll(face, axis, axis=1) for axis in range(3) for face in faces]
        return cls(nodes, np.concatenate(centres), np.repeat(np.arange(3), 2 * k * k), np.tile(sizes, (6, 1)))

    def in_frame(self, panels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Offsets [m, 3] from these panels, along their normal and their two sides."""
        columns = (self.axes[panels, None] + np.arange(3)) % 3
        return np.take_along_axis(offsets, columns, axis=1)


def of_rectangle(offsets: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The integral of 1 / r over rectangles, at points that lie at these offsets from their middles.

    offsets : float64 [m, 3], along the normal and both sides; sizes : float64 [m, 2]

    The antiderivative u asinh(v / |(u, z)|) + v asinh(u / |(v, z)|) - z atan(u v / (z r)) is taken at the corners.
    """
    z, total = offsets[:, 0], np.zeros(len(offsets))
    for one in (-0.5, 0.5):
        for other in (-0.5, 0.5):
            u, v = one * sizes[:, 0] - offsets[:, 1], other * sizes[:, 1] - offsets[:, 2]
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = (
                    u * np.arcsinh(v / np.hypot(u, z)),
                    v * np.arcsinh(u / np.hypot(v, z)),
                    -z * np.arctan(u * v / (z * np.sqrt(u * u + v * v + z * z))),
                )
            # where a logarithm is infinite, or the angle has no sign, what it is multiplied by is zero
            total += np.sign(one * other) * sum(np.where(np.isfinite(term), term, 0.0) for term in terms)
    return total


def corrections(panels: Panels) -> csr_array:
    """The potential of a unit charge spread over a panel, less that of a point, at middles nearby."""
    tree = KDTree(panels.centres)
    found = tree.query_ball_point(panels.centres, NEAR * np.hypot(*panels.sizes.T))
    source = np.repeat(np.arange(len(found)), [len(each) for each in found])
    target = np.concatenate(found).astype(np.int64)
    offsets = panels.centres[target] - panels.centres[source]
    r, sizes = np.linalg.norm(offsets, axis=1), panels.sizes[source]
    spread = of_rectangle(panels.in_frame(source, offsets), sizes) / sizes.prod(axis=1)
    of_point = np.divide(1.0, r, out=np.zeros_like(r), where=r > 0.0)
    n = len(panels.centres)
    return csr_array((spread - of_point, (target, source)), shape=(n, n))


@dataclass(frozen=True, slots=True)
class Solution:
    """charges : float64 [n], of each panel; iterations : of GMRES"""

    charges: np.ndarray
    iterations: int

    @property
    def capacitance(self) -> float:
        return float(self.charges.sum())


def solve(panels: Panels, eps: float) -> Solution:
    """The charges that make the potential 1 at the middle of every panel."""
    near = corrections(panels)
    far = 4.0 * np.pi * taskfmm.Fmm(panels.centres, eps=eps).as_linear_operator()
    matrix = LinearOperator(far.shape, lambda charges: far @ charges + near @ charges, dtype=far.dtype)
    residuals: list[float] = []
    itself = near.diagonal()
    precondition = LinearOperator(far.shape, lambda potential: potential / itself, dtype=far.dtype)
    ones = np.ones(len(panels.centres))
    charges, failed = gmres(
        matrix,
        ones,
        rtol=1e-6,
        restart=100,
        M=precondition,
        callback=residuals.append,
        callback_type="pr_norm",
    )
    expect(not failed, f"GMRES has not converged after {len(residuals)} iterations")
    return Solution(charges, len(residuals))


def draw(panels: Panels, density: np.ndarray) -> Any:
    """A Matplotlib figure of the three faces that are seen from a corner, coloured by the density of charge."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    k = len(panels.nodes) - 1
    faces = density.reshape(3, 2, k, k)[:, 1]
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    axes = figure.subplots()
    norm = LogNorm(faces.min(), np.quantile(faces, 0.9))
    u, v = np.meshgrid(panels.nodes, panels.nodes, indexing="ij")
    for axis, face in enumerate(faces):
        x, y, z = np.moveaxis(np.roll(np.stack([np.ones_like(u), u, v], axis=-1), axis, axis=-1), -1, 0)
        across, up = (y - x) * np.sqrt(0.75), z - 0.5 * (x + y)
        image = axes.pcolormesh(across, up, face, norm=norm, cmap="inferno", shading="flat")
    axes.set(aspect="equal", title="The charge of a cube at the potential 1")
    axes.margins(0.03)
    axes.axis("off")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max")
    bar.set_ticks([1, 2, 3, 4, 6], labels=["1", "2", "3", "4", "6"])
    bar.set_label("charge density (ε₀ × potential / edge)")
    return figure


@example("capacitance.png", 1e-6, "Relative l2 error of a product.")
@click.option(
    "-k", "k", type=click.IntRange(min=4), default=40, show_default=True, help="Panels along an edge."
)
def main(k: int, eps: float) -> Draw:
    """The capacitance of the unit cube, checked and drawn."""
    panels = Panels.on_cube(k)
    started = time.perf_counter()
    solution = solve(panels, eps)
    seconds = time.perf_counter() - started
    wrong = abs(solution.capacitance / EXACT - 1.0)
    click.echo(f"panels              {len(panels.centres)}, {k} x {k} on each face")
    click.echo(f"plan and solution   {seconds:8.2f} s, {solution.iterations} iterations of GMRES")
    click.echo(
        f"capacitance         {solution.capacitance:.7f}   (of the unit cube {EXACT}, times 4 pi eps0)"
    )
    click.echo(f"relative error      {wrong:8.1e}")
    expect(wrong <= MOST_WRONG, f"fewer than three digits are right: give more panels than {k} along an edge")
    density = 4.0 * np.pi * solution.charges / panels.sizes.prod(axis=1)
    return lambda: draw(panels, density)


if __name__ == "__main__":
    main()
