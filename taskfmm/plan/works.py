"""What an operator needs to know of one shard: flat read-only arrays, fixed by the geometry.

A shard is a run of boxes of one level, contiguous on the Morton curve. Its halo is what it reads from others.
Every work below is complete in itself: it can be sent to another process, where only the charges and the
expansions named by its halos have to follow. Points that are one run of those of the tree are a view of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHARGES = -1
"""Stands for the level of charges, which are cut into shards too: runs of sources in the order of the tree."""


@dataclass(frozen=True, slots=True)
class Halo:
    """Rows of the expansions of one level, or charges, by the shard that owns them.

    level : the level the rows belong to; `CHARGES` for charges
    shards : the numbers of the shards that are read, ascending; where images are read, again for each cell
    ptr : int64 [len(shards) + 1], the rows of one shard
    rows : int32 [n], row in the owning shard; row i of the halo is row rows[i] there
    """

    level: int
    shards: tuple[int, ...]
    ptr: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Translation:
    """M2M or L2L: every target row is a sum of source rows times the matrix of a code.

    halo : the source rows
    n_rows : rows of the result, the boxes of the shard
    code_ptr : int64 [n_blocks, n_codes + 1], entries of a block of target rows, by code
    target : int32 [n_entries], row of the result; source : int32 [n_entries], row of the halo
    """

    halo: Halo
    n_rows: int
    code_ptr: np.ndarray
    target: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, slots=True)
class Siblings:
    """M2L: pairs of neighbouring parents, all of whose children that are not adjacent interact.

    halo : the source rows; n_rows : rows of the result, the boxes of the shard
    code_ptr : int64 [n_blocks, 8], pairs of a block of target parents by direction: in which axes the target parent
        lies beside the source parent, 4 for x, 2 for y and 1 for z, from 1 to 7
    target, source : int32 [n_pairs], rows of target_child and source_child
    mirror : int8 [n_pairs], the axes along which the target parent lies on the lower side, by the same numbers
    target_child, source_child : int32 [n_parents, 8], row of the result (of the halo) by octant, -1 for none
    """

    halo: Halo
    n_rows: int
    code_ptr: np.ndarray
    target: np.ndarray
    source: np.ndarray
    mirror: np.ndarray
    target_child: np.ndarray
    source_child: np.ndarray


@dataclass(frozen=True, slots=True)
class PointsToSurfaces:
    """P2M or P2L: check potentials of boxes from runs of sources.

    half_width : of the boxes, scaled coordinates
    n_rows : rows of the result, the boxes of the shard; rows : int32 [n], those that receive something
    hi, lo : float64 [3, n], their centres
    ptr : int64 [n + 1], entries of a row; begin, end : int64 [n_entries], runs of points
    points : float64 [3, n_points]; charges : the halo of their charges
    """

    half_width: float
    n_rows: int
    rows: np.ndarray
    hi: np.ndarray
    lo: np.ndarray
    ptr: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    points: np.ndarray
    charges: Halo


@dataclass(frozen=True, slots=True)
class SurfacesToPoints:
    """L2P or M2P: values at the targets of leaves from the densities of boxes.

    halo : the expansions that are read
    half_width : of the halo's boxes, scaled coordinates
    target_ptr : int64 [n + 1]; targets : float64 [3, n_targets]
    hi, lo : float64 [3, n], centres of the leaves; box_hi, box_lo : float64 [3, n_halo], of the halo's boxes
    ptr : int64 [n + 1]; idx : int32 [n_entries], rows of the halo
    """

    halo: Halo
    half_width: float
    target_ptr: np.ndarray
    targets: np.ndarray
    hi: np.ndarray
    lo: np.ndarray
    ptr: np.ndarray
    idx: np.ndarray
    box_hi: np.ndarray
    box_lo: np.ndarray


@dataclass(frozen=True, slots=True)
class Moments:
    """P2I: moments of a run of sources, for the far images of a periodic box.

    half_width : of the cubes of the cell, scaled coordinates; center : float64 [3], of the cell
    points : float64 [3, n_points]; charges : the halo of their charges
    """

    half_width: float
    center: np.ndarray
    points: np.ndarray
    charges: Halo


@dataclass(frozen=True, slots=True)
class FarImages:
    """I2L: what far images of all cubes of a cell do to its cubes.

    halo : the source rows; n_rows : rows of the result, the boxes of the shard
    target : int64 [n_rows, 3], places of the boxes among the cubes; source : int64 [n_halo, 3], of the halo's
    """

    halo: Halo
    n_rows: int
    target: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, slots=True)
class MutualPairs:
    """Pairs of leaves of one shard whose distances serve both.

    block_ptr : int64 [n_blocks + 1], leaves of a block; both leaves of a pair are in one block
    own : the halo of the targets' own charges
    ptr : int64 [n + 1]; idx : int32 [n_pairs], the later leaf of each pair
    """

    block_ptr: np.ndarray
    own: Halo
    ptr: np.ndarray
    idx: np.ndarray


@dataclass(frozen=True, slots=True)
class PointsToPoints:
    """The near field of a run of leaves.

    level : of the leaves
    target_ptr : int64 [n + 1]; targets : float64 [3, n_targets]
    ptr : int64 [n + 1], entries of a leaf; begin, end : int64 [n_entries], runs of points
    points : float64 [3, n_points]; charges : the halo of their charges
    mutual : the pairs of leaves that are done in one go, or None where targets are not the sources, or may be summed
        in float32: there two sides take as long as one and the other
    itself : int8 [n], 1 where each target of a leaf is among its sources; None where all is summed in float64
    """

    level: int
    target_ptr: np.ndarray
    targets: np.ndarray
    ptr: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    points: np.ndarray
    charges: Halo
    mutual: MutualPairs | None
    itself: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class FarShard:
    """The far field of a run of boxes: the work of each operator, None where there is none.

    level : of the boxes; number : among the shards of the level; n_boxes : rows of its expansions
    """

    level: int
    number: int
    n_boxes: int
    p2m: PointsToSurfaces | None
    m2m: Translation | None
    m2l: Siblings | None
    p2l: PointsToSurfaces | None
    l2l: Translation | None
    m2p: SurfacesToPoints | None
    l2p: SurfacesToPoints | None
    i2l: FarImages | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one task of L2P or near field adds to a chunk of the result.

    columns : int32 [n], targets of the task; rows : int32 [n], their rows in the chunk
    """

    columns: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows ``begin:end`` of the result in the caller's order, and where their values come from.

    far : for each (level, shard) with L2P work that reaches the chunk, its Part; near : by number of the work
    """

    begin: int
    end: int
    far: dict[tuple[int, int], Part]
    near: dict[int, Part]
