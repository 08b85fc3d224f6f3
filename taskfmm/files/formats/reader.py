"""A process of its own that reads one file of another program; `files/datasets.py` runs it like `files/reader.py`.

The libraries that read are many, and some run for long or inflate what they read. All of that happens to this process
alone, which has bounds on its memory and time and writes no files.

``reader.py FD PATH NAME...`` answers as `taskfmm.files.serving` says, of all arrays that are in the file. Names are
of those that are looked for.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from taskfmm.files import serving
from taskfmm.files.formats import table
from taskfmm.files.formats.found import Found
from taskfmm.files.serving import Refused

SECONDS, SLOWEST = 60, 2e5
"""Of processor time to load a library, and bytes of text a second that the slowest ones read."""

ROOM, TIMES = 2**31, 60
"""Bytes of memory for a library, and for each byte of the file."""


def main(descriptor: int, path: str, asked: list[str]) -> None:
    """Read a file that is open already under this descriptor."""
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries may print
    sys.stdout = os.fdopen(answers, "w")

    def find() -> tuple[dict[str, Any], str, int, list[str]]:
        facts = os.fstat(descriptor)
        serving.limit_time(SECONDS + facts.st_size / SLOWEST)
        serving.limit_memory(ROOM + TIMES * facts.st_size)
        found = read(path)
        if not os.path.samestat(os.stat(path), facts):
            raise Refused("changed while it was read: give a file that nothing writes to")
        if found.doubt and not any(name.removeprefix(serving.COMPLEX) in found.arrays for name in asked):
            raise Refused(found.doubt)
        if not all(name.isprintable() for name in found.arrays):
            raise Refused("has arrays with names that cannot be printed")
        names = ", ".join(list(found.arrays)[:20]) + (", ..." if len(found.arrays) > 20 else "") or "nothing"
        return found.arrays, names, ROOM // 3, found.notes

    serving.serve(find)


def read(path: str) -> Found:
    """What a file holds; raises Refused where its library is missing, too."""
    known = table.of(path)
    if known is None:
        raise Refused("is of no kind that is known")
    try:
        return import_module(f"taskfmm.files.formats.{known.module}").read(path)
    except ImportError as error:
        raise Refused(
            f"is read by {known.package}, and {error.name} is missing: pip install 'taskfmm[formats]' (from a clone: "
            "pip install '.[formats]')"
        ) from error


if __name__ == "__main__":
    serving.confine()
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
