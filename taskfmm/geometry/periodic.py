"""The cell of a periodic box: how it is cut into cubes, and where points lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from taskfmm import foreign
from taskfmm.errors import InputError
from taskfmm.geometry.cell import Box, Cell
from taskfmm.geometry.domain import SIZE, Domain

MOST_CUBES = 64
"""Of a cell. Each meets the images of all others by a matrix of its own."""

SHORTEST, LONGEST = 1e-100, 1e100
"""Sides of a box, in the caller's unit: their third powers are floats."""

EXACT = 1e-13
"""Sides that are within this part of a ratio of small integers have that ratio, but for rounding."""


def checked(
    lengths: Any, periodic: Any = True, wrap: Any = True, surroundings: Any = "conductor", points: Any = None
) -> Box | None:
    """A periodic box from what a caller gives; None where there is none.

    Parameters
    ----------
    lengths : three sides, or one for all of them; None for no box
    periodic : bool, or three of them
    wrap : bool
    surroundings : "conductor" or "vacuum"
    points : whose unit the sides are in; if these carry one themselves, it has to be the same

    Raises
    ------
    InputError
        Of another form; of another unit; sides that are not positive; no periodic axis; vacuum around what is not
        repeated along all.
    """
    if lengths is None:
        if periodic is not True or wrap is not True or surroundings != "conductor":
            raise InputError(
                "periodic, wrap and surroundings say something of a box: give box=(Lx, Ly, Lz) as well"
            )
        return None
    if foreign.unit_of(lengths) is not None:
        foreign.same_unit(points, lengths, "sides of the box")
    axes = foreign.numpy_array("periodic", periodic)
    if axes.dtype != bool or axes.shape not in ((), (3,)):
        raise InputError(f"periodic is {periodic!r}, expected True, or True or False for each of x, y and z")
    repeated = np.broadcast_to(axes, 3)
    if not repeated.any():
        raise InputError("periodic is False along x, y and z: leave box out")
    if isinstance(lengths, (tuple, list)):
        lengths = [0.0 if side is None else side for side in lengths]
    found = foreign.numpy_array("box", lengths)
    if found.dtype.kind not in "iuf" or found.shape not in ((), (3,)):
        raise InputError(
            f"box is {lengths!r}, expected its sides (Lx, Ly, Lz), or one number for a cube; its axes are x, y and z"
        )
    sides = np.broadcast_to(found.astype(np.float64), 3)
    if not all(SHORTEST <= side <= LONGEST for side in sides[repeated]):
        raise InputError(
            f"box is {lengths!r}, expected sides above 0, from {SHORTEST:.0e} to {LONGEST:.0e}, along the axes that "
            "are periodic"
        )
    if not isinstance(wrap, (bool, np.bool_)):
        raise InputError(f"wrap is {wrap!r}, expected True or False")
    if not isinstance(surroundings, str) or surroundings not in ("conductor", "vacuum"):
        raise InputError(f"surroundings is {surroundings!r}, expected 'conductor' or 'vacuum'")
    if surroundings == "vacuum" and not repeated.all():
        raise InputError(
            "surroundings is 'vacuum', which only says something where all three axes are periodic"
        )
    x, y, z = (float(side) for side in np.where(repeated, sides, 0.0))
    along = tuple(map(bool, repeated))
    return Box((x, y, z), (along[0], along[1], along[2]), surroundings == "vacuum", bool(wrap))


def cut(box: Box, extent: Sequence[float]) -> tuple[float, tuple[int, int, int]]:
    """The side of the cubes, in the caller's unit, and their numbers; extent : of the points along each axis.

    Raises
    ------
    InputError
        Sides whose ratio is none of small integers, or points that reach too far out of the box.
    """
    sides = [length for length, repeated in zip(box.lengths, box.periodic, strict=True) if repeated]
    whole = next((whole for misfit, whole in whole_multiples(sides) if misfit <= EXACT), None)
    if whole is None:
        raise InputError(
            f"the sides of the box are {' and '.join(f'{side:.15g}' for side in sides)}: it has to consist of at "
            f"most {MOST_CUBES} cubes of one size. {_nearest(sides)}"
        )
    side, numbers = sides[0] / whole[0], iter(whole)
    cubes = [
        next(numbers) if repeated else max(1, math.ceil(width / side * (1.0 + 1e-9)))
        for repeated, width in zip(box.periodic, extent, strict=True)
    ]
    if math.prod(cubes) > MOST_CUBES:
        widest = max(width for width, repeated in zip(extent, box.periodic, strict=True) if not repeated)
        raise InputError(
            f"along an axis that is not periodic the points are {widest:.3g} wide, and the box is cut into cubes of "
            f"{side:.3g}: at most {MOST_CUBES} of them may be needed for all points"
        )
    return side, (cubes[0], cubes[1], cubes[2])


