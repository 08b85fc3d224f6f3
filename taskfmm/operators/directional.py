"""M2L in a compressed form: what boxes in a direction see of a source are few numbers.

Let a source in octant o of its parent meet the eight children of a neighbouring parent in direction d. The cores of
their relative positions 2 d + t - o are k by k in the basis of the expansions. Together they have a row space of few
dimensions, spanned by orthonormal columns V(d, o); those of a target in octant t have a column space, spanned by
U(d, t). So

    C(2 d + t - o) = U(d, t) D(d, t, o) V(d, o)^T

with small matrices D, and products with V and U are made once for a pair of parents (`taskfmm.operators.siblings`).
In a basis with parities a reflection is a sign for each coefficient, so directions without negative components serve
all 26, and along axes on which the parents are level, an octant and its mirror image share U, D and V.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from taskfmm.cost.counts import Size
from taskfmm.operators import siblings, symmetry
from taskfmm.operators.basis import signs

if TYPE_CHECKING:
    from taskfmm.plan.works import Siblings

DIRECTIONS = np.array([0, 2, 2, 4, 2, 4, 4, 8])
"""How many of the 26 directions between parents are reflected to each direction."""

MEETINGS = np.array([0, 48, 48, 60, 48, 60, 60, 63])
"""Pairs of children of two parents that are not adjacent, by direction between the parents."""

MEETINGS_OF_ANY = 8 * 189 / 26
"""The same on average over the 26 directions: a box among others has 189 in its V list."""

HALF_FULL = 0.5
"""How full a batch is where works are not known yet: a block often has few pairs of a direction."""

GATHERED = 0.5
"""What it takes to gather or to scatter a number, over a copy: rows are in the cache, and are multiplied by signs."""

PRODUCTS = 17
"""Of matrices in a batch: one for each octant of sources and of targets, and one between these."""


@cache
def octants() -> np.ndarray:
    """Whether a direction has its own matrices for an octant, bool [8, 8]: one without bits on level axes."""
    direction, octant = np.indices((8, 8))
    return (direction > 0) & (octant & ~direction == 0)


@cache
def positions() -> tuple[np.ndarray, np.ndarray]:
    """The relative positions of the cores, int64 [8, 8, 8, 3], and whether boxes there meet through a core.

    They are numbered by direction; octant of the target, without level axes; and octant of the source, which on level
    axes has a bit where the two lie on different sides.
    """
    d, t, o = np.indices((8, 8, 8))
    level = o & ~d
    bits = [(each[..., None] & symmetry.BITS) > 0 for each in (d, t | level, o & d)]
    offset = 2 * bits[0] + bits[1].astype(int) - bits[2]
    return offset, octants()[d, t] & (np.abs(offset).max(axis=-1) > 1)


@dataclass(frozen=True, slots=True)
class DirectionalM2L:
    """Matrices that act on rows: local += multipole @ down @ core @ up.

    source_rank, target_rank : int64 [8, 8], columns of V and of U by direction and octant, 0 where there are none
    down : flat, for each V a C-order (k, rank) block; up : for each U a (rank, k) block
    core : flat, for each direction a matrix of all D, (sum of source ranks, sum of target ranks) over the octants
    source_parity, target_parity : int8 [3, k], signs of multipoles and of locals under reflection of each axis
    """

    source_rank: np.ndarray
    target_rank: np.ndarray
    down: np.ndarray
    up: np.ndarray
    core: np.ndarray
    source_parity: np.ndarray
    target_parity: np.ndarray

    @classmethod
    def of(
        cls,
        source_rank: np.ndarray,
        target_rank: np.ndarray,
        down: np.ndarray,
        up: np.ndarray,
        core: np.ndarray,
        source_parity: np.ndarray,
        target_parity: np.ndarray,
    ) -> DirectionalM2L:
        """From `arrays`: core has a block for each of `positions`, which images along level axes share."""
        sizes = _sizes(source_rank, target_rank)
        start = _before(sizes)
        whole = np.zeros(int(_widths(source_rank) @ _widths(target_rank)), core.dtype)
        for direction in range(1, 8):
            matrix, rows, columns = _of_direction(whole, source_rank, target_rank, direction)
            for o, t in np.ndindex(8, 8):
                number = direction, t & direction, o & direction | (t ^ o) & ~direction
                if sizes[number]:
                    here = matrix[rows[o] : rows[o + 1], columns[t] : columns[t + 1]]
                    here[:] = core[start[number] :][: sizes[number]].reshape(here.shape)
        return cls(source_rank, target_rank, down, up, whole, source_parity, target_parity)

    @classmethod
    def none(cls, parity: np.ndarray) -> DirectionalM2L:
        """One that moves nothing, between boxes whose coefficients have these parities."""
        no_rank, nothing = np.zeros((8, 8), np.int64), np.empty(0)
        return cls(no_rank, no_rank, nothing, nothing, nothing, parity, parity)

    @property
    def dtype(self) -> np.dtype:
        return self.core.dtype

    @property
    def parts(self) -> tuple[DirectionalM2L, ...]:
        return (self,)

    @property
    def size(self) -> int:
        return self.down.size + self.up.size + self.core.size

    @property
    def multiply_adds(self) -> float:
        """Of one pair of boxes of whole families."""
        return float(DIRECTIONS @ sum(self._multiply_adds()) / (DIRECTIONS @ MEETINGS))

    def _multiply_adds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a pair of parents with all children, by direction: of all D, and of all V and U, float64 [8] each."""
        k, images = self.source_parity.shape[1], 8.0 / 2 ** np.array([d.bit_count() for d in range(8)])
        of_cores = _sizes(self.source_rank, self.target_rank).sum(axis=(1, 2)) * images
        return of_cores, k * (_widths(self.source_rank) + _widths(self.target_rank)).astype(float)

    @property
    def _mean_rank(self) -> float:
        """Of all octants and directions."""
        widths = _widths(self.source_rank) + _widths(self.target_rank)
        return max(1.0, float(DIRECTIONS @ widths / 26 / 16))

    def starts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the matrices V, U and those of D begin, int64 [8, 8], [8, 8] and [8]."""
        k = self.source_parity.shape[1]
        down, up = (k * _before(rank) for rank in (self.source_rank, self.target_rank))
        return down, up, _before(_widths(self.source_rank) * _widths(self.target_rank))

    def factors(self, direction: int, target: int, source: int) -> tuple[np.ndarray, np.ndarray]:
        """V(d, o) D(d, t, o), and U(d, t)^T, [k, rank] and [rank, k], of octants of parents that do not touch."""
        down, up, _ = self.starts()
        k, level = self.source_parity.shape[1], ~direction & 7
        matrix, rows, columns = _of_direction(self.core, self.source_rank, self.target_rank, direction)
        matrix = matrix[rows[source] : rows[source + 1], columns[target] : columns[target + 1]]
        s, r = matrix.shape
        right = self.down[down[direction, source & direction] :][: k * s].reshape(k, s)
        left = self.up[up[direction, target & direction] :][: k * r].reshape(r, k)
        flipped = signs(self.source_parity)[source & level], signs(self.target_parity)[target & level]
        return flipped[0][:, None] * right @ matrix, left * flipped[1]

    def prepare(self, multipoles: np.ndarray) -> np.ndarray:
        return multipoles

    def translate(
        self, work: Siblings, prepared: np.ndarray, threads: int, first_moment: bool = False
    ) -> np.ndarray:
        out = np.zeros((work.n_rows, prepared.shape[1], self.target_parity.shape[1]), self.dtype)
        siblings.translate_siblings(
            *(0, len(work.code_ptr)),
            *(work.code_ptr, work.target, work.source, work.mirror, work.target_child, work.source_child),
            prepared,
            *(self.source_rank, self.target_rank, *self.starts(), self.down, self.up, self.core),
            *(signs(parity).astype(self.dtype) for parity in (self.source_parity, self.target_parity)),
            *(first_moment, out),
            threads=threads,
        )
        return out

    def finish(self, sums: np.ndarray) -> np.ndarray:
        return sums

    def one(self, rows: np.ndarray, offset: np.ndarray) -> np.ndarray:
        # of the pairs of octants that lie so, one whose spaces have the fewest dimensions, as these err most
        away, mirror = np.abs(offset), int((np.asarray(offset) < 0) @ symmetry.BITS)
        d, t, o = (int(flags @ symmetry.BITS) for flags in (away > 0, away == 3, away == 1))
        right, left = self.factors(d, t, o)
        of_source, of_target = (signs(parity)[mirror] for parity in (self.source_parity, self.target_parity))
        found = (rows * of_source).astype(self.dtype) @ right @ left
        return (found * of_target).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        found = {name: getattr(self, name) for name in self.__slots__}
        parts = []
        for direction, t, o in np.argwhere(_sizes(self.source_rank, self.target_rank)).tolist():
            matrix, rows, columns = _of_direction(self.core, self.source_rank, self.target_rank, direction)
            source, target = o & direction, t | o & ~direction
            block = matrix[rows[source] : rows[source + 1], columns[target] : columns[target + 1]]
            parts.append(block.ravel())
        return found | {"core": np.concatenate([np.empty(0, self.core.dtype), *parts])}

    def check(self, rank: int, dtype: str) -> None:
        for name, its in (("source_rank", self.source_rank), ("target_rank", self.target_rank)):
            if (its.dtype.name, its.shape) != ("int64", (8, 8)):
                raise ValueError(f"{name} has shape {its.shape} of {its.dtype}, expected (8, 8) of int64")
            if not ((its >= 0) & (its <= np.where(octants(), rank, 0))).all():
                raise ValueError("ranks that M2L cannot have")
        of_cores = _widths(self.source_rank) @ _widths(self.target_rank)
        sizes = rank * self.source_rank.sum(), rank * self.target_rank.sum(), of_cores
        expected = {
            name: (dtype, (int(size),)) for name, size in zip(("down", "up", "core"), sizes, strict=True)
        } | dict.fromkeys(("source_parity", "target_parity"), ("int8", (3, rank)))
        for name, (kind, shape) in expected.items():
            array = getattr(self, name)
            if (array.dtype.name, array.shape) != (kind, shape):
                raise ValueError(
                    f"{name} has shape {array.shape} of {array.dtype}, expected {shape} of {kind}"
                )
        if not all((np.abs(parity) == 1).all() for parity in (self.source_parity, self.target_parity)):
            raise ValueError("parities of M2L that are no signs")

    def counts(
        self, n_pairs: Size, n_families: Size, families: np.ndarray | None = None
    ) -> Mapping[str, Size]:
        by_direction = DIRECTIONS / 26 if families is None else np.append(0, families.sum(axis=0))
        meetings, cores, children = (
            float(by_direction @ each) for each in (MEETINGS, *self._multiply_adds())
        )
        cores, children = cores / max(1.0, meetings), children / max(1.0, meetings)
        if families is None:
            meetings, batches = n_families * MEETINGS_OF_ANY, n_families / (HALF_FULL * siblings.BATCH)
        else:
            batches = float((-(-families // siblings.BATCH)).sum())
        # of eight children some may be missing, of both parents alike
        whole = np.sqrt(n_pairs * meetings)
        read = batches * MEETINGS_OF_ANY * (cores + children) * self.dtype.itemsize / np.dtype(float).itemsize
        gathered = GATHERED * whole * children / self._mean_rank
        return {
            f"m2l_multiply_add_{8 * self.dtype.itemsize}": n_pairs * cores + whole * children,
            "m2l_meeting": meetings,
            "m2l_core": batches * PRODUCTS,
            # a batch reads the matrices of its direction, from memory if they do not fit the cache
            "copied": read + gathered,
        }

    @property
    def scratch(self) -> int:
        k, most = self.source_parity.shape[1], max(self.source_rank.max(), self.target_rank.max())
        return int((k + 18 * most) * siblings.BATCH * self.dtype.itemsize)


def _sizes(source_rank: np.ndarray, target_rank: np.ndarray) -> np.ndarray:
    """Of the block at each of `positions`, int64 [8, 8, 8]."""
    d, _, o = np.indices((8, 8, 8))
    return np.where(positions()[1], target_rank[:, :, None] * source_rank[d, o & d], 0)


def _bounds(rank: np.ndarray, direction: int) -> np.ndarray:
    """Where the rows or the columns of each octant begin in the matrix of a direction, and its size: int64 [9]."""
    return np.append(0, np.cumsum(rank[direction, np.arange(8) & direction]))


def _of_direction(
    core: np.ndarray, source_rank: np.ndarray, target_rank: np.ndarray, direction: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix of all D of a direction, a view, and where the rows and the columns of each octant begin in it."""
    first = int((_widths(source_rank) * _widths(target_rank))[:direction].sum())
    rows, columns = (_bounds(rank, direction) for rank in (source_rank, target_rank))
    return core[first:][: rows[-1] * columns[-1]].reshape(rows[-1], columns[-1]), rows, columns


def _widths(rank: np.ndarray) -> np.ndarray:
    """The sum of the ranks of all octants, by direction: int64 [8]."""
    direction, octant = np.indices((8, 8))
    return rank[direction, octant & direction].sum(axis=1)


def _before(sizes: np.ndarray) -> np.ndarray:
    """Of all numbers before each one, in C order, the sum."""
    return (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
