"""Named numbers, kept as JSON with a digest: a flipped digit would be a number that nobody doubts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from taskfmm.files import disk

LARGEST = 2**16
"""Bytes of such a file; it has a few hundred."""


def read(path: Path) -> dict[str, float]:
    """The numbers of a file.

    Raises
    ------
    OSError
        There is no such file, or it is not one that `write` wrote.
    """
    try:
        kept = json.loads(disk.read_whole(path, LARGEST))
        if kept["sha256"] != _digest(kept["numbers"]):
            raise ValueError("changed since it was written")
        return {str(name): float(value) for name, value in kept["numbers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError(f"{path}: {error!r}") from error


def write(path: Path, numbers: Mapping[str, float]) -> None:
    """Put numbers into a file, whole or not at all; raises OSError."""
    found = dict(numbers)
    disk.write_whole(path, json.dumps({"numbers": found, "sha256": _digest(found)}, indent=1).encode())


def _digest(found: dict[str, float]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
