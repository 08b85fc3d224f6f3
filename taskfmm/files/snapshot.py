"""Snapshots of Gadget and its kin: the particles of all types as one array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from taskfmm.files.serving import Refused

Look = Callable[[str], Any]
"""Gives a dataset by its name, or the numbers of an attribute of the header; None where there is none."""


N_TYPES = 7
"""Of particles: six of Gadget, and the neutrinos of SWIFT."""


class Joined:
    """Datasets, or arrays, one after the other, as one that is read by rows."""

    def __init__(self, parts: list[Any]) -> None:
        import numpy

        self.parts = parts
        self.dtype = numpy.result_type(*(part.dtype for part in parts))
        self.shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> Any:
        import numpy

        found, begin = [numpy.empty((0, *self.shape[1:]), self.dtype)], 0
        for part in self.parts:
            first, last = max(rows.start - begin, 0), min(rows.stop - begin, len(part))
            if first < last:
                found.append(part[first:last])
            begin += len(part)
        return numpy.concatenate(found)


def snapshot(dataset: Look, header: Look, has: Callable[[str], bool]) -> tuple[dict[str, Any], list[str]]:
    """``sources`` and ``masses`` of all particles, and notes; nothing of files that are no snapshots.

    Masses that are the same for all particles of a type stand in the table of the header.

    has : whether there is anything of a name
    """
    import numpy

    looked = {i: dataset(f"PartType{i}/Coordinates") for i in range(N_TYPES)}
    there = {i: found for i, found in looked.items() if found is not None}
    if not there:
        return {}, []
    if (n_files := header("NumFilesPerSnapshot")) and n_files[0] > 1:
        raise Refused(f"is one of the {n_files[0]:g} files of a snapshot: write all particles into one file")
    table, box = header("MassTable") or [], header("BoxSize")
    masses = []
    for i, found in there.items():
        if len(found.shape) != 2 or found.shape[1] != 3:
            raise Refused(f"/PartType{i}/Coordinates has shape {found.shape}, expected (n, 3)")
        mass = dataset(f"PartType{i}/Masses")
        if mass is None and len(table) > i and table[i] > 0.0:
            mass = numpy.broadcast_to(table[i], len(found))
        if mass is not None and mass.shape != (len(found),):
            raise Refused(f"/PartType{i}/Masses has shape {mass.shape}, expected ({len(found)},)")
        masses.append(mass)
    refuse_incomplete(dataset, header, has, there, table)
    types = ", ".join(f"PartType{i} ({len(found)})" for i, found in there.items())
    notes = [f"a snapshot with the particles of {types}, all of which are sources"]
    if box and max(box) > 0.0:
        notes.append(f"a box of {max(box):g}, which is not repeated")
    places = Joined(list(there.values()))
    missing = [i for i, mass in zip(there, masses, strict=True) if mass is None]
    if missing:
        return {"sources": places}, [*notes, f"no masses for PartType{missing[0]}"]
    return {"sources": places, "masses": Joined(masses)}, [*notes, "masses, which --kernel gravity takes"]


def refuse_incomplete(
    dataset: Look, header: Look, has: Callable[[str], bool], there: dict[int, Any], table: list[float]
) -> None:
    """Refuse a snapshot with fewer particles than its header tells, or with masses that are nowhere.

    there : coordinates, by the number of the type. Particles without masses, as tracers, need none.
    """

    def has_masses(i: int) -> bool:
        own = dataset(f"PartType{i}/Masses")
        return own is not None or (len(table) > i and table[i] > 0.0)

    without = [i for i in range(N_TYPES) if i not in there and has(f"PartType{i}")]
    heavy = [i for i in without if has_masses(i)]
    if heavy:
        raise Refused(
            f"/PartType{heavy[0]} has masses and no Coordinates: write all particles with their places"
        )
    for name in ("NumPart_ThisFile", "NumPart_Total"):
        for i, n in enumerate(header(name) or []):
            found = len(there[i]) if i in there else 0
            if n > found and i not in without:
                raise Refused(
                    f"has {found} particles of PartType{i}, and the header's {name} is {n:g}: write all into one file"
                )
