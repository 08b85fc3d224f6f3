"""Clouds of charges for trying things out: the shapes that FMM papers time."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np

from taskfmm.errors import InputError

PLUMMER_CUT = 0.999
"""Mass fraction kept of the Plummer model, whose tail is endless; the outermost radius is about 38."""

N_CLUSTERS = 40
"""Clusters of points."""


def new_seed() -> int:
    """A fresh seed, to be shown or recorded so that the cloud can be made again."""
    return secrets.randbelow(2**32)


def cloud(shape: str, n: int, *, signed: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random points of a shape with random charges.

    Parameters
    ----------
    shape : 'sphere', 'cube', 'plummer' or 'clusters'
        Uniform on the unit sphere's surface; uniform in the unit cube; the Plummer model with scale length 1;
        Gaussian clusters in the unit cube, whose widths span three decades.
    n : int
    signed : bool
        Charges uniform in [-1, 1) or, when False, in [0, 1).
    seed : int
        The same seed gives the same cloud.

    Returns
    -------
    sources : float64 [n, 3]
    charges : float64 [n]
    """
    if shape not in SHAPES:
        raise InputError(f"shape is {shape!r}, expected one of {', '.join(SHAPES)}")
    if n < 0:
        raise InputError(f"n is {n}, expected at least 0")
    rng = np.random.default_rng(seed)
    sources = SHAPES[shape](n, rng)
    return sources, rng.uniform(-1.0 if signed else 0.0, 1.0, n)


def numbers(shape: tuple[int, ...], *, signed: bool, seed: int, is_complex: bool) -> np.ndarray:
    """Random numbers of sources that are no single real numbers: uniform as those of `cloud`, in both parts."""
    rng = np.random.default_rng([seed, 1])
    low = -1.0 if signed else 0.0
    real = rng.uniform(low, 1.0, shape)
    return real + 1j * rng.uniform(low, 1.0, shape) if is_complex else real


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on the unit sphere (Archimedes: z is uniform, and so is the angle about it)."""
    z = rng.uniform(-1.0, 1.0, n)
    angle = rng.uniform(0.0, 2.0 * np.pi, n)
    across = np.sqrt(1.0 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _cube(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random((n, 3))


def _plummer(n: int, rng: np.random.Generator) -> np.ndarray:
    """Radius from the mass inside it, m = r**3 / (1 + r**2)**1.5, turned round."""
    mass = rng.uniform(0.0, PLUMMER_CUT, n)
    ratio = mass ** (2.0 / 3.0)
    radius = np.sqrt(ratio / (1.0 - ratio))
    return radius[:, None] * _directions(n, rng)


def _clusters(n: int, rng: np.random.Generator) -> np.ndarray:
    """The same clusters for any seed, so that parts of a cloud may be drawn apart from each other."""
    shared = np.random.default_rng(N_CLUSTERS)
    centers, widths = shared.random((N_CLUSTERS, 3)), 10.0 ** shared.uniform(-4, -1, N_CLUSTERS)
    which = rng.integers(N_CLUSTERS, size=n)
    return centers[which] + widths[which, None] * rng.normal(size=(n, 3))


SHAPES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "sphere": _directions,
    "cube": _cube,
    "plummer": _plummer,
    "clusters": _clusters,
}
