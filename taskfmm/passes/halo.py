"""Pull: copy the rows a shard reads from the shards that own them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.plan.works import Halo


def pull(halo: Halo, shards: Sequence[np.ndarray], dtype: np.dtype | str = "float64") -> np.ndarray:
    """The halo's rows, contiguous, [n, k]; ``shards[i]`` are the expansions of shard ``halo.shards[i]``."""
    out = np.empty((halo.rows.size, shards[0].shape[1]), dtype)
    for i, rows in enumerate(shards):
        first, last = halo.ptr[i : i + 2]
        out[first:last] = rows[halo.rows[first:last]]
    return out