def whole_multiples(sides: Sequence[float]) -> Iterator[tuple[float, list[int]]]:
    """The numbers of cubes along sides above 0, at most `MOST_CUBES` in all: first 1 along the first side, then 2.

    With each comes the largest part by which a side of so many cubes misses the one that is given.
    """
    for n in range(1, MOST_CUBES + 1):
        whole = [max(1, round(n * side / sides[0])) for side in sides]
        if math.prod(whole) <= MOST_CUBES:
            yield max(abs(sides[0] / n * m / side - 1.0) for m, side in zip(whole, sides, strict=True)), whole


def _nearest(sides: Sequence[float]) -> str:
    """The nearest sides that are possible: those of the fewest cubes within two percent, or else the nearest."""
    if len(sides) == 1:
        return ""
    found = [
        (misfit > 0.02, misfit if misfit > 0.02 else math.prod(whole), whole[0], whole)
        for misfit, whole in whole_multiples(sides)
    ]
    if not found:
        return f"The longest side may be {MOST_CUBES} times as long as the shortest at most"
    _, _, n, whole = min(found)
    near = ", ".join(f"{sides[0] / n * m:.15g}" for m in whole)
    return f"Near are {near}, in the ratio {':'.join(map(str, whole))}"


def enclose(box: Box, clouds: Sequence[np.ndarray]) -> tuple[Domain, list[np.ndarray]]:
    """The octree's root around the cell, and the points within the cell.

    Where all points fit into the cell as they are, its corner is laid so that none is moved: nothing hangs on that
    corner, but in vacuum. Else they are moved by whole sides into the box that begins at 0.

    box : what was asked for
    clouds : float64 [n, 3] each, sources and targets, in the caller's unit; one of them may be empty

    Raises
    ------
    InputError
        As `cut`; a point outside the box.
    """
    low, high = _corners(clouds)
    lengths = np.where(box.periodic, box.lengths, 0.0)
    moved = list(clouds)
    for axis in np.flatnonzero(box.periodic).tolist():
        length = lengths[axis]
        if not box.wrap:
            _refuse_outside(clouds, axis, length)
        if high[axis] - low[axis] >= length or box.in_vacuum or not box.wrap:
            moved = [_wrapped(points, axis, length) for points in moved]
            low[axis], high[axis] = 0.0, length
    side, cubes = cut(box, high - low)
    level = max(0, math.ceil(math.log2(max(cubes))))
    width = np.array([n * side for n in cubes])
    scale = math.ldexp(SIZE, -math.frexp(side * 2.0 ** (level - 1))[1])
    lower = (low + 0.5 * ((high - low) - np.where(box.periodic, lengths, width))) * scale
    lower = np.minimum(lower, low * scale)
    sides = [float(scale * each) for each in np.where(box.periodic, lengths, width)]
    cell = Cell(box.periodic, cubes, level, (sides[0], sides[1], sides[2]), box.in_vacuum)
    return Domain(lower, side * scale * 2.0 ** (level - 1), scale, cell), moved


def into(box: Box, domain: Domain, points: np.ndarray) -> np.ndarray | None:
    """Points moved by whole sides into the cell of a domain, where they are outside; in the caller's unit.

    None where they are outside along an axis that is not repeated. Raises InputError as `enclose`.
    """
    assert domain.cell is not None
    found, lower = points, domain.lower / domain.scale
    sides = np.array(domain.cell.lengths) / domain.scale
    for axis, repeated in enumerate(box.periodic):
        if repeated and not box.wrap:
            _refuse_outside([points], axis, box.lengths[axis])
        away = points[:, axis] - lower[axis]
        outside = (away < 0.0) | (away >= sides[axis])
        if outside.any():
            if not repeated:
                return None
            found = found.copy() if found is points else found
            found[outside, axis] = lower[axis] + _wrapped(away[outside, None], 0, sides[axis])[:, 0]
    return found


def _corners(clouds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    filled = [points for points in clouds if len(points)]
    low = np.min([points.min(axis=0) for points in filled], axis=0)
    high = np.max([points.max(axis=0) for points in filled], axis=0)
    return low, high


def _wrapped(points: np.ndarray, axis: int, length: float) -> np.ndarray:
    """The same points, with one coordinate at least 0 and less than a length."""
    found = points.copy()
    found[:, axis] = np.mod(found[:, axis], length)  # exact, however far away
    found[found[:, axis] >= length, axis] = 0.0  # what rounding moved up, as of -1e-20
    return found


def _refuse_outside(clouds: Sequence[np.ndarray], axis: int, length: float) -> None:
    for points in clouds:
        outside = np.flatnonzero((points[:, axis] < 0.0) | (points[:, axis] > length))
        if outside.size:
            raise InputError(
                f"{outside.size} points are outside the box, the first is number {outside[0]} with "
                f"{'xyz'[axis]} = {points[outside[0], axis]:.6g}, and the box is from 0 to {length:.6g}: move them, "
                "or let them be moved by whole sides with wrap=True"
            )
