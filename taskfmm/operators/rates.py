"""What an ordinary core takes for the few things that everything is made of, in seconds.

They weigh one operator against another: to choose orders and leaves, and to cut equal shards. No result depends
on them beyond those choices.
"""

NEAR_PAIR = 0.45e-9
"""One pair of points in the near field."""

SURFACE_PAIR = 0.52e-9
"""One point and one surface point, in P2M, L2P, M2P and P2L."""

MULTIPLY_ADD = 3.1e-11
"""One multiply-add of a float64 matrix product."""

M2L_MULTIPLY_ADD = {"float64": 3.9e-11, "float32": 1.8e-11}
"""One multiply-add of M2L, by its dtype."""

M2L_PAIR = 15e-9
"""What a pair of boxes costs in M2L besides: gathering, scattering, calling BLAS."""

BOX = 2e-6
"""What a box costs besides: list entries, buffers, calls."""
