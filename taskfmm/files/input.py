"""Files of points and of the sources of a kernel: what is in them, and what is missing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.files.datasets import COMPLEX, Datasets

READ = {
    ".npy": ("", "numpy.load({path!r})"),
    ".csv": (" without a header", "numpy.loadtxt({path!r}, delimiter=',')"),
    ".txt": (" without a header", "numpy.loadtxt({path!r})"),
}
"""How files of other kinds that are often given, known by their names, are read, and in which form they must be."""


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
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kernel: Kernel | None = None,
        planned: PlannedPoints | None = None,
        complex_too: bool = False,
    ) -> None:
        self._kernel = kernel
        self._kinds = () if kernel is None else tuple(kernel.sources)
        self._planned = planned
        kinds = [f"{COMPLEX if complex_too or kind.complex else ''}{kind.given_as}" for kind in self._kinds]
        super().__init__(path, ["sources", *kinds, "targets"])

    def given(self) -> tuple[Kind, ...]:
        """The kinds of sources that are there, at least one."""
        found = tuple(kind for kind in self._kinds if self.holds(kind.given_as))
        if not found and self._kernel is not None:
            raise InputError(
                f"{self.path}: no source of kernel {self._kernel.name} is there; found {self._names}; "
                f"expected {self._expected}"
            )
        return found

    @property
    def _expected(self) -> str:
        """The datasets that are read."""
        points = "/sources (n, 3)" if self._planned is None else ""
        if self._kernel is None:
            return points
        names = [f"/{kind.given_as} {_shape(kind.of_one)}" for kind in self._kinds]
        some = (
            f"{'at least one of ' if len(names) > 1 else ''}{', '.join(names)} for kernel {self._kernel.name}"
        )
        return f"{points} and {some}" if points else some

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
            for name in ("sources", "targets"):
                if (name == "sources" and self._planned is None) or self.holds(name):
                    validate.point_shape(name, self.shape(name))

    @property
    def n_bytes(self) -> int:
        """Of the points and sources, once they are read."""
        wide = {kind.given_as for kind in self._kinds if kind.complex}
        return sum((16 if name in wide else 8) * math.prod(shape) for name, (shape, _) in self._found.items())

    def refuse_large(self) -> None:
        """Raise InputError where this machine has not the memory to read all of it."""
        if self.n_bytes > memory():
            raise InputError(
                f"{self.path}: declares {self.n_bytes:.1e} bytes of points and sources, this machine has "
                f"{memory():.1e}: give fewer points"
            )

    def _how_to_convert(self) -> str | None:
        """What to do with a file of another kind, as Python that can be run; None where it is none that is known."""
        path = Path(self.path)
        if path.suffix.lower() not in READ:
            return None
        form, table = READ[path.suffix.lower()]
        name, write = "", ""
        if self._kinds:
            first = self._kinds[0]
            rest = "a[:, 3]" if not first.of_one else f"a[:, 3:{3 + math.prod(first.of_one)}]"
            if len(first.of_one) > 1:
                rest += f".reshape(-1, {', '.join(map(str, first.of_one))})"
            name, write = f" and {first.given_as}", f" f['{first.given_as}'] = {rest};"
        return (
            f"is a {path.suffix} file, expected HDF5: convert it; if its columns are x, y, z{name}{form}, by "
            f"import h5py, numpy; a = {table.format(path=str(path))}; "
            f"f = h5py.File({str(path.with_suffix('.h5'))!r}, 'w'); "
            f"f['sources'] = a[:, :3];{write} f.close()"
        )


def _shape(of_one: tuple[int, ...]) -> str:
    """Of a dataset, as users read it."""
    return str(("n", *of_one)).replace("'", "")


def memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
