"""The cube around every point, and the exact arithmetic that keeps far-apart boxes in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Domain:
    """The root cube, in scaled coordinates.

    Points are multiplied by ``scale``, a power of two chosen so that ``half_width`` is between 0.5 and 1: the
    product is exact, and widths of 1e-150 or 1e150 neither underflow nor overflow when squared.

    lower : float64 [3], the corner with the smallest coordinates
    half_width : float with at most 9 significant bits, so that every box centre relative to ``lower`` is exact
    scale : a power of two; scaled = caller's * scale
    """

    lower: np.ndarray
    half_width: float
    scale: float
