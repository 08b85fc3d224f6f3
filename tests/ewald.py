"""Sums over all images of a periodic box by textbook formulas, which share nothing with the library: references.

Each is the potential sum_j q_j G(x - y_j) / (4 pi) of charges that add up to zero, in a box of any sides, at the
charges themselves where their own is left out. They are slow, and meant for a few hundred charges.
"""

from __future__ import annotations

import numpy as np
from scipy import special

SQUARE = -3.9002649200019558
"""Of a square lattice of side 1, the sum of 1 / r over all points but 0, in a background that cancels it:
4 zeta(1/2) beta(1/2), with the beta function of Dirichlet."""


def three(x: np.ndarray, y: np.ndarray, q: np.ndarray, sides: np.ndarray, alpha: float) -> np.ndarray:
    """Repeated along all axes, a conductor around it: Ewald's sum with structure factors, float64 [m].

    x, y : float64 [m, 3] and [n, 3]; alpha : by which the sum is divided in two, and on which nothing hangs
    """
    volume, images = sides.prod(), whole(np.ceil(6.5 / alpha / sides) + 1)
    found = np.full(len(x), -np.pi / (volume * alpha**2) * q.sum())
    for image in images * sides:
        r = np.sqrt(((x[:, None] - y - image) ** 2).sum(axis=2))
        with np.errstate(divide="ignore", invalid="ignore"):
            found += np.where(r > 0.0, special.erfc(alpha * r) / r, -2.0 * alpha / np.sqrt(np.pi)) @ q
    k = 2.0 * np.pi * whole(np.ceil(13.0 * alpha * sides / (2.0 * np.pi))) / sides
    k = k[(k**2).sum(axis=1) > 0.0]
    square = (k**2).sum(axis=1)
    structure = np.exp(-1j * (k @ y.T)) @ q
    weight = 4.0 * np.pi / volume * np.exp(-square / (4.0 * alpha**2)) / square
    return (found + (np.exp(1j * (x @ k.T)) @ (weight * structure)).real) / (4.0 * np.pi)


def two(x: np.ndarray, y: np.ndarray, q: np.ndarray, side: float) -> np.ndarray:
    """Repeated along x and y, at places of other z than all charges but those at the very place: plane waves."""
    k = 2.0 * np.pi / side * whole(np.array([120, 120, 0]))[:, :2]
    k = k[(k**2).sum(axis=1) > 0.0]
    size = np.sqrt((k**2).sum(axis=1))
    found = np.zeros(len(x))
    for i, at in enumerate(x):
        r = at - y
        z, same = np.abs(r[:, 2]), (r == 0.0).all(axis=1)
        waves = np.cos(r[:, :2] @ k.T) * np.exp(-size * z[:, None]) / size
        of_one = 2.0 * np.pi / side**2 * (waves.sum(axis=1) - z)
        of_one[same] = SQUARE / side
        found[i] = of_one @ q
    return found / (4.0 * np.pi)


def one(x: np.ndarray, y: np.ndarray, q: np.ndarray, side: float) -> np.ndarray:
    """Repeated along x, at places that are not on a line along x with any charge but that at the very place.

    Sperb's form of Lekner's sum, Mol. Simul. 13 (1994) 189.
    """
    r = x[:, None] - y
    distance = np.sqrt((r[:, :, 1:] ** 2).sum(axis=2))
    same = (r == 0.0).all(axis=2)
    away = np.where(same, 1.0, distance)
    found = -2.0 * (np.log(away / (2.0 * side)) + np.euler_gamma)
    for n in range(1, 400):
        found += 4.0 * special.k0(2.0 * np.pi * n * away / side) * np.cos(2.0 * np.pi * n * r[:, :, 0] / side)
    return np.where(same, 0.0, found / side) @ q / (4.0 * np.pi)


def whole(most: np.ndarray) -> np.ndarray:
    """Three whole numbers, each up to so much, [n, 3]."""
    lines = [np.arange(-int(n), int(n) + 1) for n in most]
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)


def stokes(x: np.ndarray, y: np.ndarray, f: np.ndarray, sides: np.ndarray, alpha: float) -> np.ndarray:
    """Velocities of forces in a box repeated along all axes, viscosity 1, no mean flow: float64 [m, 3].

    Hasimoto's sum in the form of af Klinteberg and Tornberg, Comput. Fluids 2014; f : float64 [n, 3]
    """
    volume, found = sides.prod(), np.zeros((len(x), 3))
    for image in whole(np.ceil(6.5 / alpha / sides) + 1) * sides:
        r = x[:, None] - y - image
        r2 = (r**2).sum(axis=2)
        same = r2 == 0.0
        r2 = np.where(same, 1.0, r2)
        distance, gauss = np.sqrt(r2), np.exp(-(alpha**2) * r2)
        both = 2.0 * (
            alpha * gauss / (np.sqrt(np.pi) * r2) + special.erfc(alpha * distance) / (2.0 * distance**3)
        )
        alone = both * r2 - 4.0 * alpha / np.sqrt(np.pi) * gauss
        alone = np.where(same, -4.0 * alpha / np.sqrt(np.pi), alone)
        along = np.where(same, 0.0, both) * (r * f).sum(axis=2)
        found += alone @ f + (along[..., None] * r).sum(axis=1)
    k = 2.0 * np.pi * whole(np.ceil(13.0 * alpha * sides / (2.0 * np.pi))) / sides
    k = k[(k**2).sum(axis=1) > 0.0]
    square = (k**2).sum(axis=1)
    structure = np.exp(-1j * (k @ y.T)) @ f
    structure -= k * ((k * structure).sum(axis=1) / square)[:, None]
    weight = (
        8.0 * np.pi / volume * (1.0 + square / (4.0 * alpha**2)) / square * np.exp(-square / (4.0 * alpha**2))
    )
    return (found + (np.exp(1j * (x @ k.T)) @ (weight[:, None] * structure)).real) / (8.0 * np.pi)
