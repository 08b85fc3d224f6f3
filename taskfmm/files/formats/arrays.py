"""Arrays of NumPy: a table, one with named fields, or several in one file. Nothing is unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from taskfmm.files.formats import found
from taskfmm.files.serving import Refused


def read(path: str) -> found.Found:
    """Arrays by their names; the columns of a table without names by their numbers."""
    try:
        return found.numbers(_several(path) if Path(path).suffix.lower() == ".npz" else _one(path))
    except ValueError as error:
        if "object" not in str(error).lower():
            raise
        raise Refused("holds objects of Python, which are not unpickled: write arrays of numbers") from error


def _one(path: str) -> dict[str, np.ndarray]:
    given = npy.open_memmap(path, mode="r")
    return {name: given[name] for name in given.dtype.names} if given.dtype.names else found.columns(given)


def _several(path: str) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                arrays[name.removesuffix(".npy")] = npy.read_array(file)
    return arrays
