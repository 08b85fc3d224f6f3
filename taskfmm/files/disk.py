"""Small files that are ours or a user's: read only if they are files, written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskfmm.errors import InputError, StorageError

STANDARD = 2
"""The last descriptor of a standard stream. Where these are closed, files that are opened get theirs; but a process
that is started with such a file has a stream of its own in its place."""

UNFINISHED: set[Path] = set()
"""Files and directories that this process is writing under other names than they will have."""


def remove_unfinished() -> None:
    """Before this process is ended in the middle of its work."""
    for path in list(UNFINISHED):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def open_regular(path: str | os.PathLike[str], directory: bool = False) -> int:
    """A descriptor of a file that has a size and an end, or of a directory if that is wanted; never waits.

    Raises
    ------
    OSError
        Nothing there, not permitted, a loop of links; or a directory, pipe, socket or device.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    is_wanted = stat.S_ISDIR if directory else stat.S_ISREG
    if not is_wanted(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file but a directory, pipe or device", str(path))
    if descriptor <= STANDARD:
        opened, descriptor = descriptor, fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, STANDARD + 1)
        os.close(opened)
    return descriptor


def read_whole(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file of at most ``most`` bytes; raises OSError where there is none such."""
    with os.fdopen(open_regular(path), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"holds more than {most} bytes", str(path))
    return content


def refuse_odd(path: Path) -> None:
    """Raise OSError where ``path`` is a directory, pipe, device or loop of links, which no file may replace."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "there is a directory, pipe or device of this name", str(path))


@contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[int]:
    """A descriptor of a new file that takes the place of ``path`` when the block ends well.

    lasting : it is on the disk before it appears, so that a power cut leaves the old file or the new, and may be read
        by whoever may read any new file; else it is for this user alone, and for the time being

    After an exception, also one of the disk, nothing of the new file is left and ``path`` is what it was.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    UNFINISHED.add(temporary)
    try:
        try:
            yield descriptor
            if lasting:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if lasting:
            # mkstemp makes a file for its owner alone; this one gets what any new file would.
            mask = os.umask(0)
            os.umask(mask)
            temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        UNFINISHED.discard(temporary)


def write_all(descriptor: int, content: bytes | memoryview, place: int = 0) -> None:
    """Write every byte of ``content`` from ``place`` on; raises OSError on a full disk."""
    left = memoryview(content).cast("B")
    while left:
        written = os.pwrite(descriptor, left, place)
        left, place = left[written:], place + written


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Put ``content`` at ``path``, whole or not at all; makes the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as descriptor:
        write_all(descriptor, content)


def write_picture(figure: Any, path: str | os.PathLike[str], dpi: float) -> None:
    """Write a figure of Matplotlib, in the format of the name's ending.

    Raises
    ------
    StorageError
        The directory is missing, or nothing can be written there.
    InputError
        A format that Matplotlib does not know.
    """
    try:
        figure.savefig(path, dpi=dpi)
    except OSError as error:
        raise StorageError(f"{path}: the picture cannot be written: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: the picture cannot be written: {error}") from error
