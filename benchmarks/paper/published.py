"""Numbers printed in the PyExaFMM paper: a million charges on a sphere, order 6, 150 points a leaf, 32 cores."""

EVALUATION_SECONDS = 5.95
PRECOMPUTE_SECONDS = 9.00
CPU_MILLISECONDS = {
    "P2M": 216.0,
    "M2M": 14.0,
    "M2L": 3448.0,
    "P2L": 247.0,
    "L2L": 14.0,
    "L2P": 157.0,
    "M2P": 1225.0,
    "P2P": 508.0,
}
LIST_SIZES = {"u": 10.7, "v": 41.5, "w": 2.3, "x": 2.3}
CPU_SHARES = {"L2P": 0.63}
"""Of the wall time; the other operators lie between 0.97 and 1."""

PACKING_GAIN = (0.06, 0.13)
"""How much faster L2P became when it was packed, over the orders 6 to 10."""

BOUNDARY_MICROSECONDS = (308.0, 306.0, 2.64)
