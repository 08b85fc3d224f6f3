"""The cube around every point, and the exact arithmetic that keeps far-apart boxes in one frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from taskfmm.errors import InputError
from taskfmm.geometry.cell import Cell
from taskfmm.jit import jit_in_order

SLACK = 2.0**-30
"""Relative widening of the cube, so that the largest coordinate lies inside and not on the upper face."""

SMALLEST_WIDTH = 2.0**-900
"""Width below which the cube is not shrunk further; beyond it ``scale`` itself would overflow."""

LARGEST_OFFSET = 2.0**960
"""Most that a coordinate may exceed the width of the cube, so that scaled coordinates stay finite."""

HALF_WIDTH_BITS = 9

FEW_BITS = 3
"""Of the half-widths for which operators are made one by one: four of them lie between a number and its double."""

SIZE = 2.0**59
"""Scaled half-widths lie between SIZE / 2 and SIZE. The loops seed a reciprocal root in float32, whose squares
reach from 2^-126 to 2^127: so squared distances from 12 SIZE^2 down to 2^-249 of the cube's are within it."""


ROOM = 2.0
"""A square of this many times `SIZE`, more than squared distances have, is still a float32."""

SPLITTER = 2.0**27 + 1.0
"""Splits a float into two of half as many bits."""

WIDEST = 66
"""Where a length of one source leaves less room for distances, points that differ could count as one."""


FLAT = 2.0**-6
"""Points whose extent along an axis is less than this part of the half-width are flat along it."""

OFF_FACES = 2.0 / 3.0
"""Where the middle of flat points lies, from the lower face and in half-widths of the cube. It is a third of the
width of the cube, and a third or two thirds of that of boxes of all levels. In the middle of the cube such points
would lie on faces of all boxes, where the operators err most: gradients of lattices in a plane had eight times the
error."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The root cube, in scaled coordinates.

    Points are multiplied by ``scale``, a power of two chosen so that ``half_width`` is just below `SIZE`: the
    product is exact, and widths of 1e-150 or 1e150 neither underflow nor overflow when squared.

    lower : float64 [3], the corner with the smallest coordinates
    half_width : float with at most 9 significant bits, so that box centres relative to ``lower`` are exact; but half
        of what the caller says where the box is repeated
    scale : a power of two; scaled = caller's * scale
    cell : of a periodic box, else None
    middle : float64 [3], that of the points, from ``lower`` and in half-widths: 1, or `OFF_FACES` along some axes;
        a wider cube keeps it there
    rest : float64 [3], what rounding took from ``lower``, see `grown`
    """

    lower: np.ndarray
    half_width: float
    scale: float
    cell: Cell | None = None
    middle: np.ndarray = field(default_factory=lambda: np.ones(3))
    rest: np.ndarray = field(default_factory=lambda: np.zeros(3))


def enclose(sources: np.ndarray, targets: np.ndarray, scaled: bool = True) -> Domain:
    """The smallest cube that a `Domain` can describe around all sources and targets.

    Parameters
    ----------
    sources, targets : float64 [n, 3]
        In the caller's units. One of them may be empty.
    scaled : bool
        False for kernels that have a length of their own: coordinates stay the caller's, and half-widths have
        `FEW_BITS`, so that most clouds share the operators of some level.

    Returns
    -------
    Domain
        Every scaled point ``x`` satisfies ``0 <= x - lower < 2 * half_width`` in float64 arithmetic.
        Points that all coincide get a cube as wide as their distance from the origin (1 at the origin).
    """
    clouds = [points for points in (sources, targets) if len(points)]
    low = np.min([_extreme(np.min, points) for points in clouds], axis=0)
    high = np.max([_extreme(np.max, points) for points in clouds], axis=0)
    # A quarter of everything: the difference of the two largest floats would overflow.
    quarter = float(np.max(high / 4 - low / 4))
    offset = float(max(np.max(np.abs(low)), np.max(np.abs(high))))
    if quarter == 0 and np.array_equal(low, high):
        quarter = offset / 2 if offset else 0.25
    quarter = max(quarter, SMALLEST_WIDTH, offset / LARGEST_OFFSET)
    half_width, exponent = _round_up(quarter * (1 + SLACK), HALF_WIDTH_BITS if scaled else FEW_BITS)
    if scaled:
        half_width, scale = half_width * SIZE, math.ldexp(SIZE, -exponent - 1)
    else:
        half_width, scale = math.ldexp(half_width, exponent + 1), 1.0
    low, high = low * scale, high * scale
    middle = np.where(high - low < FLAT * half_width, OFF_FACES, 1.0)
    return Domain(_lower_corner(low, high, middle * half_width, half_width), half_width, scale, middle=middle)


