"""Points that differ, but by so much less than the cloud is wide that the loops would take them for one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from taskfmm.errors import InputError

RESOLVED = 2.0**-63
"""The smallest scaled distance whose square has a reciprocal root in the loops, 1e-37 of the width of the cube."""

NEAR_ZERO = 2.0**-8
"""Two float64 that differ, by less than twice `RESOLVED`, are smaller than this: elsewhere they lie wider apart."""

LARGEST = 2.0**900
"""Scaled coordinates that can still be divided by `RESOLVED`."""

BLOCK = 2**14
"""Rows that are looked at together, so that intermediate arrays stay in a core's cache."""


def refuse_unresolved(sources: np.ndarray, targets: np.ndarray | None, scale: float) -> None:
    """Raise InputError where a source and a target in different places would count as one point.

    Most often a single row is far from all others, a mark for something missing perhaps: it is named.

    sources, targets : float64 [n, 3], in the caller's units; targets None where they are the sources
    scale : of the `Domain` of these points
    """
    to = sources if targets is None else targets
    pair = unresolved_pair(sources, to, scale)
    if pair is None:
        return
    names = "sources", "sources" if targets is None else "targets"
    here, there = sources[pair[0]], to[pair[1]]
    _, name, row, place = max(
        (_furthest(points) for points in zip(names, (sources, to), strict=True)), key=lambda far: far[0]
    )
    raise InputError(
        f"{name} row {row} is {place}, so far out that {names[0]} row {pair[0]} and {names[1]} row "
        f"{pair[1]}, {np.abs(here - there).max():.2g} apart, would count as one point: drop the row if it marks a "
        f"missing value, else give points that are in one place or {RESOLVED / scale:.2g} apart"
    )


def _furthest(named: tuple[str, np.ndarray]) -> tuple[float, str, int, np.ndarray]:
    """The row furthest from the middle of some points: how far, their name, the row, its coordinates."""
    name, points = named
    # a quarter of everything, as in `enclose`
    away = np.abs(points / 4.0 - np.median(points, axis=0) / 4.0).max(axis=1)
    row = int(np.argmax(away))
    return float(away[row]), name, row, points[row]


def unresolved_pair(sources: np.ndarray, targets: np.ndarray, scale: float) -> tuple[int, int] | None:
    """A source and a target in different places whose distance is too small for the loops.

    Parameters
    ----------
    sources, targets : float64 [n, 3]
        In the caller's units; the same array where the targets are the sources.
    scale : float
        Of the `Domain` of these points.

    Returns
    -------
    row of the source, row of the target; or None. Every pair closer than `RESOLVED` is found; some up to four times
    as far apart may be.
    """
    limit = NEAR_ZERO / scale
    others = targets if targets is not sources else targets[:0]
    if not any(_some_differ_from_zero(points, limit) for points in (sources, others)):
        return None
    from scipy.spatial import cKDTree  # here, as next to nobody gets to this line

    source_rows, target_rows = (_distinct(points, limit) for points in (sources, targets))
    if not (source_rows.size and target_rows.size):
        return None
    at, to = sources[source_rows], targets[target_rows]
    tree = cKDTree(_cells(at, scale))
    for some in _growing(len(to)):
        # of two different sources in or beside the target's cell, one at most is in the target's place
        distance, found = tree.query(_cells(to[some], scale), k=2, p=np.inf, distance_upper_bound=1.5)
        near = np.isfinite(distance)
        apart = near & (at[np.where(near, found, 0)] != to[some][:, None, :]).any(axis=2)
        if apart.any():
            row, which = np.argwhere(apart)[0]
            return int(source_rows[found[row, which]]), int(target_rows[some.start + row])
    return None


def _some_differ_from_zero(points: np.ndarray, limit: float) -> bool:
    """Whether any coordinate is smaller than the limit without being zero: in an ordinary cloud none is."""
    numbers, size = points.reshape(-1), 3 * BLOCK
    work = np.empty(size)
    for first in range(0, numbers.size, size):
        some = np.abs(numbers[first : first + size], out=work[: numbers.size - first])
        small = some < limit
        if small.any() and (small & (some > 0.0)).any():
            return True
    return False


def _distinct(points: np.ndarray, limit: float) -> np.ndarray:
    """Rows of different points, of those with a coordinate below the limit."""
    rows = np.flatnonzero((np.abs(points) < limit).any(axis=1))
    rows = rows[np.lexsort(points[rows].T)]
    found = points[rows]
    return rows[np.append(True, (found[1:] != found[:-1]).any(axis=1))] if rows.size else rows


def _cells(points: np.ndarray, scale: float) -> np.ndarray:
    """Whole numbers that differ by at most one where scaled coordinates differ by less than `RESOLVED`."""
    # where coordinates are larger, those of an axis are all the same: floats lie further apart than the cube is wide
    return np.floor(np.clip(points * scale, -LARGEST, LARGEST) / RESOLVED)


def _growing(n: int) -> Iterator[slice]:
    """Few rows first: where many points are in one cell a search is slow, but the first one succeeds."""
    first = 0
    while first < n:
        yield slice(first, min(2 * first + 1, n))
        first = 2 * first + 1
