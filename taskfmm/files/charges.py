"""Points and sources of a kernel from files of HDF5 or Zarr.

Input: ``/sources`` (n, 3), optionally ``/targets`` (m, 3), and a dataset for each kind of source that is given, with
the name of its argument, as ``/charges`` (n,) and ``/dipoles`` (n, 3); plain numeric datasets that live in the file
itself. In a batch, the first kind has k vectors, one a row, as ``/charges`` (k, n), and no other kind is there.
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
from taskfmm.files.input import InputFile, Kernel, Kind, PlannedPoints
from taskfmm.files.results import result


@dataclass(frozen=True, slots=True)
class Input:
    """What an input file holds.

    sources : float64 [n, 3]
    given : for each kind of source that is there, by the name of its argument, float64 or complex128 [n, *of_one]
    targets : float64 [m, 3], or None where the targets are the sources
    """

    sources: np.ndarray
    given: dict[str, np.ndarray]
    targets: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Points:
    """The points alone, as in `Input`."""

    sources: np.ndarray
    targets: np.ndarray | None


def read(path: str | os.PathLike[str], kernel: Kernel, planned: PlannedPoints | None = None) -> Input:
    """Read and check an input file, HDF5 or Zarr; the errors name the file, the dataset and what was found.

    kernel : whose sources are read, all kinds that are there and at least one
    planned : points that the file need not hold; those that it holds must be the same

    Raises
    ------
    InputError
        Neither HDF5 nor Zarr, a missing dataset, a wrong shape or dtype, a value that is not finite, data that
        lives outside the file or that is declared but not there, more than this machine's memory, a file that
        crashes the HDF5 library, or one that changes while it is read.

    Notes
    -----
    The file is read in a process of its own (`taskfmm.files.datasets`), with bounds on its memory and time.
    """
    with InputFile(path, kernel, planned) as file:
        return read_open(file, kernel)


def read_open(file: InputFile, kernel: Kernel) -> Input:
    """As `read`, of a file that is open already, for this kernel."""
    file.refuse_large()
    kinds, n_sources = file.given(), file.n_sources
    for kind in kinds:
        name, shape = kind.given_as, file.shape(kind.given_as)
        many = kind is kernel.sources[0] and not kind.of_one and len(shape) == 2
        if many and shape[1] == n_sources and shape[0] != 1 and n_sources != 1:
            raise InputError(
                f"{file.path}: {name} has shape {shape}, expected ({n_sources},): "
                "many vectors, one a row, take --charges-batch"
            )
        with file.naming():
            validate.charge_shape(shape, n_sources, of_one=kind.of_one, name=name)
    with file.naming():
        given = {kind.given_as: numbers(kind, file.rows(kind.given_as), n_sources) for kind in kinds}
    return Input(file.sources(), given, file.targets())


def numbers(kind: Kind, rows: np.ndarray, n_sources: int) -> np.ndarray:
    """Those of one kind of source, checked."""
    dtype = np.complex128 if kind.complex else np.float64
    return validate.charges(rows, n_sources, dtype, kind.of_one, kind.given_as)


def read_points(path: str | os.PathLike[str]) -> Points:
    """Read and check the points of an input file, whatever else it holds; as `read`."""
    with InputFile(path) as file:
        file.refuse_large()
        return Points(file.sources(), file.targets())


class Batch:
    """An input file with many vectors of charges, the kernel's first kind of source, read one at a time.

    All of it is checked and hashed on entering, so that nothing bad turns up after days; a vector that has
    changed since then is an error.

    kernel : whose first kind is a single number for each source
    sources, targets : as in `Input`
    n_vectors : int
    digest : hex digest of all that the file holds

    Raises
    ------
    InputError
        As `read`; also ``/charges`` that is not (k, n), and another kind of source beside it.
    """

    def __init__(
        self, path: str | os.PathLike[str], kernel: Kernel, planned: PlannedPoints | None = None
    ) -> None:
        self._file = InputFile(path, kernel, planned)
        self._kind = kernel.sources[0]

    def __enter__(self) -> Batch:
        try:
            self._file.refuse_large()
            with self._file.naming():
                name = self._kind.given_as
                others = [kind.given_as for kind in self._file.given() if kind is not self._kind]
                if others:
                    raise InputError(
                        f"/{others[0]} is there, and --charges-batch takes /{name} alone: leave out one of both"
                    )
                shape, n_sources = self._file.shape(name), self._file.n_sources
                if len(shape) != 2 or shape[1] != n_sources:
                    raise InputError(
                        f"{name} has shape {shape}, expected (k, {n_sources}): give one vector a row, "
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
        """Charges of one vector, float64 or complex128 [n]."""
        found = self._read(number)
        if hashlib.sha256(found.data).digest() != self._vectors[number]:
            raise InputError(
                f"{self._file.path}: {self._kind.given_as} row {number} changed while the file was in use"
            )
        return found

    def _read(self, number: int) -> np.ndarray:
        with self._file.naming(f" (vector {number})"):
            rows = self._file.rows(self._kind.given_as, number, number + 1)
            return numbers(self._kind, rows[0], rows.shape[1])


def write_cloud(
    path: str | os.PathLike[str],
    sources: np.ndarray,
    charges: np.ndarray,
    attributes: Mapping[str, Any],
    name: str = "charges",
) -> None:
    """Write an input file, whole or not at all; name : of the dataset of the charges."""
    write(path, {"sources": sources, name: charges}, attributes)


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
) -> None:
    """Write an input file of these datasets, HDF5 or Zarr, whole or not at all."""
    with result(path, {name: (array.shape, array.dtype) for name, array in arrays.items()}) as output:
        for name, array in arrays.items():
            output.write(name, 0, array)
        output.attributes(attributes)
