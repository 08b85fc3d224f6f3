"""Arrays that callers of other packages give."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskfmm.errors import InputError


def unmasked(name: str, array: Any) -> Any:
    """The same array.

    Raises
    ------
    InputError
        Masked entries, whose values would be used.
    """
    if np.ma.is_masked(array):
        raise InputError(f"{name} has masked entries: drop those rows or fill them")
    return array
