"""Sums of 1 / r over a lattice without its nearest points: what far images do.

Images next to a box are met through the lists of the tree. All others are further away than the upward check surface,
so what they do to a cube of the cell is smooth there, and one matrix takes the multipole of a cube to the local of
another. It is made from R = G - (1 / r over the images next to the cube), where G is the sum over all images:

- three axes: Ewald's sum, Ann. Phys. 369 (1921) 253. Its mean over the cell is zero, and a conductor is around all
  images. Lap G = -4 pi (sum of deltas - 1 / V), so that R is the sum of (2 pi / 3 V) r^2 and of what solves Laplace's
  equation. The former is left out here, see `taskfmm.passes.images`.
- two axes: Parry's sum, Surf. Sci. 49 (1975) 433, with the corrections in Surf. Sci. 54 (1976) 195.
- one axis: images one by one, and far away all at once by their expansion in Legendre polynomials, whose
  coefficients are values of Hurwitz's zeta function.

Lengths are in half-widths of a cube. Only sources whose charges add up to zero have such sums.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from taskfmm.geometry import surface
from taskfmm.geometry.cell import Cell
from taskfmm.kernels import Kernel
from taskfmm.operators.box import BoxOperators

SIDE = 2.0
"""Of a cube."""

DIGITS = 6.0
"""exp(-x^2) and erfc(x) are below 1e-16 from here."""

AT_ONCE = 2**14
"""Points at which sums are formed at a time."""

SPLIT = 2.5
"""Of Ewald's sums over images and over waves, which decay as exp(-(alpha r)^2) and exp(-(k / 2 alpha)^2): alpha times
the side of a cube of the cell's volume. Both then have a few hundred terms."""

RATIO = 2.0
"""Images further than this many times the distance of two points are summed by their expansion."""

DEGREES = 60
"""Of that expansion: 2^-60 is below rounding."""

Cubes = tuple[int, int, int]
Periodic = tuple[bool, bool, bool]


def matrices(kernel: Kernel, at: BoxOperators, cell: Cell, first_moment: bool = False) -> np.ndarray:
    """From the multipole of a cube to the local of another, by how many cubes the target lies beyond the source.

    at : operators of the cubes
    first_moment : whether there are the matrices that refer first moments to the centre of the target as well

    Returns
    -------
    float64 [1 or 4, cubes, k, k]
        The second axis runs over places (x, y, z), z fastest. Where the target lies before the source along an axis,
        both coefficients have the signs that its reflection gives them.
    """
    points = surface.equivalent(kernel.surfaces, at.accuracy.order)
    values, where = np.unique(points.round(12), return_inverse=True)
    where = where.reshape(points.shape)
    p = values.size
    step = (values[-1] - values[0]) / max(1, p - 1)
    number = where[:, :, None] - where[:, None, :] + p - 1
    flat = np.ravel_multi_index(tuple(number), (2 * p - 1,) * 3)
    line = step * np.arange(1 - p, p)
    found = []
    known: dict[Cubes, np.ndarray] = {}
    for away in np.ndindex(*cell.cubes):
        # where all axes are alike, places that differ by their order have the same sums
        alike = len(set(zip(cell.cubes, cell.periodic, strict=True))) == 1
        order = np.argsort(away, kind="stable") if alike else np.arange(3)
        case = away[order[0]], away[order[1]], away[order[2]]
        if case not in known:
            known[case] = _on_grid(line, case, cell.periodic, cell.cubes, first_moment)
        rest = _reordered(known[case], order).reshape(-1, line.size**3)
        found.append([at.multipole_to_density @ each[flat].T @ at.check_to_local for each in rest])
    return np.array(found).swapaxes(0, 1)


