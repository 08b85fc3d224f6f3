"""Charges from HDF5 files and potentials into them.

Input: ``/sources`` (n, 3), ``/charges`` (n,) and optionally ``/targets`` (m, 3), plain numeric datasets that
live in the file itself. Output: ``/potential`` (m,) and, when asked for, ``/gradient`` (m, 3), in the order
of the targets, with the settings as attributes of the file and ``complete`` written last.
In a batch, ``/charges`` is (k, n), one vector a row, and the outputs are (k, m) and (k, m, 3).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.files.input import InputFile, PlannedPoints
from taskfmm.files.output import OutputFile


@dataclass(frozen=True, slots=True)
class Charges:
    """What an input file holds.

    sources : float64 [n, 3]
    charges : float64 [n]
    targets : float64 [m, 3], or None where the targets are the sources
    """

    sources: np.ndarray
    charges: np.ndarray
    targets: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Points:
    """The points alone, as in `Charges`."""

    sources: np.ndarray
    targets: np.ndarray | None


def read(path: str | os.PathLike[str], planned: PlannedPoints | None = None) -> Charges:
    """Read and check an input file; the errors name the file, the dataset and what was found.

    With ``planned`` points the file need not hold any; those that it holds must be the same.

    Raises
    ------
    InputError
        Not an HDF5 file, a missing dataset, a wrong shape or dtype, a value that is not finite, data that
        lives outside the file or that is declared but not there, more than this machine's memory, a file that
        crashes the HDF5 library, or one that changes while it is read.

    Notes
    -----
    The HDF5 library runs in a process of its own (`taskfmm.files.reader`), with bounds on its memory and time.
    """
    with InputFile(path, planned) as file:
        shape = file.shape("charges")
        n_sources = file.n_sources
        if len(shape) == 2 and shape[1] == n_sources and shape[0] != 1 and n_sources != 1:
            raise InputError(
                f"{path}: charges has shape {shape}, expected ({n_sources},): "
                "many vectors, one a row, take --charges-batch"
            )
        with file.naming():
            validate.charge_shape(shape, n_sources)
            charges = validate.charges(file.rows("charges"), n_sources)
        return Charges(file.sources(), charges, file.targets())


def read_points(path: str | os.PathLike[str]) -> Points:
    """Read and check the points of an input file, whatever else it holds; as `read`."""
    with InputFile(path) as file:
        return Points(file.sources(), file.targets())


class Batch:
    """An input file with many charge vectors, read one at a time.

    All of it is checked and hashed on entering, so that nothing bad turns up after days; a vector that has
    changed since then is an error.

    sources, targets : as in `Charges`
    n_vectors : int
    digest : hex digest of all that the file holds

    Raises
    ------
    InputError
        As `read`; also ``/charges`` that is not (k, n).
    """

    def __init__(self, path: str | os.PathLike[str], planned: PlannedPoints | None = None) -> None:
        self._file = InputFile(path, planned)

    def __enter__(self) -> Batch:
        try:
            with self._file.naming():
                shape, n_sources = self._file.shape("charges"), self._file.n_sources
                if len(shape) != 2 or shape[1] != n_sources:
                    raise InputError(
                        f"charges has shape {shape}, expected (k, {n_sources}): give one vector a row, "
                        "or leave out --charges-batch"
                    )
            self.n_vectors = shape[0]
            self.sources, self.targets = self._file.sources(), self._file.targets()
            digest = hashlib.sha256(repr((shape, self.targets is None)).encode())
            for points in (self.sources, self.targets):
                if points is not None:
                    digest.update(points.data)
            self._vectors = [hashlib.sha256(self._read(i).data).digest() for i in range(self.n_vectors)]
            digest.update(b"".join(self._vectors))
        except BaseException:
            self._file.close()
            raise
        self.digest = digest.hexdigest()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def vector(self, number: int) -> np.ndarray:
        """Charges of one vector, float64 [n]."""
        found = self._read(number)
        if hashlib.sha256(found.data).digest() != self._vectors[number]:
            raise InputError(f"{self._file.path}: charges row {number} changed while the file was in use")
        return found

    def _read(self, number: int) -> np.ndarray:
        with self._file.naming(f" (vector {number})"):
            rows = self._file.rows("charges", number, number + 1)
            return validate.charges(rows[0], rows.shape[1])


def write_cloud(
    path: str | os.PathLike[str], sources: np.ndarray, charges: np.ndarray, attributes: Mapping[str, Any]
) -> None:
    """Write an input file, whole or not at all."""
    arrays = {"sources": sources, "charges": charges}
    with OutputFile(path, {name: (array.shape, array.dtype) for name, array in arrays.items()}) as output:
        for name, array in arrays.items():
            output.write(name, 0, array)
        output.attributes(attributes)
