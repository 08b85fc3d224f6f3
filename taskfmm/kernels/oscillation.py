"""A sine and a cosine that vectorise; those of NumPy, in a compiled loop, are calls for each pair."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.jit import formula

PER_QUARTER = 2.0 / math.pi

HIGH, MIDDLE, LOW = 1.5707963267341256142, 6.0771005063039003e-11, 2.0222662487959505e-21
"""pi / 2 in three parts; the first two have so few bits that their products with numbers up to 2^20 are exact."""


@formula
def cosine_sine(x):
    """cos(x) and sin(x), to 4e-16 for |x| up to a million; beyond, x itself is known to fewer digits.

    x = n pi / 2 + r with an integer n and |r| <= pi / 4: Taylor series of r, which n modulo 4 exchanges and signs.
    """
    n = np.rint(x * PER_QUARTER)
    r = ((x - n * HIGH) - n * MIDDLE) - n * LOW
    r2 = r * r
    s = -1.0 / 1307674368000.0
    s = s * r2 + 1.0 / 6227020800.0
    s = s * r2 - 1.0 / 39916800.0
    s = s * r2 + 1.0 / 362880.0
    s = s * r2 - 1.0 / 5040.0
    s = s * r2 + 1.0 / 120.0
    s = s * r2 - 1.0 / 6.0
    s = s * r2 * r + r
    c = 1.0 / 20922789888000.0
    c = c * r2 - 1.0 / 87178291200.0
    c = c * r2 + 1.0 / 479001600.0
    c = c * r2 - 1.0 / 3628800.0
    c = c * r2 + 1.0 / 40320.0
    c = c * r2 - 1.0 / 720.0
    c = c * r2 + 1.0 / 24.0
    c = c * r2 - 0.5
    c = c * r2 + 1.0
    quarter = n - 4.0 * np.floor(0.25 * n)
    is_odd = (quarter == 1.0) | (quarter == 3.0)
    cosine = s if is_odd else c
    sine = c if is_odd else s
    cosine = -cosine if (quarter == 1.0) | (quarter == 2.0) else cosine
    sine = -sine if quarter >= 2.0 else sine
    return cosine, sine
