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
from taskfmm.operators import moment, probes
from taskfmm.operators.accuracy import Yardstick
from taskfmm.operators.box import BoxOperators
from taskfmm.operators.matrix import kernel_matrix, value_matrix
from taskfmm.operators.probes import FACES, FILLED, Probes
from taskfmm.operators.sums import GRADIENT, POTENTIAL, Errors, Sums, ratio

DEEP = 12
"""So many levels below M2L the error of a gradient hangs no longer on the distance, but on the width of the leaf.
Where each level has operators of its own there is one such level: more of them are not made for this."""

DECAYED = 1e-2
"""A kernel without a degree may die away within a box. What is left at a distance counts as this part, at least, of
what the source does to the boxes around its own: relative to the far smaller value itself, errors could be of any
size."""

DECAYED_WITHIN = 1.0
"""The same where no differential equation says how: what is left is not reproduced by its own size, and sources that
are finite at their own place hardly do more to the boxes around than that."""


def measure(
    kernel: Kernel,
    operators: BoxOperators,
    below: BoxOperators | None = None,
    at: Probes | None = None,
) -> Yardstick:
    """The yardstick of the operators of a kernel for boxes of one size.

    below : of their children, where they differ
    at : where sources and boxes are; everywhere, if left out
    """
    chain = _Chain(kernel, operators, below or operators, probes.targets(), at or probes.everywhere())
    through_parents, one_way = chain.through_parents()
    ways = [chain.between_leaves(), through_parents, chain.m2p(), chain.p2l()]
    on_faces = max(way[GRADIENT][FACES] for way in ways)
    corners = max(way[POTENTIAL][:FACES].max() for way in ways)
    # what a dipole does is a derivative as well, and errs most on faces
    within = [FILLED, FACES] if any(kind.derivative for kind in kernel.sources) else [FILLED]
    return Yardstick(
        potential=float(max(one_way[POTENTIAL][FILLED], corners)),
        gradient=float(max(one_way[GRADIENT][FILLED], on_faces)),
        filled=float(max(way[POTENTIAL][within].max() for way in ways)),
        faces=float(on_faces),
        smooth=float(max(chain.smooth()[FILLED], chain.rising()[FILLED])),
    )


def decayed(kernel: Kernel) -> float:
    """The part of what a source does near its box that errors are relative to, at least."""
    return DECAYED if kernel.elliptic else DECAYED_WITHIN


def _different(kernel: Kernel) -> np.ndarray:
    """Of the numbers of a source those of which no two do the same, but for their sign, and none does nothing.

    The imaginary part of a complex number does i times what the real part does, and errs as much.
    """
    targets = np.random.default_rng(1).uniform(1.0, 2.0, (3, 2))
    does = value_matrix(kernel, targets, np.zeros((3, 1))).reshape(-1, kernel.n_numbers).T
    found = [
        number
        for number, own in enumerate(does)
        if own.any()
        and not (kernel.sources[0].complex and number % 2)
        and not any(np.array_equal(own, s * other) for other in does[:number] for s in (1, -1))
    ]
    return np.array(found or [0])


