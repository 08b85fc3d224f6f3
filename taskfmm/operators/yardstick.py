"""How far operators err: what one source at the worst place of a box does to targets that see it through expansions.

A source is put at corners, edges, faces and inside of a box and goes through the real chain: P2M, M2M, M2L to every
box of a V list, L2L, L2P; P2M and M2P to the leaves of a W list; P2L and L2P from the leaves of an X list. The error
is the relative l2 error over all targets of one source, and the yardstick is that of the worst source. No cloud of
points is needed, so it serves every kernel, output and level alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.accuracy import Yardstick
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.matrix import kernel_matrix, value_matrix

OUTPUTS = ("potential", "gradient")

DEEP = 12
"""So many levels below M2L the error of a gradient hangs no longer on the distance, but on the width of the leaf.
Where each level has operators of its own there is one such level: more of them are not made for this."""

PLACES = (0.0, 0.3, 0.6, 0.8, 1.0)
"""Coordinates of sources in a box, in half-widths; the symmetry of the cube gives the places with other signs."""

FEW_PLACES = (0.0, 0.6, 1.0)
"""The same, where there is no time for all of them: the worst place is at a corner, or in the middle of a face."""

CORNERS = ((-1.0, 0.0, 1.0), (-1.0, -1 / 3, 1 / 3, 1.0))
"""Coordinates of targets most of which lie on edges and corners. There are two grids, since surfaces of odd order
have a point at the middle, where others have none, and their errors are largest elsewhere."""

FILLING = (-0.75, -0.25, 0.25, 0.75)
"""Coordinates of targets that fill a box, or its faces."""

DECAYED = 1e-2
"""A kernel without a degree may die away within a box. What is left at a distance counts as this part, at least, of
what the source does to the boxes around its own: relative to the far smaller value itself, errors could be of any
size."""

DECAYED_WITHIN = 1.0
"""The same where no differential equation says how: what is left is not reproduced by its own size, and sources that
are finite at their own place hardly do more to the boxes around than that."""

NEAREST = 0.4
"""Distance of the nearest of the targets around a box to a source in its corner, in half-widths."""

OCTANTS = (0, 6, 3, 5, 7, 1, 4, 2)
"""The way down to a deep leaf turns at every level."""


def measure(
    kernel: Kernel,
    operators: BoxOperators,
    below: BoxOperators | None = None,
    at: tuple[float, ...] = PLACES,
) -> Yardstick:
    """The yardstick of the operators of a kernel for boxes of one size.

    below : of their children, where they differ
    at : coordinates of sources
    """
    places = [*(_grid(line) for line in CORNERS), _faces(FILLING), _grid(FILLING)]
    faces, filling = 2, 3
    chain = _Chain(kernel, operators, below or operators, places, at)
    through_parents, one_way = chain.through_parents()
    ways = [chain.between_leaves(), through_parents, chain.m2p(), chain.p2l()]
    on_faces = max(way["gradient"][faces] for way in ways)
    corners = max(way["potential"][:faces].max() for way in ways)
    return Yardstick(
        potential=float(max(one_way["potential"][filling], corners)),
        gradient=float(max(one_way["gradient"][filling], on_faces)),
        filled=float(max(way["potential"][filling] for way in ways)),
        faces=float(on_faces),
        smooth=float(chain.smooth()[filling]),
    )


def decayed(kernel: Kernel) -> float:
    """The part of what a source does near its box that errors are relative to, at least."""
    return DECAYED if kernel.elliptic else DECAYED_WITHIN


def _faces(line: tuple[float, ...]) -> np.ndarray:
    """Points on the faces of a box, float64 [3, n]."""
    points = _grid((-1.0, *line, 1.0))
    return points[:, (np.abs(points) == 1.0).sum(axis=0) == 1]


def _grid(line: tuple[float, ...]) -> np.ndarray:
    """Points of a box, float64 [3, n]."""
    return np.array(list(itertools.product(line, repeat=3))).T


def _leaves_next_to_small_boxes() -> np.ndarray:
    """Centres of the leaves that have the unit box in their W list, in its half-widths: leaves are twice as wide."""
    line = np.array([-5, -3, -1, 1, 3, 5])
    centers = np.array(list(itertools.product(line, repeat=3)))
    return centers[np.abs(centers).max(axis=1) == 5]


Errors = dict[str, np.ndarray]
"""By output, the largest relative error of any source, for each set of targets."""


class _Chain:
    """Errors of each way through the operators, from unit sources to targets, both in a box around the origin.

    operators : of a box; places are in units of its half-width
    below : of its children
    places : sets of targets, float64 [3, n] each; errors are found for each set
    """

    def __init__(
        self,
        kernel: Kernel,
        operators: BoxOperators,
        below: BoxOperators,
        places: list[np.ndarray],
        at: tuple[float, ...] = PLACES,
    ) -> None:
        self.kernel = kernel
        self.operators = operators
        self.below = below
        self.sources = np.array([p for p in _grid(at).T if p[0] >= p[1] >= p[2]]).T
        self.targets = np.concatenate(places, axis=1)
        self.ptr = np.cumsum([0, *(points.shape[1] for points in places)])
        self._of_locals: dict[float, np.ndarray] = {}
        self._least = self._around() if kernel.degree is None else None

    def between_leaves(self) -> Errors:
        """By the V list."""
        return self._sum(self._by_direction(descend=False)).worst()

    def through_parents(self) -> tuple[Errors, Errors]:
        """By the V list of the parents of source and target; to all targets, and to those in the worst direction."""
        whole, worst = self._sums(), {output: np.zeros(self.ptr.size - 1) for output in OUTPUTS}
        for found, exact in self._by_direction(descend=True):
            whole.add(found, exact)
            one = self._sum([(found, exact)]).worst()
            worst = {output: np.maximum(worst[output], one[output]) for output in OUTPUTS}
        return whole.worst(), worst

    def _by_direction(self, descend: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What arrives in each box of a V list, and what should: values [n_components, n_targets, n_sources]."""
        at, shift, half, leaf = self.operators, np.zeros((3, 1)), 1.0, self.operators
        if descend:
            half, leaf, shift = 0.5, self.below, surface.octant_centers()[7][:, None]
        multipole = self._multipole(leaf, half)
        if descend:
            multipole = multipole @ at.m2m[7]
        sources = shift + half * self.sources
        for offset in symmetry.offsets():
            local = self._translated(multipole, offset)
            # targets in the octant that faces the source
            octant = int((offset < 0) @ [4, 2, 1])
            toward = surface.octant_centers()[octant][:, None] if descend else shift
            if descend:
                local = local @ at.l2l[octant]
            targets = 2.0 * offset[:, None] + toward + half * self.targets
            yield self._at_targets(local, leaf, half), self._exact(targets, sources)

    def m2p(self) -> Errors:
        """By the W list: multipoles at the targets of leaves twice as wide."""
        at, sums = self.operators, self._sums()
        density = self._of_sources(self._multipole(at) @ at.multipole_to_density)
        for center in _leaves_next_to_small_boxes():
            targets = center[:, None] + 2.0 * self.targets
            by_density = value_matrix(self.kernel.of_densities, at.half_width * targets, at.upward_equivalent)
            sums.add(by_density @ density.T, self._exact(targets, self.sources))
        return sums.worst()

    def p2l(self) -> Errors:
        """By the X list: sources in leaves twice as wide, straight to locals."""
        sums = self._sums()
        for center in _leaves_next_to_small_boxes():
            sources = center[:, None] + 2.0 * self.sources
            found = self._at_targets(self._local(sources), self.operators, 1.0)
            sums.add(found, self._exact(self.targets, sources))
        return sums.worst()

    def smooth(self) -> np.ndarray:
        """See `Yardstick`; for each set of targets."""
        sources = self.sources - 2.0 * np.array([[3], [2], [1]])
        local, half, shift = self._local(sources), 1.0, np.zeros(3)
        deep = DEEP if self.below is self.operators else 1
        for octant in itertools.islice(itertools.cycle(OCTANTS), deep):
            local = local @ self.operators.l2l[octant]
            half *= 0.5
            shift += 2.0 * half * surface.octant_centers()[octant]
        exact = self._exact(shift[:, None] + half * self.targets, sources)
        sums = self._sum([(self._at_targets(local, self.below, half), exact)])
        size = sums.size["potential"] if self.kernel.elliptic else sums.seen("potential")
        field = np.sqrt(size) / (half * self.operators.half_width)
        return _ratio(np.sqrt(sums.wrong["gradient"]), field).max(axis=1)

    def _sums(self) -> _Sums:
        return _Sums(self.kernel, self.ptr, self._least)

    def _sum(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> _Sums:
        sums = self._sums()
        for found, exact in pairs:
            sums.add(found, exact)
        return sums

    def _around(self) -> dict[str, np.ndarray]:
        """See `DECAYED`: of each output and source, the least square that counts at a target."""
        around = (_grid(FILLING)[:, None, :] + 2.0 * _grid((-1.0, 0.0, 1.0))[:, :, None]).reshape(3, -1)
        beside = around[:, np.abs(around).max(axis=0) > 1.0]
        values = self._exact(beside, self.sources)
        sums = _Sums(self.kernel, np.array([0, beside.shape[1]]), None)
        sums.add(values, values)
        part = decayed(self.kernel)
        return {output: part**2 * size[0] / beside.shape[1] for output, size in sums.size.items()}

    def _exact(self, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
        half = self.operators.half_width
        return value_matrix(self.kernel, half * targets, half * sources)

    def _multipole(self, at: BoxOperators, half: float = 1.0) -> np.ndarray:
        """Of the sources in a box of this half-width, and with these operators."""
        check = kernel_matrix(self.kernel, at.upward_check, at.half_width * self.sources)
        if self.kernel.degree is not None:
            numbers = self.kernel.in_width(np.ones((self.kernel.n_numbers, 1)), half)
            check = check * np.repeat(numbers, self.sources.shape[1])
        return check.T.reshape(-1, len(at.check_to_multipole)) @ at.check_to_multipole

    def _of_sources(self, rows: np.ndarray) -> np.ndarray:
        """The columns of each source side by side, from a row for each column."""
        return rows.reshape(-1, self.kernel.columns * rows.shape[1])

    def _local(self, sources: np.ndarray) -> np.ndarray:
        at = self.operators
        check = kernel_matrix(self.kernel, at.downward_check, at.half_width * sources)
        return check.T.reshape(-1, len(at.check_to_local)) @ at.check_to_local

    def _translated(self, multipole: np.ndarray, offset: np.ndarray) -> np.ndarray:
        right, left = self.operators.m2l.factors(offset)
        return np.asarray(multipole.astype(right.dtype) @ right @ left, np.float64)

    def _at_targets(self, local: np.ndarray, at: BoxOperators, half: float) -> np.ndarray:
        """Values [n_components, n_targets, n_sources] in the parent's units, of boxes of this half-width."""
        if at.half_width not in self._of_locals:
            places = at.half_width * self.targets
            by_density = value_matrix(self.kernel.of_densities, places, at.downward_equivalent)
            columns = by_density.reshape(*by_density.shape[:2], self.kernel.columns, -1)
            values = at.local_to_density @ columns.transpose(0, 2, 3, 1)
            self._of_locals[at.half_width] = values.reshape(len(values), -1, values.shape[-1])
        found = (self._of_sources(local) @ self._of_locals[at.half_width]).transpose(0, 2, 1)
        if self.kernel.degree is not None:
            self.kernel.scale(found, half)
        return found


class _Sums:
    """Sums of squares over each set of targets, [n_sets, n_sources], for each output.

    ptr : int64 [n_sets + 1], where sets begin among the targets
    least : of each output and source, a square that what is exact at a target counts as in the mean, at least
    """

    def __init__(self, kernel: Kernel, ptr: np.ndarray, least: dict[str, np.ndarray] | None) -> None:
        first = kernel.n_plain
        self.rows = dict(zip(OUTPUTS, (slice(first), slice(first, None)), strict=True))
        self.ptr = ptr
        self.least = least
        self.wrong = {output: np.zeros((ptr.size - 1, 1)) for output in OUTPUTS}
        self.size = {output: np.zeros((ptr.size - 1, 1)) for output in OUTPUTS}
        self.n_targets = np.zeros((ptr.size - 1, 1))

    def add(self, found: np.ndarray, exact: np.ndarray) -> None:
        """Values [n_components, n_targets, n_sources]."""
        self.n_targets += np.diff(self.ptr)[:, None]
        wrong = found - exact
        for output, rows in self.rows.items():
            self.wrong[output] = self.wrong[output] + self._squares(wrong[rows])
            self.size[output] = self.size[output] + self._squares(exact[rows])

    def _squares(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.einsum("cts,cts->ts", values, values), self.ptr[:-1], axis=0)

    def worst(self) -> Errors:
        """The largest relative error of any source; 0 of an output that the kernel does not have."""
        found = {}
        for output in OUTPUTS:
            found[output] = np.sqrt(_ratio(self.wrong[output], self.seen(output))).max(axis=1)
        return found

    def seen(self, output: str) -> np.ndarray:
        """What errors are relative to, squared."""
        if self.least is None:
            return self.size[output]
        return np.maximum(self.size[output], self.n_targets * self.least[output])


def _ratio(wrong: np.ndarray, size: np.ndarray) -> np.ndarray:
    """0 where nothing is wrong, of whatever size."""
    return np.divide(wrong, size, where=wrong > 0.0, out=np.zeros_like(wrong))