def _reordered(found: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Sums on a grid whose axis i is axis ``order[i]`` of another one, on that one; [1 or 4, n, n, n]."""
    back = np.argsort(order)
    scalars = np.append(0, 1 + back)[: len(found)]
    return found[scalars].transpose(0, *(1 + back))


def _on_grid(
    line: np.ndarray, away: Cubes, periodic: Periodic, cubes: Cubes, first_moment: bool
) -> np.ndarray:
    """R at the differences of points on a grid, [1 or 4, n, n, n], with what `smooth` gives besides.

    Along axes of distance zero R is even, and the first moment along this axis odd.
    """
    half = line.size // 2
    parts = [line if d else line[half:] for d in away]
    grid = np.stack(np.meshgrid(*parts, indexing="ij")).reshape(3, -1)
    found = smooth(grid, away, periodic, cubes, first_moment).reshape(-1, *(part.size for part in parts))
    for axis, d in enumerate(away):
        if not d:
            mirrored = np.flip(found, axis + 1).take(range(half), axis + 1)
            mirrored[axis + 1 : axis + 2] *= -1.0
            found = np.concatenate([mirrored, found], axis + 1)
    return found


def smooth(
    r: np.ndarray, away: Cubes, periodic: Periodic, cubes: Cubes, first_moment: bool = False
) -> np.ndarray:
    """R at places r beyond that of the same point in another cube, without its part with r^2: float64 [1 or 4, n].

    With the first moment, the same of images that weigh as much as they lie beyond the centre of the target, along
    each axis, without its part with r^2 r.

    r : float64 [3, n]; away : of that other cube, in cubes
    """
    offset = SIDE * np.array(away, float)[:, None]
    at, sides = r + offset, SIDE * np.array(cubes, float)
    sums = {3: _three, 2: _two, 1: _one}[sum(periodic)]
    facts = np.array(away), np.array(periodic), sides
    pieces = [at[:, first : first + AT_ONCE] for first in range(0, at.shape[1], AT_ONCE)]
    found = np.concatenate([sums(piece, *facts) for piece in pieces])
    if not first_moment:
        return found[None]
    moments = np.concatenate([_three_moments(piece, *facts) for piece in pieces], axis=1)
    return np.vstack([found, moments - offset * found])


def _images(reach: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Whole numbers of sides, [n, 3], up to some along each periodic axis."""
    most = np.where(periodic, reach, 0).astype(int)
    return np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)


