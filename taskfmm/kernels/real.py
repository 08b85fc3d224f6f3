"""Numbers that callers give to kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

NO_NUMBERS = (bool, np.bool, complex, np.complexfloating, str, bytes)
"""What Python would make a number of."""


def real(value: Any) -> float:
    """A real number as a float, NaN for all else."""
    try:
        return math.nan if isinstance(value, NO_NUMBERS) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
