"""Atoms, by MDAnalysis: positions, and what the file says of each atom; nothing is guessed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.files.formats.found import Found
from taskfmm.files.serving import Refused

NAMES = ("charges", "masses", "radii", "formalcharges", "tempfactors", "occupancies")
"""Of numbers that formats may have for each atom."""

BONDED = "id resid type x y z"
STYLES = {
    **dict.fromkeys(("molecular", "bond", "angle"), BONDED),
    "full": "id resid type charge x y z",
    "charge": "id type charge x y z",
    "atomic": "id type x y z",
}
"""Columns of data of LAMMPS, by the style that stands behind the word Atoms."""


def read(path: str) -> Found:
    """The positions of all atoms and their numbers; of a file with one frame."""
    import MDAnalysis

    is_lammps = Path(path).suffix.lower() == ".data"
    how = _columns(path) if is_lammps else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what plays no part here
        universe = MDAnalysis.Universe(path, to_guess=(), **how)
    if not hasattr(universe, "trajectory"):
        raise Refused(
            "has no coordinates: taskfmm.interop.mdanalysis takes it together with a trajectory, in Python"
        )
    n_frames = max(universe.trajectory.n_frames, _frames(path))
    if n_frames != 1:
        raise Refused(
            f"has {n_frames} frames: write one of them into a file, or give them all to "
            "taskfmm.interop.mdanalysis, in Python"
        )
    atoms, box = universe.atoms, universe.dimensions
    if is_lammps and (declared := _search(path, rb"^\s*(\d+)\s+atoms\b")) and int(declared) != len(atoms):
        raise Refused(f"declares {declared} atoms in its header and has {len(atoms)}: write it again")
    arrays = {"positions": atoms.positions}
    arrays |= {name: np.asarray(getattr(atoms, name)) for name in NAMES if hasattr(atoms, name)}
    told = "" if box is None else " ".join(f"{number:g}" for number in box)
    notes = [f"a box with sides and angles {told}, which only --box repeats"] if told else []
    others = [place for place in getattr(atoms, "altLocs", ()) if place.strip() not in ("", "A")]
    if others:
        notes.append(f"atoms at alternate locations are all read: {len(others)} besides the first ones")
    return Found(arrays, notes)


def _frames(path: str) -> int:
    """How many frames a text has, where MDAnalysis takes the first one for all, or all for one."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".gro", ".pqr"):
        return 0
    with open(path, "rb") as file:
        lines = [line.split(maxsplit=1) for line in file]
    if suffix == ".gro":
        n_filled = sum(map(bool, lines[1:]))  # the first one, a title, may be empty
        return -(-(1 + n_filled) // (3 + int(lines[1][0])))
    records = [line[0] for line in lines if line]
    ends = [i for i, record in enumerate(records) if record in (b"END", b"ENDMDL")]
    parts = zip([0, *ends], [*ends, len(records)], strict=True)
    return sum(any(each in (b"ATOM", b"HETATM") for each in records[first:last]) for first, last in parts)


def _columns(path: str) -> dict[str, Any]:
    """What MDAnalysis has to be told of data of LAMMPS; raises Refused where the style of atoms is another one."""
    style = _search(path, rb"^\s*Atoms\s*#\s*(\S+)")
    if not style:
        return {}
    if style not in STYLES:
        raise Refused(f"has atoms of the style {style}, and what is read is {', '.join(STYLES)}")
    return {"atom_style": STYLES[style]}


def _search(path: str, pattern: bytes) -> str:
    """What the first line that fits tells, or nothing."""
    with open(path, "rb") as file:
        found = next((found for line in file if (found := re.match(pattern, line))), None)
    return found[1].decode(errors="replace") if found else ""