def _are_near(images: np.ndarray, away: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Whether they are next to the target's cube, and met through lists."""
    cubes = np.rint(sides / SIDE).astype(int)
    return (np.abs(away + images * cubes) <= 1).all(axis=1)


def _real_part(
    r: np.ndarray,
    alpha: float,
    away: np.ndarray,
    periodic: np.ndarray,
    sides: np.ndarray,
    first_moment: bool = False,
) -> np.ndarray:
    """The sum of erfc(alpha r) / r over all images, without 1 / r over those nearby: float64 [n].

    first_moment : whether each counts as often as its place says, along each axis: float64 [3, n]
    """
    reach = np.ceil((DIGITS / alpha + np.abs(r).max()) / sides)
    total = np.zeros((3, r.shape[1]) if first_moment else r.shape[1])
    images = _images(reach, periodic)
    near = _are_near(images, away, sides)
    for some, is_near in ((images[near], True), (images[~near], False)):
        for image in some:
            place = -(image * sides)[:, None]
            distance = np.sqrt(((r - place) ** 2).sum(axis=0))
            weight = place if first_moment else 1.0
            if is_near:
                with np.errstate(invalid="ignore", divide="ignore"):
                    part = -special.erf(alpha * distance) / distance
                total += weight * np.where(distance > 0.0, part, -2.0 * alpha / math.sqrt(math.pi))
            elif alpha * distance.min() < DIGITS:
                total += weight * special.erfc(alpha * distance) / distance
    return total


def _waves(alpha: float, periodic: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Wave vectors of the lattice that count, one of each pair of opposite ones, float64 [n, 3]."""
    most = np.floor(2.0 * DIGITS * alpha * sides / (2.0 * math.pi))
    whole = _images(most, periodic)
    whole = whole[len(whole) // 2 + 1 :]  # the other half are their opposites, and zero is in the middle
    k = 2.0 * math.pi * whole / sides
    return k[(k**2).sum(axis=1) < (2.0 * DIGITS * alpha) ** 2]


def _three(r: np.ndarray, away: np.ndarray, periodic: np.ndarray, sides: np.ndarray) -> np.ndarray:
    volume = float(sides.prod())
    alpha = SPLIT / volume ** (1.0 / 3.0)
    total = _real_part(r, alpha, away, periodic, sides) - math.pi / (volume * alpha**2)
    k = _waves(alpha, periodic, sides)
    square = (k**2).sum(axis=1)
    weight = 8.0 * math.pi / volume * np.exp(-square / (4.0 * alpha**2)) / square
    total += weight @ np.cos(k @ r)
    return total - 2.0 * math.pi / (3.0 * volume) * (r**2).sum(axis=0)


def _three_moments(r: np.ndarray, away: np.ndarray, periodic: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The sum of n / |r - n| over images at places n: r G - grad B, with Lap B = 2 G, less (2 pi / 5 V) r^2 r.

    B is the sum of |r - n|, as Hasimoto has it (J. Fluid Mech. 5 (1959) 317), and is divided in two as G is: the
    gradient of its part over images is the sum of (r - n) erfc(alpha |r - n|) / |r - n|. Returns float64 [3, n].
    """
    volume = float(sides.prod())
    alpha = SPLIT / volume ** (1.0 / 3.0)
    total = _real_part(r, alpha, away, periodic, sides, True) - math.pi / (volume * alpha**2) * r
    k = _waves(alpha, periodic, sides)
    square = (k**2).sum(axis=1)
    weight = 8.0 * math.pi / volume * np.exp(-square / (4.0 * alpha**2)) / square
    phase = k @ r
    total += r * (weight @ np.cos(phase))
    bent = 2.0 * weight / square * (1.0 + square / (4.0 * alpha**2))
    total -= (k.T * bent) @ np.sin(phase)
    return total - 2.0 * math.pi / (5.0 * volume) * (r**2).sum(axis=0) * r


def _two(r: np.ndarray, away: np.ndarray, periodic: np.ndarray, sides: np.ndarray) -> np.ndarray:
    area = float(sides[periodic].prod())
    alpha = SPLIT / math.sqrt(area)
    (free,) = np.flatnonzero(~periodic)
    z = np.abs(r[free])
    total = _real_part(r, alpha, away, periodic, sides)
    total -= (
        2.0
        * math.sqrt(math.pi)
        / area
        * (np.exp(-((alpha * z) ** 2)) / alpha + math.sqrt(math.pi) * z * special.erf(alpha * z))
    )
    for k in _waves(alpha, periodic, sides):
        size = float(np.sqrt(k @ k))
        gauss = np.exp(-((size / (2.0 * alpha)) ** 2) - (alpha * z) ** 2)
        less = size / (2.0 * alpha) - alpha * z
        # exp(-k z) erfc(less), where erfc is near 2 the product is small, elsewhere in the form without overflow
        small = np.where(
            less < 0.0,
            np.exp(-size * z) * special.erfc(less),
            gauss * special.erfcx(np.maximum(less, 0.0)),
        )
        large = gauss * special.erfcx(size / (2.0 * alpha) + alpha * z)
        total += 2.0 * math.pi / (area * size) * np.cos(k @ r) * (small + large)
    return total


def _one(r: np.ndarray, away: np.ndarray, periodic: np.ndarray, sides: np.ndarray) -> np.ndarray:
    (axis,) = np.flatnonzero(periodic)
    length = float(sides[axis])
    distance = np.sqrt((r**2).sum(axis=0))
    n = math.ceil(RATIO * float(distance.max()) / length) + 1
    images = _images(np.full(3, n), periodic)
    total = np.zeros(r.shape[1])
    for image in images[~_are_near(images, away, sides)]:
        total += 1.0 / np.sqrt(((r + (image * sides)[:, None]) ** 2).sum(axis=0))
    cosine = np.divide(r[axis], distance, out=np.zeros_like(distance), where=distance > 0.0)
    for degree in range(2, DEGREES, 2):
        tail = 2.0 * special.zeta(degree + 1.0, n + 1.0) / length
        total += tail * (distance / length) ** degree * special.eval_legendre(degree, cosine)
    # without the constant part, which is infinite and is nothing where charges add up to zero
    return total - 2.0 * (1.0 / np.arange(1, n + 1)).sum() / length
