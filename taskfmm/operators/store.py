"""Operators kept on disk: a cache of HDF5 files, one for each kernel, accuracy and size of boxes.

HDF5 trusts what it reads and can crash on a full disk or a damaged file. So a file is made in memory, gets a digest
of all its bytes in front (in what HDF5 calls the user block, which other programs skip), and is moved to its place
whole; a file reaches HDF5 only once its digest has been found right. Whatever else is there is built again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from io import BytesIO
from pathlib import Path

import h5py

from taskfmm.files import disk
from taskfmm.files.cache import directory
from taskfmm.kernels import Kernel, fingerprint
from taskfmm.operators.accuracy import Accuracy
from taskfmm.operators.box import BoxOperators, to_child
from taskfmm.operators.mixed import of_arrays
from taskfmm.version import __version__

logger = logging.getLogger("taskfmm")

FORMAT = 5
"""Of the files; raised whenever operators of the same name would hold other numbers."""

FRONT = 512
"""Bytes before the HDF5 file, the fewest it allows; they hold the digest."""

LARGEST = 2**30
"""Bytes; no set of operators comes near."""

MOST = 2**32
"""Bytes of all files together: kernels with parameters have a set for each value of them, order and size of boxes."""

_said: set[str] = set()


def kept(
    kernel: Kernel, accuracy: Accuracy, half_width: float, build: Callable[[], BoxOperators]
) -> BoxOperators:
    """Operators from the cache; where it has none, those that ``build`` makes, which it then keeps.

    Trouble with the cache costs time, never a number: it is one warning in each process for each kind of trouble.
    """
    problem, kind = "", ""
    try:
        return load(kernel, accuracy, half_width)
    except FileNotFoundError:
        pass
    except OSError as error:
        problem = f"cached operators are unusable and are built again: {error}"
        kind = problem
    operators = build()
    try:
        save(kernel, operators)
    except OSError as error:
        problem = f"operators cannot be kept, every process builds them: {error}"
        kind = error.strerror or problem  # whichever file it was
    if problem and kind not in _said:
        _said.add(kind)
        logger.warning("%s", problem)
    return operators


def path(kernel: Kernel, accuracy: Accuracy, half_width: float = 1.0) -> Path:
    """The file of one set of operators; raises OSError where there is no place for a cache."""
    digest = hashlib.sha256(_identity(kernel, accuracy, half_width).encode()).hexdigest()[:16]
    return directory() / f"{kernel.name}-{accuracy.order}-{digest}.h5"


def is_kept(kernel: Kernel, accuracy: Accuracy, half_width: float = 1.0) -> bool:
    """Whether there is a file of these operators; it may turn out to be unusable."""
    try:
        return path(kernel, accuracy, half_width).exists()
    except OSError:
        return False


def save(kernel: Kernel, operators: BoxOperators) -> None:
    """Write operators into the cache; raises OSError where that cannot be done."""
    image = BytesIO()
    with h5py.File(image, "w", userblock_size=FRONT) as file:
        for name in _NAMES:
            file.create_dataset(name, data=getattr(operators, name))
        for name, array in operators.m2l.arrays().items():
            file.create_dataset(f"m2l/{name}", data=array)
        file.attrs["identity"] = _identity(kernel, operators.accuracy, operators.half_width)
    with image.getbuffer() as content:
        content[:FRONT] = _front(content[FRONT:])
        _make_room(len(content))
        disk.write_whole(path(kernel, operators.accuracy, operators.half_width), content)


def _make_room(size: int) -> None:
    """Remove files that were not used for longest, until so many bytes more are within `MOST`."""
    with suppress(OSError):  # another process may be doing the same
        facts = [(file.stat(), file) for file in directory().glob("*.h5")]
        total = size + sum(fact.st_size for fact, _ in facts)
        for fact, file in sorted(facts, key=lambda each: each[0].st_mtime):
            if total <= MOST:
                break
            file.unlink()
            total -= fact.st_size


def load(kernel: Kernel, accuracy: Accuracy, half_width: float = 1.0) -> BoxOperators:
    """Operators from the cache.

    Raises
    ------
    FileNotFoundError
        They were not kept yet.
    OSError
        They are not there whole and unchanged.
    """
    source = path(kernel, accuracy, half_width)
    content = disk.read_whole(source, LARGEST)
    with memoryview(content) as view:
        if view[:FRONT] != _front(view[FRONT:]):
            raise OSError(f"{source}: cut short, or changed since it was written")
    try:
        with h5py.File(BytesIO(content), "r") as file:  # which shares bytes, and would copy a view of them
            if file.attrs["identity"] != _identity(kernel, accuracy, half_width):
                raise OSError("of another kernel, accuracy or version")
            found = {name: file[name][:] for name in _NAMES}
            m2l = of_arrays({name: array[:] for name, array in file["m2l"].items()})
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise OSError(f"{source}: {error}") from error
    with suppress(OSError):
        os.utime(source)  # used now
    return BoxOperators(accuracy, half_width, to_child(kernel), m2l=m2l, **found)


def _identity(kernel: Kernel, accuracy: Accuracy, half_width: float) -> str:
    return repr((FORMAT, __version__, kernel, fingerprint(kernel), accuracy, half_width))


def _front(content: memoryview) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"taskfmm operators; sha256 of what follows this block: {digest}\n".encode().ljust(FRONT, b"\0")


_NAMES = [f.name for f in fields(BoxOperators) if f.name not in ("accuracy", "half_width", "to_child", "m2l")]
