"""How far operators err: what one source at the worst place of a box does to targets that see it through expansions.

A source is put at corners, edges, faces and inside of a box and goes through the real chain: P2M, M2M, M2L to every
box of a V list, L2L, L2P; P2M and M2P to the leaves of a W list; P2L and L2P from the leaves of an X list. The error
is the relative l2 error over all targets of one source, and the yardstick is that of the worst source. No cloud of
points is needed, so it serves every kernel, output and level alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.accuracy import Yardstick
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.matrix import kernel_matrix, value_matrix

OUTPUTS = ("potential", "gradient")

DEEP = 12
"""So many levels below M2L the error of a gradient hangs no longer on the distance, but on the width of the leaf.
Where each level has operators of its own there is one such level: more of them are not made for this."""

PLACES = (0.0, 0.3, 0.6, 0.8, 1.0)
"""Coordinates of sources in a box, in half-widths; the symmetry of the cube gives the places with other signs."""

CORNERS = ((-1.0, 0.0, 1.0), (-1.0, -1 / 3, 1 / 3, 1.0))
"""Coordinates of targets most of which lie on edges and corners. There are two grids, since surfaces of odd order
have a point at the middle, where others have none, and their errors are largest elsewhere."""

FILLING = (-0.75, -0.25, 0.25, 0.75)
"""Coordinates of targets that fill a box, or its faces."""

DECAYED = 1e-2
"""A kernel without a degree may die away within a box. What is left at a distance counts as this part, at least, of
what the source does to the boxes around its own: relative to that itself nothing could be promised."""

OCTANTS = (0, 6, 3, 5, 7, 1, 4, 2)
"""The way down to a deep leaf turns at every level."""


def measure(kernel: Kernel, operators: Expansions, below: Expansions | None = None) -> Yardstick:
    """The yardstick of the operators of a kernel for boxes of one size.

    below : of their children, where they differ
    """
    sets = operators, below or operators
    corners = [_Chain(kernel, *sets, _grid(line)) for line in CORNERS]
    faces = _Chain(kernel, *sets, _faces(FILLING))
    filling = _Chain(kernel, *sets, _grid(FILLING))
    around = [way for chain in corners for way in chain.ways()]
    on_faces = max(way["gradient"] for way in faces.ways())
    one_way = filling.worst_direction()
    return Yardstick(
        potential=max(one_way["potential"], *(way["potential"] for way in around)),
        gradient=max(one_way["gradient"], on_faces),
        filled=max(way["potential"] for way in filling.ways()),
        faces=on_faces,
        smooth=filling.smooth(),
    )


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


class _Chain:
    """Errors of each way through the operators, from unit sources to `targets`, both in a box around the origin.

    operators : of a box; places are in units of its half-width
    below : of its children
    targets : float64 [3, n]
    """

    def __init__(self, kernel: Kernel, operators: Expansions, below: Expansions, targets: np.ndarray) -> None:
        self.kernel = kernel
        self.operators = operators
        self.below = below
        self.sources = np.array([p for p in _grid(PLACES).T if p[0] >= p[1] >= p[2]]).T
        self.targets = targets
        self._of_locals: dict[float, np.ndarray] = {}
        self._least: dict[str, np.ndarray] | None = None

    def ways(self) -> list[dict[str, float]]:
        return [self.m2l(descend=False), self.m2l(descend=True), self.m2p(), self.p2l()]

    def m2l(self, descend: bool) -> dict[str, float]:
        """By the V list: between leaves, or through the parents of source and target."""
        errors = self._errors()
        for found, exact in self._by_direction(descend):
            errors.add(found, exact)
        return errors.worst()

    def worst_direction(self) -> dict[str, float]:
        """By the V list to targets in a single box, the worst for each output."""
        worst = dict.fromkeys(OUTPUTS, 0.0)
        for found, exact in self._by_direction(descend=True):
            errors = self._errors()
            errors.add(found, exact)
            worst = {output: max(worst[output], error) for output, error in errors.worst().items()}
        return worst

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

    def m2p(self) -> dict[str, float]:
        """By the W list: multipoles at the targets of leaves twice as wide."""
        errors = self._errors()
        at = self.operators
        density = self._multipole(at) @ at.multipole_to_density
        for center in _leaves_next_to_small_boxes():
            targets = center[:, None] + 2.0 * self.targets
            places = at.half_width * targets
            found = value_matrix(self.kernel.of_densities, places, at.upward_equivalent) @ density.T
            errors.add(found, self._exact(targets, self.sources))
        return errors.worst()

    def p2l(self) -> dict[str, float]:
        """By the X list: sources in leaves twice as wide, straight to locals."""
        errors = self._errors()
        for center in _leaves_next_to_small_boxes():
            sources = center[:, None] + 2.0 * self.sources
            found = self._at_targets(self._local(sources), self.operators, 1.0)
            errors.add(found, self._exact(self.targets, sources))
        return errors.worst()

    def smooth(self) -> float:
        """See `Yardstick`."""
        sources = self.sources - 2.0 * np.array([[3], [2], [1]])
        local, half, shift = self._local(sources), 1.0, np.zeros(3)
        deep = DEEP if self.below is self.operators else 1
        for octant in itertools.islice(itertools.cycle(OCTANTS), deep):
            local = local @ self.operators.l2l[octant]
            half *= 0.5
            shift += 2.0 * half * surface.octant_centers()[octant]
        exact = self._exact(shift[:, None] + half * self.targets, sources)
        wrong = (self._at_targets(local, self.below, half) - exact)[self.kernel.n_potential :]
        size = np.linalg.norm(exact[: self.kernel.n_potential], axis=(0, 1)) / (
            half * self.operators.half_width
        )
        return float((np.linalg.norm(wrong, axis=(0, 1)) / size).max())

    def _errors(self) -> _Errors:
        if self._least is None and self.kernel.degree is None:
            around = _grid(FILLING)[:, None, :] + 2.0 * _grid((-1.0, 0.0, 1.0))[:, :, None]
            near = _Errors(self.kernel)
            beside = np.abs(around.reshape(3, -1)).max(axis=0) > 1.0
            values = self._exact(around.reshape(3, -1)[:, beside], self.sources)
            near.add(np.zeros_like(values), values)
            self._least = {name: DECAYED**2 * size / beside.sum() for name, size in near.size.items()}
        return _Errors(self.kernel, self._least)

    def _exact(self, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
        half = self.operators.half_width
        return value_matrix(self.kernel, half * targets, half * sources)

    def _multipole(self, at: Expansions, half: float = 1.0) -> np.ndarray:
        """Of the sources in a box of this half-width, and with these operators."""
        check = kernel_matrix(self.kernel, at.upward_check, at.half_width * self.sources)
        if self.kernel.degree is not None:
            numbers = self.kernel.in_width(np.ones((self.kernel.n_numbers, 1)), half)
            check = check * np.repeat(numbers, self.sources.shape[1])
        return check.T @ at.check_to_multipole

    def _local(self, sources: np.ndarray) -> np.ndarray:
        at = self.operators
        return kernel_matrix(self.kernel, at.downward_check, at.half_width * sources).T @ at.check_to_local

    def _translated(self, multipole: np.ndarray, offset: np.ndarray) -> np.ndarray:
        right, left = self.operators.m2l.factors(offset)
        return np.asarray(multipole.astype(right.dtype) @ right @ left, np.float64)

    def _at_targets(self, local: np.ndarray, at: Expansions, half: float) -> np.ndarray:
        """Values [n_components, n_targets, n_sources] in the parent's units, of boxes of this half-width."""
        if at.half_width not in self._of_locals:
            places = at.half_width * self.targets
            by_density = value_matrix(self.kernel.of_densities, places, at.downward_equivalent)
            self._of_locals[at.half_width] = at.local_to_density @ by_density.transpose(0, 2, 1)
        found = (local @ self._of_locals[at.half_width]).transpose(0, 2, 1)
        if self.kernel.degree is not None:
            self.kernel.scale(found, half)
        return found


