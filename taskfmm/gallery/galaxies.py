"""Two galaxies that meet, and draw long tails of stars out of each other.

``python -m taskfmm.gallery.galaxies`` lets two galaxies fall around each other on a parabola. Each is a disc of stars
on circles within a sphere of dark matter, in all 16,384 bodies, whose attraction is softened by a spline. All bodies
attract all others, step after step; each step plans by `taskfmm.Fmm.moved`. Energy, momentum and angular momentum
have to stay what they were; with Matplotlib there, a picture of the stars at six times is saved.

The dark matter is a sphere of Plummer in equilibrium, sampled as in Aarseth, Henon and Wielen, Astron. Astrophys. 37
(1974) 183. The tide of each galaxy draws the tails out of the other: Toomre and Toomre, Astrophys. J. 178 (1972) 623.
Units: the mass M of the dark matter of a galaxy, its scale length a, and G are 1, and so is the time sqrt(a^3 / G M).
"""

from __future__ import annotations

from typing import Any

import click
import dask
import numpy as np

import taskfmm
from taskfmm.gallery.example import Draw, example, expect, timed

DARK, STARS = 5120, 3072
"""Bodies of each galaxy."""

DISC = 0.03
"""The mass of all stars of a galaxy."""

SOFTENING = 0.25
"""The length h of the spline: about as far as bodies near the middle are apart."""

START, PERICENTRE = 7.0, 1.2
"""How far galaxies are apart: at first, and where they would pass each other as points."""

STEPS, STEP = 210, 0.1
"""A star at the scale length goes around in 10.6."""

SHOWN = (0, 80, 105, 130, 165, 210)
"""Steps in the picture."""

WIDTH = 9.4
"""Of the picture, from the middle to its sides."""

ENERGY_WITHIN, MOMENTUM_WITHIN = 2e-3, 1e-3
"""Relative: of the energy; of the momentum, to the sum of the sizes of all momenta, and of the angular momentum."""


def directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """Unit vectors [n, 3], as many in any direction."""
    vectors = rng.normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


