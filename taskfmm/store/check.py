"""Whether a plan that came from elsewhere can be run: compiled loops trust every index they are given.

Dtypes and shapes first (`taskfmm.store.bounds`); then every index is in range, every ptr ascends from where it should
begin to where it should end, and no two threads write one row. Whether the numbers are right cannot be seen here;
`taskfmm.store.copies` compares those that a plan holds more than once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np

from taskfmm.geometry.cell import N_CELLS, Cell
from taskfmm.geometry.domain import box_half_width
from taskfmm.geometry.morton import MAX_LEVEL
from taskfmm.geometry.periodic import MOST_CUBES
from taskfmm.passes.operators import FAR, giving
from taskfmm.plan.plan import Plan
from taskfmm.plan.shards import DENSE_BLOCK, M2L_BLOCK
from taskfmm.plan.works import (
    CHARGES,
    Chunk,
    FarImages,
    FarShard,
    Halo,
    Moments,
    PointsToPoints,
    PointsToSurfaces,
    Siblings,
    SurfacesToPoints,
    Translation,
)
from taskfmm.store.bounds import arrays, ascends, at, distinct, need, within
from taskfmm.tree.octree import Octree


def check(plan: Plan, same: bool) -> None:
    """Check all of a plan.

    plan : made of the right classes and types of fields
    same : whether the targets are the sources

    Raises
    ------
    Unfit
        Naming the first thing that cannot be.
    """
    with at("tree"):
        arrays(plan.tree)
        _tree(plan.tree, same)
    with at("lists"):
        arrays(plan.lists)
        n, images = plan.tree.n_boxes, plan.lists.images
        need(not images.box.size or plan.tree.domain.cell is not None, "images without a periodic box")
        within("images.box", images.box, 0, n)
        within("images.cell", images.cell, 0, N_CELLS)
        need(plan.lists.colleagues.shape[0] == n, "colleagues do not fit the boxes")
        within("colleagues", plan.lists.colleagues, -1, n)
        for name in "uvwx":
            with at(name):
                csr = getattr(plan.lists, name)
                need(len(csr) == n, "has rows for other boxes")
                ascends("ptr", csr.ptr, csr.idx.size)
                within("idx", csr.idx, 0, n + images.box.size)
    _Works(plan, same).check()


def _tree(tree: Octree, same: bool) -> None:
    n, domain = tree.n_boxes, tree.domain
    need(np.isfinite(domain.lower).all(), "the domain's corner is not finite")
    need(not domain.rest.any(), "the domain is that of other targets, which reads multipoles of another plan")
    need(0 < domain.half_width < np.inf and 0 < domain.scale < np.inf, "the domain has no width or scale")
    need(0 < tree.n_levels <= MAX_LEVEL + 1, "has too many levels")
    if domain.cell is not None:
        _cell(domain.cell, tree)
    ascends("level_ptr", tree.level_ptr, n)
    need((tree.level_ptr[1:] > tree.level_ptr[:-1]).all(), "a level has no boxes")
    need(
        (tree.level == np.repeat(np.arange(tree.n_levels), np.diff(tree.level_ptr))).all(),
        "level: wrong boxes",
    )
    ascends("child_ptr", tree.child_ptr, n, 1)
    need(
        (tree.parent[1:] == np.repeat(np.arange(n), np.diff(tree.child_ptr))).all(),
        "parent and child_ptr disagree",
    )
    need(tree.parent[0] == -1, "the root has a parent")
    need(
        not tree.anchor[0].any() and (tree.anchor[1:] >> 1 == tree.anchor[tree.parent[1:]]).all(),
        "anchor: no tree",
    )
    for name in ("source", "target"):
        ptr, order = getattr(tree, f"{name}_ptr"), getattr(tree, f"{name}_order")
        within(f"{name}_ptr", ptr, 0, order.size + 1)
        need((ptr[:, 0] <= ptr[:, 1]).all(), f"{name}_ptr descends")
        distinct(f"{name}_order", order, order.size)
    if tree.lengths is not None:
        need(tree.lengths.dtype == np.float64, f"lengths are {tree.lengths.dtype}, expected float64")
        need(tree.lengths.shape == tree.source_order.shape, "lengths are of other sources")
        need(np.isfinite(tree.lengths).all() and (tree.lengths >= 0.0).all(), "lengths are no lengths")
    most = 0 if tree.lengths is None else tree.source_order.size - 1
    need(tree.n_wide <= most, "too many sources are in no box")
    need(
        (tree.targets is tree.sources) == same, "targets are sources, or are not, against what the file says"
    )


def _cell(cell: Cell, tree: Octree) -> None:
    need(
        min(cell.cubes) >= 1 and math.prod(cell.cubes) <= MOST_CUBES, "the cell has too few or too many cubes"
    )
    need(
        2**cell.level >= max(cell.cubes) and 0 <= cell.level < tree.n_levels,
        "the cell's cubes have another level",
    )
    need(all(0.0 < length < np.inf for length in cell.lengths), "the cell has a side that is no length")
    need(any(cell.periodic), "the cell is repeated along no axis")
    first, last = tree.level_ptr[cell.level : cell.level + 2]
    need((tree.anchor[first:last] < cell.cubes).all(), "a box lies outside the cell")


class _Works:
    """Checks the works of all shards, which refer to each other by level and number."""

    def __init__(self, plan: Plan, same: bool) -> None:
        self.plan = plan
        self.same = same
        self.n_targets = plan.tree.target_order.size

    def check(self) -> None:
        tree, far = self.plan.tree, self.plan.far
        n, ptr = tree.source_order.size, self.plan.charge_ptr
        need(ptr.dtype == np.int64 and ptr.ndim == 1, "charge_ptr: of another type")
        ascends("charge_ptr", ptr, n)
        need(len(far) == tree.n_levels, "far: has other levels than the tree")
        cell = tree.domain.cell
        top = self.plan.top if cell is None else cell.level
        need(self.plan.top == top, "expansions begin at another level than the cubes of the cell")
        for level, shards in enumerate(far):
            need(
                all((s.i2l is not None) == (cell is not None and level == top) for s in shards),
                f"far/{level}: I2L without a periodic box, or the reverse",
            )
            boxes = int(tree.level_ptr[level + 1] - tree.level_ptr[level]) if level >= self.plan.top else 0
            need(
                [(s.level, s.number) for s in shards] == [(level, i) for i in range(len(shards))]
                and all(s.n_boxes > 0 for s in shards)
                and sum(s.n_boxes for s in shards) == boxes,
                f"far/{level}: the shards are not those of the level",
            )
        for shard in chain.from_iterable(far):
            for name in map(str.lower, FAR):
                work = getattr(shard, name)
                if work is not None:
                    with at(f"far/{shard.level}/{shard.number}/{name}"):
                        arrays(work)
                        getattr(self, f"_{name}")(shard, work)
            need(
                shard.m2p is None or shard.l2p is not None,
                f"far/{shard.level}/{shard.number}: M2P without L2P",
            )
        need(len(self.plan.moments) == (0 if cell is None else ptr.size - 1), "moments: of other charges")
        for number, moments in enumerate(self.plan.moments):
            with at(f"moments/{number}"):
                arrays(moments)
                self._moments(moments, number)
        for number, near in enumerate(self.plan.near):
            with at(f"near/{number}"):
                arrays(near)
                self._near(near)
        self._chunks(self.plan.chunks)

    def _p2m(self, shard: FarShard, work: PointsToSurfaces) -> None:
        need(
            work.half_width == box_half_width(self.plan.tree.domain, shard.level),
            "half_width is not the level's",
        )
        need(work.n_rows == shard.n_boxes, "n_rows is not the number of boxes")
        distinct("rows", work.rows, work.n_rows)
        self._points(work)

    _p2l = _p2m

    def _m2m(self, shard: FarShard, work: Translation) -> None:
        self._halo(work.halo, shard.level + 1, "multipole")
        self._translation(shard, work)

    def _l2l(self, shard: FarShard, work: Translation) -> None:
        self._halo(work.halo, shard.level - 1, "local")
        self._translation(shard, work)

    def _translation(self, shard: FarShard, work: Translation) -> None:
        need(work.n_rows == shard.n_boxes, "n_rows is not the number of boxes")
        _blocks(work, work.n_rows, DENSE_BLOCK)
        within("target", work.target, 0, work.n_rows)
        within("source", work.source, 0, work.halo.rows.size)

    def _m2l(self, shard: FarShard, work: Siblings) -> None:
        self._halo(work.halo, shard.level, "multipole")
        need(work.n_rows == shard.n_boxes, "n_rows is not the number of boxes")
        _blocks(work, len(work.target_child), M2L_BLOCK)
        within("target", work.target, 0, len(work.target_child))
        within("source", work.source, 0, len(work.source_child))
        within("mirror", work.mirror, 0, 8)
        within("target_child", work.target_child, -1, work.n_rows)
        distinct("target_child", work.target_child[work.target_child >= 0], work.n_rows)
        within("source_child", work.source_child, -1, work.halo.rows.size)

    def _i2l(self, shard: FarShard, work: FarImages) -> None:
        self._halo(work.halo, shard.level, "multipole")
        need(work.n_rows == shard.n_boxes == len(work.target), "n_rows is not the number of boxes")
        need(len(work.source) == work.halo.rows.size, "source does not fit the halo")
        cubes = np.array(getattr(self.plan.tree.domain.cell, "cubes", (0, 0, 0)))
        for name, places in (("target", work.target), ("source", work.source)):
            need(((places >= 0) & (places < cubes)).all(), f"{name}: outside the cell")
            need(len(np.unique(places, axis=0)) == len(places), f"{name}: a cube twice")

    def _moments(self, work: Moments, number: int) -> None:
        domain = self.plan.tree.domain
        assert domain.cell is not None
        need(
            work.half_width == box_half_width(domain, domain.cell.level),
            "half_width is not that of the cubes",
        )
        middle = domain.cell.middle(domain.lower)
        need(np.array_equal(work.center, middle), "center is not the middle of the cell")
        need(work.charges.rows.size == work.points.shape[1], "charges: of other points")
        self._charges(work.charges)
        need(work.charges.shards == (number,), "reads other shards of charges")

    def _l2p(self, shard: FarShard, work: SurfacesToPoints) -> None:
        self._halo(work.halo, shard.level, "local")
        need(work.halo.shards == (shard.number,), "reads other shards than its own")
        self._to_points(work, shard.level)

    def _m2p(self, shard: FarShard, work: SurfacesToPoints) -> None:
        self._halo(work.halo, shard.level + 1, "multipole")
        need(
            shard.l2p is not None and work.targets.shape == shard.l2p.targets.shape,
            "has other targets than L2P",
        )
        self._to_points(work, shard.level + 1)

    def _to_points(self, work: SurfacesToPoints, level: int) -> None:
        need(
            work.half_width == box_half_width(self.plan.tree.domain, level),
            "half_width is not the level's",
        )
        need(work.box_hi.shape[1] == work.halo.rows.size, "box_hi does not fit the halo")
        ascends("target_ptr", work.target_ptr, work.targets.shape[1])
        ascends("ptr", work.ptr, work.idx.size)
        within("idx", work.idx, 0, work.halo.rows.size)

    def _halo(self, halo: Halo, level: int, kind: str) -> None:
        """Rows of shards of a level that have multipoles, or locals."""
        need(
            halo.level == level and 0 <= level < len(self.plan.far),
            f"the halo is of level {halo.level}, expected {level}",
        )
        shards = self.plan.far[level]
        self._rows(halo, [shard.n_boxes for shard in shards])
        if kind == "multipole":  # locals that nothing reaches are zero, see `taskfmm.passes.drive`
            given = (any(getattr(shards[i], name.lower()) for name in giving(kind)) for i in halo.shards)
            need(all(given), "the halo names a shard without multipoles")

    def _charges(self, halo: Halo) -> None:
        """Rows of shards of charges."""
        need(halo.level == CHARGES, f"the halo is of level {halo.level}, expected charges")
        self._rows(halo, np.diff(self.plan.charge_ptr))

    def _rows(self, halo: Halo, sizes: Sequence[int] | np.ndarray) -> None:
        """Rows of shards of these sizes."""
        within("halo.shards", np.array(halo.shards, np.int64), 0, len(sizes))
        need(halo.shards, "the halo names no shard")
        ascends("halo.ptr", halo.ptr, halo.rows.size)
        within("halo.rows", halo.rows, 0, 2**31)
        owner = np.repeat([sizes[i] for i in halo.shards], np.diff(halo.ptr))
        need((halo.rows < owner).all(), "halo.rows names a row that a shard does not have")

    def _points(self, work: PointsToSurfaces | PointsToPoints) -> None:
        """Entries of rows, each a run of points, and the charges of these."""
        ascends("ptr", work.ptr, work.begin.size)
        within("begin", work.begin, 0, work.points.shape[1] + 1)
        within("end", work.end, 0, work.points.shape[1] + 1)
        need((work.begin <= work.end).all(), "a run of points ends before it begins")
        need(work.charges.rows.size == work.points.shape[1], "charges: of other points")
        self._charges(work.charges)

    def _near(self, work: PointsToPoints) -> None:
        need(0 <= work.level < len(self.plan.far), f"level is {work.level}")
        ascends("target_ptr", work.target_ptr, work.targets.shape[1])
        self._points(work)
        need(
            (work.mutual is not None) == (self.same and work.itself is None),
            "mutual pairs, but targets are not the sources, or the reverse",
        )
        if work.itself is not None:
            need(work.itself.size == work.ptr.size - 1, "itself: other leaves")
            within("itself", work.itself, 0, 1 + self.same)
        if work.mutual is None:
            return
        mutual, n = work.mutual, work.ptr.size - 1
        need(
            mutual.own.rows.size == work.targets.shape[1] and mutual.ptr.size == work.ptr.size,
            "mutual: other leaves",
        )
        self._charges(mutual.own)
        ascends("mutual.block_ptr", mutual.block_ptr, n)
        ascends("mutual.ptr", mutual.ptr, mutual.idx.size)
        row, count = np.arange(n), np.diff(mutual.ptr)
        end = np.repeat(mutual.block_ptr[1:], np.diff(mutual.block_ptr))
        later = (mutual.idx > np.repeat(row, count)) & (mutual.idx < np.repeat(end, count))
        need(later.all(), "mutual.idx names a leaf that is not later in the block")

    def _chunks(self, chunks: tuple[Chunk, ...]) -> None:
        edges = [chunk.begin for chunk in chunks] + [self.n_targets]
        need(
            edges[0] == 0 and all(c.begin < c.end == e for c, e in zip(chunks, edges[1:], strict=True)),
            "chunks: gaps",
        )
        far = {(s.level, s.number): s.l2p.targets for s in chain.from_iterable(self.plan.far) if s.l2p}
        near = {number: work.targets for number, work in enumerate(self.plan.near)}
        for i, chunk in enumerate(chunks):
            with at(f"chunk/{i}"):
                arrays(chunk)
                need(chunk.far.keys() <= far.keys(), "far: reads what is not there")
                need(chunk.near.keys() <= near.keys(), "near: reads what is not there")
                pairs = [(far[key], part) for key, part in chunk.far.items()]
                for targets, part in pairs + [(near[key], part) for key, part in chunk.near.items()]:
                    within("columns", part.columns, 0, targets.shape[1])
                    within("rows", part.rows, 0, chunk.end - chunk.begin)


def _blocks(work: Translation | Siblings, n_rows: int, block: int) -> None:
    """Entries by block of targets and code; two blocks have no target in common."""
    codes = work.code_ptr
    need(len(codes) == max(1, -(-n_rows // block)), "code_ptr has other blocks")
    ascends("code_ptr", codes.ravel(), work.target.size)
    need((codes[1:, 0] == codes[:-1, -1]).all(), "code_ptr has gaps between blocks")
    owner = np.repeat(np.arange(len(codes)), codes[:, -1] - codes[:, 0])
    need((work.target // block == owner).all(), "target is of another block")
