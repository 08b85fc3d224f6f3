"""From how many points on taskfmm pays: beside the direct sum, beside pytreegrav, and beside a particle-mesh code.

``taskset -c 1 env NUMBA_NUM_THREADS=1 python -m benchmarks.crossover`` prints every figure of `docs/when_not.md`.
Seconds are those of CPU on one thread, medians of turns that alternate between the codes, so that ratios hold on a
busy machine too. ``--part`` prints some of the tables. pytreegrav comes with the tests, openmm with ``pip install
openmm``.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import click
import numpy as np

import taskfmm
from benchmarks import fresh, machine
from benchmarks.interop import SAMPLE, of_bodies, plummer
from taskfmm.interop import pytreegrav, sums

SIZES = (1000, 2000, 4000, 8000, 16_000, 32_000)
BODIES = (1000, 3000, 10_000, 30_000, 100_000)
TARGETS = (10, 100, 1000, 3000)
MESHES = (10_000, 100_000)

Calls = dict[str, Callable[[], Any]]


def turns(calls: Calls, repeats: int) -> dict[str, float]:
    """Seconds of CPU of each call: the median of some turns after a first one."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.process_time()
            call()
            took[name].append(time.process_time() - started)
    return {name: median(each[1:]) for name, each in took.items()}


def crossing(sizes: Sequence[int], ratios: Sequence[float]) -> str:
    """From which size on the ratios stay above 1, between two sizes along a straight line of their logarithms."""
    below = [i for i, ratio in enumerate(ratios) if ratio <= 1.0]
    if not below:
        return f"below {sizes[0]:,}"
    last = below[-1]
    if last == len(sizes) - 1:
        return f"above {sizes[-1]:,}"
    low, high = np.log(ratios[last]), np.log(ratios[last + 1])
    between = np.log(sizes[last + 1] / sizes[last]) * -low / (high - low)
    return f"{float(f'{sizes[last] * np.exp(between):.1g}'):,.0f}"


def of_plan(x: np.ndarray, q: np.ndarray, eps: float, targets: np.ndarray | None = None) -> tuple[Calls, str]:
    """The calls for the same potential, and what the plan chose."""
    fmm = taskfmm.Fmm(x, targets, eps=eps)
    calls: Calls = {
        "direct": lambda: taskfmm.direct(x, q, targets),
        "evaluation": lambda: fmm.potential(q).compute(),
        "both": lambda: taskfmm.Fmm(x, targets, eps=eps).potential(q).compute(),
    }
    return calls, "direct sum" if fmm.leaf_size is None else f"leaves of {fmm.leaf_size}"


HEAD = f"{'direct s':>10}{'evaluation s':>14}{'ratio':>7}{'plan and it s':>15}{'ratio':>7}  the plan takes"


def row(calls: Calls, chosen: str, repeats: int) -> tuple[str, tuple[float, float]]:
    """Columns of `HEAD`, and both ratios: seconds of the direct sum over those of taskfmm."""
    took = turns(calls, repeats)
    ratios = took["direct"] / took["evaluation"], took["direct"] / took["both"]
    text = f"{took['direct']:>10.4f}{took['evaluation']:>14.4f}{ratios[0]:>7.1f}{took['both']:>15.4f}"
    return f"{text}{ratios[1]:>7.1f}  {chosen}", ratios


def direct(repeats: int) -> None:
    """Potentials of charges of random sign in a cube at themselves."""
    for eps in (1e-3, 1e-6, 1e-9):
        click.echo(f"\npotential of charges in a cube, eps {eps:g}\n{'points':>10}{HEAD}")
        found = []
        for n in SIZES:
            rng = np.random.default_rng(20240611)
            text, ratios = row(*of_plan(rng.random((n, 3)), rng.uniform(-1, 1, n), eps), repeats)
            found.append(ratios)
            click.echo(f"{n:>10,}{text}")
        crossings = [crossing(SIZES, each) for each in zip(*found, strict=True)]
        click.echo(f"an evaluation pays from {crossings[0]} points on, a plan for one from {crossings[1]}")


