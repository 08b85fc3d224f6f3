"""What the rest of the library asks of a form of M2L."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from taskfmm.cost.counts import Size

if TYPE_CHECKING:
    from taskfmm.operators.directional import DirectionalM2L
    from taskfmm.plan.works import Siblings


class M2L(Protocol):
    """Sums over V lists.

    Expansions of the halo are prepared, translated for all boxes of a shard, and finished: a form may work in numbers
    of its own in between.
    """

    @property
    def dtype(self) -> np.dtype:
        """Of what it takes and gives."""

    @property
    def parts(self) -> tuple[DirectionalM2L, ...]:
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
