"""How far operators err: what one source at the worst place of a box does to targets that see it through expansions.

A source is put at corners, edges, faces and inside of a box and goes through the real chain: P2M, M2M, M2L to every
box of a V list, L2L, L2P; P2M and M2P to the leaves of a W list; P2L and L2P from the leaves of an X list. The error
is the relative l2 error over all targets of one source, and the yardstick is that of the worst source. No cloud of
points is needed, so it serves every kernel, output and level alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taskfmm.geometry import surface
from taskfmm.kernels import Kernel
from taskfmm.operators import symmetry
from taskfmm.operators.expansions import Expansions
from taskfmm.operators.matrix import value_matrix

OUTPUTS = ("potential", "gradient")

DEEP = 12
"""So many levels below M2L the error of a gradient hangs no longer on the distance, but on the width of the leaf."""

PLACES = (0.0, 0.3, 0.6, 0.8, 1.0)
"""Coordinates of sources in a box, in half-widths; the symmetry of the cube gives the places with other signs."""

CORNERS = ((-1.0, 0.0, 1.0), (-1.0, -1 / 3, 1 / 3, 1.0))
"""Coordinates of targets most of which lie on edges and corners. There are two grids, since surfaces of odd order
have a point at the middle, where others have none, and their errors are largest elsewhere."""

FILLING = (-0.75, -0.25, 0.25, 0.75)
"""Coordinates of targets that fill a box, or its faces."""

OCTANTS = (0, 6, 3, 5, 7, 1, 4, 2)
"""The way down to a deep leaf turns at every level."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Errors of one set of operators.

    potential : relative l2 error of the worst source, at targets all around it that lie on edges and corners of
        boxes, or at targets that fill a box in the worst direction from it
    gradient : the same of the gradient, where the targets all around lie on faces: those on edges err more, but no
        cloud has most of its points there
    filled : of the potential, at targets that fill the boxes all around
    faces : of the gradient, at targets on the faces of the boxes all around
    smooth : error of the gradient of a field that hardly varies across a leaf, in units of the field over the
        half-width of the leaf: L2L keeps it while leaves, and with them the field's true change, become smaller
    """

    potential: float
    gradient: float
    filled: float
    faces: float
    smooth: float


def measure(kernel: Kernel, operators: Expansions) -> Yardstick:
    """The yardstick of the operators of a kernel, for the unit box."""
    corners = [_Chain(kernel, operators, _grid(line)) for line in CORNERS]
    faces = _Chain(kernel, operators, _faces(FILLING))
    filling = _Chain(kernel, operators, _grid(FILLING))
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
    """Errors of each way through the operators, from unit charges at `sources` to `targets`, both in the unit box."""

    def __init__(self, kernel: Kernel, operators: Expansions, targets: np.ndarray) -> None:
        self.kernel = kernel
        self.operators = operators
        self.sources = np.array([p for p in _grid(PLACES).T if p[0] >= p[1] >= p[2]]).T
        self.targets = targets
        at_leaf = value_matrix(kernel, targets, operators.downward_equivalent)
        self.l2p = operators.local_to_density @ at_leaf.transpose(0, 2, 1)

    def ways(self) -> list[dict[str, float]]:
        return [self.m2l(descend=False), self.m2l(descend=True), self.m2p(), self.p2l()]

    def m2l(self, descend: bool) -> dict[str, float]:
        """By the V list: between leaves, or through the parents of source and target."""
        errors = _Errors(self.kernel)
        for found, exact in self._by_direction(descend):
            errors.add(found, exact)
        return errors.worst()

    def worst_direction(self) -> dict[str, float]:
        """By the V list to targets in a single box, the worst for each output."""
        worst = dict.fromkeys(OUTPUTS, 0.0)
        for found, exact in self._by_direction(descend=True):
            errors = _Errors(self.kernel)
            errors.add(found, exact)
            worst = {output: max(worst[output], error) for output, error in errors.worst().items()}
        return worst

    def _by_direction(self, descend: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What arrives in each box of a V list, and what should: values [n_components, n_targets, n_sources]."""
        at, shift, half = self.operators, np.zeros((3, 1)), 1.0
        multipole = self._multipole()
        if descend:
            half, shift = 0.5, surface.octant_centers()[7][:, None]
            multipole = multipole @ at.m2m[7]
        sources = shift + half * self.sources
        for offset in symmetry.offsets():
            local = self._translated(multipole, offset)
            # targets in the octant that faces the source
            toward = surface.octant_centers()[int((offset < 0) @ [4, 2, 1])][:, None] if descend else shift
            if descend:
                local = local @ at.l2l[int((offset < 0) @ [4, 2, 1])]
            targets = 2.0 * offset[:, None] + toward + half * self.targets
            yield self._at_targets(local, half), value_matrix(self.kernel, targets, sources)

    def m2p(self) -> dict[str, float]:
        """By the W list: multipoles at the targets of leaves twice as wide."""
        errors = _Errors(self.kernel)
        density = self._multipole() @ self.operators.multipole_to_density
        for center in _leaves_next_to_small_boxes():
            targets = center[:, None] + 2.0 * self.targets
            found = value_matrix(self.kernel, targets, self.operators.upward_equivalent) @ density.T
            errors.add(found, value_matrix(self.kernel, targets, self.sources))
        return errors.worst()

    def p2l(self) -> dict[str, float]:
        """By the X list: sources in leaves twice as wide, straight to locals."""
        errors = _Errors(self.kernel)
        for center in _leaves_next_to_small_boxes():
            sources = center[:, None] + 2.0 * self.sources
            check = value_matrix(self.kernel, self.operators.downward_check, sources)[0]
            local = check.T @ self.operators.check_to_local
            errors.add(self._at_targets(local, 1.0), value_matrix(self.kernel, self.targets, sources))
        return errors.worst()

    def smooth(self) -> float:
        """See `Yardstick`."""
        offset = np.array([3, 2, 1])
        sources = self.sources - 2.0 * offset[:, None]
        check = value_matrix(self.kernel, self.operators.downward_check, sources)[0]
        local, half, shift = check.T @ self.operators.check_to_local, 1.0, np.zeros(3)
        for octant in itertools.islice(itertools.cycle(OCTANTS), DEEP):
            local = local @ self.operators.l2l[octant]
            half *= 0.5
            shift += 2.0 * half * surface.octant_centers()[octant]
        exact = value_matrix(self.kernel, shift[:, None] + half * self.targets, sources)
        wrong = (self._at_targets(local, half) - exact)[self.kernel.n_potential :]
        size = np.linalg.norm(exact[: self.kernel.n_potential], axis=(0, 1)) / half
        return float((np.linalg.norm(wrong, axis=(0, 1)) / size).max())

    def _multipole(self) -> np.ndarray:
        check = value_matrix(self.kernel, self.operators.upward_check, self.sources)[0]
        return check.T @ self.operators.check_to_multipole

    def _translated(self, multipole: np.ndarray, offset: np.ndarray) -> np.ndarray:
        right, left = self.operators.m2l.factors(offset)
        return np.asarray(multipole.astype(right.dtype) @ right @ left, np.float64)

    def _at_targets(self, local: np.ndarray, half: float) -> np.ndarray:
        """Values [n_components, n_targets, n_sources] in the parent's units, of boxes of this half-width."""
        found = (local @ self.l2p).transpose(0, 2, 1)
        self.kernel.scale(found, half)
        return found


class _Errors:
    """Sums of squares over targets, for each output and source."""

    def __init__(self, kernel: Kernel) -> None:
        first = kernel.n_potential
        self.rows = dict(zip(OUTPUTS, (slice(first), slice(first, None)), strict=True))
        self.wrong = {output: np.zeros(1) for output in OUTPUTS}
        self.size = {output: np.zeros(1) for output in OUTPUTS}

    def add(self, found: np.ndarray, exact: np.ndarray) -> None:
        for output, rows in self.rows.items():
            self.wrong[output] = self.wrong[output] + ((found[rows] - exact[rows]) ** 2).sum(axis=(0, 1))
            self.size[output] = self.size[output] + (exact[rows] ** 2).sum(axis=(0, 1))

    def worst(self) -> dict[str, float]:
        return {name: float(np.sqrt((self.wrong[name] / self.size[name]).max())) for name in OUTPUTS}
