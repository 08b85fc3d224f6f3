"""Where results go: an HDF5 file, or a directory of Zarr where the name ends in ``.zarr``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files import output, zarr_output
from taskfmm.files.formats import table
from taskfmm.files.output import CHUNK_ROWS, OutputFile
from taskfmm.files.zarr_output import SUFFIX, ZarrOutput


def to_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether results of this name are Zarr."""
    return Path(path).suffix.lower() == SUFFIX


def check_output(path: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> None:
    """Refuse, before anything is computed, an output that could not be written or is the input ``source``."""
    suffix = Path(path).suffix.lower()
    if suffix in table.FORMATS:
        raise InputError(
            f"{path}: results are written as HDF5 or Zarr, not as {suffix}: give a name with .h5 or .zarr"
        )
    if to_zarr(path):
        zarr_output.check_zarr(path, source)
    else:
        output.check_output(path, source)


def result(
    path: str | os.PathLike[str],
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    rows: int = 0,
    chunk_rows: int = CHUNK_ROWS,
) -> OutputFile | ZarrOutput:
    """The file that results are written to, see `OutputFile` and `ZarrOutput`; chunk_rows : of the latter"""
    if to_zarr(path):
        return ZarrOutput(path, shapes, rows, chunk_rows)
    return OutputFile(path, shapes, rows)
