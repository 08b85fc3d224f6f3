"""Morton keys: the order of points and boxes along the curve, and the only bit shifts.

A point is quantised to 42 levels below the root cube, which separates points 2e-13 of the cube apart. Its key
takes 126 bits, in two words: ``hi`` for levels 1 to 21, ``lo`` for levels 22 to 42. Each level is one octal
digit, the octant ``4 * x + 2 * y + z``, so keys sort like the anchors of the boxes they pass through.
"""

from __future__ import annotations

import numpy as np

from taskfmm.geometry.domain import Domain
from taskfmm.jit import jit, loop

MAX_LEVEL = 42
WORD_LEVELS = 21
CELLS = 2**MAX_LEVEL

# Numba makes a float of int64 combined with uint64, so every constant here is unsigned.
_WORD_MASK = np.uint64(2**WORD_LEVELS - 1)
_SPREAD = tuple(
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in (
        (32, 0x001F00000000FFFF),
        (16, 0x001F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    )
)
(_S32, _M32), (_S16, _M16), (_S8, _M8), (_S4, _M4), (_S2, _M2) = _SPREAD
_ONE, _TWO, _THREE = np.uint64(1), np.uint64(2), np.uint64(3)
_SEVEN = np.uint64(7)
_WORD = np.uint64(WORD_LEVELS)


@jit
def spread(v):
    """Put two zero bits between each of the 21 bits of ``v``."""
    v = (v | (v << _S32)) & _M32
    v = (v | (v << _S16)) & _M16
    v = (v | (v << _S8)) & _M8
    v = (v | (v << _S4)) & _M4
    return (v | (v << _S2)) & _M2


@jit
def gather(v):
    """Undo `spread`: every third bit of ``v``, close together."""
    v = v & _M2
    v = (v | (v >> _S2)) & _M4
    v = (v | (v >> _S4)) & _M8
    v = (v | (v >> _S8)) & _M16
    v = (v | (v >> _S16)) & _M32
    return (v | (v >> _S32)) & _WORD_MASK


@jit
def key(x, y, z):
    """The two key words of a cell at the deepest level."""
    x, y, z = np.uint64(x), np.uint64(y), np.uint64(z)
    hi = (spread(x >> _WORD) << _TWO) | (spread(y >> _WORD) << _ONE) | spread(z >> _WORD)
    lo = (spread(x & _WORD_MASK) << _TWO) | (spread(y & _WORD_MASK) << _ONE) | spread(z & _WORD_MASK)
    return hi, lo


@jit
def first_key(x, y, z, level):
    """The smallest key inside the cell of this anchor and level."""
    shift = MAX_LEVEL - level
    return key(x << shift, y << shift, z << shift)


@jit
def anchor(hi, lo, level):
    """The anchor, at the given level, of the cell that this key lies in."""
    shift = MAX_LEVEL - level
    x = (gather(hi >> _TWO) << _WORD) | gather(lo >> _TWO)
    y = (gather(hi >> _ONE) << _WORD) | gather(lo >> _ONE)
    z = (gather(hi) << _WORD) | gather(lo)
    return np.int64(x) >> shift, np.int64(y) >> shift, np.int64(z) >> shift


@jit
def octant(hi, lo, level):
    """Which child, 0 to 7, of its cell at ``level - 1`` the key lies in."""
    if level <= WORD_LEVELS:
        return np.int64((hi >> (_THREE * np.uint64(WORD_LEVELS - level))) & _SEVEN)
    return np.int64((lo >> (_THREE * np.uint64(MAX_LEVEL - level))) & _SEVEN)


@jit
def same_cell(hi_a, lo_a, hi_b, lo_b, level):
    """Whether two keys lie in one cell of this level."""
    if level <= WORD_LEVELS:
        return (hi_a ^ hi_b) >> (_THREE * np.uint64(WORD_LEVELS - level)) == np.uint64(0)
    return hi_a == hi_b and (lo_a ^ lo_b) >> (_THREE * np.uint64(MAX_LEVEL - level)) == np.uint64(0)


@jit
def place(hi, lo, key_hi, key_lo):
    """How many sorted keys are smaller than a key."""
    first, last = 0, hi.size
    while first < last:
        middle = (first + last) // 2
        if hi[middle] < key_hi or (hi[middle] == key_hi and lo[middle] < key_lo):
            first = middle + 1
        else:
            last = middle
    return first


@jit
def find(hi, lo, x, y, z, level):
    """Index of the first sorted key in the cell of this anchor and level, or -1 if it holds none."""
    key_hi, key_lo = first_key(x, y, z, level)
    first = place(hi, lo, key_hi, key_lo)
    if first < hi.size and same_cell(hi[first], lo[first], key_hi, key_lo, level):
        return first
    return -1


@jit
def _cell(x, scale, lower, per_unit):
    """Quantise one coordinate; rounding may reach past the last cell, never by more than one."""
    return min(max(np.int64((x * scale - lower) * per_unit), 0), CELLS - 1)


@loop
def _keys(first, last, points, lower, scale, per_unit, hi, lo):
    for i in range(first, last):
        x = _cell(points[i, 0], scale, lower[0], per_unit)
        y = _cell(points[i, 1], scale, lower[1], per_unit)
        z = _cell(points[i, 2], scale, lower[2], per_unit)
        hi[i], lo[i] = key(x, y, z)


def read_only(points: np.ndarray) -> np.ndarray:
    """A view that cannot be written: loops would be compiled once more for arrays that can."""
    view = points.view()
    view.setflags(write=False)
    return view


def keys(points: np.ndarray, domain: Domain, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The Morton keys of points.

    Parameters
    ----------
    points : float64 [n, 3]
        In the caller's units.
    domain : Domain
    threads : int

    Returns
    -------
    hi, lo : uint64 [n]
    """
    hi, lo = np.empty(len(points), np.uint64), np.empty(len(points), np.uint64)
    per_unit = CELLS / (2 * domain.half_width)
    _keys(0, hi.size, read_only(points), domain.lower, domain.scale, per_unit, hi, lo, threads=threads)
    return hi, lo


@jit
def _box_keys(level, anchor, out):
    for b in range(level.size):
        x, y, z = anchor[b]
        out[0, b], out[1, b] = first_key(x, y, z, np.int64(level[b]))


def box_keys(level: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """The smallest key inside each box, both words.

    Parameters
    ----------
    level : int8 [n]
    anchor : int64 [n, 3]

    Returns
    -------
    uint64 [2, n], hi and lo
    """
    out = np.empty((2, level.size), np.uint64)
    _box_keys(level, anchor, out)
    return out


def sort(hi: np.ndarray, lo: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
    """The order that sorts keys; equal keys keep the order they came in.

    before : int64 [n], an order that may be close to this one, as that of the same points a step before

    Returns
    -------
    order : int64 [n]
        The same on every machine. Runs of keys that agree in their leading bits are sorted again by ``hi``, then
        those of equal ``hi`` by ``lo``, and those of equal keys by index.
    """
    order, same = _sort_leading_bits(hi, before)
    for value in (hi, lo):
        if not same.any():
            return order
        _sort_runs(order, same, value)
        ranked = value[order]
        same &= ranked[1:] == ranked[:-1]
    if same.any():
        _sort_runs(order, same, np.arange(hi.size))
    return order


def _sort_leading_bits(hi: np.ndarray, before: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The order by the leading bits of ``hi``, int64 [n], and whether each entry has the same ones as the next.

    Numbers that hold these bits and an index are sorted faster than ``np.argsort`` finds an order.
    """
    if hi.size == 0:
        return np.empty(0, np.int64), np.empty(0, bool)
    least = hi.min()
    index_bits = max(1, (hi.size - 1).bit_length())
    dropped = max(0, int(hi.max() - least).bit_length() + index_bits - 64)
    leading, index = np.uint64(index_bits), np.uint64(2**index_bits - 1)
    packed = hi - least
    packed >>= np.uint64(dropped)
    packed <<= leading
    packed |= np.arange(hi.size, dtype=np.uint64)
    if before is None:
        packed.sort()
    else:
        packed = packed[before]
        packed.sort(kind="stable")  # it merges what ascends already
    order = (packed & index).view(np.int64)
    packed >>= leading
    return order, packed[1:] == packed[:-1]


def _sort_runs(order: np.ndarray, same: np.ndarray, value: np.ndarray) -> None:
    """Sort by ``value``, in place, each run of ``order`` within which ``same`` ties an entry to the next.

    One sort of everything that is tied, then dealt out to the runs: as fast for two long runs as for many.
    """
    follows = np.concatenate(([False], same))
    where = np.flatnonzero(follows | np.concatenate((same, [False])))
    members = order[where]
    starts = ~follows[where]
    dealt = np.empty_like(members)
    _deal(np.argsort(value[members]), np.cumsum(starts) - 1, np.flatnonzero(starts), members, dealt)
    order[where] = dealt


@jit
def _deal(ascending, run, place, members, dealt):
    """Move members, taken in ascending order, to the next free place of their run."""
    for k in ascending:
        dealt[place[run[k]]] = members[k]
        place[run[k]] += 1
