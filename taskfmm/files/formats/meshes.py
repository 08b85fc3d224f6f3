"""Meshes, by meshio: their points, and the data of points."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.files.formats import found, headers
from taskfmm.files.serving import Refused

FLAT = "points have x and y alone, and z is taken for 0"


def read(path: str) -> found.Found:
    """Points and the data of points; of cells only a note."""
    mesh = load(path)
    arrays, notes, _ = found.numbers({"points": in_space(mesh), **mesh.point_data})
    if mesh.points.shape[1] == 2:
        notes.append(FLAT)
    cells = ", ".join(f"{len(block.data)} of type {block.type}" for block in mesh.cells if len(block.data))
    if cells:
        notes.append(f"cells are not read, points are: {cells}")
    if mesh.cell_data:
        notes.append(f"data of cells are not read: {', '.join(mesh.cell_data)}")
    return found.Found(arrays, notes)


def load(path: str | os.PathLike[str]) -> Any:
    """A mesh of meshio, whose points have x and y, or x, y and z; raises Refused where there is anything else."""
    import meshio

    headers.refuse_damaged(path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mesh = meshio.read(path)
        except SystemExit as error:  # what it does about some damage
            told = " ".join(said.getvalue().split())
            raise Refused(f"is damaged or of another kind, meshio says {told or 'nothing'}") from error
    mesh.points = np.asarray(mesh.points)
    if mesh.points.ndim != 2 or mesh.points.shape[1] not in (2, 3):
        raise Refused(f"has points of shape {mesh.points.shape}, expected (n, 3), or (n, 2) in a plane")
    if Path(path).suffix.lower() == ".ply" and (beside := {"x", "y", "z"} & mesh.point_data.keys()):
        raise Refused(f"has {min(beside)} behind other data of points: write x, y and z first")
    headers.refuse_fewer(path, "points", len(mesh.points))
    return mesh


def in_space(mesh: Any) -> np.ndarray:
    """The points, [n, 3]; z is 0 where there are x and y alone."""
    return np.pad(mesh.points, ((0, 0), (0, 3 - mesh.points.shape[1])))
