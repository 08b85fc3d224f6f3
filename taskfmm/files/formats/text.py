"""Tables of text: numbers in columns, which a line before them may name."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from taskfmm.files.formats.found import Found
from taskfmm.files.serving import Refused

DELIMITERS = (",", ";", "\t")
"""The first of these that is in a line separates its fields; blanks do where there is none."""

OF_COLUMNS = {"x", "y", "z", "q", "charge", "charges", "mass", "masses"}
"""Words by which a comment may tell what the columns are."""


def read(path: str) -> Found:
    """Columns of numbers, by their names.

    Names stand in the first line, or in a comment before the numbers that has as many words as there are columns, as
    `numpy.savetxt` writes it. Where another comment seems to tell them, columns are not taken by their places.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        comments: list[str] = []
        lines = _without_comments(file, comments)
        names, first = _begin(lines, comments)
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
    doubt = _doubt(comments) if names is None else ""
    names = [str(i + 1) for i in range(len(fields))] if names is None else names
    words = [name for name, found in zip(names, are_numbers, strict=True) if not found]
    notes = [f"words, not numbers: {', '.join(words)}"] if words else []
    rows = [each for each in comments if _are_numbers(_fields(each, _delimiter(each)), len(fields))]
    if rows:
        notes.append(f"comments that seem to be rows are not read: {len(rows)}, as {rows[0][:80]!r}")
    return Found({name: table[str(i)] for i, name in enumerate(names)}, notes, doubt)


def _doubt(comments: list[str]) -> str:
    """Of columns without names: which comment seems to tell them."""
    seems = next((comment for comment in comments if _known(comment)), None)
    if seems is None:
        return ""
    return (
        f"has columns without names, and a comment that seems to tell them, {seems[:80]!r}: give a first line of "
        "names without #, or say which columns are which, as --column sources=1,2,3"
    )


def _without_comments(lines: Iterable[str], comments: list[str]) -> Iterator[str]:
    """The lines that are not empty and no comments; these are added to the list."""
    try:
        for line in lines:
            if line.lstrip().startswith("#"):
                comments += [comment] if (comment := line.strip("# \t\r\n")) else []
            elif line.strip():
                yield line
    except UnicodeDecodeError as error:
        raise Refused("is no text in UTF-8: save it as UTF-8") from error


def _begin(lines: Iterator[str], comments: list[str]) -> tuple[list[str] | None, str]:
    """The names of the columns, if there are any, and the first line of numbers."""
    first = next(lines, None)
    if first is None:
        raise Refused("holds no rows of numbers")
    fields = _fields(first, _delimiter(first))
    if any(map(_is_number, fields)):
        return _of_comments(comments, len(fields)), first
    names, first = fields, next(lines, None)
    if first is None:
        raise Refused("has a line of names and no rows of numbers")
    return _checked(names), first


def _of_comments(comments: list[str], n_columns: int) -> list[str] | None:
    """Names of columns, in the comment that knows most of them, the last of such; or in the last one of all."""
    split = [_fields(comment, _delimiter(comment)) for comment in comments]
    fit = [words for words in split if len(words) == n_columns and not any(map(_is_number, words))]
    best = max(reversed(fit), key=lambda words: _known(" ".join(words)), default=None)
    if best is None or (best is not split[-1] and not _known(" ".join(best))):
        return None
    return _checked(best)


def _known(comment: str) -> int:
    """How many of `OF_COLUMNS` are in a comment."""
    return len(OF_COLUMNS.intersection(re.split("[^a-z]+", comment.lower())))


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


def _are_numbers(fields: list[str], n_columns: int) -> bool:
    return len(fields) == n_columns and all(map(_is_number, fields))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