def with_room(domain: Domain, length: float) -> Domain:
    """The same cube, scaled so that a length, in the caller's unit, is below `ROOM` times `SIZE`. Exact.

    Raises InputError where the length is more than `WIDEST` powers of two above the width of the cube.
    """
    over = math.frexp(length)[1] + math.frexp(domain.scale)[1] - 1 - math.frexp(ROOM * SIZE)[1] + 1
    if over <= 0:
        return domain
    if over > WIDEST:
        raise InputError(
            f"the largest softening is {length:.1e}, and the points are "
            f"{2.0 * domain.half_width / domain.scale:.1e} wide: give both in one unit, and no softening more than "
            f"{2.0**WIDEST:.0e} times as wide"
        )
    return replace(
        domain,
        lower=np.ldexp(domain.lower, -over),
        half_width=math.ldexp(domain.half_width, -over),
        scale=math.ldexp(domain.scale, -over),
    )


def _extreme(reduce: Callable[[np.ndarray], float], points: np.ndarray) -> list[float]:
    """Smallest or largest x, y and z. One column at a time is several times faster than ``axis=0``."""
    return [float(reduce(points[:, axis])) for axis in range(3)]


def _round_up(width: float, bits: int = HALF_WIDTH_BITS) -> tuple[float, int]:
    """The next number with few enough bits, as ``mantissa * 2**exponent`` with a mantissa in [0.5, 1)."""
    mantissa, exponent = math.frexp(width)
    steps = 2**bits
    mantissa = math.ceil(mantissa * steps) / steps
    return (0.5, exponent + 1) if mantissa == 1.0 else (mantissa, exponent)


def _lower_corner(low: np.ndarray, high: np.ndarray, middle: np.ndarray, half_width: float) -> np.ndarray:
    """So that the middle of the points is there, unless rounding (a narrow cloud far from the origin) spoils that."""
    lower = np.minimum(low + ((high - low) / 2 - middle), low)
    return np.where(high - lower < 2 * half_width, lower, low)


PARTS = 3
"""Into how many the cubes of a periodic box may be cut along each axis: leaves then have two thirds of the width."""

THIRDS = 4.0 / 3.0
"""The width of the root over the one before, where a box of one cube is cut so."""


def _in_thirds(domain: Domain, cell: Cell) -> Domain:
    x, y, z = cell.cubes
    cubes = PARTS * x, PARTS * y, PARTS * z
    level = math.ceil(math.log2(max(cubes)))
    half_width = math.ldexp(domain.half_width / PARTS, level - cell.level)
    return replace(domain, half_width=half_width, cell=replace(cell, cubes=cubes, level=level))


def box_half_width(domain: Domain, level: int) -> float:
    """Half the edge of a box of this level, in scaled units. Exact."""
    return math.ldexp(domain.half_width, -int(level))


