"""Which files of other programs are read, by their suffixes, and by what. Nothing is imported for that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

HDF5 = b"\x89HDF\r\n"
"""How a file of HDF5 begins, whatever its name."""


class Format(NamedTuple):
    """A kind of files.

    name : of the kind
    module : in this room, whose ``read(path)`` gives a `Found`
    package : that reads it, as pip knows it; None where NumPy is enough
    units : of what is read
    """

    name: str
    module: str
    package: str | None = None
    units: str = "those of the file, which does not tell them"


ANGSTROM = "lengths in angstrom and charges in e, as MDAnalysis gives them"

TEXT = Format("a table of text", "text")


def _molecule(name: str) -> Format:
    return Format(name, "molecules", "MDAnalysis", ANGSTROM)


MOLECULES = ("PQR", "GRO", "TPR", "PDB", "XYZ", "MOL2", "PSF", "PRMTOP")
MESHES = ("VTK", "VTU", "MSH", "MESH", "PLY", "STL", "OBJ", "OFF")
"""Kinds whose suffixes are their names."""

FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".dat"), TEXT),
    ".npy": Format("an array of NumPy", "arrays"),
    ".npz": Format("arrays of NumPy", "arrays"),
    **{f".{name.lower()}": _molecule(name) for name in MOLECULES},
    ".ent": _molecule("PDB"),
    ".parm7": _molecule("PRMTOP"),
    ".data": Format("data of LAMMPS", "molecules", "MDAnalysis"),
    **{f".{name.lower()}": Format(name, "meshes", "meshio") for name in MESHES},
}
"""By suffix."""


def of(path: str | os.PathLike[str]) -> Format | None:
    """How a file is read; None for HDF5, and what its name does not tell.

    A file ``.xyz`` is one of chemistry if its first line is the number of atoms alone, and else a table.
    """
    found = FORMATS.get(Path(path).suffix.lower())
    if found is None or not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            begin = file.readline(64)
    except OSError:
        return None
    if begin.startswith(HDF5):
        return None
    return TEXT if found.name == "XYZ" and not begin.strip().isdigit() else found
