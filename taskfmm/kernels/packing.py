"""Copy runs of points and their charges into contiguous buffers, over which loops are long."""

from __future__ import annotations

import numpy as np

from taskfmm.jit import part

FAR_AWAY = 1e6
"""Where the points are that fill buffers up; their charges are 0."""

NONE = np.int64(0)
"""To be skipped. A literal zero would have `pack` compiled once more, for itself."""


@part
def pack(begin, end, points, charges, skip, size, here, dtype, width):
    """Runs of points and charges, one after the other: ``size`` of them, after the first ``skip``.

    begin, end : int64 [n_runs]; points : x, y and z, each float64 [n]; charges : float64 [n_numbers, n]
    here : float64 [3], from where places are measured
    dtype : of the buffers, [3, padded] and [n_numbers, padded]; width : their length is filled up to a multiple of it
    """
    padded = -(-size // width) * width
    packed = np.empty((3, padded), dtype)
    q = np.empty((charges.shape[0], padded), dtype)
    for j in range(size, padded):  # assignments of slices take longer to compile
        for axis in range(3):
            packed[axis, j] = FAR_AWAY
        for c in range(charges.shape[0]):
            q[c, j] = 0.0
    at = -skip
    for entry in range(begin.size):
        low, high = max(0, -at), min(end[entry] - begin[entry], size - at)
        if low < high:  # of a run that was packed before, at + high is negative, and would count from the end
            for axis in range(3):
                _copy(points[axis], begin[entry] + low, here[axis], packed[axis, at + low : at + high])
            for c in range(charges.shape[0]):
                _copy(charges[c], begin[entry] + low, 0.0, q[c, at + low : at + high])
        at += end[entry] - begin[entry]
    return packed, q


@part
def length(begin, end):
    """Points of some runs together; NumPy's sum takes longer to compile."""
    size = np.int64(0)
    for entry in range(begin.size):
        size += end[entry] - begin[entry]
    return size


@part
def _copy(values, first, origin, out):
    some = values[first : first + out.size]  # an index that might be negative would cost more than the copy
    for j in range(out.size):
        out[j] = some[j] - origin
