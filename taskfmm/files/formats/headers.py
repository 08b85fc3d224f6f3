"""What the header of a mesh declares, beside what follows it: the libraries that read it are content with less."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from taskfmm.files.serving import Refused

LONGEST = 2**16
"""Bytes in which a header is looked for."""

OFF = re.compile(rb"OFF\s+(?:#[^\n]*\n\s*)*(\d+)[ \t]+(\d+)[^\n]*\n")
PLY = re.compile(rb"ply\s.*?\nend_header[^\n]*\n", re.DOTALL)
ELEMENT = re.compile(rb"^element[ \t]+(\w+)[ \t]+(\d+)", re.MULTILINE)
TEXT = re.compile(rb"^format[ \t]+ascii", re.MULTILINE)


class Header(NamedTuple):
    """Of an OFF or PLY file.

    points, faces : how many it declares
    lines : how many have to follow it, one for each point, face and other element; None where no text follows
    size : of the header, in bytes
    """

    points: int
    faces: int
    lines: int | None
    size: int


def header(path: str | os.PathLike[str]) -> Header | None:
    """The header of a file; None where it has another format, or a header that is not known."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".off", ".ply"):
        return None
    with open(path, "rb") as file:
        begin = file.read(LONGEST)
    if suffix == ".off":
        found = OFF.match(begin)
        counts = (int(found[1]), int(found[2])) if found else (0, 0)
        return Header(*counts, sum(counts), found.end()) if found else None
    found = PLY.match(begin)
    if not found:
        return None
    elements = {name: int(n) for name, n in ELEMENT.findall(found[0])}
    lines = sum(elements.values()) if TEXT.search(found[0]) else None
    return Header(elements.get(b"vertex", 0), elements.get(b"face", 0), lines, found.end())


def faces(path: str | os.PathLike[str]) -> int | None:
    """How many faces a file has by its header, or by its lines if it is OBJ; None where neither tells."""
    if Path(path).suffix.lower() == ".obj":
        with open(path, "rb") as file:
            return sum(line.split(maxsplit=1)[:1] == [b"f"] for line in file)
    declared = header(path)
    return declared.faces if declared else None


def refuse_damaged(path: str | os.PathLike[str]) -> None:
    """Raise Refused where a text has more or fewer rows than its header declares, or no end, as STL has."""
    declared = header(path)
    if declared is not None and declared.lines is not None:
        _refuse(f"{declared.lines} rows of points and faces", _lines(path, declared.size), declared.lines)
    if Path(path).suffix.lower() == ".stl" and _is_text(path):
        with open(path, "rb") as file:
            file.seek(-min(LONGEST, os.path.getsize(path)), os.SEEK_END)
            if b"endsolid" not in file.read().lower():
                raise Refused("has no endsolid: it was cut short, write it again")


def refuse_fewer(path: str | os.PathLike[str], what: Literal["points", "faces"], n: int) -> None:
    """Raise Refused where fewer were read than the header declares; one face may have become several triangles."""
    declared = header(path)
    if declared is not None and n < (wanted := getattr(declared, what)):
        _refuse(f"{wanted} {what}", n, wanted)


def _refuse(declared: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise Refused(
            f"declares {declared} in its header and has {found}: it was cut short or changed, write it again"
        )


def _lines(path: str | os.PathLike[str], begin: int) -> int:
    """How many lines that are not empty and no comments follow the header."""
    with open(path, "rb") as file:
        file.seek(begin)
        return sum(1 for line in file if (text := line.strip()) and not text.startswith(b"#"))


def _is_text(path: str | os.PathLike[str]) -> bool:
    """Of an STL file: binary ones may begin with the same word, and have zeros in the number of their triangles."""
    with open(path, "rb") as file:
        begin = file.read(84)
    return begin.startswith(b"solid") and b"\0" not in begin
