"""The shards of a small cloud: what they read from each other, and bytes of their works."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from taskfmm.csr import Csr
from taskfmm.forecast.alike import Alike
from taskfmm.geometry import morton
from taskfmm.geometry.domain import Domain
from taskfmm.operators.box import BoxOperators
from taskfmm.plan import cost
from taskfmm.plan.plan import direct_where_cheaper
from taskfmm.plan.regional import How, shards
from taskfmm.plan.shards import NEAR_BLOCK, Interactions
from taskfmm.tree import lists, units
from taskfmm.tree.lists import SELF
from taskfmm.tree.octree import Octree
from taskfmm.tree.units import Cells, Held, Units


@dataclass
class Works:
    """Works by the name of their operator, and the shards that they read.

    both : shards with leaves and with inner boxes
    """

    works: dict[str, float] = field(default_factory=dict)
    reads: dict[str, float] = field(default_factory=dict)
    both: float = 0.0

    def plus(self, other: Works, times: float) -> Works:
        """With others, that are so many times as many."""
        names = self.works.keys() | other.works.keys()
        return Works(
            {name: self.works.get(name, 0.0) + times * other.works.get(name, 0.0) for name in names},
            {name: self.reads.get(name, 0.0) + times * other.reads.get(name, 0.0) for name in names},
            self.both + times * other.both,
        )


def touching(n: float, dimension: float, parts: float = 1.0) -> float:
    """Of n pieces of a filled space, which a part of one touches, itself among them, on average.

    parts : of a piece. In a grid with m pieces along each axis it is (3 - 2 / m)^d for a whole one; with p parts
    along an axis of each piece, two of which touch the next piece, it is (1 + 2 (1 - 1 / m) / p)^d.
    """
    inside, part = 1.0 - 1.0 / max(1.0, n) ** (1.0 / dimension), max(1.0, parts) ** (1.0 / dimension)
    return float((1.0 + 2.0 * inside / part) ** dimension)


ASKEW = 0.5
"""Surfaces and lines run through cubes askew, so that a piece touches more than in a grid of their dimension: on a
sphere 8, 64 and 512 pieces touched 7, 11.5 and 16, as they would in 2.5 dimensions; in a cube 8, 15.4 and 20.7."""


class Small:
    """The small cloud: its tree, its lists, its units, and what its boxes cost.

    operators : by which shards are cut, as the accuracy of charges is not known then
    seconds : by operator, of each box, as shards are cut; priced : the same of an evaluation
    """

    def __init__(
        self,
        found: Alike,
        leaf_size: int,
        domain: Domain,
        operators: BoxOperators,
        evaluated: BoxOperators,
        how: How,
    ) -> None:
        # the root of a small cloud stands for boxes of a deeper level
        how = replace(how, top=max(0, how.top - found.levels))
        self.alike, self.operators, self.how = found, operators, how
        self.tree = found.tree(leaf_size, domain)
        every = lists.build(self.tree)
        self.lists = direct_where_cheaper(self.tree, every, operators.upward_equivalent.shape[1], how.top)
        self.seconds, self.priced = (
            cost.seconds(
                cost.counted(
                    self.tree, self.lists, each, top=how.top, columns=how.columns, weights=how.weights
                )
            )
            for each in (operators, evaluated)
        )
        # V lists are the largest; they are counted now
        none = Csr(np.zeros(self.tree.n_boxes + 1, np.int64), np.zeros(0, np.int32))
        self.lists = replace(self.lists, v=none)

    def cut(self, cap: float, most: float, domain: Domain) -> tuple[Units, np.ndarray]:
        """Its units, and the region of each box."""
        hi, lo = morton.keys(self.alike.points, domain)
        order = morton.sort(hi, lo)
        hi, lo = hi[order], lo[order]
        cap, most = (max(1, round(each / self.alike.every)) for each in (cap, most))
        found = units.find(lambda cells: Held.of(cells, hi, lo), hi.size, cap, most)
        owner = found.owner(Cells.of(self.tree.level, self.tree.anchor))
        return found, np.where(owner < 0, found.n_regions, owner).astype(np.int32)


class Cut:
    """Shards of the small cloud, numbered through; a box without a shard has the last number."""

    def __init__(self, small: Small, owner: np.ndarray, n_regions: int, growth: float) -> None:
        tree, how, self.n_regions = small.tree, small.how, n_regions
        self.tree, self.lists, self.owner, self.small = tree, small.lists, owner, small
        evaluated = np.diff(small.lists.u.ptr) > 0
        near_cost, m2l = growth * small.seconds["P2P"], growth * small.seconds["M2L"]
        far_cost = growth * sum(each for name, each in small.seconds.items() if name != "P2P")
        far: list[tuple[int, int]] = []
        near: list[int] = []
        self.shard, self.near = (np.full(tree.n_boxes, -1, np.int32) for _ in range(2))
        self.block = np.full(tree.n_boxes, -1, np.int32)
        n_blocks = 0
        for region in range(int(owner.max()) + 1):
            ranges, leaves = shards(
                tree, owner == region, evaluated, (near_cost, far_cost, m2l), small.operators, how, growth
            )
            for level, found in ranges.items():
                for first, last in found.tolist():
                    self.shard[first:last] = len(far)
                    far.append((region, level))
            for _, each in leaves:
                self.near[each] = len(near)
                size = int(np.clip(-(-each.size // 2), *NEAR_BLOCK))
                self.block[each] = n_blocks + np.arange(each.size) // size
                n_blocks += -(-each.size // size)
                near.append(region)
        self.far, self.of_near = np.array(far).reshape(-1, 2), np.array(near, np.int64)
        self.read = {name: self._pairs(*found) for name, found in self._entries().items()}
        if small.alike.levels:
            # in the whole, boxes of the first two levels have others around them
            self.read["M2L"] = np.where(self.far[:, 1] <= 1, 1, self.read["M2L"])

    def _entries(self) -> dict[str, tuple[np.ndarray, np.ndarray, int, int]]:
        """For each operator what reads and what is read, by number, with how many there are of both."""
        tree, found = self.tree, self.lists
        shard, n, n_near = self.shard, len(self.far), len(self.of_near)
        n_regions = self.n_regions
        deep = np.flatnonzero(tree.level > self.small.how.top)
        parent = tree.parent[deep]
        return {
            "M2M": (shard[parent], shard[deep], n, n),
            "L2L": (shard[deep], shard[parent], n, n),
            "M2L": (*self._siblings(), n, n),
            "M2P": (shard[found.w.rows], shard[found.w.idx], n, n),
            "P2L": (shard[found.x.rows], self.owner[found.x.idx], n, n_regions),
            "P2P": (self.near[found.u.rows], self.owner[found.u.idx], n_near, n_regions),
        }

    def _siblings(self) -> tuple[np.ndarray, np.ndarray]:
        """Shards of children of parents that touch each other; children of one parent may be in several."""
        tree = self.tree
        inner = ~tree.is_leaf & (tree.level >= self.small.how.top - 1)
        parents = np.flatnonzero(inner)
        near = self.lists.colleagues[parents]
        near[:, SELF] = -1
        row, direction = np.nonzero((near >= 0) & inner[near])
        target, source = parents[row], near[row, direction]
        found = []
        # children of a box of a region are in one shard, those of a box of the top may be in several
        for of_target in range(8):
            for of_source in range(8):
                some = self._has(target, of_target) & self._has(source, of_source)
                children = tree.child_ptr[target[some]] + of_target, tree.child_ptr[source[some]] + of_source
                found.append([self.shard[each] for each in children])
        targets, sources = (np.concatenate(each) for each in zip(*found, strict=True))
        return targets, sources

    def _has(self, boxes: np.ndarray, number: int) -> np.ndarray:
        """Whether a child of that number is there and may be in another shard than the first one."""
        if not number:
            return np.ones(boxes.size, bool)
        n = self.tree.child_ptr[boxes + 1] - self.tree.child_ptr[boxes]
        return (self.owner[boxes] == self.n_regions) & (number < n)

    @staticmethod
    def _pairs(reader: np.ndarray, read: np.ndarray, n_readers: int, n_read: int) -> np.ndarray:
        """Of each reader, how many it reads from, int64."""
        found = np.zeros((n_readers, n_read), bool)
        some = (reader >= 0) & (read >= 0)
        found[reader[some], read[some]] = True
        return np.count_nonzero(found, axis=1)

    def works(self, of: range | list[int], times: float = 1.0) -> Works:
        """Of some regions, which have the neighbours of so many times as many regions."""
        mine = np.isin(self.far[:, 0], of) if len(self.far) else np.zeros(0, bool)
        leaves = self.shard[self.tree.is_leaf]
        has_leaf = np.zeros(len(self.far), bool)
        has_leaf[leaves[leaves >= 0]] = True
        near = np.isin(self.of_near, of)
        read = {name: each[near if name == "P2P" else mine] for name, each in self.read.items()}
        works = {name: float(np.count_nonzero(each)) for name, each in read.items()}
        levels = self.far[mine, 1]
        reads = {
            name: float((each * self._more(name, levels, len(of), times)).sum())
            for name, each in read.items()
        }
        n_leaf = float(np.count_nonzero(has_leaf & mine))
        works |= {"P2M": n_leaf, "L2P": n_leaf, "L2L": float(np.count_nonzero(mine))}
        reads |= {"P2M": n_leaf, "L2P": 0.0}
        both = has_leaf & mine & (self.read["M2M"] > 0)
        return Works(works, reads, float(np.count_nonzero(both)))

    def _more(self, name: str, levels: np.ndarray, n_regions: int, times: float) -> np.ndarray | float:
        """As many neighbours as works read in the small cloud they have in one of so many times as many regions.

        levels : of the shards that read
        """
        filled = min(3.0, self.small.alike.dimension + ASKEW)
        if times == 1.0 or name in ("M2M", "L2L"):
            return 1.0
        if name == "P2P":  # from regions, by works that are parts of one
            parts = len(self.of_near) / n_regions
            return touching(times * n_regions, filled, parts) / touching(n_regions, filled, parts)
        found = []
        for k in np.bincount(levels).tolist():
            # from regions, or from shards of the same size
            pieces, parts = (n_regions, k / n_regions) if name == "P2L" else (k, 1.0)
            found.append(touching(times * pieces, filled, parts) / touching(pieces, filled, parts))
        return np.array(found)[levels]

    def bytes(self) -> tuple[float, float]:
        """Sources of other works of the near field, and bytes of all works, for each point; see `plan.works`."""
        tree, u = self.tree, self.lists.u
        n_points, n = self.small.alike.n_points, np.diff(tree.source_ptr, axis=1)[:, 0]
        rows, idx = u.rows, u.idx
        beyond = self.near[rows] != self.near[idx]
        pairs = np.unique(self.near[rows[beyond]] * np.int64(tree.n_boxes) + idx[beyond])
        met = float(n[pairs % tree.n_boxes].sum()) / n_points
        mutual = (self.block[rows] == self.block[idx]) & (rows != idx)
        one_sided = np.flatnonzero(~mutual)
        joined = (np.diff(idx[one_sided]) == 1) & (np.diff(rows[one_sided]) == 0)
        runs = one_sided.size - np.count_nonzero(joined)
        leaves, boxes = np.count_nonzero(tree.is_leaf), tree.n_boxes
        inner = boxes - leaves
        families = float(_families(tree, self.lists))
        in_single = self.small.operators.accuracy.dtype == "float32"
        of_points = POINT + SOURCE * (1.0 + met)
        of_boxes = LEAF * leaves + BOX * boxes + PARENT * inner + FAMILY * families
        of_pairs = RUN * (u.idx.size if in_single else runs) + PAIR * np.count_nonzero(mutual) / 2
        return met, of_points + (of_boxes + of_pairs) / n_points


POINT, SOURCE = 96, 28
"""Bytes of a point that is source and target, in the works of P2M, L2P and P2P, and in chunks; and of each source of
P2P, which are a works' own and those that it meets in others."""

LEAF, BOX, PARENT, FAMILY, RUN, PAIR = 220, 28, 64, 9, 16, 4
"""Bytes of a leaf in P2M, L2P and P2P, of a box in M2L, M2M and L2L, of a parent and of a pair of parents in M2L,
and of a run of sources and of a pair of leaves in P2P."""


def _families(tree: Octree, found: Interactions) -> int:
    inner = ~tree.is_leaf
    return int(inner[found.colleagues[inner]].sum() - inner.sum())
