"""A cloud of particles that sinks in a viscous fluid as a drop does, and turns within.

``python -m taskfmm.gallery.sediment`` lets a ball of 12,000 heavy particles sink in Stokes flow. Each pushes the
fluid with its weight and is carried along by the flow of all others; each stage plans by `taskfmm.Fmm.moved`. The
cloud has to sink as fast as a drop of the same weight in a fluid of its own viscosity, and to circulate as that drop
does; with Matplotlib there, a picture of the flow at first and of the cloud as it sinks is saved.

The flow of a force, (f / r + r (r . f) / r^3) / (8 pi mu), has the mean f / (6 pi mu r) over all directions, and
1 / r over all pairs of points of a ball the mean 6 / (5 R). So N particles of the weight F sink with

    U = N F / (5 pi mu R),

which is also the law of Hadamard and Rybczynski for equal viscosities: Nitsche and Batchelor, J. Fluid Mech. 340
(1997) 161; Metzger, Nicolas and Guazzelli, J. Fluid Mech. 580 (2007) 283. What a particle sinks by itself is left
out, as if it were small. Relative to the cloud the flow within is the vortex of Hill, with z upwards and s from the
axis: u_z = U (2 s^2 + z^2 - R^2) / (4 R^2) and u_s = -U s z / (4 R^2). Units: R, mu and U are 1.
"""

from __future__ import annotations

from typing import Any

import click
import numpy as np

import taskfmm
from taskfmm.gallery.example import Draw, example, expect, timed

PARTICLES = 12_000

STEPS, STEP = 30, 0.4
"""In times in which the cloud sinks by its radius. Particles go around within, near where they go fastest in 18."""

SHOWN = (0, 15, 30)
"""Steps in the picture."""

WIDTH, PIXELS = 1.8, 91
"""Of the section of the flow, from the middle to its sides, and points along a side."""

SPEED_WITHIN, VORTEX_WITHIN = 0.02, 0.1
"""Relative. Where particles happen to be changed the speed by half a per cent, and the vortex by 3."""


def weights(n: int) -> np.ndarray:
    """The forces [n, 3] of particles that let their cloud sink with the speed 1."""
    return np.tile([0.0, 0.0, -5.0 * np.pi / n], (n, 1))


def cloud(n: int, rng: np.random.Generator) -> np.ndarray:
    """Points [n, 3] that fill the unit ball around 0."""
    vectors = rng.normal(size=(n, 3))
    return vectors * (rng.random(n) ** (1.0 / 3.0) / np.linalg.norm(vectors, axis=1))[:, None]


def hill(points: np.ndarray) -> np.ndarray:
    """The flow [n, 3] within the cloud, relative to it."""
    x, y, z = points.T
    return 0.25 * np.stack([-x * z, -y * z, 2.0 * (x * x + y * y) + z * z - 1.0], axis=1)


class Flow:
    """The flow of the weights of particles, float64 [n, 3], at the particles."""

    def __init__(self, particles: np.ndarray, eps: float) -> None:
        self.plan = taskfmm.Fmm(particles, kernel=taskfmm.kernels.Stokes(viscosity=1.0), eps=eps)
        self.forces = weights(len(particles))

    def __call__(self, particles: np.ndarray) -> np.ndarray:
        self.plan = self.plan.moved(particles)
        return self.at(self.plan)

    def at(self, plan: Any) -> np.ndarray:
        """At the targets of a plan that was made of this one."""
        return np.asarray(plan.evaluate(outputs="velocity", forces=self.forces)["velocity"].compute())

    def beside(self) -> np.ndarray:
        """Around the cloud where it was last, relative to it, at the points of `section`."""
        return self.at(self.plan.at(section())) + np.array([0.0, 0.0, 1.0])


def section() -> np.ndarray:
    """Points of the plane y = 0 in rows that follow each other upwards, float64 [PIXELS^2, 3]."""
    x, z = np.meshgrid(*2 * [np.linspace(-WIDTH, WIDTH, PIXELS)])
    return np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)


