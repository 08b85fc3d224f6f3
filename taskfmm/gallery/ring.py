"""A vortex ring that carries itself along, as fast as Kelvin's formula says.

``python -m taskfmm.gallery.ring`` cuts the core of a ring into filaments of equal circulation and moves 16,384 points
of them with the velocity that all of them cause, step after step; each step plans by `taskfmm.Fmm.moved`. A filament
stays one, so the vorticity of a point is its circulation times the piece of filament there. The ring has to move with
the speed of Kelvin, and to keep its impulse; with Matplotlib there, a picture of its section is saved.

A ring of the radius R whose core of the radius a turns like a wheel, with the circulation G, moves with

    U = G / (4 pi R) (ln(8 R / a) - 1/4),

see Saffman, Vortex Dynamics (1992), section 10.2. Units: R, G and with them R^2 / G are 1.
"""

from __future__ import annotations

import math
from typing import Any

import click
import numpy as np

import taskfmm
from taskfmm.gallery.example import Draw, example, expect, timed

CORE = 0.1
"""a / R."""

FILAMENTS, POINTS = 64, 256
"""In the core, and on each of them."""

STEPS, STEP = 30, 0.05
"""A filament at the edge of the core goes around it in 0.4."""

SPEED_WITHIN, IMPULSE_WITHIN = 0.02, 1e-3
"""Relative. At first the ring is slower by half a per cent, as filaments have pieces. Then they pass each other, as
parts of no wheel do: with 64 or 128 of them, and steps of other lengths, it was 0.7 to 1.6 per cent slower."""


def kelvin() -> float:
    """The speed."""
    return (math.log(8.0 / CORE) - 0.25) / (4.0 * math.pi)


def ring() -> np.ndarray:
    """The filaments, float64 [FILAMENTS, POINTS, 3], each in the area of its own, as seeds in a sunflower."""
    k = np.arange(FILAMENTS) + 0.5
    r, angle = CORE * np.sqrt(k / FILAMENTS), math.pi * (1.0 + math.sqrt(5.0)) * k
    radius, height = (1.0 + r * np.cos(angle))[:, None], (r * np.sin(angle))[:, None]
    along = 2.0 * math.pi * np.arange(POINTS) / POINTS
    return np.stack(np.broadcast_arrays(radius * np.cos(along), radius * np.sin(along), height), axis=-1)


def vorticity(filaments: np.ndarray) -> np.ndarray:
    """Of all points, times their volume: float64 [n, 3]."""
    pieces = 0.5 * (np.roll(filaments, -1, axis=1) - np.roll(filaments, 1, axis=1))
    return pieces.reshape(-1, 3) / FILAMENTS


def impulse(filaments: np.ndarray) -> float:
    """Of a fluid of the density 1, along the axis: half of the integral of x times vorticity."""
    return 0.5 * float(np.cross(filaments.reshape(-1, 3), vorticity(filaments))[:, 2].sum())


class Flow:
    """The velocities of filaments at their points, float64 [FILAMENTS, POINTS, 3]."""

    def __init__(self, filaments: np.ndarray, eps: float) -> None:
        self.plan = taskfmm.Fmm(filaments.reshape(-1, 3), kernel="biot_savart", eps=eps)

    def __call__(self, filaments: np.ndarray) -> np.ndarray:
        self.plan = self.plan.moved(filaments.reshape(-1, 3))
        found = self.plan.evaluate(vorticity(filaments), "velocity")["velocity"]
        return np.asarray(found.compute()).reshape(filaments.shape)


def run(eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Times [STEPS + 1], and the filaments at each, by the classical Runge-Kutta method."""
    filaments = ring()
    velocity, path = Flow(filaments, eps), [filaments]
    for _ in range(STEPS):
        a = velocity(filaments)
        b = velocity(filaments + 0.5 * STEP * a)
        c = velocity(filaments + 0.5 * STEP * b)
        d = velocity(filaments + STEP * c)
        filaments = filaments + STEP / 6.0 * (a + 2.0 * b + 2.0 * c + d)
        path.append(filaments)
    return STEP * np.arange(STEPS + 1), np.stack(path)


def check(times: np.ndarray, path: np.ndarray) -> str:
    """What the ring did, as text; raises CheckError where that is not what rings do."""
    heights = path[..., 2].mean(axis=(1, 2))
    speed = np.polyfit(times, heights, 1)[0]
    change = impulse(path[-1]) / impulse(path[0]) - 1.0
    expect(abs(speed / kelvin() - 1.0) <= SPEED_WITHIN, f"speed {speed:.4f}, Kelvin's is {kelvin():.4f}")
    expect(abs(change) <= IMPULSE_WITHIN, f"the impulse changed by {change:.1e}")
    return (
        f"speed               {speed:.4f}   (Kelvin {kelvin():.4f}: {speed / kelvin() - 1.0:+.2%})\n"
        f"way                 {heights[-1] - heights[0]:.3f} radii\n"
        f"impulse             changed by {change:+.1e}"
    )


def draw(times: np.ndarray, path: np.ndarray) -> Any:
    """A Matplotlib figure: sections of the ring at first and at last, and its way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.0), layout="constrained")
    section, way = figure.subplots(1, 2, width_ratios=(1.0, 1.2))
    radius = np.hypot(path[..., 0, 0], path[..., 0, 1])
    start = radius[0] >= 1.0  # of the filaments: in which half of the core they began
    for number in (0, -1):
        for half, colour in ((start, "tab:blue"), (~start, "tab:orange")):
            section.plot(radius[number, half], path[number, half, 0, 2], ".", color=colour, markersize=4)
    section.set(
        xlabel="distance from the axis (R)", ylabel="height (R)", title="Section of the core", aspect="equal"
    )
    heights = path[..., 2].mean(axis=(1, 2))
    way.plot(times, heights, label="points of the core, mean")
    way.plot(times, heights[0] + kelvin() * times, "--", color="black", label="Kelvin's speed")
    way.set(xlabel="time (R²/G)", ylabel="height (R)", title="Way of the ring")
    way.legend()
    return figure


@example("ring.png", 1e-3, "Relative l2 error of velocities.")
def main(eps: float) -> Draw:
    """A vortex ring that carries itself along, checked and drawn."""
    click.echo(f"points              {FILAMENTS * POINTS} on {FILAMENTS} filaments, {STEPS} steps")
    with timed():
        times, path = run(eps)
    click.echo(check(times, path))
    return lambda: draw(times, path)


if __name__ == "__main__":
    main()