def targets(repeats: int) -> None:
    """A million sources and few targets."""
    click.echo(f"\npotential of 1e6 charges in a cube at other targets, eps 1e-6\n{'targets':>10}{HEAD}")
    rng = np.random.default_rng(20240611)
    x, q = rng.random((10**6, 3)), rng.uniform(-1, 1, 10**6)
    for n in TARGETS:
        click.echo(f"{n:>10,}{row(*of_plan(x, q, 1e-6, rng.random((n, 3))), repeats)[0]}")


def gravity(repeats: int) -> None:
    """Accelerations of a Plummer sphere: whole calls of pytreegrav, and of its stand-in at the eps of the angle."""
    if importlib.util.find_spec("pytreegrav") is None:
        click.echo("\npytreegrav is not installed: pip install pytreegrav")
        return
    import pytreegrav as theirs

    for angle in (1.0, 0.7, 0.5):
        click.echo(
            f"\nacceleration in a Plummer sphere, theta {angle:g}\n{'bodies':>10}{'pytreegrav s':>14}"
            f"{'taskfmm s':>11}{'ratio':>7}{'error':>10}{'ours':>10}"
        )
        found = []
        for n in BODIES:
            x, m = plummer(n, np.random.default_rng(20240611)), np.full(n, 1.0 / n)

            def ours(x: np.ndarray = x, m: np.ndarray = m, angle: float = angle) -> np.ndarray:
                sums.PLANS.forget()
                return np.asarray(pytreegrav.Accel(x, m, theta=angle))

            calls: Calls = {"theirs": partial(theirs.Accel, x, m, theta=angle), "ours": ours}
            took = turns(calls, repeats)
            exact = pytreegrav.AccelTarget(x[:SAMPLE], x, m, method="bruteforce")
            errors = [of_bodies(call()[:SAMPLE], exact) for call in calls.values()]
            found.append(took["theirs"] / took["ours"])
            click.echo(
                f"{n:>10,}{took['theirs']:>14.4f}{took['ours']:>11.4f}{found[-1]:>7.1f}{errors[0]:>10.1e}{errors[1]:>10.1e}"
            )
        click.echo(f"taskfmm takes less time from {crossing(BODIES, found)} bodies on")


def mesh(repeats: int) -> None:
    """Forces in a periodic box: OpenMM's particle mesh, in float32, with the fastest setting that keeps 1e-3."""
    if importlib.util.find_spec("openmm") is None:
        click.echo("\nopenmm is not installed: pip install openmm")
        return
    click.echo(
        f"\nforces in a periodic cube, eps 1e-3\n{'charges':>10}{'OpenMM s':>10}{'taskfmm s':>11}{'ratio':>7}"
        f"{'float32 s':>11}{'ratio':>7}{'error':>10}{'ours':>10}"
    )
    for n in MESHES:
        case = {"n": n, "eps": 1e-3, "outputs": ["potential", "gradient"], "peers": ["openmm"], "threads": 1}
        case |= {"repeats": repeats, "seed": 20240611, "memory": 14.0 * 2**30}
        found = fresh.run("benchmarks.meshes.case", case, 3600.0)
        if "failed" in found or found["missing"]:
            click.echo(f"{n:>10,}  {found.get('failed') or found['missing']}")
            continue
        codes = found["codes"]
        theirs, double, single = (codes[name] for name in ("openmm", "taskfmm", "taskfmm float32"))
        seconds = [code["evaluation"] for code in (theirs, double, single)]
        click.echo(
            f"{n:>10,}{seconds[0]:>10.4f}{seconds[1]:>11.4f}{seconds[0] / seconds[1]:>7.2f}{seconds[2]:>11.4f}"
            f"{seconds[0] / seconds[2]:>7.2f}{theirs['error']:>10.1e}{double['error']:>10.1e}"
        )


PARTS = {"direct": direct, "targets": targets, "gravity": gravity, "mesh": mesh}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--part", "parts", type=click.Choice(list(PARTS)), multiple=True, default=tuple(PARTS))
@click.option("--repeats", type=click.IntRange(min=1), default=5, help="Turns; medians count.")
def main(parts: tuple[str, ...], repeats: int) -> None:
    """Seconds and ratios; a ratio above 1 says that taskfmm takes less time."""
    facts = machine.facts()
    click.echo(f"{facts['cpu']}, load {facts['load_average'][0]:.1f}")
    for part in parts:
        PARTS[part](repeats)


if __name__ == "__main__":
    main()
