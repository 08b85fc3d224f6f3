"""What the processes that read files of users have in common: how they answer, and the bounds on what they take.

Such a process answers in lines of JSON: first what the named datasets are, then, for each line ``NAME FIRST LAST``
that it is sent, the number of bytes of those rows, and the bytes. A dataset that is named as ``complex:NAME`` may
hold complex numbers. Nothing is imported here that takes time.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

LARGEST_CHUNK = 2**30
"""A chunk is read whole, whatever part of it is wanted."""

COMPLEX = "complex:"

SECONDS = 8
"""Of processor time to find out what is in the file; reading it gets more, by its size."""

SLOWEST = 5e6
"""Bytes a second; inflating takes a tenth of that time."""

ROOM = 2**29
"""Bytes of memory for the library besides the chunks."""


class Refused(Exception):
    """The file holds something that is not read; the text says what."""


def of_names(
    names: list[str], look: Callable[[str, bool], Any], others: Iterable[str] = ()
) -> dict[str, Any]:
    """The datasets of some names that are there.

    look : gives one, by name and whether it may be complex, or None
    others : all names that there are; raises Refused where one differs from a name that is missing in its case alone
    """
    plain = [name.removeprefix(COMPLEX) for name in names]
    found = {name: look(name, name != given) for name, given in zip(plain, names, strict=True)}
    missing = {name.lower(): name for name, data in found.items() if data is None}
    alike = next((each for each in others if each.lower() in missing and each not in found), None)
    if alike is not None:
        name = missing[alike.lower()]
        raise Refused(
            f"has /{alike} and no /{name}: rename it, or say what it is, as --column {name}={alike}"
        )
    return {name: data for name, data in found.items() if data is not None}


def serve(find: Callable[[], tuple[dict[str, Any], str, int, list[str]]]) -> None:
    """Describe the datasets, then send what is asked for until the input ends.

    find : gives those that are there, what else there is, as text, the bytes of the largest chunk, and what is to be
        said of the file
    """
    answers = sys.stdout.buffer
    try:
        there, names, largest, notes = find()
        limit_time(SECONDS + sum(data.nbytes for data in there.values()) / SLOWEST)
        limit_memory(ROOM + 3 * largest)
        facts = {name: (data.shape, data.dtype.str) for name, data in there.items()}
        say(answers, found=facts, names=names, notes=notes)
        for line in sys.stdin:
            name, first, last = line.rsplit(maxsplit=2)
            rows = there[name][int(first) : int(last)]
            say(answers, bytes=rows.nbytes)
            answers.write(rows.data if rows.flags.c_contiguous else rows.tobytes())
            answers.flush()
    except Refused as error:
        say(answers, refused=str(error))
    except Exception as error:
        say(answers, damaged=f"{type(error).__name__}: {error}")


def say(answers: Any, **facts: Any) -> None:
    """One line of JSON."""
    answers.write(json.dumps(facts).encode() + b"\n")
    answers.flush()


def limit_time(seconds: float) -> None:
    """Have the system end this process after so much more work."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def limit_memory(extra: int) -> None:
    """Have allocations fail beyond so much more than is in use, where the system tells how much that is."""
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def confine() -> None:
    """Before anything is read: this process writes nothing, and ends when its time is over."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(nothing, (0, 0))
