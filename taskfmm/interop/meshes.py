"""Triangle meshes: winding numbers, and potentials of charged surfaces, at any number of points.

What each triangle does is exact nearby. Further away a rule of points stands for it, whose sums a fast multipole
method finds; and where that takes longer, all is exact. Meshes may be open, intersect themselves and have edges of
three triangles: both quantities are sums over triangles, whatever these are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import dask
import numpy as np
from scipy.spatial import cKDTree

import taskfmm
from taskfmm import foreign, validate
from taskfmm.interop import triangles as loops
from taskfmm.interop.mesh_files import read
from taskfmm.interop.patches import (
    CORRECTION,
    Patches,
    Rule,
    checked_density,
    checked_eps,
    checked_points,
    checked_rows,
)
from taskfmm.interop.triangles import Flat
from taskfmm.kernels import KERNELS

__all__ = ["Surface", "read", "surface_potential", "winding_number"]

DIGITS_PER_ORDER = 0.8
"""Digits that expansions gain with each order. Errors of spheres were 10^(0.8 - 0.8 order) and less at orders 3 to
13, in units of all that the triangles do to a point."""

PAIRS = 1 << 20
"""Pairs of points and triangles that a task looks at, at once."""

SOURCE, POINT, PLAN = 40.0, 100.0, 2e6
"""What a point of a rule, a point of the caller and a plan cost, in exact pairs of point and triangle."""


def winding_number(vertices: Any, triangles: Any, points: Any, eps: float = 1e-6) -> np.ndarray:
    """The generalised winding number of a mesh, the sum of its solid angles over 4 pi.

    It is 1 inside and 0 outside of a closed mesh whose triangles are counterclockwise as seen from outside, and it
    varies smoothly across holes (Jacobson et al., ACM Trans. Graph. 32 (2013) 33; the sign is that of libigl).

    Parameters
    ----------
    vertices : array_like, real, (n, 3)
    triangles : array_like, int, (m, 3)
        Rows of the vertices at the corners of each triangle. Their order around it is its orientation.
    points : array_like, real, (k, 3)
        Where to evaluate, in the unit of the vertices.
    eps : float
        The error at each point is at most eps times the larger of 1 and the solid angles that are seen there, added
        up by size, over 4 pi: for a mesh that does not fold back on itself it is about eps. From 1e-10 to 0.1; what
        is smaller counts as 0, with which all triangles are summed.

    Returns
    -------
    float64 [k]
        A point on a triangle gets the mean of both sides, and one at an edge or corner the mean over all directions:
        1/2 on a smooth closed surface, 1/8 at a corner of a cube. "On" means within 1e-15 of the coordinates.

    Raises
    ------
    InputError
        Shapes, dtypes or values that do not fit; a triangle of vertices that are not there; a mesh less than 1e-300
        wide.

    Notes
    -----
    Triangles without an area do nothing, nor do those smaller than 1e-20 of the mesh, and the log counts the latter.
    Points that stand for a triangle are rounded to 1e-16 of the width of the mesh: a part of it that is narrower than
    that over eps keeps no eps. Give such parts one by one.

    Examples
    --------
    >>> import numpy as np
    >>> from taskfmm.interop.meshes import winding_number
    >>> vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> triangles = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> winding_number(vertices, triangles, [[0.1, 0.1, 0.1], [1, 1, 1], [0.2, 0.3, 0]]).round(12) + 0.0
    array([1. , 0. , 0.5])
    """
    return Surface(vertices, triangles, eps).winding_number(points)


def surface_potential(
    vertices: Any, triangles: Any, density: Any, points: Any, eps: float = 1e-6
) -> np.ndarray:
    """The potential of triangles that carry a constant charge density each.

    It is the sum over triangles of the density times the integral of 1 / (4 pi r) over the triangle, in units of
    density times length.

    Parameters
    ----------
    vertices, triangles, points : as of `winding_number`
    density : array_like, real, (m,)
        Charge per area of each triangle.
    eps : float
        The error at each point is at most eps times the largest potential that the same densities without their signs
        have at any of the points. From 1e-10 to 0.1; what is smaller counts as 0, as above.

    Returns
    -------
    float64 [k]
        Finite and continuous everywhere, on triangles as well.

    Raises
    ------
    InputError
        As `winding_number`; not one density for each triangle.

    Examples
    --------
    >>> import numpy as np
    >>> from taskfmm.interop.meshes import surface_potential
    >>> square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    >>> phi = surface_potential(square, [[0, 1, 2], [0, 2, 3]], [1.0, 1.0], [[0, 0, 0]])
    >>> bool(np.isclose(4 * np.pi * phi[0], 8 * np.arcsinh(1)))  # 8 asinh(1), the integral of 1 / r
    True
    """
    return Surface(vertices, triangles, eps).potential(density, points)


class Surface:
    """A mesh that is evaluated at several sets of points, with one tree.

    The tree, and the multipoles of the winding number, are made when they are first needed. Values at the same points
    may differ from call to call, within eps.

    Parameters
    ----------
    vertices, triangles, eps : as of `winding_number`
        Copied.

    Examples
    --------
    >>> import numpy as np
    >>> from taskfmm.interop.meshes import Surface
    >>> surface = Surface([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> [float(surface.winding_number([[0, 0, z]])[0].round(12)) for z in (-1.0, 0.0, 2.0)]
    [0.0, 0.125, 0.0]
    """

    def __init__(self, vertices: Any, triangles: Any, eps: float = 1e-6) -> None:
        self.eps = checked_eps(eps)
        at = validate.points("vertices", vertices)
        rows = checked_rows(triangles, len(at))
        self.n_triangles, self.unit = len(rows), foreign.unit_of(vertices)
        self._patches = Patches.of_mesh(at, rows)
        self._fmm: taskfmm.Fmm | None = None
        self._field: Any = None

    def winding_number(self, points: Any) -> np.ndarray:
        """See `winding_number`: float64 [k]."""
        patches = self._patches
        numbers = np.ones(patches.n)
        dipoles = -0.5 * patches.flat.across
        found = self._summed(points, Sums(loops.add_angles, loops.correct_angles, numbers, None, dipoles))
        return found / (4.0 * np.pi)

    def potential(self, density: Any, points: Any) -> np.ndarray:
        """See `surface_potential`; density : float64 [m]. Returns float64 [k]."""
        patches = self._patches
        numbers = checked_density(density, self.n_triangles)[patches.kept]
        charges = numbers * patches.areas
        found = self._summed(
            points, Sums(loops.add_integrals, loops.correct_integrals, numbers, charges, None)
        )
        return np.ldexp(found / (4.0 * np.pi), patches.exponent)

    def __getstate__(self) -> dict[str, Any]:
        """Without the multipoles, which may be in the memory of a cluster: they are made again, bit by bit."""
        return self.__dict__ | {"_field": None}

    def __repr__(self) -> str:
        return f"<taskfmm.interop.meshes.Surface: {self.n_triangles:,} triangles, eps {self.eps:g}>"

    @cached_property
    def _rule(self) -> Rule:
        return Rule.of_patches(self._patches, self.eps)

    def _summed(self, points: Any, sums: Sums) -> np.ndarray:
        """What is summed at points, without the factor 1 / (4 pi), in the unit of the patches."""
        x = checked_points(points, self.unit)
        patches, out = self._patches, np.zeros(len(x))
        if not patches.n or not len(x):
            return out
        distant = patches.distant(x)
        out[distant] = patches.from_distance(x[distant], sums.charges, sums.dipoles)
        out[~distant] = self._nearby(patches.scaled(x[~distant]), sums)
        return out

    def _nearby(self, x: np.ndarray, sums: Sums) -> np.ndarray:
        """At scaled points [k, 3] that are not distant: exactly, or with expansions where that takes less time."""
        exact = float(len(x)) * self._patches.n
        if exact <= PLAN or not self.eps:
            return self._everywhere(x, sums)
        rule = self._rule
        counts = rule.near_counts(x)
        sources = 0.0 if self._fmm else PLAN + SOURCE * rule.far.size * rule.weights.size
        costs = CORRECTION * counts.sum() + (POINT + rule.whole.size) * len(x) + sources
        if not rule.far.size or costs > exact:
            return self._everywhere(x, sums)
        shared = [dask.delayed(each, traverse=False) for each in (self._patches.flat, rule, sums)]
        near = dask.delayed(_close_by)
        blocks = [near(*shared, x[first:last]) for first, last in _cut(counts + rule.whole.size)]
        far, *close_by = dask.compute(self._from_afar(x, sums), *blocks)
        return 4.0 * np.pi * far + np.concatenate(close_by)

    def _everywhere(self, x: np.ndarray, sums: Sums) -> np.ndarray:
        """Of all triangles, exactly."""
        shared = [dask.delayed(each, traverse=False) for each in (self._patches.flat, sums)]
        cut, exactly = _cut(np.full(len(x), self._patches.n)), dask.delayed(_exactly)
        return np.concatenate([*dask.compute(*(exactly(*shared, x[first:last]) for first, last in cut)), []])

    def _from_afar(self, x: np.ndarray, sums: Sums) -> Any:
        """What the points of the rule do, lazy."""
        rule, at = self._rule, self._fmm
        if at is None or at.plan is None or at.plan.is_direct:  # no tree yet, as few points came first
            lengths = np.repeat(rule.blunt[rule.far], rule.weights.size)
            kernel, order = KERNELS["blunt"].with_lengths(lengths), _order(self.eps)
            at = taskfmm.Fmm(rule.places[rule.far].reshape(-1, 3), x, kernel=kernel, order=order)
            self._fmm, self._field = at, None
        else:
            at = at.at(x)
        if sums.charges is not None:
            return at.potential(np.outer(sums.charges[rule.far], rule.weights).ravel())
        if self._field is None or self._field.is_lost:
            assert sums.dipoles is not None
            dipoles = sums.dipoles[rule.far, None] * rule.weights[:, None]
            self._field = at.field(dipoles=dipoles.reshape(-1, 3), outputs="potential")
        return at.potential(self._field)


class Sums(NamedTuple):
    """What is summed.

    add, correct : the loops
    numbers : float64 [m], by which exact integrals are multiplied
    charges : float64 [m], or None; dipoles : float64 [m, 3], or None: of whole triangles, as seen from afar
    """

    add: Callable[..., None]
    correct: Callable[..., None]
    numbers: np.ndarray
    charges: np.ndarray | None
    dipoles: np.ndarray | None


def _order(eps: float) -> int:
    """Of expansions whose errors are below eps."""
    return max(3, math.ceil(1.0 - math.log10(eps) / DIGITS_PER_ORDER))


def _exactly(flat: Flat, sums: Sums, x: np.ndarray, some: np.ndarray | None = None) -> np.ndarray:
    """Of some triangles, or all, at scaled points."""
    out, numbers = np.zeros(len(x)), sums.numbers
    sums.add(x, *((flat, numbers) if some is None else (flat.rows(some), numbers[some])), out)
    return out


def _close_by(flat: Flat, rule: Rule, sums: Sums, x: np.ndarray) -> np.ndarray:
    """Of triangles near to scaled points, less what their points do; and of those that are exact everywhere."""
    out, at = _exactly(flat, sums, x, rule.whole), cKDTree(x)
    for rows, radius, tree in rule.classes:
        pairs = at.sparse_distance_matrix(tree, radius, output_type="ndarray")
        i, t = np.ascontiguousarray(pairs["i"], np.int64), rows[pairs["j"]]
        sums.correct(x, i, t, flat, sums.numbers, rule.places, rule.weights, rule.blunt, out)
    return out


def _cut(counts: np.ndarray) -> list[tuple[int, int]]:
    """Runs of points with about `PAIRS` pairs each, one point at least."""
    ends = np.searchsorted(np.cumsum(counts), np.arange(PAIRS, counts.sum() + PAIRS, PAIRS)) + 1
    ptr = np.unique(np.minimum([0, *ends, len(counts)], len(counts)))
    return list(zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True))