def run(eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Particles [STEPS + 1, n, 3] by the midpoint rule; at first, their flow and the one beside them."""
    particles = cloud(PARTICLES, np.random.default_rng(1997))
    flow, path = Flow(particles, eps), [particles]
    first = velocity = flow(particles)
    beside = flow.beside()
    for number in range(STEPS):
        if number > 0:
            velocity = flow(particles)
        particles = particles + STEP * flow(particles + 0.5 * STEP * velocity)
        path.append(particles)
    return np.stack(path), first, beside


def check(path: np.ndarray, first: np.ndarray) -> str:
    """What the cloud did, as text; raises CheckError where drops do something else."""
    mean = first.mean(axis=0)
    speed = -mean[2]
    fall = path[0, :, 2].mean() - path[-1, :, 2].mean()
    later = fall / (STEP * (len(path) - 1))
    vortex = hill(path[0])
    strength = ((first - mean) * vortex).sum() / (vortex**2).sum()
    expect(abs(speed - 1.0) <= SPEED_WITHIN, f"the cloud sinks with {speed:.4f} at first, a drop with 1")
    expect(abs(later - 1.0) <= SPEED_WITHIN, f"the cloud sank with {later:.4f}, a drop does with 1")
    expect(abs(strength - 1.0) <= VORTEX_WITHIN, f"within turns {strength:.3f} of the vortex of a drop")
    return (
        f"speed               {speed:.4f} at first, {later:.4f} in all   (a drop: 1)\n"
        f"way                 {fall:.2f} radii\n"
        f"flow within         {strength:.3f} of the vortex of Hill"
    )


def draw(path: np.ndarray, beside: np.ndarray) -> Any:
    """A Matplotlib figure: the flow at first, and the particles near the middle as they sink."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    flow, *times = figure.subplots(1, 1 + len(SHOWN), width_ratios=(2.1, 1.0, 1.0, 1.0))
    line = np.linspace(-WIDTH, WIDTH, PIXELS)
    across, _, up = beside.reshape(PIXELS, PIXELS, 3).transpose(2, 0, 1)
    speed = np.hypot(across, up)
    image = flow.pcolormesh(line, line, speed, cmap="viridis", vmin=0.0, shading="gouraud")
    flow.streamplot(line, line, across, up, color="white", linewidth=0.7, density=1.1, arrowsize=0.7)
    flow.add_patch(Circle((0.0, 0.0), 1.0, fill=False, edgecolor="tab:orange", linewidth=1.5))
    flow.set(xlabel="x (R)", ylabel="z (R)", aspect="equal", title="Flow relative to the cloud at t = 0")
    flow.set(xlim=(-WIDTH, WIDTH), ylim=(-WIDTH, WIDTH))
    figure.colorbar(image, ax=flow, shrink=0.78, label="speed (U)")
    upper = path[0, :, 2] > 0.0
    for axes, number in zip(times, SHOWN, strict=True):
        x, y, z = path[number].T
        for half, colour in ((upper, "tab:blue"), (~upper, "tab:orange")):
            shown = half & (abs(y) < 0.25)
            axes.plot(x[shown], z[shown] + number * STEP, ".", color=colour, markersize=2)
        axes.set(xlabel="x (R)", aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.4, 3.2))
        axes.set_title(f"t = {number * STEP:g} R/U")
    figure.suptitle("A cloud of particles that sinks; those that began in its upper half are blue")
    times[0].set_ylabel("z + U t (R), where |y| < R/4")
    return figure


@example("sediment.png", 1e-3, "Relative l2 error of velocities.")
def main(eps: float) -> Draw:
    """A cloud of particles that sinks in a viscous fluid, checked and drawn."""
    click.echo(f"particles           {PARTICLES}, {STEPS} steps")
    with timed():
        path, first, beside = run(eps)
    click.echo(check(path, first))
    return lambda: draw(path, beside)


if __name__ == "__main__":
    main()
