"""An exponential that vectorises: `numpy.exp` is a call for each pair, and makes loops three times as long."""

from __future__ import annotations

import math

import numpy as np

from taskfmm.jit import formula, from_bits

LARGEST = 700.0
"""exp(-700) is 1e-304; what is smaller counts as that."""

PER_LN2 = 1.0 / math.log(2.0)

LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 in two parts; the first has so few bits that its products with numbers up to 1024 are exact."""


@formula
def decay(x):
    """exp(-x) for x >= 0, to 4e-16 of its value.

    x = n ln 2 - r with an integer n and \\|r\\| <= ln 2 / 2: the Taylor series of exp(r) to the 13th power, and 2^-n
    by its exponent.
    """
    x = min(x, LARGEST)
    n = np.rint(x * PER_LN2)
    r = (n * LN2_HIGH - x) + n * LN2_LOW
    series = 1.0 / 6227020800.0
    series = series * r + 1.0 / 479001600.0
    series = series * r + 1.0 / 39916800.0
    series = series * r + 1.0 / 3628800.0
    series = series * r + 1.0 / 362880.0
    series = series * r + 1.0 / 40320.0
    series = series * r + 1.0 / 5040.0
    series = series * r + 1.0 / 720.0
    series = series * r + 1.0 / 120.0
    series = series * r + 1.0 / 24.0
    series = series * r + 1.0 / 6.0
    series = series * r + 0.5
    series = series * r + 1.0
    series = series * r + 1.0
    # n fits 32 bits, which processors convert by the vector
    return series * from_bits((1023 - np.int64(np.int32(n))) << 52)