class _Errors:
    """Sums of squares over targets, for each output and source.

    least : of each output and source, a square that what is exact at a target counts as in the mean, at least
    """

    def __init__(self, kernel: Kernel, least: dict[str, np.ndarray] | None = None) -> None:
        first = kernel.n_potential
        self.rows = dict(zip(OUTPUTS, (slice(first), slice(first, None)), strict=True))
        self.least = least
        self.wrong = {output: np.zeros(1) for output in OUTPUTS}
        self.size = {output: np.zeros(1) for output in OUTPUTS}
        self.n_targets = 0

    def add(self, found: np.ndarray, exact: np.ndarray) -> None:
        self.n_targets += exact.shape[1]
        for output, rows in self.rows.items():
            self.wrong[output] = self.wrong[output] + ((found[rows] - exact[rows]) ** 2).sum(axis=(0, 1))
            self.size[output] = self.size[output] + (exact[rows] ** 2).sum(axis=(0, 1))

    def worst(self) -> dict[str, float]:
        """The largest relative error of any source; 0 of an output that the kernel does not have."""
        return {name: float(np.sqrt(self._relative(name).max())) for name in OUTPUTS}

    def _relative(self, name: str) -> np.ndarray:
        wrong, size = self.wrong[name], self.size[name]
        if self.least is not None:
            size = np.maximum(size, self.n_targets * self.least[name])
        return np.divide(wrong, size, where=wrong > 0.0, out=np.zeros_like(wrong))
