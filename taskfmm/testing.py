"""Point clouds and charges that are hard on an FMM, for tests and benchmarks.

Every function takes the number of points and a `numpy.random.Generator`, so a seed reproduces a result. The
clouds are uniform, thin, strongly graded or degenerate; a method that holds on all of `DISTRIBUTIONS` has met
every shape of tree.

Examples
--------
>>> import numpy as np
>>> from taskfmm.testing import DISTRIBUTIONS, charges
>>> rng = np.random.default_rng(8675309)
>>> points = DISTRIBUTIONS["plummer"](1000, rng)
>>> points.shape, charges("neutral", 1000, rng).shape
((1000, 3), (1000,))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def uniform(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform in the unit cube."""
    return rng.random((n, 3))


def sphere(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on the surface of the unit sphere."""
    points = rng.standard_normal((n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def ellipsoid(n: int, rng: np.random.Generator) -> np.ndarray:
    """On the surface of an ellipsoid with half-axes 1, 0.1 and 0.01, crowded at its tips."""
    return sphere(n, rng) * [1.0, 0.1, 0.01]


def collinear(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on a line segment that is parallel to no axis."""
    return rng.random((n, 1)) * [1.0, 0.7, -0.3]


def coplanar(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform in a square in the plane z = 0.25."""
    return np.column_stack((rng.random((n, 2)), np.full(n, 0.25)))


def two_clusters(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two cubes of width 1, a million apart, half of the points in each."""
    points = rng.random((n, 3))
    points[n // 2 :, 0] += 1e6
    return points


def plummer(n: int, rng: np.random.Generator) -> np.ndarray:
    """Plummer's star cluster of core radius 1, cut off at 100: a dense core in a wide halo."""
    mass = rng.uniform(0, (1 + 1e-4) ** -1.5, (n, 1))
    return sphere(n, rng) / np.sqrt(np.maximum(mass, 1e-12) ** (-2 / 3) - 1)


def power_law(n: int, rng: np.random.Generator) -> np.ndarray:
    """Radii spread evenly over twelve decades, 1e-12 to 1: every level of the tree is refined."""
    return sphere(n, rng) * 10.0 ** rng.uniform(-12, 0, (n, 1))


def box_faces(n: int, rng: np.random.Generator) -> np.ndarray:
    """On faces, edges and corners of the boxes of an 8 x 8 x 8 grid, where rounding decides the box."""
    points = rng.random((n, 3))
    snapped = np.round(points * 8) / 8
    pinned = rng.integers(0, 2, (n, 3)).astype(bool)
    pinned[np.arange(n), rng.integers(0, 3, n)] = True
    return np.where(pinned, snapped, points)


def tiny_cluster(n: int, rng: np.random.Generator) -> np.ndarray:
    """Half of the points uniform in the unit cube, half in a cluster 1e-12 wide inside it."""
    points = rng.random((n, 3))
    points[n // 2 :] = [0.3, 0.4, 0.6] + 1e-12 * points[n // 2 :]
    return points


def half_duplicates(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform, but the second half repeats the first."""
    points = rng.random((n - n // 2, 3))
    return np.concatenate((points, points[: n // 2]))


def identical(n: int, rng: np.random.Generator) -> np.ndarray:
    """One random point, ``n`` times."""
    return np.repeat(rng.random((1, 3)), n, axis=0)


def grid(edge: int, closed: bool = False) -> np.ndarray:
    """A regular grid of ``edge**3`` points in the unit cube, up to its far faces if ``closed``.

    No two points are close, so gradients are small, and hard.
    """
    side = np.arange(edge) / (edge - closed)
    return np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)


def cubic_grid(n: int, rng: np.random.Generator) -> np.ndarray:
    """About ``n`` points on a regular grid, open or closed."""
    return grid(max(1, round(n ** (1 / 3))), bool(rng.integers(2)) and n > 1)


def plane_grid(n: int, rng: np.random.Generator) -> np.ndarray:
    """About ``n`` points on a square grid, as the pixels of an image are; equal charges cancel in it."""
    side = np.arange(max(1, round(n**0.5)), dtype=np.float64)
    return np.stack(np.meshgrid(side, side, [0.0], indexing="ij"), axis=-1).reshape(-1, 3)


def circle(n: int, rng: np.random.Generator) -> np.ndarray:
    """Equal steps along a circle."""
    angle = 2 * np.pi * np.arange(n) / max(1, n)
    return np.column_stack((np.cos(angle), np.sin(angle), np.zeros(n)))


def line(n: int, rng: np.random.Generator) -> np.ndarray:
    """Equal steps along a line."""
    return np.column_stack((np.arange(n, dtype=np.float64), np.zeros((n, 2))))


def mesh(n: int, rng: np.random.Generator) -> np.ndarray:
    """Centroids of about ``n`` triangles that cover a sphere; `mesh_areas` are what they weigh."""
    return _triangles(n).mean(axis=1)


def mesh_areas(n: int) -> np.ndarray:
    """Areas of the triangles of `mesh`, float64 [n_triangles]."""
    a, b, c = _triangles(n).transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _triangles(n: int) -> np.ndarray:
    """The faces of an octahedron, each cut into k * k triangles and blown up to the sphere, float64 [8 k k, 3, 3]."""
    k = max(1, round((n / 8) ** 0.5))
    i, j = (found.ravel() for found in np.meshgrid(np.arange(k), np.arange(k), indexing="ij"))
    up, down = i + j < k, i + j < k - 1
    corners = np.concatenate(
        [
            np.stack([np.stack([i + a, j + b], axis=1)[chosen] for a, b in steps], axis=1)
            for chosen, steps in ((up, ((0, 0), (1, 0), (0, 1))), (down, ((1, 0), (1, 1), (0, 1))))
        ]
    )
    weight = np.concatenate([corners, k - corners.sum(axis=2, keepdims=True)], axis=2) / k
    signs = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)])
    faces = (signs[:, None, None, :] * weight).reshape(-1, 3, 3)
    return faces / np.linalg.norm(faces, axis=2, keepdims=True)


REGULAR: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    make.__name__: make for make in (cubic_grid, plane_grid, circle, line, mesh)
}
"""Clouds in which no two points are close and equal charges cancel, by name; about n points each."""

DISTRIBUTIONS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    make.__name__: make
    for make in (
        uniform,
        sphere,
        ellipsoid,
        collinear,
        coplanar,
        two_clusters,
        plummer,
        power_law,
        box_faces,
        tiny_cluster,
        half_duplicates,
        identical,
    )
}
"""Every cloud by name: ``DISTRIBUTIONS[name](n, rng)`` is a float64 array [n, 3]."""

RELATIONS = ("same", "separate", "disjoint", "one target")


def sources_and_targets(
    name: str, relation: str, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Sources of one distribution, and targets in one of the relations to them that a caller may have.

    Parameters
    ----------
    name : str
        A key of `DISTRIBUTIONS`.
    relation : {"same", "separate", "disjoint", "one target"}
        The targets are the sources; a third as many from the same distribution; these, moved clear of the
        sources; a single point of the distribution.
    n : int
        Number of sources.
    rng : numpy.random.Generator

    Returns
    -------
    sources : float64 [n, 3]
    targets : float64 [n_targets, 3], or None for "same"
    """
    make = DISTRIBUTIONS[name]
    sources = make(n, rng)
    if relation == "same":
        return sources, None
    if relation == "separate":
        return sources, make(n // 3, rng)
    if relation == "disjoint":
        return sources, make(n // 3, rng) + np.ptp(sources, axis=0).max() * 1.5 + 1e-9
    if relation == "one target":
        return sources, make(1, rng)
    raise ValueError(f"relation {relation!r} is not one of {', '.join(RELATIONS)}")


CHARGE_KINDS = ("positive", "signed", "neutral", "equal")


def charges(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random charges.

    Parameters
    ----------
    kind : {"positive", "signed", "neutral", "equal"}
        Uniform in [0, 1); uniform in [-1, 1); or the latter less their mean, so that they sum to zero; or all one.
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    float64 [n]
    """
    if kind == "positive":
        return rng.random(n)
    if kind == "equal":
        return np.ones(n)
    signed = rng.uniform(-1, 1, n)
    if kind == "signed":
        return signed
    if kind == "neutral":
        return signed - signed.mean() if n else signed
    raise ValueError(f"charge kind {kind!r} is not one of {', '.join(CHARGE_KINDS)}")


HEAVY_PLACES = ("in", "centre", "beside")


def with_heavy(
    points: np.ndarray, place: str, ratio: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One charge that outweighs all others.

    Parameters
    ----------
    points : float64 [n, 3]
    place : {"in", "centre", "beside"}
        Where the first point goes: it stays; to the centre of the cloud; two thirds of a width away from it.
    ratio : float
        Of its charge to the others, whose signs are random.
    rng : numpy.random.Generator

    Returns
    -------
    points : float64 [n, 3]; charges : float64 [n]
    """
    moved, low, high = points.copy(), points.min(axis=0), points.max(axis=0)
    if place == "centre":
        moved[0] = (low + high) / 2
    elif place == "beside":
        moved[0] = high + 2 / 3 * (high - low).max()
    elif place != "in":
        raise ValueError(f"place {place!r} is not one of {', '.join(HEAVY_PLACES)}")
    q = rng.choice([-1.0, 1.0], len(points))
    q[0] = ratio
    return moved, q
