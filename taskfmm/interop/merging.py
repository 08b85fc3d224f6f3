"""Points that differ by rounding only are moved to one place, so that a pair of them adds nothing."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

ROUNDING = 2.0**-51
"""Of the width of the cloud: FMM3D leaves out pairs that are closer."""


def merged(
    sources: np.ndarray, targets: np.ndarray | None, thresh: float = 0.0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Sources [n, 3] and targets [m, 3], of which those closer together than rounding are in one place.

    thresh : pairs not farther apart than this are to be left out as well

    Raises
    ------
    NotImplementedError
        A pair is apart by more than rounding, but not by more than ``thresh``.
    """
    points = sources if targets is None else np.vstack([sources, targets])
    width = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    within = max(ROUNDING * width, thresh)
    if not np.isfinite(width) or not _may_be_close(points, within):
        return sources, targets
    places, inverse = np.unique(points, axis=0, return_inverse=True)
    pairs = cKDTree(places).query_pairs(within, output_type="ndarray")
    apart = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    if (apart > ROUNDING * width).any():
        raise NotImplementedError(
            f"thresh is {thresh:g}, and {len(pairs)} pairs of points are closer, but not in one place: taskfmm "
            "leaves out pairs in one place only, so call fmm3dpy, or give a smaller thresh"
        )
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
    _, group = connected_components(graph, directed=False)
    places = places[np.unique(group, return_index=True)[1]][group][inverse.ravel()]
    return places[: len(sources)], None if targets is None else places[len(sources) :]


def _may_be_close(points: np.ndarray, within: float) -> bool:
    """Whether any axis has different coordinates that close; if none, no points are, unless they coincide."""
    gaps = np.diff(np.sort(points, axis=0), axis=0)
    return bool(((gaps > 0.0) & (gaps <= within)).any())
