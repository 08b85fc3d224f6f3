"""What flat triangles do to points: exact integrals, and the rule of points that stands for them further away.

With u = y - x from a point x to a place y of a triangle, whose corners are a, b and c as seen from x and whose
vector N = (b - a) x (c - a) is twice its area long:

- the solid angle W, positive where N points away from x, has
  tan(W / 2) = N . a / (|a||b||c| + (a . b)|c| + (b . c)|a| + (c . a)|b|)
  (van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125);
- the integral of 1 / |u| is the sum over edges of t ln((|a| + |b| + l) / (|a| + |b| - l)), less h W. Here l is the
  length of the edge from a to b, t the distance to its line within the plane, and h the distance to the plane
  (Wilton et al., IEEE Trans. Antennas Propag. 32 (1984) 276).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import roots_jacobi, roots_legendre

from taskfmm.jit import jit, jit_in_order

ON_PLANE = 4.0 * 2.0**-52
"""Times the largest coordinate of a triangle: a point so close to its plane counts as on it."""

REMOTE = 1e5
"""Sizes of a triangle from which its 1 / r is that of one point: that errs by 1e-11, as the sum over edges does."""


class Flat(NamedTuple):
    """Triangles, as loops read them.

    corners : float64 [m, 3, 3]
    across : float64 [m, 3], N; twice : float64 [m], its length
    lengths : float64 [m, 3], of the edges to each corner from the one before it
    outward : float64 [m, 3, 3], unit vectors in the plane, across these edges
    slack : float64 [m], N . a of a point that counts as on the plane
    centres : float64 [m, 3]; sizes : float64 [m], the distance from the centre to the furthest corner
    """

    corners: np.ndarray
    across: np.ndarray
    twice: np.ndarray
    lengths: np.ndarray
    outward: np.ndarray
    slack: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of_corners(cls, corners: np.ndarray, beyond: float = 0.0) -> Flat:
        """What has no area has outward vectors that are not finite.

        beyond : how much larger the caller's coordinates are, by which his points are rounded
        """
        edges, centres = corners - np.roll(corners, 1, axis=1), corners.mean(axis=1)
        across = np.cross(edges[:, 1], edges[:, 2])
        twice, lengths = np.linalg.norm(across, axis=1), np.linalg.norm(edges, axis=2)
        slack = ON_PLANE * twice * (beyond + np.abs(corners).max(axis=(1, 2), initial=0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            outward = np.cross(edges, across[:, None]) / (lengths * twice[:, None])[:, :, None]
        sizes = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1, initial=0.0)
        return cls(corners, across, twice, lengths, outward, slack, centres, sizes)

    def rows(self, some: np.ndarray) -> Flat:
        """Some of them."""
        return Flat(*(each[some] for each in self))


def rule(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's rule with n x n points, exact for polynomials of degree 2 n - 1 over a triangle.

    Returns barycentric coordinates [n * n, 3] and weights [n * n], which add up to 1. It is the product of rules on
    an edge and across it (Stroud, Approximate Calculation of Multiple Integrals (1971), conical products).
    """
    across, of_across = roots_jacobi(n, 1.0, 0.0)
    along, of_along = roots_legendre(n)
    u = np.repeat(0.5 * (1.0 + across), n)
    v = np.tile(0.5 * (1.0 + along), n) * (1.0 - u)
    weights = np.repeat(of_across, n) * np.tile(of_along, n)
    return np.stack([1.0 - u - v, u, v], axis=1), weights / weights.sum()


@jit_in_order
def half_angle(x, y, z, t, flat):  # type: ignore[no-untyped-def]
    """Half of the solid angle of triangle t at (x, y, z), and N . a.

    A point on the plane of the triangle has no angle, the mean of both sides.
    """
    corners, across = flat.corners, flat.across
    ax, ay, az = corners[t, 0, 0] - x, corners[t, 0, 1] - y, corners[t, 0, 2] - z
    bx, by, bz = corners[t, 1, 0] - x, corners[t, 1, 1] - y, corners[t, 1, 2] - z
    cx, cy, cz = corners[t, 2, 0] - x, corners[t, 2, 1] - y, corners[t, 2, 2] - z
    above = across[t, 0] * ax + across[t, 1] * ay + across[t, 2] * az
    if abs(above) <= flat.slack[t]:
        return 0.0, above
    a = math.sqrt(ax * ax + ay * ay + az * az)
    b = math.sqrt(bx * bx + by * by + bz * bz)
    c = math.sqrt(cx * cx + cy * cy + cz * cz)
    below = a * b * c + (ax * bx + ay * by + az * bz) * c
    below += (bx * cx + by * cy + bz * cz) * a + (cx * ax + cy * ay + cz * az) * b
    return math.atan2(above, below), above


