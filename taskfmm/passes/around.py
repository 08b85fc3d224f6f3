"""The sum over all pairs and all images of a periodic box, without a tree below its cubes.

Sources in the cubes next to the cube of a target are summed one by one, images among them. What all others do is
smooth there, and goes through expansions of the cubes. At a high order it is as exact as a sum over pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.geometry.domain import box_centers, box_half_width
from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators import folding, moment
from taskfmm.operators.box import BoxOperators
from taskfmm.passes import images, target
from taskfmm.passes.source import check_potentials
from taskfmm.plan.works import CHARGES, FarImages, Halo, Moments, PointsToSurfaces, SurfacesToPoints
from taskfmm.tree.lists import around_cubes
from taskfmm.tree.octree import Octree

BLOCK = 256
"""Targets that one thread takes at a time."""


@dataclass(frozen=True)
class Around:
    """Sums of some sources over all images.

    tree : of a periodic box
    numbers : float64 [n_numbers, n_sources], in the order of the tree
    operators, matrices : of the cubes, see `taskfmm.operators.levels.of_cubes`
    """

    tree: Octree
    cell: Cell
    kernel: Kernel
    numbers: np.ndarray
    operators: BoxOperators
    matrices: np.ndarray
    threads: int = 1

    def near(self, output: str, rows: np.ndarray) -> np.ndarray:
        """What sources in the cubes around do to an output and those before it, float64 [n_values, n_rows].

        rows : int64 [n], ascending places of targets in the tree
        """
        values = np.zeros((self.kernel.n_values(output), rows.size))
        targets, ptr = self._targets(rows)
        boxes, away = around_cubes(self.tree, self.cell)
        cuts = [np.append(np.arange(begin, end, BLOCK), end) for begin, end in pairwise(ptr) if end > begin]
        if not cuts:
            return values
        block_ptr = np.unique(np.concatenate(cuts))
        cube = np.searchsorted(ptr, block_ptr[:-1], side="right") - 1
        loop, entries = gather_loops(self.kernel, output).points_to_points, np.arange(cube.size + 1)
        constants = self.kernel.constants
        for slot in range(boxes.shape[1]):
            there = boxes[cube, slot]
            begin, end = (np.where(there < 0, 0, each) for each in self.tree.source_ptr[there].T)
            # an image of a source as seen from a target is the source as seen from an image of the target
            shift = np.repeat(away[cube, slot] * np.array(self.cell.lengths), np.diff(block_ptr), axis=0)
            seen = np.ascontiguousarray(targets - shift.T)
            runs = (entries, begin, end, *self.tree.sources, self.numbers, constants, values)
            loop(0, cube.size, block_ptr, *seen, *runs, threads=self.threads)
        return values

    def far(self, output: str, rows: np.ndarray) -> np.ndarray:
        """What all other images do, by L2P of the cubes; as `near`."""
        targets, ptr = self._targets(rows)
        entries, centers = np.arange(self._n + 1), self._centers
        every = np.arange(self._n, dtype=np.int32)
        work = SurfacesToPoints(
            *(self._own, self._half_width, ptr, targets, *centers, entries, every, *centers)
        )
        return target.l2p(work, [self._locals], self.kernel, self.operators, output, self.threads)

    @cached_property
    def _locals(self) -> np.ndarray:
        """What far images do to each cube, by P2M, P2I and I2L."""
        tree, kernel, operators, n = self.tree, self.kernel, self.operators, self._n
        cubes = self._cubes
        size = self.numbers.shape[1]
        whole = Halo(CHARGES, (0,), np.array([0, size]), np.arange(size, dtype=np.int32))
        runs = (np.arange(n + 1), *tree.source_ptr[cubes].T, tree.sources, whole)
        p2m = PointsToSurfaces(self._half_width, n, np.arange(n, dtype=np.int32), *self._centers, *runs)
        surface, half_width = operators.upward_check, operators.half_width
        check = check_potentials(p2m, surface, half_width, [self.numbers], kernel, self.threads)
        multipoles = folding.coefficients(operators, kernel, check, local=False).reshape(
            n, kernel.columns, -1
        )
        moments = Moments(self._half_width, self.cell.middle(tree.domain.lower), tree.sources, whole)
        i2l = FarImages(self._own, n, tree.anchor[cubes], tree.anchor[cubes])
        sums = [images.p2i(moments, [self.numbers], kernel, half_width)]
        local = images.i2l(i2l, [multipoles], sums, kernel, operators, self.matrices, self.cell)
        if kernel.first_moment:
            columns = local.reshape(-1, moment.COLUMNS, local.shape[2])
            moment.without_constant(columns, operators.check_to_local)
        return local

    def _targets(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Their places, float64 [3, n], and where those of each cube begin, int64 [n_cubes + 1]."""
        ends = np.searchsorted(rows, self.tree.target_ptr[self._cubes, 1])
        return np.ascontiguousarray(self.tree.targets[:, rows]), np.append(0, ends)

    @property
    def _cubes(self) -> slice:
        return slice(*self.tree.level_ptr[self.cell.level : self.cell.level + 2].tolist())

    @property
    def _n(self) -> int:
        return self._cubes.stop - self._cubes.start

    @property
    def _own(self) -> Halo:
        return Halo(self.cell.level, (0,), np.array([0, self._n]), np.arange(self._n, dtype=np.int32))

    @property
    def _half_width(self) -> float:
        return box_half_width(self.tree.domain, self.cell.level)

    @cached_property
    def _centers(self) -> tuple[np.ndarray, np.ndarray]:
        return box_centers(self.tree.domain, self.cell.level, self.tree.anchor[self._cubes])
