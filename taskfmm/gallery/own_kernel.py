"""A field between 10,000 places where it was measured, by a kernel that is one function.

``python -m taskfmm.gallery.own_kernel`` interpolates by radial basis functions, the inverse multiquadrics of Hardy

    s(x) = sum_j w_j K(x - x_j),    K(r) = 1 / sqrt(|r|^2 + c^2).

`inverse_multiquadric` is all that is known of this kernel: how to expand it is found out and measured when the plan
is made, which takes some seconds for the first time. GMRES finds the weights w for which s(x_i) is the measured value
at each place, on the matrix of the plan. Sums over all pairs tell whether it is, and how far s is from the field at
other places; with Matplotlib there, a picture of a plane is saved. The matrix has an inverse for any places:
Micchelli, Constr. Approx. 2 (1986) 11.

Units: the edge of the cube that the places fill is 1. The field is made up and has no unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from scipy.sparse.linalg import gmres
from scipy.stats import qmc

import taskfmm
from taskfmm.gallery.example import Draw, example, expect, timed

PLACES, OTHERS = 10_000, 1_000
"""Where the field was measured, and where the interpolation is compared with it."""

WIDTH = 1.0
"""The length c, in mean distances of places: wider kernels come closer to the field, and take more iterations."""

TOLERANCE = 1e-4
"""Of GMRES: the relative l2 norm of what is left."""

PIXELS = 81
"""Along a side of the plane."""

MISFIT_WITHIN, ERROR_WITHIN = 1e-3, 5e-3
"""Relative l2, by sums of all pairs: at places that were measured, and at others."""


def inverse_multiquadric(dx, dy, dz, parameters):  # type: ignore[no-untyped-def]
    """1 / sqrt(r^2 + c^2), with one parameter, the length c."""
    return 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz + parameters[0] * parameters[0])


def field(points: np.ndarray) -> np.ndarray:
    """What is measured: two hills and a slope."""
    wide, narrow = (((points - middle) ** 2).sum(axis=1) for middle in ([0.35, 0.35, 0.35], [0.7, 0.6, 0.5]))
    return np.exp(-15.0 * wide) + 0.6 * np.exp(-40.0 * narrow) + 0.3 * points[:, 2]


@dataclass(frozen=True, slots=True)
class Interpolation:
    """places : float64 [n, 3]; weights : float64 [n]; plan : of these places; iterations : of GMRES"""

    places: np.ndarray
    weights: np.ndarray
    plan: taskfmm.Fmm
    iterations: int

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The field in between, float64 [m]."""
        return np.asarray(self.plan.at(points).potential(self.weights).compute())

    def exact(self, points: np.ndarray) -> np.ndarray:
        """The same by the sum over all pairs."""
        return np.asarray(taskfmm.direct(self.places, self.weights, points, kernel=self.plan.kernel))


def solve(places: np.ndarray, values: np.ndarray, eps: float) -> Interpolation:
    """The interpolation of values [n] at places [n, 3]."""
    width = WIDTH * len(places) ** (-1.0 / 3.0)
    kernel = taskfmm.kernels.from_function(inverse_multiquadric, parameters=width)
    plan = taskfmm.Fmm(places, kernel=kernel, eps=eps)
    left: list[float] = []
    weights, failed = gmres(
        plan.as_linear_operator(),
        values,
        rtol=TOLERANCE,
        restart=200,
        maxiter=2,
        callback=left.append,
        callback_type="pr_norm",
    )
    expect(not failed, f"GMRES has not converged after {len(left)} iterations")
    return Interpolation(places, weights, plan, len(left))


def relative(values: np.ndarray, right: np.ndarray) -> float:
    """Relative l2 error."""
    return float(np.linalg.norm(values - right) / np.linalg.norm(right))


def check(found: Interpolation, eps: float) -> str:
    """How good it is, as text; raises CheckError where that is not good enough."""
    others = np.random.default_rng(1986).random((OTHERS, 3))
    some = found.places[:OTHERS]
    summed = found.exact(others)
    of_sums = relative(found(others), summed)
    misfit, error = relative(found.exact(some), field(some)), relative(summed, field(others))
    expect(of_sums <= eps, f"sums differ from those of all pairs by {of_sums:.1e}, and eps is {eps:g}")
    expect(misfit <= MISFIT_WITHIN, f"measured values are missed by {misfit:.1e}")
    expect(error <= ERROR_WITHIN, f"between the places the field is missed by {error:.1e}")
    return (
        f"sums                differ from those of all pairs by {of_sums:.1e}   (eps {eps:g})\n"
        f"measured values     missed by {misfit:.1e}\n"
        f"other places        missed by {error:.1e}"
    )


def draw(found: Interpolation) -> Any:
    """A Matplotlib figure: the field in the plane z = 0.45 as interpolated, and how far that is from the field."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    line = np.linspace(0.0, 1.0, PIXELS)
    x, y = np.meshgrid(line, line)
    plane = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.45)], axis=1)
    values = found(plane).reshape(x.shape)
    wrong = abs(values - field(plane).reshape(x.shape))
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    image = left.contourf(x, y, values, levels=24, cmap="viridis")
    figure.colorbar(image, ax=left, shrink=0.85, label="field")
    near = found.places[abs(found.places[:, 2] - 0.45) < 0.02]
    left.plot(near[:, 0], near[:, 1], ".", color="white", markersize=1.5)
    left.set(xlabel="x (edges)", ylabel="y (edges)", aspect="equal")
    left.set_title("Interpolated; dots are places within 0.02", fontsize="medium")
    image = right.pcolormesh(x, y, wrong, norm=LogNorm(1e-5, 1e-1), cmap="magma", shading="gouraud")
    figure.colorbar(image, ax=right, shrink=0.85, label="|interpolated − field|", extend="both")
    right.set(xlabel="x (edges)", aspect="equal")
    right.set_title("How far it is from the field", fontsize="medium")
    figure.suptitle("A field between places where it was measured, in the plane z = 0.45")
    return figure


@example("own_kernel.png", 1e-4, "Relative l2 error of a sum.")
def main(eps: float) -> Draw:
    """A field between places where it was measured, by a kernel of one function, checked and drawn."""
    places = qmc.Halton(3, rng=1971).random(PLACES)
    with timed():
        found = solve(places, field(places), eps)
        click.echo(f"places              {PLACES}, {found.iterations} iterations of GMRES")
    click.echo(check(found, eps))
    return lambda: draw(found)


if __name__ == "__main__":
    main()
