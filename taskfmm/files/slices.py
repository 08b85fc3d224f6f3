"""Datasets that are read by slices: what a task needs to read its own rows, and no others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files.datasets import COMPLEX, Datasets


@dataclass(frozen=True)
class Slices:
    """A dataset of a file, as an array whose rows are read when they are asked for.

    Each slice is read by a process of its own that checks the file again, see `taskfmm.files.datasets`; that takes
    about a third of a second.

    stamp : of the file as it was; another file of this name is refused
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    stamp: tuple[int, ...]

    @classmethod
    def of(cls, file: Datasets, name: str) -> Slices:
        """Of a file that is open; raises InputError where nothing of this name is there, or nothing with rows."""
        shape = file.shape(name)
        if not shape:
            raise InputError(f"{file.path}: /{name} is a single number, expected an array with rows")
        return cls(Path(file.path).absolute(), name, shape, file.dtype(name), file.stamp)

    @classmethod
    def at(cls, path: str | os.PathLike[str], name: str) -> Slices:
        """Of a file that is opened, and closed again."""
        plain = _plain(path, name)
        with Datasets(path, [COMPLEX + plain]) as file:
            return cls.of(file, plain)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read the rows that an index asks for, a slice or a number, and index them further, if it has more."""
        first, *rest = index if isinstance(index, tuple) else (index,)
        picked = range(self.shape[0])[first]
        if isinstance(picked, int):
            return self._rows(picked, picked + 1)[(0, *rest)]
        if not picked:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        found = self._rows(min(picked[0], picked[-1]), max(picked[0], picked[-1]) + 1)
        return found[(slice(None, None, picked.step), *rest)]

    def _rows(self, first: int, last: int) -> np.ndarray:
        try:
            with Datasets(self.path, [COMPLEX + self.name]) as file:
                file.refuse_changed(self.stamp)
                return file.rows(self.name, first, last)
        except InputError as error:
            raise InputError(f"{error} (reading rows {first} to {last - 1} of /{self.name})") from error


def _plain(path: str | os.PathLike[str], name: str) -> str:
    """The name of a dataset, without a slash before it, that can be asked for."""
    plain = name.strip("/")
    if not plain or not plain.isprintable() or plain.startswith(COMPLEX):
        raise InputError(f"{path}: {name!r} is no name of a dataset: give one as 'sources' or 'run/points'")
    return plain
