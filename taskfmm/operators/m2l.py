"""M2L in a compressed form: a low-rank core for each relative position, in the basis of the expansions.

The core of relative position t is C_t = B_local^T K_t B_multipole, k by k (`taskfmm.operators.cores`). It is kept as
two factors of rank r_t. In a basis with parities the core of a reflected position is C_t with signs, so the 56 of
positions without negative components serve all 316. They are kept on disk; in memory, the 42 that the loop also needs
(`taskfmm.operators.siblings`) follow them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from taskfmm.cost.counts import Size
from taskfmm.operators import siblings, symmetry
from taskfmm.operators.basis import signs

if TYPE_CHECKING:
    from taskfmm.plan.works import Siblings

MEETINGS = np.array([48, 48, 60, 48, 60, 60, 63])
"""Pairs of children of two parents that are not adjacent, by direction between the parents, 1 to 7."""

MEETINGS_OF_ANY = 8 * 189 / 26
"""The same on average over the 26 directions: a box among others has 189 in its V list."""


HALF_FULL = 0.5
"""How full a batch is where works are not known yet: a block often has few pairs of a direction."""


class M2L(Protocol):
    """What the rest of the library asks of a form of M2L.

    Expansions of the halo are prepared, translated for all boxes of a shard, and finished: a form may work in numbers
    of its own in between.
    """

    @property
    def dtype(self) -> np.dtype:
        """Of what it takes and gives."""

    @property
    def parts(self) -> tuple[LowRankM2L, ...]:
        """All cores, of which each is the sum of those of the parts."""

    @property
    def size(self) -> int:
        """Numbers that a shard reads at least once."""

    @property
    def multiply_adds(self) -> float:
        """Of one pair of boxes, on average over relative positions."""

    def prepare(self, multipoles: np.ndarray) -> np.ndarray:
        """What `translate` takes, from rows of the halo in the dtype of this form, [n_halo, columns, k]."""

    def translate(
        self, work: Siblings, prepared: np.ndarray, threads: int, first_moment: bool = False
    ) -> np.ndarray:
        """The sums over V lists; first_moment : whether the last column is one, see `taskfmm.operators.moment`."""

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """Locals from what `translate` gives, [n_boxes, columns, k]."""

    def one(self, rows: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """What boxes do to those that lie an offset away, float64 [n, k], rounded as `translate` does."""

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it consists of, by name."""

    def check(self, rank: int, dtype: str) -> None:
        """Raises ValueError unless arrays are those of so many coefficients and fit each other, as loops trust."""

    def counts(
        self, n_pairs: Size, n_families: Size, families: np.ndarray | None = None
    ) -> Mapping[str, Size]:
        """What M2L takes, by the fields of `taskfmm.cost.rates.Rates`.

        n_pairs : of boxes; n_families : pairs of parents
        families : int64 [n_blocks, 7], pairs of parents of a shard by block and direction (see
            `taskfmm.plan.works.Siblings`); None where no works are made yet: then batches are half full
        """

    @property
    def scratch(self) -> int:
        """Bytes that a thread needs besides what goes in and comes out."""


