"""Who a directory of points that never meet belongs to, and directories of those who are gone.

A directory has a lease: a small file that names its process, by the host, the number and the time it was started.
The process touches the file every few minutes. When another plan is made beside it, a directory is removed if its
process was one of this host and has ended, or is one of another host and has not touched the file for a day.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import threading
import time
import uuid
import weakref
from pathlib import Path
from typing import Any

import psutil

from taskfmm.files import disk
from taskfmm.graph.reference import GONE, remove_directory
from taskfmm.runtime.once import say_once

NAME = "lease"

TOUCHED = 300.0
"""Seconds between two signs of life."""

LONGEST = 86_400.0
"""Seconds without one, after which a process of another host counts as gone; by the clock of the file system."""

OURS = re.compile(rf"taskfmm-\d+-[0-9a-f]{{32}}({re.escape(GONE)})?")

_held: weakref.WeakSet[Lease] = weakref.WeakSet()
_alive: list[int] = []
"""The process whose thread touches leases: one that was forked off has none."""


class Lease:
    """A new directory in another, and that it belongs to this process."""

    def __init__(self, parent: Path) -> None:
        self.pid = os.getpid()
        self.path = parent / f"taskfmm-{self.pid}-{uuid.uuid4().hex}"
        self.path.mkdir(parents=True, mode=0o700)
        try:
            disk.write_whole(self.path / NAME, json.dumps(_process(self.pid)).encode())
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        _held.add(self)
        if _alive != [self.pid]:
            _alive[:] = [self.pid]
            threading.Thread(target=_touch, name="taskfmm-leases", daemon=True).start()


def _touch() -> None:
    while True:
        time.sleep(TOUCHED)
        for lease in list(_held):
            if lease.pid == os.getpid():
                with contextlib.suppress(OSError):  # removed, or for a moment out of reach
                    os.utime(lease.path / NAME)


def sweep(beside: Path) -> None:
    """Remove the directories beside one that has just been made whose processes are gone."""
    now, found, size = (beside / NAME).stat().st_mtime, 0, 0
    others = [path for path in beside.parent.iterdir() if path != beside and OURS.fullmatch(path.name)]
    for path in others:
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            if _is_left(path, now):
                size += sum(each.stat().st_size for each in path.iterdir())
                found += 1
                shutil.rmtree(path) if path.name.endswith(GONE) else remove_directory(path)
    if found:
        say_once(
            "removed %d directories of plans in %s, with %.1f MB: their processes have ended without removing them",
            found,
            beside.parent,
            size / 1e6,
        )


def _is_left(path: Path, now: float) -> bool:
    """Whether a directory is this user's, and its process is known to be gone."""
    about = path.lstat()
    if path.is_symlink() or not path.is_dir() or about.st_uid != os.getuid():
        return False
    if path.name.endswith(GONE):
        return True
    try:
        touched = (path / NAME).stat().st_mtime
        owner = json.loads(disk.read_whole(path / NAME, 4096))
        here = owner["host"] == host()
        if here:
            return bool(owner != _process(int(owner["pid"])))
    except (OSError, ValueError, KeyError, TypeError):
        touched = about.st_mtime  # one that is just being made, or removed
    return now - touched > LONGEST


def _process(pid: int) -> dict[str, Any]:
    """What tells a process of this host from all others, also from later ones of the same number."""
    return {"host": host(), "pid": pid, "started": _started(pid)}


def host() -> list[str]:
    """The machine, when it was started, and the container: numbers of processes count within these."""
    found = [platform.node()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        with contextlib.suppress(OSError):
            found.append(read())
    return found


def _started(pid: int) -> float:
    """When a process was started, 0 if there is none: ticks since the machine was, as its clock may be set anew."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        with contextlib.suppress(psutil.Error):
            return float(psutil.Process(pid).create_time())
    return 0.0
