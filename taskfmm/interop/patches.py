"""A mesh as sums over its triangles need it: in a unit of its own, with a rule of points for triangles far away."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from taskfmm import foreign, validate
from taskfmm.errors import InputError
from taskfmm.interop.triangles import Flat, rule

logger = logging.getLogger("taskfmm")

EPS = (1e-10, 0.1)
"""The smallest that is not taken for 0, and the largest."""

RULE_ERROR = 5.0
"""With n x n points a triangle of the area A and the size s errs at the distance k s, relative to A / (k s)^2 for its
solid angle and to A / (k s) for its 1 / r, by less than this times (2 k)^(-2 n), whatever its shape: a test measures
it."""

NEAR = 3.5
"""In sizes of a triangle. A rule has as few points as keep eps beyond this distance; closer pairs are exact."""

LEAST_NEAR = 2.0
"""Sizes within which a triangle is always exact: beyond, all of its points are further away than `BLUNT` sizes."""

BLUNT = 0.5
"""In sizes of a triangle. Its points act as if no distance were less, see `taskfmm.kernels.blunt`; it is about the
distance between neighbouring ones."""

DISTANT = 1e8
"""In radii of a mesh. Beyond this distance all of it acts as one charge and one dipole, which errs by 1e-16."""

RESOLUTION = 90
"""Coordinates are rounded to 2^-90 radii of the mesh: expansions could not tell closer points apart."""

SMALLEST, NARROW = 1e-20, 1e-15
"""Left out are triangles smaller than the first of these, relative to the mesh, and those narrower than the second,
relative to their length: the area of such a triangle is rounding."""

SMALLEST_RADIUS = 1e-300
"""Of a mesh, in the unit of the caller: smaller numbers have lost digits."""

SAMPLE = 1000
"""Centres of triangles that stand for points of which nothing is known yet."""

CORRECTION = 3.0
"""What a near pair costs, whose points are taken away again, in exact pairs of point and triangle."""


@dataclass(frozen=True, slots=True)
class Patches:
    """The triangles of a mesh that are not left out, seen from its middle in a unit of 2^exponent, about its radius.

    exponent : of the unit
    kept : int64 [m], their rows among those of the caller
    middle : float64 [3], of the mesh as the caller sees it, in the unit
    flat : the triangles
    """

    exponent: int
    kept: np.ndarray
    middle: np.ndarray
    flat: Flat

    @classmethod
    def of_mesh(cls, vertices: np.ndarray, rows: np.ndarray) -> Patches:
        """vertices : float64 [n, 3]; rows : int64 [m, 3]; raises InputError where the mesh is too small."""
        used = vertices[rows].reshape(-1, 3)
        if not used.size:
            used = np.zeros((0, 3))
        largest = math.frexp(float(np.abs(used).max(initial=0.0)))[1]
        used = np.ldexp(used, -largest)  # before anything is subtracted, as differences may overflow
        low, high = used.min(axis=0, initial=1.0), used.max(axis=0, initial=-1.0)
        radius = 0.5 * float(np.linalg.norm(np.maximum(high - low, 0.0)))
        if radius > 0.0 and largest + math.log2(radius) < math.log2(SMALLEST_RADIUS):
            raise InputError(
                f"the vertices of all triangles are within {math.ldexp(2.0 * radius, largest):.1e}, and coordinates "
                "this small have lost digits: give vertices and points in a smaller unit of length"
            )
        own = math.frexp(radius)[1]
        middle = 0.5 * (low + high) if len(used) else np.zeros(3)
        # digits of coordinates far from the origin, as on a map, are needed for offsets
        corners = rounded(np.ldexp(used - middle, -own)).reshape(-1, 3, 3)
        middle = np.ldexp(middle, -own)
        flat = Flat.of_corners(corners, float(np.abs(middle).max()))
        longest, small = flat.lengths.max(axis=1, initial=0.0), flat.sizes <= SMALLEST
        vanished = np.count_nonzero(
            small & (used.reshape(-1, 3, 3) != used.reshape(-1, 3, 3)[:, :1]).any(axis=(1, 2))
        )
        if vanished:
            logger.warning(
                "%d triangles are smaller than %g of the mesh, and are left out", vanished, SMALLEST
            )
        kept = np.flatnonzero(~small & (flat.twice > NARROW * longest**2))
        return cls(largest + own, kept, middle, flat.rows(kept))

    @property
    def n(self) -> int:
        return len(self.kept)

    @property
    def areas(self) -> np.ndarray:
        return np.asarray(0.5 * self.flat.twice)

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Coordinates in the unit, from the middle."""
        return rounded(np.ldexp(x, -self.exponent) - self.middle)

    def distant(self, x: np.ndarray) -> np.ndarray:
        """Which points see the mesh as one: bool [k]."""
        offsets, unit = self._from_middle(x)
        return np.asarray(np.linalg.norm(offsets, axis=1) > DISTANT * unit)

    def from_distance(
        self, x: np.ndarray, charges: np.ndarray | None, dipoles: np.ndarray | None
    ) -> np.ndarray:
        """What charges [m] or dipoles [m, 3] of triangles do to distant points: to these they are at the middle."""
        offsets, unit = self._from_middle(x)
        r = np.linalg.norm(offsets, axis=1)
        if charges is None:
            assert dipoles is not None
            return offsets @ dipoles.sum(axis=0) / r**3 * unit * unit
        moment = charges @ self.flat.centres
        return (charges.sum() / r + offsets @ moment / r**3 * unit) * unit

    def _from_middle(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offsets [k, 3] from the middle, each in a length of its own, and the unit in it [k]: nothing overflows."""
        of_middle = math.frexp(float(np.abs(self.middle).max()))[1] + self.exponent
        length = np.maximum(np.frexp(np.abs(x).max(axis=1))[1], max(of_middle, self.exponent))
        middle = np.ldexp(self.middle, (self.exponent - length)[:, None])
        return np.ldexp(x, -length[:, None]) - middle, np.ldexp(1.0, self.exponent - length)


@dataclass(frozen=True, slots=True)
class Rule:
    """How triangles are represented: some by points where these are far, and the others exactly everywhere.

    A triangle of one of the ``classes`` is exact at points within a radius around its centre.

    whole : int64, rows of the patches that are exact everywhere; far : of all others
    classes : of triangles of similar size, the rows, the radius, and a tree of the centres
    places : float64 [m, n, 3], of all patches; weights : float64 [n]
    blunt : float64 [m], the distance below which points of a triangle do not act more strongly
    """

    whole: np.ndarray
    far: np.ndarray
    classes: tuple[tuple[np.ndarray, float, cKDTree], ...]
    places: np.ndarray
    weights: np.ndarray
    blunt: np.ndarray

    @classmethod
    def of_patches(cls, patches: Patches, eps: float) -> Rule:
        """Triangles of a class are exact everywhere where most of them are near to most points: a near pair takes
        longer than an exact one. The points are those near the mesh, as the rule is kept for all others.
        """
        n, near = points_of_rule(eps)
        sizes, centres = patches.flat.sizes, patches.flat.centres
        rows = np.random.default_rng(0).choice(patches.n, min(SAMPLE, patches.n), replace=False)
        of_size = np.frexp(sizes)[1]
        whole, classes = [np.empty(0, np.int64)], []
        for each in np.unique(of_size):
            some = np.flatnonzero(of_size == each)
            radius, tree = near * float(sizes[some].max()), cKDTree(centres[some])
            counts = tree.query_ball_point(centres[rows], radius, return_length=True)
            if CORRECTION * counts.mean() >= some.size:
                whole.append(some)
            else:
                classes.append((some, radius, tree))
        exact = np.concatenate(whole)
        far = np.setdiff1d(np.arange(patches.n), exact)
        coordinates, weights = rule(n)
        places = rounded(np.einsum("qb,mbi->mqi", coordinates, patches.flat.corners))
        return cls(exact, far, tuple(classes), places, weights, BLUNT * sizes)

    def near_counts(self, x: np.ndarray) -> np.ndarray:
        """How many triangles are near to each scaled point: int64 [k]."""
        found = (tree.query_ball_point(x, radius, return_length=True) for _, radius, tree in self.classes)
        return sum(found, np.zeros(len(x), np.int64))


def points_of_rule(eps: float) -> tuple[int, float]:
    """n of n x n points, and the distance in sizes from which their error is below eps."""
    n = math.ceil(math.log(RULE_ERROR / eps) / (2.0 * math.log(2.0 * NEAR)))
    return n, max(LEAST_NEAR, 0.5 * (RULE_ERROR / eps) ** (0.5 / n))


def rounded(x: np.ndarray) -> np.ndarray:
    """Scaled coordinates that are equal, or apart by 2^-`RESOLUTION` at least."""
    return np.ldexp(np.rint(np.ldexp(x, RESOLUTION)), -RESOLUTION)


def checked_rows(triangles: Any, n_vertices: int) -> np.ndarray:
    """Rows of vertices, int64 [m, 3]; raises InputError."""
    found = foreign.numpy_array("triangles", triangles)
    if found.size == 0 and found.ndim <= 2:
        return np.empty((0, 3), np.int64)
    problem = f"triangles has shape {found.shape}, expected (m, 3)"
    if found.ndim != 2 or found.shape[1] != 3:
        if found.ndim == 2 and found.shape[0] == 3:
            raise InputError(f"{problem}: did you mean triangles.T?")
        raise InputError(
            f"{problem}: divide other polygons into triangles, as taskfmm.interop.meshes.read does"
        )
    if found.dtype.kind not in "iu":
        raise InputError(
            f"triangles has dtype {found.dtype}, expected integers: they are rows of the vertices"
        )
    wrong = ((found < 0) | (found >= n_vertices)).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        advice = "subtract 1" if found.min() == 1 and found.max() == n_vertices else "mend the mesh"
        raise InputError(
            f"triangles row {row} is {found[row]}, and there are {n_vertices} vertices, numbered from 0: {advice}"
        )
    return found.astype(np.int64)


def checked_density(density: Any, n_triangles: int) -> np.ndarray:
    """Of each triangle, float64 [m]; raises InputError."""
    found = foreign.numpy_array("density", density)
    if found.shape != (n_triangles,):
        raise InputError(
            f"density has shape {found.shape}, expected ({n_triangles},): give one number for each triangle"
        )
    return validate.charges(found, n_triangles, name="density")


def checked_points(points: Any, unit: Any) -> np.ndarray:
    """float64 [k, 3]; raises InputError, also where the vertices have another unit of length."""
    own = foreign.unit_of(points)
    if str(own) != str(unit):
        said = ["have no unit" if each is None else f"are in {each}" for each in (unit, own)]
        raise InputError(f"vertices {said[0]}, points {said[1]}: convert them to the same unit first")
    return validate.points("points", points)


def checked_eps(given: Any) -> float:
    """0 where all is exact; raises InputError."""
    try:
        eps = float(given)
    except (TypeError, ValueError):
        raise InputError(f"eps is {given!r:.40}, expected a number, as 1e-6") from None
    if not 0.0 <= eps <= EPS[1]:
        raise InputError(f"eps is {eps:g}, expected 0 to {EPS[1]:g}, as 1e-6; 0 sums all triangles")
    return eps if eps >= EPS[0] else 0.0
