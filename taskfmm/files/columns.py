"""Which arrays of a file are its points, and which their charges: by what a caller says, or else by their names.

Nothing is taken by its place where there are names; what could be two things is an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from taskfmm.errors import InputError

Origin = dict[str, tuple[str, ...]]
"""For each dataset of taskfmm the name of an array of the file, or those of the columns that it consists of."""

OTHER_NAMES = {
    "sources": ("points", "positions", "coordinates", ""),
    "charges": ("q",),
    "masses": ("mass", "m"),
}
"""Besides its own name, all with or without the s of a plural. The empty name is that of columns x, y, z."""

ENDS = (("_x", "_y", "_z"), ("x", "y", "z"), (":0", ":1", ":2"), ("_0", "_1", "_2"))
"""Of the names of three columns; the third are those of ParaView."""


def refuse_unknown(
    path: str | os.PathLike[str], named: Mapping[str, Sequence[str]], known: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise InputError for what is said of a dataset that is none."""
    for name in named:
        if name not in known:
            raise InputError(
                f"{path}: {name} is named, and what is read is {', '.join(known)}: give one of these"
            )


def origin(
    found: Mapping[str, tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    named: Mapping[str, Sequence[str]],
    by_other_names: bool,
) -> Origin:
    """Where each dataset comes from, of those that are there.

    found : the arrays of a file, and their shapes
    shapes : of one row of each dataset: first of sources and targets, then of kinds of sources
    named : what a caller says
    by_other_names : whether arrays may have other names than datasets, as in files of other programs

    Raises
    ------
    InputError
        A name that is not there; two arrays that could be one dataset; one or two of the three columns of a vector;
        more or fewer columns without names than are wanted.
    """
    result: Origin = {}
    for name, said in named.items():
        given = tuple(_spelled(name, each, found) for each in said)
        for each in given:
            if len(given) > 1 and len(found[each]) != 1:
                raise InputError(f"{name} is to be several columns, and {each} has shape {found[each]}")
        result[name] = given
    if by_other_names and found and all(name.isdigit() for name in found):
        return result or _by_places(found, shapes)
    for name, of_one in shapes.items():
        if name in result:
            continue
        same: list[tuple[str, ...]] = [(name,)] if name in found else []
        candidates = _candidates(name, of_one, found) if by_other_names else same
        if len(candidates) > 1:
            both = " or ".join(",".join(each) for each in candidates)
            raise InputError(f"{name} may be {both}: say which, as --column {name}={','.join(candidates[0])}")
        if candidates:
            result[name] = candidates[0]
        elif by_other_names and of_one == (3,):
            _refuse_incomplete(name, found)
    return result


def _spelled(name: str, said: str, found: Iterable[str]) -> str:
    """The array that a caller names, if need be in another case; raises InputError."""
    if said in found:
        return said
    alike = [each for each in found if each.lower() == said.lower()]
    if len(alike) > 1:
        raise InputError(f"{name} is to be {said}, which may be {' or '.join(alike)}: give one of these")
    if not alike:
        raise InputError(f"{name} is to be {said}, which is not there; found {', '.join(found)}")
    return alike[0]


def _by_places(found: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> Origin:
    """x, y and z, then the numbers of the first kind of sources, if there is one; of columns without names."""
    names, (_, _, *kinds) = list(found), shapes
    if len(names) not in (3, 3 + math.prod(shapes[kinds[0]] if kinds else ())):
        wanted = f"x, y, z{f' and {kinds[0]}' if kinds else ''}"
        others = ",".join(str(4 + i) for i in range(math.prod(shapes[kinds[0]] if kinds else ())))
        said = f"sources=1,2,3{f' --column {kinds[0]}={others}' if kinds else ''}"
        raise InputError(
            f"has {len(names)} columns without names, and {wanted} are wanted: say which they are, as --column "
            f"{said}, or give a line with names"
        )
    result: Origin = {"sources": tuple(names[:3])}
    return result | ({kinds[0]: tuple(names[3:])} if kinds and names[3:] else {})


def is_mass(name: str) -> bool:
    """Whether an array or dataset of this name, in a group or not, holds masses."""
    return name.rpartition("/")[2].lower() in _names("masses")


def _candidates(
    name: str, of_one: tuple[int, ...], found: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, ...]]:
    """Arrays, and triples of columns, that a dataset may be by their names, whatever case they are in."""
    names = _names(name)
    candidates: list[tuple[str, ...]] = [
        (each,)
        for each, shape in found.items()
        if each == name or (each.lower() in names and len(shape) == 1 + len(of_one))
    ]
    if of_one == (3,):
        called = [each for each, shape in found.items() if len(shape) == 1]
        for triple in [*_triples(names), *([("x", "y", "z")] if "" in names else [])]:
            candidates += product(*([each for each in called if each.lower() == part] for part in triple))
    return candidates


def _names(name: str) -> set[str]:
    """Those that a dataset may have."""
    full = {name, *OTHER_NAMES.get(name, ())}
    return full | {each.removesuffix("s") for each in full if not each.endswith("ss")}


def _triples(names: set[str]) -> list[tuple[str, ...]]:
    """Of columns that are named after a dataset."""
    return [tuple(f"{base}{end}" for end in ends) for base in sorted(names) for ends in ENDS if base]


def _refuse_incomplete(name: str, found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InputError where some of three columns are there."""
    called = {each.lower() for each in found}
    for triple in _triples(_names(name)):
        missing = [each for each in triple if each not in called]
        if 0 < len(missing) < 3:
            raise InputError(
                f"{name} may be {','.join(triple)}, and {' and '.join(missing)} is not there: give all three, or none"
            )
