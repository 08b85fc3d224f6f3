"""The sum over all pairs and all images of a periodic box, without a tree below its cubes.

Sources in the cubes next to the cube of a target are summed one by one, images among them. What all others do is
smooth there, and goes through expansions of the cubes. At a high order it is as exact as a sum over pairs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from taskfmm.geometry.cell import Cell
from taskfmm.geometry.domain import box_centers, box_half_width
from taskfmm.kernels import Kernel, gather_loops
from taskfmm.operators import moment
from taskfmm.operators.box import BoxOperators
from taskfmm.passes import images, target
from taskfmm.passes.source import check_potentials
from taskfmm.plan.works import CHARGES, FarImages, Halo, Moments, PointsToSurfaces, SurfacesToPoints
from taskfmm.tree.lists import around_cubes
from taskfmm.tree.octree import Octree

BLOCK = 256
"""Targets that one thread takes at a time."""


def sum_around(
    tree: Octree,
    kernel: Kernel,
    output: str,
    numbers: np.ndarray,
    rows: np.ndarray,
    operators: BoxOperators,
    matrices: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """An output and those before it at some targets, float64 [n_values, n_rows].

    tree : of a periodic box
    numbers : float64 [n_numbers, n_sources], in the order of the tree
    rows : int64 [n], ascending places of targets in the tree
    operators, matrices : of the cubes
    """
    cell = tree.domain.cell
    assert cell is not None
    first, last = tree.level_ptr[cell.level : cell.level + 2]
    ends = np.searchsorted(rows, tree.target_ptr[first:last, 1])
    ptr = np.append(0, ends)
    targets = np.ascontiguousarray(tree.targets[:, rows])
    values = np.zeros((kernel.n_values(output), rows.size))
    _add_near(tree, cell, kernel, output, numbers, targets, ptr, values, threads)
    values += _far(tree, cell, kernel, output, numbers, targets, ptr, operators, matrices, threads)
    return values


def _add_near(
    tree: Octree,
    cell: Cell,
    kernel: Kernel,
    output: str,
    numbers: np.ndarray,
    targets: np.ndarray,
    ptr: np.ndarray,
    values: np.ndarray,
    threads: int,
) -> None:
    """Add what sources in the cubes around do; ptr : int64 [n_cubes + 1], targets of each cube."""
    boxes, away = around_cubes(tree, cell)
    cuts = [np.append(np.arange(begin, end, BLOCK), end) for begin, end in pairwise(ptr) if end > begin]
    if not cuts:
        return
    block_ptr = np.unique(np.concatenate(cuts))
    cube = np.searchsorted(ptr, block_ptr[:-1], side="right") - 1
    loop = gather_loops(kernel, output).points_to_points
    for slot in range(boxes.shape[1]):
        there = boxes[cube, slot]
        begin, end = (np.where(there < 0, 0, each) for each in tree.source_ptr[there].T)
        # an image of a source as seen from a target is the source as seen from an image of the target
        shift = np.repeat(away[cube, slot] * np.array(cell.lengths), np.diff(block_ptr), axis=0)
        seen = np.ascontiguousarray(targets - shift.T)
        entries = np.arange(cube.size + 1)
        loop(
            0,
            cube.size,
            *(block_ptr, seen, entries, begin, end, tree.sources, numbers, kernel.constants, values),
            threads=threads,
        )


def _far(
    tree: Octree,
    cell: Cell,
    kernel: Kernel,
    output: str,
    numbers: np.ndarray,
    targets: np.ndarray,
    ptr: np.ndarray,
    operators: BoxOperators,
    matrices: np.ndarray,
    threads: int,
) -> np.ndarray:
    """What all other images do, by P2M, P2I, I2L and L2P of the cubes."""
    first, last = tree.level_ptr[cell.level : cell.level + 2]
    n, half_width = int(last - first), box_half_width(tree.domain, cell.level)
    centers = box_centers(tree.domain, cell.level, tree.anchor[first:last])
    cubes, entries = np.arange(n), np.arange(n + 1)
    whole = Halo(CHARGES, (0,), np.array([0, numbers.shape[1]]), np.arange(numbers.shape[1], dtype=np.int32))
    own = Halo(cell.level, (0,), np.array([0, n]), cubes.astype(np.int32))
    runs = (entries, *tree.source_ptr[first:last].T, tree.sources, whole)
    p2m = PointsToSurfaces(half_width, n, cubes.astype(np.int32), *centers, *runs)
    check = check_potentials(p2m, operators.upward_check, operators.half_width, [numbers], kernel, threads)
    multipoles = (check @ operators.check_to_multipole).reshape(n, kernel.columns, -1)
    center = tree.domain.lower + 0.5 * np.array(cell.lengths)
    work = Moments(half_width, center, tree.sources, whole)
    moments = [images.p2i(work, [numbers], kernel, operators.half_width)]
    anchor = tree.anchor[first:last]
    i2l = FarImages(own, n, anchor, anchor)
    local = images.i2l(i2l, [multipoles], moments, kernel, operators, matrices, cell)
    if kernel.first_moment:
        moment.without_constant(local.reshape(-1, moment.COLUMNS, local.shape[2]), operators.check_to_local)
    l2p = SurfacesToPoints(own, half_width, ptr, targets, *centers, entries, cubes.astype(np.int32), *centers)
    return target.l2p(l2p, [local], kernel, operators, output, threads)
