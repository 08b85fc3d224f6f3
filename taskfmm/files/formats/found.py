"""What the readers of this room give, and how they refuse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from taskfmm.files.serving import Refused


class Found(NamedTuple):
    """What a file holds.

    arrays : by name, with one row for each point; columns of a table without names are "1", "2", ...; those of words
        are there as well, so that nothing else is taken in their place
    notes : what is to be said of the file, and of what of it is not read
    doubt : why columns without names are not to be taken by their places, if so
    """

    arrays: dict[str, np.ndarray]
    notes: list[str]
    doubt: str = ""


def columns(table: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a table without names."""
    if table.ndim != 2:
        raise Refused(f"holds an array of shape {table.shape}, expected columns: a point a row")
    return {str(i + 1): table[:, i] for i in range(table.shape[1])}


def numbers(arrays: dict[str, np.ndarray]) -> Found:
    """Those arrays that are numbers, and a note of all others."""
    kept = {name: array for name, array in arrays.items() if array.dtype.kind in "iufc" and array.ndim}
    others = [name for name in arrays if name not in kept]
    return Found(kept, [f"not numbers, or a single one: {', '.join(others)}"] if others else [])
