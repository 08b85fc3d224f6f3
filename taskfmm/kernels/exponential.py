"""An exponential that vectorises; `numpy.exp` in a compiled loop is a call for each pair."""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from taskfmm.jit import formula

LARGEST = 709.0
"""What is smaller than exp(-709), 1e-308, counts as zero: there n is 1023, and 2^-n has the bits of 0."""

PER_LN2 = 1.0 / math.log(2.0)

LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 in two parts; the first has so few bits that its products with numbers up to 1024 are exact."""


def _from_bits(typingctx, bits):
    """The float64 that is written with the bits of an int64; unlike `math.ldexp` it keeps loops vectorised."""

    def codegen(context, builder, signature, values):
        return builder.bitcast(values[0], context.get_value_type(types.float64))

    return types.float64(types.int64), codegen


from_bits = (
    (lambda bits: np.int64(bits).view(np.float64)) if numba.config.DISABLE_JIT else intrinsic(_from_bits)
)


@formula
def decay(x):
    """exp(-x) for x from 0 to `LARGEST`, to 4e-16 of its value.

    x = n ln 2 - r with an integer n and |r| <= ln 2 / 2: the Taylor series of exp(r) to the 13th power, and 2^-n
    by its exponent.
    """
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