class _Chain:
    """Errors of each way through the operators, from unit sources to targets, both in a box around the origin.

    operators : of a box; places are in units of its half-width
    below : of its children
    places : sets of targets, float64 [3, n] each; errors are found for each set
    at : where sources and boxes are
    """

    def __init__(
        self,
        kernel: Kernel,
        operators: BoxOperators,
        below: BoxOperators,
        places: list[np.ndarray],
        at: Probes,
    ) -> None:
        self.kernel = kernel
        self.operators = operators
        self.below = below
        self.sources, self.offsets, self.leaves = at.sources, at.offsets, at.leaves
        n = self.sources.shape[1]
        self.numbers = _different(kernel)
        self.kept = (n * self.numbers[:, None] + np.arange(n)).ravel()
        self.targets = np.concatenate(places, axis=1)
        self.ptr = np.cumsum([0, *(points.shape[1] for points in places)])
        self._of_locals: dict[float, np.ndarray] = {}
        self._least = self._around() if kernel.degree is None else None

    def between_leaves(self) -> Errors:
        """By the V list."""
        return self._sum(self._by_direction(descend=False)).worst()

    def through_parents(self) -> tuple[Errors, Errors]:
        """By the V list of the parents of source and target; to all targets, and to those in the worst direction."""
        whole, worst = self._sums(), {of: np.zeros(self.ptr.size - 1) for of in (POTENTIAL, GRADIENT)}
        for found, exact in self._by_direction(descend=True):
            whole.add(found, exact)
            one = self._sum([(found, exact)]).worst()
            worst = {of: np.maximum(worst[of], one[of]) for of in worst}
        return whole.worst(), worst

    def _by_direction(self, descend: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What arrives in each box of a V list, and what should: values [n_components, n_targets, n_sources]."""
        at, shift, half, leaf = self.operators, np.zeros((3, 1)), 1.0, self.operators
        if descend:
            half, leaf, shift = 0.5, self.below, surface.octant_centers()[7][:, None]
        multipole = self._multipole(leaf, half)
        if descend:
            multipole = self._moved(multipole @ at.m2m[7], moment.UP[7])
        sources = shift + half * self.sources
        for offset in self.offsets:
            local = self._translated(multipole, offset)
            # targets in the octant that faces the source
            octant = int((offset < 0) @ [4, 2, 1])
            toward = surface.octant_centers()[octant][:, None] if descend else shift
            if descend:
                local = self._down(local, octant)
            targets = 2.0 * offset[:, None] + toward + half * self.targets
            yield self._at_targets(local, leaf, half), self._exact(targets, sources)

    def m2p(self) -> Errors:
        """By the W list: multipoles at the targets of leaves twice as wide."""
        at, sums = self.operators, self._sums()
        density = self._of_sources(self._multipole(at) @ at.multipole_to_density)
        if self.kernel.first_moment:
            moment.at_densities(density.reshape(len(density), 4, -1), at.upward_equivalent)
        for center in self.leaves:
            targets = center[:, None] + 2.0 * self.targets
            by_density = value_matrix(self.kernel.of_densities, at.half_width * targets, at.upward_equivalent)
            sums.add(by_density @ density.T, self._exact(targets, self.sources))
        return sums.worst()

    def p2l(self) -> Errors:
        """By the X list: sources in leaves twice as wide, straight to locals."""
        sums = self._sums()
        for center in self.leaves:
            sources = center[:, None] + 2.0 * self.sources
            found = self._at_targets(self._local(sources), self.operators, 1.0)
            sums.add(found, self._exact(self.targets, sources))
        return sums.worst()

    @property
    def _deep(self) -> tuple[list[int], float, np.ndarray]:
        """Of a deep leaf the octants on the way down to it, its half-width, and its centre."""
        octants, half, center = [], 1.0, np.zeros(3)
        for octant in itertools.islice(
            itertools.cycle(probes.OCTANTS), DEEP if self.below is self.operators else 1
        ):
            octants.append(octant)
            half *= 0.5
            center += 2.0 * half * surface.octant_centers()[octant]
        return octants, half, center

    def smooth(self) -> np.ndarray:
        """See `Yardstick`; for each set of targets."""
        sources = self.sources - 2.0 * probes.AWAY[:, None]
        local, (octants, half, shift) = self._local(sources), self._deep
        for octant in octants:
            local = self._down(local, octant)
        exact = self._exact(shift[:, None] + half * self.targets, sources)
        sums = self._sum([(self._at_targets(local, self.below, half), exact)])
        size = sums.size[0] if self.kernel.elliptic else sums.seen(0)
        field, width = np.sqrt(size), half * self.operators.half_width
        errors = (ratio(np.sqrt(sums.wrong[d]), field / width**d).max(axis=1) for d in sums.derived)
        return np.max([np.zeros(len(field)), *errors], axis=0)

    def rising(self) -> np.ndarray:
        """The error of sources in a small leaf, far from all targets, where they are derivatives, as dipoles are.

        In units of what a charge does there over the half-width of the leaf. The smaller the leaf, the less than that
        does a dipole do, but it errs as much, by a charge that its densities add up to. For each set of targets.
        """
        power = self.kernel.sources[0].derivative
        if not power:
            return np.zeros(self.ptr.size - 1)
        octants, half, shift = self._deep
        multipole = self._multipole(self.below, half)
        for octant in reversed(octants):
            multipole = self._moved(multipole @ self.operators.m2m[octant], moment.UP[octant])
        targets = 2.0 * probes.AWAY[:, None] + self.targets
        exact = self._exact(targets, shift[:, None] + half * self.sources)
        found = self._at_targets(self._translated(multipole, probes.AWAY), self.operators, 1.0)
        sums, width = self._sum([(found, exact)]), self.operators.half_width
        of_one = self._sum([2 * (self._of_one(targets),)]).size[0].max(axis=1, keepdims=True)
        errors = (
            ratio(np.sqrt(wrong), np.sqrt(of_one) / (half * width) ** power / width**d).max(axis=1)
            for d, wrong in sums.wrong.items()
        )
        return np.max([*errors], axis=0)

    def _of_one(self, targets: np.ndarray) -> np.ndarray:
        """What equivalent densities at the origin do, as `_exact`."""
        return value_matrix(self.kernel.of_densities, self.operators.half_width * targets, np.zeros((3, 1)))

    def _sums(self) -> Sums:
        return Sums(self.kernel, self.ptr, self._least)

    def _sum(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Sums:
        sums = self._sums()
        for found, exact in pairs:
            sums.add(found, exact)
        return sums

    def _around(self) -> dict[int, np.ndarray]:
        """See `DECAYED`: by derivatives, of each source, the least square that counts at a target."""
        beside = probes.beside()
        values = self._exact(beside, self.sources)
        sums = Sums(self.kernel, np.array([0, beside.shape[1]]), None)
        sums.add(values, values)
        part = decayed(self.kernel)
        return {d: part**2 * size[0] / beside.shape[1] for d, size in sums.size.items()}

    def _exact(self, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
        half = self.operators.half_width
        return value_matrix(self.kernel, half * targets, half * sources)[..., self.kept]

    def _multipole(self, at: BoxOperators, half: float = 1.0) -> np.ndarray:
        """Of the sources in a box of this half-width, and with these operators."""
        check = self._checked(at.upward_check, at.half_width * self.sources)
        if self.kernel.degree is not None:
            numbers = self.kernel.in_width(np.ones((self.kernel.n_numbers, 1)), half)[self.numbers]
            check = check * np.repeat(numbers, self.sources.shape[1])
        return check.T.reshape(-1, len(at.check_to_multipole)) @ at.check_to_multipole

    def _checked(self, surface: np.ndarray, sources: np.ndarray) -> np.ndarray:
        """Potentials on a surface of unit sources, as `kernel_matrix` gives them, of `numbers` alone."""
        check = kernel_matrix(self.kernel, surface, sources)[:, self.kept]
        if self.kernel.first_moment:
            moment.received(check.reshape(4, surface.shape[1], -1).transpose(2, 0, 1), surface)
        return check

    def _down(self, local: np.ndarray, octant: int) -> np.ndarray:
        """L2L."""
        self._settle(local, self.operators)
        return self._moved(local @ self.operators.l2l(octant), moment.DOWN[octant])

    def _settle(self, local: np.ndarray, at: BoxOperators) -> None:
        if self.kernel.first_moment:
            moment.without_constant(local.reshape(-1, 4, local.shape[1]), at.check_to_local)

    def _moved(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Expansions whose first moments, if they have any, are about another centre, see `moment.move`."""
        if self.kernel.first_moment:
            moment.move(rows.reshape(-1, 4, rows.shape[1]), weights)
        return rows

    def _of_sources(self, rows: np.ndarray) -> np.ndarray:
        """The columns of each source side by side, from a row for each column."""
        return rows.reshape(-1, self.kernel.columns * rows.shape[1])

    def _local(self, sources: np.ndarray) -> np.ndarray:
        at = self.operators
        check = self._checked(at.downward_check, at.half_width * sources)
        return check.T.reshape(-1, len(at.check_to_local)) @ at.check_to_local

    def _translated(self, multipole: np.ndarray, offset: np.ndarray) -> np.ndarray:
        return self._moved(self.operators.m2l.one(multipole, offset), moment.across(offset))

    def _at_targets(self, local: np.ndarray, at: BoxOperators, half: float) -> np.ndarray:
        """Values [n_components, n_targets, n_sources] in the parent's units, of boxes of this half-width."""
        self._settle(local, at)
        if at.half_width not in self._of_locals:
            places = at.half_width * self.targets
            by_density = value_matrix(self.kernel.of_densities, places, at.downward_equivalent)
            columns = by_density.reshape(*by_density.shape[:2], self.kernel.columns, -1)
            if self.kernel.first_moment:
                columns[:, :, :3] -= at.downward_equivalent * columns[:, :, 3:]
            values = at.local_to_density @ columns.transpose(0, 2, 3, 1)
            self._of_locals[at.half_width] = values.reshape(len(values), -1, values.shape[-1])
        found = (self._of_sources(local) @ self._of_locals[at.half_width]).transpose(0, 2, 1)
        if self.kernel.degree is not None:
            self.kernel.scale(found, half)
        return found
