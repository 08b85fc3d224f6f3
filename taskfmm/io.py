"""Charges from HDF5 files and potentials into them.

Input: ``/sources`` (n, 3), ``/charges`` (n,) and optionally ``/targets`` (m, 3), plain numeric datasets that
live in the file itself. Output: ``/potential`` (m,) and, when asked for, ``/gradient`` (m, 3), in the order
of the targets, with the settings as attributes of the file and ``complete`` written last.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError


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


def read(path: str | os.PathLike[str]) -> Charges:
    """Read and check an input file; the errors name the file, the dataset and what was found.

    Raises
    ------
    InputError
        Not an HDF5 file, a missing dataset, a wrong shape or dtype, a value that is not finite, or data that
        lives outside the file.
    """
    try:
        with _open(path) as file:
            sources = _dataset(file, "sources")
            validate.point_shape("sources", sources.shape)
            charges = _dataset(file, "charges")
            validate.charge_shape(charges.shape, sources.shape[0])
            targets = _dataset(file, "targets") if "targets" in file else None
            if targets is not None:
                validate.point_shape("targets", targets.shape)
            return Charges(
                validate.points("sources", sources[()]),
                validate.charges(charges[()], sources.shape[0]),
                None if targets is None else validate.points("targets", targets[()]),
            )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        # h5py reports a block whose checksum is wrong, or that is missing, only when it is read.
        raise InputError(f"{path}: cannot be read, the file is damaged or cut short: {error}") from error


def write_cloud(
    path: str | os.PathLike[str], sources: np.ndarray, charges: np.ndarray, attributes: Mapping[str, Any]
) -> None:
    """Write an input file, whole or not at all."""
    with OutputFile(path) as output:
        output.write("sources", sources)
        output.write("charges", charges)
        output.attributes(attributes)


def check_output(path: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> None:
    """Refuse, before anything is computed, an output that could not be written or is the input ``source``."""
    target = Path(path)
    if source is not None and target.exists() and Path(source).exists() and target.samefile(source):
        raise InputError(f"{path}: is the input file: give another output file")
    if target.is_dir():
        raise InputError(f"{path}: is a directory: give a file name")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _unwritable(target, error) from error


class OutputFile:
    """An HDF5 file that appears under its name only once it is whole.

    The file is laid out in memory: HDF5 crashes the process when a disk fills up under it. Leaving the
    ``with`` block normally marks it ``complete``, writes a temporary file in the same directory, flushes that
    to the disk and moves it to ``path`` in one step. After an exception the temporary is removed, and what
    stood at ``path`` before is untouched.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._image = BytesIO()
        self._file: Any = None

    def __enter__(self) -> OutputFile:
        check_output(self.path)
        self._file = h5py.File(self._image, "w")
        return self

    def write(self, name: str, array: np.ndarray) -> None:
        """Write one dataset, in chunks with checksums; an empty one holds nothing to protect."""
        checked = {"fletcher32": True} if array.size else {}
        self._file.create_dataset(name, data=array, **checked)

    def attributes(self, values: Mapping[str, Any]) -> None:
        """Record settings on the file itself."""
        self._file.attrs.update(values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.attrs["complete"] = True
        self._file.close()
        if kind is None:
            try:
                _replace(self.path, self._image.getbuffer())
            except OSError as failed:
                raise _unwritable(self.path, failed) from failed


def _replace(path: Path, content: memoryview) -> None:
    """Put ``content`` at ``path``, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes a file for its owner alone; an output gets what any new file would.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _open(path: str | os.PathLike[str]) -> Any:
    if not Path(path).is_file():
        raise InputError("no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"cannot be opened as HDF5: {error}") from error


def _dataset(file: Any, name: str) -> Any:
    """A numeric dataset stored in this very file."""
    link = file.get(name, getlink=True)
    if link is None:
        there = ", ".join(f"/{key}" for key in file) or "nothing"
        raise InputError(f"/{name} is missing; found {there}; expected /sources (n, 3) and /charges (n,)")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"/{name} is a link to data elsewhere, which is not followed: copy the data in")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"/{name} is a group, expected a dataset")
    if found.external or found.is_virtual:
        raise InputError(f"/{name} is stored in other files, which are not read: copy the data in")
    if found.shape is None:
        raise InputError(f"/{name} holds nothing, expected an array")
    validate.real_dtype(f"/{name}", found.dtype)
    return found


def _unwritable(target: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"{target}: cannot be written, nothing was changed; {target.parent}: {reason}")