@jit_in_order
def inverse_distance_over(x, y, z, t, flat):  # type: ignore[no-untyped-def]
    """The integral of 1 / r over triangle t, at (x, y, z)."""
    corners, lengths, outward = flat.corners, flat.lengths, flat.outward
    half, above = half_angle(x, y, z, t, flat)
    total = -2.0 * half * above / flat.twice[t]
    px, py, pz = corners[t, 2, 0] - x, corners[t, 2, 1] - y, corners[t, 2, 2] - z
    p = math.sqrt(px * px + py * py + pz * pz)
    for k in range(3):
        beside = outward[t, k, 0] * px + outward[t, k, 1] * py + outward[t, k, 2] * pz
        px, py, pz = corners[t, k, 0] - x, corners[t, k, 1] - y, corners[t, k, 2] - z
        q = math.sqrt(px * px + py * py + pz * pz)
        rest = p + q - lengths[t, k]
        if rest > 0.0:  # else the point is on the edge, where the distance is zero
            total += beside * math.log1p(2.0 * lengths[t, k] / rest)
        p = q
    return total


@jit
def add_angles(points, flat, numbers, out):  # type: ignore[no-untyped-def]
    """Add the solid angles of all triangles, times a number of each, at all points [k, 3]."""
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        total = 0.0
        for t in range(len(numbers)):
            half, _ = half_angle(x, y, z, t, flat)
            total += numbers[t] * half
        out[i] += 2.0 * total


@jit
def add_integrals(points, flat, numbers, out):  # type: ignore[no-untyped-def]
    """The same of the integrals of 1 / r."""
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        total = 0.0
        for t in range(len(numbers)):
            dx, dy, dz = flat.centres[t, 0] - x, flat.centres[t, 1] - y, flat.centres[t, 2] - z
            r = math.sqrt(dx * dx + dy * dy + dz * dz)
            remote = r > REMOTE * flat.sizes[t]
            found = 0.5 * flat.twice[t] / r if remote else inverse_distance_over(x, y, z, t, flat)
            total += numbers[t] * found
        out[i] += total


@jit
def correct_angles(points, i, t, flat, numbers, places, weights, blunt, out):  # type: ignore[no-untyped-def]
    """Add the solid angles of pairs of points and triangles, less what the places of these do.

    i, t : int64, rows of points and of triangles
    places : float64 [m, n, 3], of the rule; weights : float64 [n]; blunt : float64 [m], the least distance
    """
    for pair in range(len(i)):
        at, of = i[pair], t[pair]
        x, y, z = points[at, 0], points[at, 1], points[at, 2]
        half, above = half_angle(x, y, z, of, flat)
        least, cubes = blunt[of] * blunt[of], 0.0
        for k in range(len(weights)):
            dx, dy, dz = places[of, k, 0] - x, places[of, k, 1] - y, places[of, k, 2] - z
            inverse = 1.0 / math.sqrt(max(dx * dx + dy * dy + dz * dz, least))
            cubes += weights[k] * inverse * inverse * inverse
        out[at] += numbers[of] * (2.0 * half - 0.5 * above * cubes)


@jit
def correct_integrals(points, i, t, flat, numbers, places, weights, blunt, out):  # type: ignore[no-untyped-def]
    """The same of the integrals of 1 / r."""
    for pair in range(len(i)):
        at, of = i[pair], t[pair]
        x, y, z = points[at, 0], points[at, 1], points[at, 2]
        least, inverses = blunt[of] * blunt[of], 0.0
        for k in range(len(weights)):
            dx, dy, dz = places[of, k, 0] - x, places[of, k, 1] - y, places[of, k, 2] - z
            r2 = dx * dx + dy * dy + dz * dz
            # a pair at zero distance adds nothing, as in the kernel
            inverses += weights[k] / math.sqrt(max(r2, least)) if r2 > 0.0 else 0.0
        exact = inverse_distance_over(x, y, z, of, flat)
        out[at] += numbers[of] * (exact - 0.5 * flat.twice[of] * inverses)