@dataclass(frozen=True, slots=True)
class LowRankM2L:
    """Cores that act on rows: local += multipole @ right[t] @ left[t].

    rank : int64 [125], by code (see `taskfmm.operators.symmetry`), 0 for adjacent boxes
    start : int64 [125], where the factors of a code begin, in rows of length k: first those of folded codes
    right : [rank.sum() * k], for each code a C-order (k, rank) block
    left : [rank.sum() * k], for each code a C-order (rank, k) block
    source_parity, target_parity : int8 [3, k], signs of multipoles and of locals under reflection of each axis
    """

    rank: np.ndarray
    start: np.ndarray
    right: np.ndarray
    left: np.ndarray
    source_parity: np.ndarray
    target_parity: np.ndarray

    @classmethod
    def of(
        cls,
        rank: np.ndarray,
        right: np.ndarray,
        left: np.ndarray,
        source_parity: np.ndarray,
        target_parity: np.ndarray,
    ) -> LowRankM2L:
        """From `arrays`."""
        size = rank.sum() * source_parity.shape[1]
        both = np.empty(size, right.dtype), np.empty(size, left.dtype)
        for whole, folded in zip(both, (right, left), strict=True):
            whole[: folded.size] = folded
        return mirrored(cls(rank, start(rank), *both, source_parity, target_parity))

    @classmethod
    def none(cls, parity: np.ndarray) -> LowRankM2L:
        """One that moves nothing, between boxes whose coefficients have these parities."""
        return cls.of(np.zeros(125, np.int64), np.empty(0), np.empty(0), parity, parity)

    @property
    def dtype(self) -> np.dtype:
        return self.right.dtype

    @property
    def parts(self) -> tuple[LowRankM2L, ...]:
        return (self,)

    @property
    def size(self) -> int:
        return self.right.size + self.left.size

    @property
    def multiply_adds(self) -> float:
        return float(2.0 * self.source_parity.shape[1] * self.rank[_codes()].mean())

    def factors(self, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right and left factor of any relative position, [k, rank] and [rank, k]."""
        code, mirror = symmetry.fold(offset)
        k = self.source_parity.shape[1]
        here = slice(self.start[code] * k, (self.start[code] + self.rank[code]) * k)
        right, left = self.right[here].reshape(k, -1), self.left[here].reshape(-1, k)
        return signs(self.source_parity)[mirror][:, None] * right, left * signs(self.target_parity)[mirror]

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
            *(self.rank, self.start, self.right, self.left),
            signs(self.source_parity).astype(self.dtype),
            signs(self.target_parity).astype(self.dtype),
            first_moment,
            out,
            threads=threads,
        )
        return out

    def finish(self, sums: np.ndarray) -> np.ndarray:
        return sums

    def one(self, rows: np.ndarray, offset: np.ndarray) -> np.ndarray:
        right, left = self.factors(offset)
        return (rows.astype(self.dtype) @ right @ left).astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        k = self.source_parity.shape[1]
        n = int(self.rank[symmetry.is_folded()].sum()) * k
        return dict(
            rank=self.rank,
            right=self.right[:n],
            left=self.left[:n],
            source_parity=self.source_parity,
            target_parity=self.target_parity,
        )

    def check(self, rank: int, dtype: str) -> None:
        expected = dict(
            rank=("int64", (symmetry.N_CODES,)),
            start=("int64", (symmetry.N_CODES,)),
            right=(dtype, (self.left.size,)),
            left=(dtype, (self.left.size,)),
            source_parity=("int8", (3, rank)),
            target_parity=("int8", (3, rank)),
        )
        for name, (kind, shape) in expected.items():
            array = getattr(self, name)
            if (array.dtype.name, array.shape) != (kind, shape):
                raise ValueError(
                    f"{name} has shape {array.shape} of {array.dtype}, expected {shape} of {kind}"
                )
        folded, _ = symmetry.fold(symmetry.coded_offsets())
        if not (
            (self.rank[~symmetry.is_far()] == 0).all()
            and ((self.rank >= 0) & (self.rank <= rank)).all()
            and (self.rank == self.rank[folded]).all()
        ):
            raise ValueError("ranks that M2L cannot have")
        if not (self.start == start(self.rank)).all():
            raise ValueError("M2L factors begin elsewhere")
        if self.right.size != self.rank.sum() * rank:
            raise ValueError("M2L factors of another size")
        if not all((np.abs(parity) == 1).all() for parity in (self.source_parity, self.target_parity)):
            raise ValueError("parities of M2L that are no signs")

    def counts(
        self, n_pairs: Size, n_families: Size, families: np.ndarray | None = None
    ) -> Mapping[str, Size]:
        multiply_adds, meetings = self.multiply_adds, n_families * MEETINGS_OF_ANY
        cores = meetings / (HALF_FULL * siblings.BATCH)
        if families is not None:
            meetings = float((families @ MEETINGS).sum())
            cores = float((-(-families // siblings.BATCH) @ MEETINGS).sum())
        return {
            f"m2l_multiply_add_{8 * self.dtype.itemsize}": n_pairs * multiply_adds,
            "m2l_meeting": meetings,
            "m2l_core": cores,
            # a batch reads the cores of its direction, from memory if they do not fit the cache
            "copied": cores * multiply_adds * self.dtype.itemsize / np.dtype(float).itemsize,
        }

    @property
    def scratch(self) -> int:
        return 11 * siblings.BATCH * self.source_parity.shape[1] * self.dtype.itemsize


@cache
def _codes() -> np.ndarray:
    """Of all transfer vectors, int64 [316]."""
    return symmetry.fold(symmetry.offsets())[0]


def mirrored(form: LowRankM2L) -> LowRankM2L:
    """With the factors of the other codes filled in, the mirror images of those of folded codes."""
    k = form.source_parity.shape[1]
    folded, mirror = symmetry.fold(symmetry.coded_offsets())
    source, target = (signs(parity).astype(form.dtype) for parity in (form.source_parity, form.target_parity))
    for code in np.flatnonzero(~symmetry.is_folded() & symmetry.is_far()):
        here, there = ((form.start[c] * k, (form.start[c] + form.rank[c]) * k) for c in (code, folded[code]))
        right = form.right[slice(*there)].reshape(k, -1) * source[mirror[code], :, None]
        left = form.left[slice(*there)].reshape(-1, k) * target[mirror[code]]
        form.right[slice(*here)], form.left[slice(*here)] = right.ravel(), left.ravel()
    return form


def start(rank: np.ndarray) -> np.ndarray:
    """Where the factors of each code begin, in rows; those of folded codes come first."""
    order = np.argsort(~symmetry.is_folded(), kind="stable")
    start = np.empty(symmetry.N_CODES, np.int64)
    start[order] = np.cumsum(rank[order]) - rank[order]
    return start
