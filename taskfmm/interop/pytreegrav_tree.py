"""Bodies and their plans, for the functions of pytreegrav, and what their opening angles mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskfmm import kernels
from taskfmm.errors import InputError
from taskfmm.interop.given import unmasked
from taskfmm.interop.sums import FEW, Plans, evaluate

EPS = {
    0.1: {"potential": (1e-6, 4e-8), "acceleration": (1e-5, 1e-7)},
    0.2: {"potential": (1e-5, 7e-7), "acceleration": (8e-5, 5e-6)},
    0.3: {"potential": (2e-5, 3e-6), "acceleration": (2e-4, 3e-5)},
    0.5: {"potential": (7e-5, 1e-5), "acceleration": (8e-4, 1e-4)},
    0.7: {"potential": (1e-4, 6e-5), "acceleration": (2e-3, 7e-4)},
    1.0: {"potential": (4e-4, 1e-4), "acceleration": (4e-3, 2e-3)},
}
"""For an opening angle and those above it, without and with quadrupoles: a little less than the smallest relative
error of pytreegrav 1.5, of 20,000 bodies as a Plummer sphere, a cube and two Plummer spheres, as a root mean square
over the bodies. ``python -m benchmarks.interop theta`` measures it, and that taskfmm then errs less."""

STEEP = 5
"""Below the smallest angle of the table, errors are taken to fall with this power; measured are 3 to 4."""


class Tree:
    """Bodies, and the last plans that were made of them.

    NumParticles : int
    HasQuads : bool, whether it was asked for quadrupoles
    """

    def __init__(self, pos: Any, m: Any, softening: Any, quadrupole: bool) -> None:
        self._points, self._masses = points_of(pos), _numbers(m)
        self._lengths = np.zeros(len(self._points)) if softening is None else _numbers(softening)
        self._plans = Plans(2)
        self.NumParticles, self.HasQuads = len(self._points), bool(quadrupole)

    def evaluate(self, output: str, targets: Any, lengths: Any, G: float, eps: float) -> np.ndarray:
        """An output at targets, or at the bodies where targets is None.

        lengths : of the targets, None for zeros
        eps : 0 to sum all pairs
        """
        points, masses, h, first = self._points, self._masses, self._lengths, 0
        at = None if targets is None else points_of(targets)
        of_targets = np.zeros(0 if at is None else len(at)) if lengths is None else _numbers(lengths)
        if at is not None and np.array_equal(at, points) and np.array_equal(of_targets, h):
            at = None
        elif at is not None and of_targets.max(initial=0.0) > h.min(initial=np.inf):
            # targets that are softened become bodies without mass
            first = len(points)
            points, h, at = np.vstack([points, at]), np.append(h, of_targets), None
            masses = np.append(masses, np.zeros(len(of_targets)))
        kernel = kernels.Gravity(softening=h if h.any() else 0.0, kind="spline")
        few = FEW if eps else np.inf
        found = evaluate(kernel, eps, points, at, (output,), {"masses": masses}, few=few, plans=self._plans)
        return G * found[output][first:]


def eps_of(theta: float, output: str, quadrupole: bool) -> float:
    """The relative l2 error for an opening angle; 0 where all pairs are to be summed."""
    if not theta > 0.0:
        return 0.0
    least = min(EPS)
    eps = EPS[max(angle for angle in EPS if angle <= max(theta, least))][output][bool(quadrupole)]
    return eps * min(1.0, theta / least) ** STEEP


def points_of(array: Any) -> np.ndarray:
    """A copy, float64 [n, 3]."""
    return np.array(np.atleast_2d(unmasked("an array of positions", array)), np.float64, order="C")


def _numbers(array: Any) -> np.ndarray:
    found = np.array(np.atleast_1d(unmasked("an array of masses or softenings", array)), np.float64)
    if found.ndim != 1:
        raise InputError(f"an array of masses or softenings has shape {found.shape}, expected (n,)")
    return found