def galaxy(tilt: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities, each [DARK + STARS, 3], around 0: dark matter, and then a disc, turned about y."""
    inside = rng.uniform(0.0, 0.98, (DARK, 1))  # the part of the mass that is nearer to the middle
    r = 1.0 / np.sqrt(inside ** (-2.0 / 3.0) - 1.0)
    escape = np.sqrt(2.0 / np.hypot(1.0, r))
    speed = escape * np.sqrt(rng.beta(1.5, 4.5, (DARK, 1)))
    radius, angle = np.sqrt(rng.uniform(0.02, 4.0, STARS)), rng.uniform(0.0, 2.0 * np.pi, STARS)
    cos, sin, around = np.cos(angle), np.sin(angle), radius / np.hypot(1.0, radius) ** 1.5
    disc = np.stack([radius * cos, radius * sin, rng.normal(0.0, 0.03, STARS)], axis=1)
    turning = np.stack([-around * sin, around * cos, np.zeros(STARS)], axis=1)
    turn = np.array([[np.cos(tilt), 0.0, -np.sin(tilt)], [0.0, 1.0, 0.0], [np.sin(tilt), 0.0, np.cos(tilt)]])
    positions = np.concatenate([r * directions(DARK, rng), disc @ turn])
    return positions, np.concatenate([speed * directions(DARK, rng), turning @ turn])


def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities and masses of both galaxies, the disc of the second one tilted, without momentum."""
    mass = 2.0 * (1.0 + DISC)
    across = np.sqrt(2.0 * mass * PERICENTRE) / START
    approach = np.array([-np.sqrt(2.0 * mass / START - across**2), across, 0.0])
    apart = np.array([START, 0.0, 0.0])
    (one, its), (other, others) = galaxy(0.0, rng), galaxy(np.pi / 4.0, rng)
    positions = np.concatenate([one - 0.5 * apart, other + 0.5 * apart])
    velocities = np.concatenate([its - 0.5 * approach, others + 0.5 * approach])
    masses = np.tile(np.repeat([1.0 / DARK, DISC / STARS], [DARK, STARS]), 2)
    return positions, velocities - masses @ velocities / masses.sum(), masses


class Attraction:
    """The accelerations of bodies, float64 [n, 3], and the potential at each of them, float64 [n]."""

    def __init__(self, positions: np.ndarray, masses: np.ndarray, eps: float) -> None:
        kernel = taskfmm.kernels.Gravity(softening=SOFTENING, kind="spline")
        self.plan, self.masses = taskfmm.Fmm(positions, kernel=kernel, eps=eps), masses

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.plan = self.plan.moved(positions)
        found = self.plan.evaluate(masses=self.masses, outputs=("acceleration", "potential"))
        acceleration, potential = dask.compute(found["acceleration"], found["potential"])
        return acceleration, potential


def kept(
    positions: np.ndarray, velocities: np.ndarray, masses: np.ndarray, potential: np.ndarray
) -> list[float]:
    """The energy, the momentum and the angular momentum along x, y and z, and the sum of the sizes of all momenta."""
    energy = 0.5 * masses @ ((velocities**2).sum(axis=1) + potential)
    sizes = masses @ np.linalg.norm(velocities, axis=1)
    return [energy, *(masses @ velocities), *(masses @ np.cross(positions, velocities)), sizes]


def run(eps: float) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """What is `kept` [STEPS + 1, 8] at each step of the leapfrog, and positions [n, 3] at those that are SHOWN."""
    positions, velocities, masses = pair(np.random.default_rng(1972))
    attraction = Attraction(positions, masses, eps)
    acceleration, potential = attraction(positions)
    ledger, shown = [kept(positions, velocities, masses, potential)], {0: positions}
    for number in range(1, STEPS + 1):
        halfway = velocities + 0.5 * STEP * acceleration
        positions = positions + STEP * halfway
        acceleration, potential = attraction(positions)
        velocities = halfway + 0.5 * STEP * acceleration
        ledger.append(kept(positions, velocities, masses, potential))
        if number in SHOWN:
            shown[number] = positions
    return np.array(ledger), shown


def check(ledger: np.ndarray) -> str:
    """What was kept, as text; raises CheckError where it was not."""
    energy, momentum, spin, sizes = ledger[:, 0], ledger[:, 1:4], ledger[:, 4:7], ledger[0, 7]
    changes = {
        "energy": abs(energy / energy[0] - 1.0).max(),
        "momentum": np.linalg.norm(momentum - momentum[0], axis=1).max() / sizes,
        "angular momentum": np.linalg.norm(spin - spin[0], axis=1).max() / np.linalg.norm(spin[0]),
    }
    for name, change in changes.items():
        most = ENERGY_WITHIN if name == "energy" else MOMENTUM_WITHIN
        expect(change <= most, f"the {name} changed by {change:.1e}, and {most:.0e} is allowed")
    return "\n".join(f"{name:<20}changed by {change:.1e} at most" for name, change in changes.items())


def draw(shown: dict[int, np.ndarray]) -> Any:
    """A Matplotlib figure: the stars at some times, in the colour of the galaxy that they began in."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 6.0), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, (number, positions) in zip(panels.flat, sorted(shown.items()), strict=False):
        both = positions.reshape(2, DARK + STARS, 3)
        for stars, colour in zip(both[:, DARK:], ("#ffb454", "#7cc4ff"), strict=True):
            axes.plot(stars[:, 0], stars[:, 1], ",", color=colour, alpha=0.8)
        axes.set(
            title=f"t = {number * STEP:g}",
            aspect="equal",
            facecolor="#0b0d1a",
            xlim=(-WIDTH, WIDTH),
            ylim=(-WIDTH, WIDTH),
        )
    for axes in panels[-1]:
        axes.set_xlabel("x (a)")
    for axes in panels[:, 0]:
        axes.set_ylabel("y (a)")
    figure.suptitle("Stars of two galaxies, seen along the axis of their orbit; t in sqrt(a³ / G M)")
    return figure


@example("galaxies.png", 1e-3, "Relative l2 error of accelerations.")
def main(eps: float) -> Draw:
    """Two galaxies that meet, checked and drawn."""
    click.echo(f"bodies              {2 * (DARK + STARS)}, {STEPS} steps")
    with timed():
        ledger, shown = run(eps)
    click.echo(check(ledger))
    return lambda: draw(shown)


if __name__ == "__main__":
    main()
