"""Compressed sparse rows: the one form of every list of lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Csr:
    """Row ``i`` holds ``idx[ptr[i]:ptr[i + 1]]``.

    ptr : int64 [n_rows + 1]
    idx : int32 [ptr[-1]]
    """

    ptr: np.ndarray
    idx: np.ndarray

    def __len__(self) -> int:
        return self.ptr.size - 1

    @classmethod
    def of(cls, rows: np.ndarray, columns: np.ndarray, n_rows: int) -> Csr:
        """From the row and the column of each entry, integers from 0 to 2^31 - 1; columns ascend in a row."""
        # numbers are sorted faster than pairs; entries come in a few runs that ascend, which this kind merges
        both = np.sort(rows.astype(np.int64) << 32 | columns, kind="stable")
        ptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])
        return cls(ptr.astype(np.int64), (both & 0x7FFFFFFF).astype(np.int32))

    @property
    def rows(self) -> np.ndarray:
        """The row of each entry, int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.ptr))
