"""One colour for each operator, the same in every picture."""

from __future__ import annotations

COLOURS = {
    "charges": "#7f7f7f",
    "p2m": "#aec7e8",
    "m2m": "#1f77b4",
    "m2l": "#d62728",
    "p2l": "#ff9896",
    "l2l": "#2ca02c",
    "l2p": "#98df8a",
    "m2p": "#bcbd22",
    "near": "#ff7f0e",
    "potential": "#9467bd",
    "gradient": "#e377c2",
}
"""Of Matplotlib's tab20: upward blue, across red, downward green, near field orange, results violet and pink. Two of
one hue differ in lightness, which every eye sees."""
