"""The bridges of `taskfmm.interop` beside the packages whose functions they have.

``python -m benchmarks.interop fmm3d`` times whole calls, planning included, of points that were not met before, and
``gravity`` accelerations of a Plummer sphere; ``theta`` measures the errors of pytreegrav from which the table of
`taskfmm.interop.pytreegrav_tree` comes. Seconds are those of CPU: set OMP_NUM_THREADS=1 and NUMBA_NUM_THREADS=1, and
bind the process to a core, so that they are those of a clock as well.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks import fresh
from taskfmm.bench import relative_error
from taskfmm.interop import fmm3d, pytreegrav, sums
from taskfmm.interop.pytreegrav_tree import EPS, eps_of

SAMPLE = 500
"""Targets at which errors are measured."""

CASES = ("potential", "gradient", "waves", "flow")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Bridges beside the packages whose functions they have."""


def seconds(repeats: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """The median of CPU over so many calls after a first one, none with a plan that was kept; and the last result."""
    took = []
    for _ in range(repeats + 1):
        sums.PLANS.forget()
        started = time.process_time()
        found = call()
        took.append(time.process_time() - started)
    return median(took[1:]), found


@main.command("fmm3d")
@click.option("--n", "sizes", type=fresh.Count(), multiple=True, default=(10**5,), help="Points in a cube.")
@click.option("--eps", "accuracies", type=float, multiple=True, default=(1e-6,))
@click.option("--case", "cases", type=click.Choice(CASES), multiple=True, default=CASES)
@click.option("--zk", default=6.28, help="Of waves.")
@click.option("--repeats", type=click.IntRange(min=1), default=3)
def of_fmm3d(
    sizes: tuple[int, ...], accuracies: tuple[float, ...], cases: tuple[str, ...], zk: float, repeats: int
) -> None:
    """Seconds of CPU and errors of fmm3dpy and of taskfmm in its place."""
    import fmm3dpy

    click.echo(
        f"{'case':<10}{'N':>9}{'eps':>8}{'fmm3dpy s':>11}{'taskfmm s':>11}{'ratio':>7}{'error':>10}{'ours':>10}"
    )
    for case, n, eps in itertools.product(cases, sizes, accuracies):
        rng = np.random.default_rng(20240611)
        asked: dict[str, Any] = {"eps": eps, "sources": np.asfortranarray(rng.random((3, n)))}
        name, exact, asked_of_exact = "lfmm3d", fmm3d.l3ddir, {"pgt": 1}
        asked |= {"charges": rng.uniform(-1, 1, n), "pg": 2 if case == "gradient" else 1}
        if case == "waves":
            name, exact = "hfmm3d", fmm3d.h3ddir
            asked |= {"zk": zk, "charges": asked["charges"] + 1j * rng.uniform(-1, 1, n)}
        if case == "flow":
            del asked["charges"], asked["pg"]
            name, exact, asked_of_exact = "stfmm3d", fmm3d.st3ddir, {"ifppregtarg": 1, "eps": eps}
            asked |= {"stoklet": np.asfortranarray(rng.uniform(-1, 1, (3, n))), "ifppreg": 1}
        took, results = zip(
            *(seconds(repeats, partial(getattr(of, name), **asked)) for of in (fmm3dpy, fmm3d)),
            strict=True,
        )
        given = {key: value for key, value in asked.items() if key not in ("eps", "pg", "ifppreg")}
        at = asked["sources"][:, :SAMPLE]
        expected = exact(**given, **asked_of_exact, targets=at).pottarg
        errors = [relative_error(np.asarray(each.pot)[..., :SAMPLE], expected) for each in results]
        click.echo(
            f"{case:<10}{n:>9.3g}{eps:>8.0e}{took[0]:>11.2f}{took[1]:>11.2f}{took[0] / took[1]:>7.1f}"
            f"{errors[0]:>10.1e}{errors[1]:>10.1e}"
        )


def plummer(n: int, rng: np.random.Generator) -> np.ndarray:
    """A Plummer sphere but for its outermost thousandth."""
    radius = 1.0 / np.sqrt(rng.uniform(0.001, 0.999, n) ** (-2.0 / 3.0) - 1.0)
    direction = rng.standard_normal((n, 3))
    return (radius / np.linalg.norm(direction, axis=1))[:, None] * direction


def clouds(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20240611)
    two = np.vstack([0.1 * plummer(n // 2, rng), 0.1 * plummer(n - n // 2, rng) + [5.0, 1.0, 2.0]])
    return {"plummer": plummer(n, rng), "cube": rng.random((n, 3)), "two": two}


def of_bodies(found: np.ndarray, exact: np.ndarray) -> float:
    """The root mean square of their relative errors."""
    wrong, size = (
        np.linalg.norm(np.reshape(each, (len(each), -1)), axis=1) for each in (found - exact, exact)
    )
    return float(np.sqrt(np.mean((wrong / size) ** 2)))


@main.command()
@click.option("--n", type=fresh.Count(), default=20_000)
@click.option("--theta", "angles", type=float, multiple=True, default=tuple(sorted(EPS)))
def theta(n: int, angles: tuple[float, ...]) -> None:
    """Errors of pytreegrav at opening angles, the eps that stand for these, and the errors of taskfmm then.

    Errors are root mean squares of those of the bodies, each relative to its own value, so that no close pair counts
    more than others.
    """
    import pytreegrav as theirs

    click.echo(
        f"{'cloud':<9}{'output':<14}{'theta':>6}{'quadrupole':>12}{'pytreegrav':>12}{'eps':>9}{'taskfmm':>10}"
    )
    masses = np.full(n, 1.0 / n)
    for (cloud, x), (output, name) in itertools.product(
        clouds(n).items(), (("potential", "Potential"), ("acceleration", "Accel"))
    ):
        exact = getattr(pytreegrav, name)(x, masses, method="bruteforce")
        for quadrupole, angle in itertools.product((False, True), angles):
            asked = {"theta": angle, "quadrupole": quadrupole, "method": "tree"}
            errors = [of_bodies(getattr(of, name)(x, masses, **asked), exact) for of in (theirs, pytreegrav)]
            click.echo(
                f"{cloud:<9}{output:<14}{angle:>6g}{quadrupole!s:>12}{errors[0]:>12.1e}"
                f"{eps_of(angle, output, quadrupole):>9.0e}{errors[1]:>10.1e}"
            )


@main.command()
@click.option("--n", type=fresh.Count(), default=100_000, help="Bodies of a Plummer sphere.")
@click.option("--repeats", type=click.IntRange(min=1), default=3)
def gravity(n: int, repeats: int) -> None:
    """Seconds of CPU and errors of accelerations by pytreegrav and by taskfmm in its place."""
    import pytreegrav as theirs

    x, masses = plummer(n, np.random.default_rng(20240611)), np.full(n, 1.0 / n)
    exact = pytreegrav.AccelTarget(x[:SAMPLE], x, masses, method="bruteforce")
    click.echo(
        f"{'theta':>6}{'quadrupole':>12}{'pytreegrav s':>14}{'taskfmm s':>11}{'ratio':>7}{'error':>10}{'ours':>10}"
    )
    for angle, quadrupole in ((0.7, False), (0.5, False), (0.5, True), (0.3, True)):
        took, results = zip(
            *(
                seconds(repeats, partial(of.Accel, x, masses, theta=angle, quadrupole=quadrupole))
                for of in (theirs, pytreegrav)
            ),
            strict=True,
        )
        errors = [relative_error(found[:SAMPLE], exact) for found in results]
        click.echo(
            f"{angle:>6g}{quadrupole!s:>12}{took[0]:>14.2f}{took[1]:>11.2f}{took[0] / took[1]:>7.1f}"
            f"{errors[0]:>10.1e}{errors[1]:>10.1e}"
        )


if __name__ == "__main__":
    main()
