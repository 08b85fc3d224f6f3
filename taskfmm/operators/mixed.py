"""M2L in mixed precision: what belongs to small singular values of the cores is moved in float32.

A core is a sum over its singular values s_i, and what float32 rounds of a term, 2^-24, counts s_i over the largest of
them. So terms below ``Accuracy.in_single_below`` are rounded by less than what is cut away, and they are most: the
number of singular values above a cut grows as the square of its digits. Products in float32 take half of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from taskfmm.cost.counts import Size
from taskfmm.operators.accuracy import MIXED
from taskfmm.operators.directional import DirectionalM2L

if TYPE_CHECKING:
    from taskfmm.plan.works import Siblings


@dataclass(frozen=True, slots=True)
class MixedM2L:
    """Cores as sums of two.

    large : float64, of the large singular values; there may be none
    small : float32, of the others
    """

    large: DirectionalM2L
    small: DirectionalM2L

    @property
    def dtype(self) -> np.dtype:
        return self.large.dtype

    @property
    def parts(self) -> tuple[DirectionalM2L, ...]:
        return self.large, self.small

    @property
    def size(self) -> int:
        return self.large.size + self.small.size

    @property
    def source_parity(self) -> np.ndarray:
        return self.large.source_parity

    @property
    def target_parity(self) -> np.ndarray:
        return self.large.target_parity

    @property
    def multiply_adds(self) -> float:
        return self.large.multiply_adds + self.small.multiply_adds

    def prepare(self, multipoles: np.ndarray) -> np.ndarray:
        return multipoles

    def translate(
        self, work: Siblings, prepared: np.ndarray, threads: int, first_moment: bool = False
    ) -> np.ndarray:
        in_single = self.small.translate(work, prepared.astype(np.float32), threads, first_moment)
        if not self.large.core.size:
            return in_single.astype(np.float64)
        out = self.large.translate(work, prepared, threads, first_moment)
        out += in_single
        return out

    def finish(self, sums: np.ndarray) -> np.ndarray:
        return sums

    def one(self, rows: np.ndarray, offset: np.ndarray) -> np.ndarray:
        return self.large.one(rows, offset) + self.small.one(rows, offset)

    def arrays(self) -> dict[str, np.ndarray]:
        large, small = (part.arrays() for part in self.parts)
        parities = "source_parity", "target_parity"
        return large | {f"small_{name}": array for name, array in small.items() if name not in parities}

    def check(self, rank: int, dtype: str) -> None:
        if dtype != MIXED:
            raise ValueError(f"M2L in mixed precision, expected {dtype}")
        for part, its in zip(self.parts, ("float64", "float32"), strict=True):
            part.check(rank, its)

    def counts(
        self, n_pairs: Size, n_families: Size, families: np.ndarray | None = None
    ) -> Mapping[str, Size]:
        total: dict[str, Size] = {}
        for part in self.parts:
            if part.core.size:
                for name, count in part.counts(n_pairs, n_families, families).items():
                    total[name] = total.get(name, 0.0) + count
        return total

    @property
    def scratch(self) -> int:
        return self.large.scratch + self.small.scratch


def of_arrays(arrays: Mapping[str, np.ndarray]) -> DirectionalM2L | MixedM2L:
    """A form from its `arrays`."""
    large = {name: array for name, array in arrays.items() if not name.startswith("small_")}
    small = {name.removeprefix("small_"): array for name, array in arrays.items() if name not in large}
    if not small:
        return DirectionalM2L.of(**large)
    parities = {name: large[name] for name in ("source_parity", "target_parity")}
    return MixedM2L(DirectionalM2L.of(**large), DirectionalM2L.of(**small, **parities))
