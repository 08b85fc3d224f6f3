"""Atoms, by MDAnalysis: positions, and what the file says of each atom; nothing is guessed."""

from __future__ import annotations

import warnings

import numpy as np

from taskfmm.files.formats.found import Found
from taskfmm.files.serving import Refused

NAMES = ("charges", "masses", "radii", "formalcharges", "tempfactors", "occupancies")
"""Of numbers that formats may have for each atom."""


def read(path: str) -> Found:
    """The positions of all atoms and their numbers; of a file with one frame."""
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what plays no part here
        universe = MDAnalysis.Universe(path, to_guess=())
    if not hasattr(universe, "trajectory"):
        raise Refused(
            "has no coordinates: taskfmm.interop.mdanalysis takes it together with a trajectory, in Python"
        )
    if universe.trajectory.n_frames != 1:
        raise Refused(
            f"has {universe.trajectory.n_frames} frames: write one of them into a file, or give them all to "
            "taskfmm.interop.mdanalysis, in Python"
        )
    atoms, box = universe.atoms, universe.dimensions
    arrays = {"positions": atoms.positions}
    arrays |= {name: np.asarray(getattr(atoms, name)) for name in NAMES if hasattr(atoms, name)}
    told = "" if box is None else " ".join(f"{number:g}" for number in box)
    notes = [f"a box with sides and angles {told}, which only --box repeats"] if told else []
    return Found(arrays, notes)
