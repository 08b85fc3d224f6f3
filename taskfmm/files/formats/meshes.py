"""Meshes, by meshio: their points, and the data of points."""

from __future__ import annotations

from taskfmm.files.formats import found
from taskfmm.files.reader import Refused


def read(path: str) -> found.Found:
    """Points and the data of points; of cells only a note."""
    import meshio

    try:
        mesh = meshio.read(path)
    except SystemExit as error:  # what it does about some damage
        raise Refused("cannot be read by meshio, the file is damaged or of another kind") from error
    if mesh.points.ndim != 2 or mesh.points.shape[1] != 3:
        raise Refused(f"has points of shape {mesh.points.shape}, expected (n, 3): points in space")
    arrays, notes, _ = found.numbers({"points": mesh.points, **mesh.point_data})
    cells = ", ".join(f"{len(block.data)} of type {block.type}" for block in mesh.cells if len(block.data))
    if cells:
        notes.append(f"cells are not read, points are: {cells}")
    if mesh.cell_data:
        notes.append(f"data of cells are not read: {', '.join(mesh.cell_data)}")
    return found.Found(arrays, notes)
