"""Tables of text: numbers in columns, which a line before them may name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from taskfmm.files.formats.found import Found
from taskfmm.files.reader import Refused

DELIMITERS = (",", ";", "\t")
"""The first of these that is in a line separates its fields; blanks do where there is none."""


def read(path: str) -> Found:
    """Columns of numbers, by their names.

    Names stand in the first line, or in a comment right before the numbers that has as many words as there are
    columns, as `numpy.savetxt` writes it. Columns of words are left out, by what is in their first row.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = (line for line in file if line.strip())
        names, first = _begin(lines)
        delimiter = _delimiter(first)
        fields = _fields(first, delimiter)
        are_numbers = [_is_number(field) for field in fields]
        if names is None and not all(are_numbers):
            raise Refused(
                f"has numbers and words in its first row, {first.strip()[:80]!r}: give a line of names"
            )
        if names is None and len(fields) > 1 and fields == [str(i) for i in range(len(fields))]:
            raise Refused(
                f"begins with {first.strip()[:80]!r}, which may be names or a point: give names as words"
            )
        if names is not None and len(names) != len(fields):
            raise Refused(f"has {len(names)} names and {len(fields)} columns: give a name for each column")
        dtype = np.dtype([(str(i), "f8" if found else "U1") for i, found in enumerate(are_numbers)])
        how: dict[str, Any] = dict(dtype=dtype, delimiter=delimiter, comments="#", quotechar='"', ndmin=1)
        try:
            table = np.loadtxt(chain([first], lines), **how)
        except ValueError as error:
            what = str(error).split(";")[0]
            raise Refused(f"is no table of numbers: {what} (rows are counted from 0, after names)") from error
    names = [str(i + 1) for i in range(len(fields))] if names is None else names
    kept = {name: table[str(i)] for i, name in enumerate(names) if are_numbers[i]}
    words = [name for name in names if name not in kept]
    return Found(kept, [f"words, not numbers: {', '.join(words)}"] if words else [])


def _begin(lines: Iterator[str]) -> tuple[list[str] | None, str]:
    """The names of the columns, if there are any, and the first line of numbers."""
    comment = ""
    for line in lines:
        if line.lstrip().startswith("#"):
            comment = line.lstrip("# ")
            continue
        fields = _fields(line, _delimiter(line))
        if any(map(_is_number, fields)):
            words = _fields(comment, _delimiter(comment)) if comment.strip() else []
            are_names = len(words) == len(fields) and not any(map(_is_number, words))
            return _checked(words) if are_names else None, line
        first = next((each for each in lines if not each.lstrip().startswith("#")), None)
        if first is None:
            raise Refused("has a line of names and no rows of numbers")
        return _checked(fields), first
    raise Refused("holds no rows of numbers")


def _checked(names: list[str]) -> list[str]:
    """Names that tell columns apart."""
    found = [name or f"column {i + 1}" for i, name in enumerate(names)]
    if len(set(found)) < len(found) or not all(name.isprintable() for name in found):
        raise Refused(f"has names that do not tell columns apart: {', '.join(map(repr, found))}")
    return found


def _delimiter(line: str) -> str | None:
    return next((each for each in DELIMITERS if each in line), None)


def _fields(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [field.strip('"') for field in line.split()]
    return [field.strip() for field in next(csv.reader([line.strip("\r\n")], delimiter=delimiter))]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
