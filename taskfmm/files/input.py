"""HDF5 files of a user, read by a process of its own (`taskfmm.files.reader`), with bounds on its memory and time."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from taskfmm import validate
from taskfmm.errors import InputError
from taskfmm.files import disk

SLAB = 2**26
"""Bytes that travel at once from the process that reads."""

DAMAGED = "cannot be read as HDF5, the file is damaged or of another kind"

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


class InputFile:
    """Speaks with the process that reads one file; ends it when closed.

    kernel : whose sources are looked for; None for points alone
    planned : points that the file need not hold; those that it holds must be the same
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kernel: Kernel | None = None,
        planned: PlannedPoints | None = None,
    ) -> None:
        self.path = path
        self._kernel = kernel
        self._kinds = () if kernel is None else tuple(kernel.sources)
        self._planned = planned
        try:
            self._descriptor = disk.open_regular(path)
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            what = "no such file" if missing else getattr(error, "strerror", None) or str(error)
            raise InputError(f"{path}: {what}: give an HDF5 file") from error
        self._stamp = self._look()
        try:
            self._process = self._start()
        except BaseException:
            os.close(self._descriptor)
            raise
        try:
            self._learn()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> InputFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        os.close(self._descriptor)

    @contextmanager
    def naming(self, where: str = "") -> Iterator[None]:
        """A block whose InputErrors name the file."""
        try:
            yield
        except InputError as error:
            if str(error).startswith(str(self.path)):
                raise
            raise InputError(f"{self.path}{where}: {error}") from error

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a dataset that must be there."""
        if name not in self._found:
            raise InputError(
                f"{self.path}: /{name} is missing; found {self._names}; expected {self._expected}"
            )
        return tuple(self._found[name][0])

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

    def holds(self, name: str) -> bool:
        """Whether there is a dataset of this name."""
        return name in self._found

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

    def rows(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows of a dataset as they are in the file, slab by slab."""
        shape, dtype = self._found[name]
        last = shape[0] if last is None else last
        result = np.empty((last - first, *shape[1:]), np.dtype(dtype))
        step = max(1, SLAB // max(1, math.prod(shape[1:]) * result.itemsize))
        for begin in range(0, len(result), step):
            part = result[begin : begin + step]
            self._fill(part, f"{name} {first + begin} {first + begin + len(part)}\n")
        if self._look() != self._stamp:
            raise InputError(f"{self.path}: changed while it was read: give a file that nothing writes to")
        return result

    def _look(self) -> tuple[int, ...]:
        facts = os.fstat(self._descriptor)
        return facts.st_size, facts.st_mtime_ns, facts.st_ino

    def _start(self) -> subprocess.Popen[bytes]:
        program = Path(__file__).with_name("reader.py")
        kinds = [f"{'complex:' if kind.complex else ''}{kind.given_as}" for kind in self._kinds]
        names = ["sources", *kinds, "targets"]
        plugins = ("HDF5_PLUGIN_PATH", "HDF5_VOL_CONNECTOR", "HDF5_DRIVER")
        environment = {key: value for key, value in os.environ.items() if key not in plugins}
        # No plugin is ever loaded; what can be imported here can be there, but nothing from the directory
        # that this was started in; one thread.
        environment |= {
            "HDF5_PLUGIN_PRELOAD": "::",
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-P", str(program), str(self._descriptor), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._descriptor],
            env=environment,
            start_new_session=True,
        )

    def _learn(self) -> None:
        answer = self._answer()
        self._found: dict[str, tuple[list[int], str]] = answer["found"]
        self._names: str = answer["names"]
        with self.naming():
            for name in ("sources", "targets"):
                if (name == "sources" and self._planned is None) or name in self._found:
                    validate.point_shape(name, self.shape(name))
            wide = {kind.given_as for kind in self._kinds if kind.complex}
            needed = sum(
                (16 if name in wide else 8) * math.prod(shape) for name, (shape, _) in self._found.items()
            )
            if needed > memory():
                raise InputError(
                    f"declares {needed:.1e} bytes of points and sources, this machine has {memory():.1e}: "
                    "give fewer points"
                )

    def _fill(self, part: np.ndarray, request: str) -> None:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._ended()
        if self._answer()["bytes"] != part.nbytes:
            raise InputError(f"{self.path}: {DAMAGED}: it does not hold what it declares")
        into = part.reshape(-1).view(np.uint8).data
        while into:
            got = self._process.stdout.readinto(into)  # type: ignore[attr-defined]
            if not got:
                self._ended()
            into = into[got:]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self._ended()
        answer = json.loads(line)
        if "refused" in answer:
            raise InputError(f"{self.path}: {answer['refused']}")
        if "damaged" in answer:
            raise InputError(
                f"{self.path}: {self._how_to_convert() or DAMAGED + ': ' + answer['damaged'][:200]}"
            )
        return answer

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

    def _ended(self) -> None:
        code = self._process.wait()
        why = "reading it takes too long" if code == -signal.SIGXCPU else f"the HDF5 library ended ({code})"
        raise InputError(f"{self.path}: {DAMAGED}: {why}")


def _shape(of_one: tuple[int, ...]) -> str:
    """Of a dataset, as users read it."""
    return str(("n", *of_one)).replace("'", "")


def memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
