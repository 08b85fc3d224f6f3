"""Pull: copy the rows a shard reads from the shards that own them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from taskfmm.plan.works import Halo


def pull_charges(halo: Halo, shards: Sequence[np.ndarray]) -> np.ndarray:
    """The halo's charges, contiguous, [n_numbers, n]; ``shards[i]`` are the charges of shard ``halo.shards[i]``."""
    out = np.empty((shards[0].shape[0], halo.rows.size), shards[0].dtype)
    for i, charges in enumerate(shards):
        first, last = halo.ptr[i : i + 2]
        np.take(charges, halo.rows[first:last], axis=1, out=out[:, first:last], mode="clip")
    return out


def pull(halo: Halo, shards: Sequence[np.ndarray], dtype: np.dtype | str = "float64") -> np.ndarray:
    """The halo's expansions, contiguous, [n, columns, k]; ``shards[i]`` are those of shard ``halo.shards[i]``."""
    out = np.empty((halo.rows.size, *shards[0].shape[1:]), dtype)
    for i, rows in enumerate(shards):
        first, last = halo.ptr[i : i + 2]
        out[first:last] = rows[halo.rows[first:last]]
    return out
