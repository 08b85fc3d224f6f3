"""Numbers printed in the PyExaFMM paper: a million charges on a sphere, order 6, 150 points a leaf, 32 cores."""

EVALUATION_SECONDS = 5.95
PRECOMPUTE_SECONDS = 9.00
CPU_MILLISECONDS = {
    "p2m": 216.0,
    "m2m": 14.0,
    "m2l": 3448.0,
    "p2l": 247.0,
    "l2l": 14.0,
    "l2p": 157.0,
    "m2p": 1225.0,
    "near": 508.0,
}
LIST_SIZES = {"u": 10.7, "v": 41.5, "w": 2.3, "x": 2.3}
CPU_SHARES = {"l2p": 0.63}
"""Of the wall time; the other operators lie between 0.97 and 1."""

PACKING_GAIN = (0.06, 0.13)
"""How much faster L2P became when it was packed, over the orders 6 to 10."""

BOUNDARY_MICROSECONDS = (308.0, 306.0, 2.64)
