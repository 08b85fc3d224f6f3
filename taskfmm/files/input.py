"""Files of points and of the sources of a kernel: what is in them, and what is missing."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.files import columns
from taskfmm.files.datasets import COMPLEX, Datasets


class Kind(Protocol):
    """What is to be known of a kind of sources, as `taskfmm.kernels.Source` tells it: the name of the dataset, the
    shape of what one source has, and whether complex numbers may be there."""

    @property
    def given_as(self) -> str: ...
    @property
    def of_one(self) -> tuple[int, ...]: ...
    @property
    def complex(self) -> bool: ...


class Kernel(Protocol):
    """What is to be known of a kernel: only datasets of its sources are looked at."""

    @property
    def name(self) -> str: ...
    @property
    def sources(self) -> Sequence[Kind]: ...


PlannedPoints = tuple[np.ndarray, np.ndarray | None]
"""Sources and targets of a plan that is there already; targets None where they are the sources."""


class InputFile(Datasets):
    """A file of points and sources.

    kernel : whose sources are looked for; None for points alone
    planned : points that the file need not hold; those that it holds must be the same
    complex_too : whether sources may be complex where those of the kernel are not
    named : what in the file are ``sources``, ``targets`` or a kind of sources, by this name: an array, or several
        columns; what is not named is found by `taskfmm.files.columns`
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kernel: Kernel | None = None,
        planned: PlannedPoints | None = None,
        complex_too: bool = False,
        named: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._named = {name: [each.lstrip("/") for each in given] for name, given in (named or {}).items()}
        self._kernel = kernel
        self._kinds = () if kernel is None else tuple(kernel.sources)
        self._planned = planned
        shapes = {"sources": (3,), "targets": (3,)} | {kind.given_as: kind.of_one for kind in self._kinds}
        columns.refuse_unknown(path, self._named, shapes)
        self._shapes = shapes
        may = {kind.given_as for kind in self._kinds if complex_too or kind.complex}
        asked = {each: name in may for name in shapes for each in self._named.get(name, [name])}
        super().__init__(path, [f"{COMPLEX if complex_ else ''}{each}" for each, complex_ in asked.items()])

    def holds(self, name: str) -> bool:
        """Whether the file has this, under whatever name."""
        return name in self.origin

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of what must be there."""
        first, *others = self.origin.get(name, (name,))
        return (*super().shape(first), *([1 + len(others)] if others else []))

    def rows(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of an array, or of columns side by side."""
        found = [super(InputFile, self).rows(each, first, last) for each in self.origin[name]]
        return found[0] if len(found) == 1 else np.stack(found, axis=1)

    def given(self) -> tuple[Kind, ...]:
        """The kinds of sources that are there, at least one."""
        found = tuple(kind for kind in self._kinds if self.holds(kind.given_as))
        if not found and self._kernel is not None:
            raise InputError(
                f"{self.path}: no source of kernel {self._kernel.name} is there; found "
                f"{'; '.join([self._names, *self.notes])}; expected {self._expected}"
            )
        return found

    @property
    def kind(self) -> str:
        """What kind of file it is, and what has read it."""
        package = self.format.package if self.format else None
        return f"{self._kind}, read by {package}" if package else self._kind

    @property
    def found(self) -> dict[str, tuple[int, ...]]:
        """Arrays of the file, and their shapes; of HDF5 and Zarr those that are looked for."""
        return {name: tuple(shape) for name, (shape, _) in self._found.items()}

    @property
    def _expected(self) -> str:
        """What is read, and how to say that it has other names."""
        wanted = ["/sources (n, 3)"] if self._planned is None else []
        if self._kernel is not None:
            names = [f"/{kind.given_as} {_shape(kind.of_one)}" for kind in self._kinds]
            some = f"{'at least one of ' if len(names) > 1 else ''}{', '.join(names)}"
            wanted.append(f"{some} for kernel {self._kernel.name}")
        return f"{' and '.join(wanted)}; taskfmm convert --column takes other names"

    @property
    def n_sources(self) -> int:
        """That the charges belong to."""
        return self.shape("sources")[0] if self._planned is None else len(self._planned[0])

    def sources(self) -> np.ndarray:
        """Those of the file, or of the plan."""
        return (
            self.points("sources") if self._planned is None else self._as_planned("sources", self._planned[0])
        )

    def targets(self) -> np.ndarray | None:
        """Those of the file, if there are any, or of the plan."""
        if self._planned is None:
            return self.points("targets") if self.holds("targets") else None
        sources, targets = self._planned
        self._as_planned("targets", sources if targets is None else targets)
        return targets

    def _as_planned(self, name: str, points: np.ndarray) -> np.ndarray:
        if self.holds(name) and not np.array_equal(self.points(name), points):
            raise InputError(
                f"{self.path}: /{name} are not those of the plan: plan again, or leave out /{name}"
            )
        return points

    def points(self, name: str) -> np.ndarray:
        """A whole dataset of points, checked."""
        with self.naming():
            return validate.points(name, self.rows(name))

    def _learn(self) -> None:
        super()._learn()
        with self.naming():
            self.origin = columns.origin(self.found, self._shapes, self._named, self.format is not None)
            self._refuse_columns()
            for name in ("sources", "targets"):
                if (name == "sources" and self._planned is None) or self.holds(name):
                    validate.point_shape(name, self.shape(name))

    def _refuse_columns(self) -> None:
        """Raise InputError for columns of words, and for columns of one dataset that differ in length."""
        for name, given in self.origin.items():
            for each in given:
                if self.dtype(each).kind == "U":
                    raise InputError(
                        f"{name} is from column {each}, which has a word or nothing in its first row: give a number "
                        "in every row, or say by --column which other one is meant"
                    )
            lengths = [math.prod(self.found[each][:1]) for each in given]  # a single number has no shape
            if len(set(lengths)) > 1:
                told = ", ".join(f"{each} ({n})" for each, n in zip(given, lengths, strict=True))
                raise InputError(
                    f"{name} is from arrays of several lengths, {told}: give one number for each point"
                )

    @property
    def n_bytes(self) -> int:
        """Of the points and sources, once they are read."""
        wide = {kind.given_as for kind in self._kinds if kind.complex}
        return sum((16 if name in wide else 8) * math.prod(self.shape(name)) for name in self.origin)

    def refuse_large(self) -> None:
        """Raise InputError where this machine has not the memory to read all of it."""
        if self.n_bytes > memory():
            raise InputError(
                f"{self.path}: declares {self.n_bytes:.1e} bytes of points and sources, this machine has "
                f"{memory():.1e}: give fewer points"
            )


def _shape(of_one: tuple[int, ...]) -> str:
    """Of a dataset, as users read it."""
    return str(("n", *of_one)).replace("'", "")


def memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