def box_centers(domain: Domain, level: int | np.ndarray, anchor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of boxes in scaled coordinates, as unevaluated sums of two floats.

    Parameters
    ----------
    domain : Domain
    level : int or int [n]
    anchor : int64 [n, 3]

    Returns
    -------
    hi, lo : float64 [3, n]
        ``hi + lo`` is the exact centre, and ``hi`` is that sum rounded. `from_center` gives the position of a
        point relative to its box, accurate at any depth and any offset.
    """
    # (2 * anchor + 1) has at most 43 bits and half_width 9, so this product is exact.
    step = np.ldexp(domain.half_width, -np.asarray(level, dtype=np.int32))
    factor = (2 * np.asarray(anchor).T + 1).astype(np.float64)
    offset = factor * step
    lower = domain.lower[:, None]
    hi = lower + offset
    back = hi - lower
    lo = (lower - (hi - back)) + (offset - back)
    lo += domain.rest[:, None]
    if domain.cell is not None:
        lo += _rest_of_product(factor, step, offset)
    return np.ascontiguousarray(hi), np.ascontiguousarray(lo)


def _rest_of_product(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> np.ndarray:
    """What rounding took from a product of floats, exactly (Dekker, Numer. Math. 18 (1971) 224-242)."""
    a_high, b_high = (x * SPLITTER - (x * SPLITTER - x) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


@jit_in_order
def from_center(x, x_lo, hi, lo):
    """One coordinate of a point, ``x_lo`` 0, or of a box centre, seen from the centre ``hi + lo`` of a box."""
    return (x - hi) + (x_lo - lo)


def as_wide(domain: Domain, other: Domain) -> Domain:
    """The smallest cube around some points, enlarged as another was around the same points elsewhere."""
    if domain.cell is not None:
        assert other.cell is not None
        return domain if other.cell.cubes == domain.cell.cubes else enlarge(domain, THIRDS)
    factor = (other.half_width / other.scale) / (domain.half_width / domain.scale)
    return enlarge(domain, factor) if 1.0 < factor < 2.0 else domain


def enlarge(domain: Domain, factor: float) -> Domain:
    """A cube that is wider by about ``factor``, 1 to 2, around the same ``middle``, in the same scaled coordinates.

    Of a periodic box the factor is `THIRDS`: its cubes are cut into 27, and all boxes have two thirds of the width.
    """
    if factor == 1.0:
        return domain
    if domain.cell is not None:
        return _in_thirds(domain, domain.cell)
    half_width, exponent = _round_up(domain.half_width * factor)
    half_width = math.ldexp(half_width, exponent)
    lower = domain.lower - domain.middle * (half_width - domain.half_width)
    return replace(domain, lower=lower, half_width=half_width)


def grown(
    domain: Domain, points: np.ndarray, scaled: bool, most: int
) -> tuple[Domain, int, np.ndarray] | None:
    """The smallest cube around another one and some points in which the other one is a box.

    Parameters
    ----------
    domain : Domain, not of a periodic box
    points : float64 [n, 3], in the caller's units, n at least 1
    scaled : bool, as of `enclose`
    most : int, how many times the width may be doubled

    Returns
    -------
    domain : Domain
        Its coordinates are those of the other one over ``2**up``, where they are scaled.
    up : int, the level of the other cube in this one
    anchor : int64 [3], its place among the boxes of that level
    None where the points are too far away.
    """
    with np.errstate(over="ignore"):
        low, high = (np.array(_extreme(reduce, points)) * domain.scale for reduce in (np.min, np.max))
    lower, width, anchor, up = domain.lower.copy(), 2.0 * domain.half_width, np.zeros(3, np.int64), 0
    while not ((low >= lower) & (high - lower < width)).all():
        if up == most:
            return None
        below = low < lower
        lower -= width * below
        anchor += below * 2**up
        width *= 2.0
        up += 1
    # exact, as an anchor has at most 42 bits and a width 9
    offset = -2.0 * domain.half_width * anchor
    lower = domain.lower + offset
    back = lower - domain.lower
    rest = (domain.lower - (lower - back)) + (offset - back)
    if not scaled:
        return (
            replace(domain, lower=lower, rest=rest, half_width=math.ldexp(domain.half_width, up)),
            up,
            anchor,
        )
    lower, rest, scale = np.ldexp(lower, -up), np.ldexp(rest, -up), math.ldexp(domain.scale, -up)
    return replace(domain, lower=lower, rest=rest, scale=scale), up, anchor
