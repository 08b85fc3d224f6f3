"""The fastest setting of a particle-mesh code whose error, measured against the direct sum, is at most eps.

For every method and mesh the narrowest Gaussians are taken that keep the error, as they need the fewest neighbours.
They are looked for in a part of the box with the same density of points, as errors, and the work for a point, hang on
little else; the fastest few then run in the whole box, and are widened where they err too much.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, optimize, special

from benchmarks.meshes.codes import FACTOR, Setting
from taskfmm import bench
from taskfmm.direct_sum import direct

N_TARGETS = 300
"""At which errors are measured."""

ENOUGH = 10_000
"""Points of the smallest part of a box."""

WIDTHS = np.geomspace(0.6, 7.0, 30)
"""Of the Gaussians, in spacings of the mesh."""

COARSEST = 0.5
"""Points of the mesh for a charge."""

NEIGHBOURS = 1500
"""Most for a charge."""

FINALISTS = 3


class Problem(NamedTuple):
    """Points in the unit box, charges, and exact outputs at some of them."""

    points: np.ndarray
    charges: np.ndarray
    outputs: list[str]
    rows: np.ndarray
    exact: dict[str, np.ndarray]

    @classmethod
    def random(cls, n: int, outputs: list[str], seed: int) -> Problem:
        rng = np.random.default_rng(seed)
        points, charges = rng.random((n, 3)), rng.uniform(-1.0, 1.0, n)
        charges -= charges.mean()
        rows = rng.choice(n, min(n, N_TARGETS), replace=False)
        return cls(points, charges, outputs, rows, exact(points, charges, rows, outputs, box=1.0))

    def error(self, found: dict[str, np.ndarray]) -> float:
        """Relative l2, the largest of the outputs that there are."""
        return max(
            bench.relative_error(values[self.rows], self.exact[name]) for name, values in found.items()
        )


def exact(
    points: np.ndarray, charges: np.ndarray, rows: np.ndarray, outputs: list[str], **box: Any
) -> dict[str, np.ndarray]:
    """The direct sum at some of the points."""
    return dict(direct(points, charges, points[rows], outputs=outputs, **box))


def cutoff(problem: Problem, output: str, smearing: float, eps: float) -> float:
    """Where the neighbours beyond, of random charges, are worth eps: Kolafa and Perram, Mol. Sim. 9 (1992) 351.

    The squares of the terms of all charges beyond add up, as the charges have either sign.
    """
    size = np.sqrt(np.mean(np.sum(np.square(problem.exact[output]).reshape(problem.rows.size, -1), axis=1)))
    density = np.sum(problem.charges**2)

    def term(r: float) -> float:
        x = r / (np.sqrt(2.0) * smearing)
        value = special.erfc(x) / r
        if output == "gradient":
            value = value / r + np.sqrt(2.0 / np.pi) / smearing * np.exp(-x * x) / r
        return 4.0 * np.pi * r**2 * density * value**2

    def excess(ratio: float) -> float:
        beyond, _ = integrate.quad(term, ratio * smearing, (ratio + 4.0) * smearing, epsabs=0.0)
        return float(np.log(FACTOR * np.sqrt(beyond) / (eps * size)))

    return smearing * float(optimize.brentq(excess, 0.5, 12.0))


def setting(problem: Problem, method: str, mesh: int, width: float, eps: float) -> Setting:
    """With half of eps for the neighbours that are left out."""
    smearing = width / mesh
    output = "gradient" if "gradient" in problem.outputs else "potential"
    return Setting(method, mesh, smearing, cutoff(problem, output, smearing, 0.5 * eps))


def timed(code: Any, anew: bool = False) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of CPU of an evaluation, and what it found."""
    started = time.process_time()
    found = code.evaluate(anew)
    return time.process_time() - started, found


def possible(peer: Any, problem: Problem, chosen: Setting, parts: int, memory: float) -> bool:
    """Whether a setting, in a box of so many parts along a side, is a sensible one and fits into memory."""
    neighbours = len(problem.points) * 4.0 / 3.0 * np.pi * chosen.cutoff**3
    if chosen.cutoff >= 0.49 or neighbours > NEIGHBOURS:
        return False
    if "torchpme" not in peer.needs:
        return True
    n, order = len(problem.points) * parts**3, int(chosen.method.split()[1])
    size = 4 if "float32" in chosen.method else 8
    arrays, of_pair = (
        (14.5, 160) if "gradient" in problem.outputs else (4, 80)
    )  # as its peaks of memory showed
    spread = (26 + arrays * size) * order**3 * n
    needed = spread + 12 * size * (parts * chosen.mesh) ** 3 + of_pair * neighbours * n
    return needed <= memory


def meshes(peer: Any, n: int, parts: int) -> list[int]:
    """Points along a side of a part, of which the box has so many along each."""
    sizes = [2**i for i in range(3, 10)]
    if "torchpme" not in peer.needs:  # which takes powers of two alone
        sizes = sorted(sizes + [2**i * m for i in range(2, 7) for m in (5, 6)])
    return [size for size in sizes if COARSEST * n <= size**3 <= peer.finest * n and parts * size <= 512]


def narrowest(peer: Any, problem: Problem, method: str, mesh: int, eps: float, fits: Any) -> tuple | None:
    """Seconds and width of the narrowest Gaussians that keep eps; None if none do."""
    low, high, best = 0, len(WIDTHS) - 1, None
    while low <= high:
        middle = (low + high) // 2
        chosen = setting(problem, method, mesh, WIDTHS[middle], eps)
        if not fits(chosen):
            high = middle - 1
            continue
        code = peer(problem.points, problem.charges, problem.outputs, chosen)
        if problem.error(code.evaluate()) <= eps:
            high, best = middle - 1, (timed(code)[0], method, mesh, WIDTHS[middle])
        else:
            low = middle + 1
    return best


def in_the_whole_box(
    peer: Any, problem: Problem, method: str, mesh: int, width: float, eps: float
) -> tuple[float, Setting] | None:
    """Seconds and setting, of Gaussians as wide as it takes; None if none of a few widths keeps eps."""
    for wider in 1.03 ** np.arange(6):
        chosen = setting(problem, method, mesh, wider * width, eps)
        code = peer(problem.points, problem.charges, problem.outputs, chosen)
        if problem.error(code.evaluate()) <= eps:
            return timed(code)[0], chosen
        del code  # before the next one is made: each has a list of neighbours
    return None


def fastest(peer: Any, problem: Problem, eps: float, memory: float) -> Setting | None:
    """The fastest setting; None where the code does not reach eps within so many bytes."""
    n, parts = len(problem.points), 1
    while n // (2 * parts) ** 3 >= ENOUGH:
        parts *= 2
    small = Problem.random(n // parts**3, problem.outputs, seed=1)
    dtype = " float32" if peer.in_float32 and eps >= 1e-5 else ""
    methods = [method + dtype for method in peer.methods]
    found = [
        narrowest(peer, small, method, mesh, eps, lambda chosen: possible(peer, small, chosen, parts, memory))
        for method, mesh in itertools.product(methods, meshes(peer, len(small.points), parts))
    ]
    finals = [
        in_the_whole_box(peer, problem, method, parts * mesh, width, eps)
        for _, method, mesh, width in sorted(each for each in found if each)[:FINALISTS]
    ]
    return min((each for each in finals if each), default=(0.0, None))[1]
