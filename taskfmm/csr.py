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
