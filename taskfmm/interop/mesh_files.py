"""Files of triangle meshes, read by meshio or trimesh, whichever is there."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import InputError

logger = logging.getLogger("taskfmm")

HEAD = 4096
"""Bytes in which the head of a file is looked for."""

FACES = ("triangle", "quad", "polygon")
"""Cells that are flat faces."""


def read(path: Any) -> tuple[np.ndarray, np.ndarray]:
    """The vertices and triangles of a file.

    Parameters
    ----------
    path : str or path
        An STL, OBJ, PLY, OFF, VTK or MSH file, or of another format that meshio, or trimesh, reads. ``pip install
        "taskfmm[meshes]"`` brings both; one is enough, but trimesh reads no VTK and MSH.

    Returns
    -------
    vertices : float64 [n, 3]
    triangles : int64 [m, 3]
        Rows of the vertices, in the order of the file. Faces with more corners are divided into triangles that meet
        in their first corner, and follow the triangles; the log says so. Points, lines and cells of volumes are left
        out.

    Raises
    ------
    InputError
        A file that is not there or cannot be read, curved faces, or no faces at all.
    ImportError
        Neither package is there.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from taskfmm.interop.meshes import read
    >>> path = pathlib.Path(tempfile.mkdtemp(), "one.off")
    >>> _ = path.write_text("OFF\\n3 1 0\\n0 0 0\\n1 0 0\\n0 1 0\\n3 0 1 2\\n")
    >>> vertices, triangles = read(path)
    >>> triangles
    array([[0, 1, 2]])
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path is {type(path).__name__}, expected that of a mesh, as 'scan.ply'")
    if not Path(path).is_file():
        raise InputError(f"{path} is no file: give the path of a mesh")
    missing, failed = [], []
    for name, reader in (("meshio", _by_meshio), ("trimesh", _by_trimesh)):
        try:
            with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
                vertices, triangles, n_faces = reader(path)
        except InputError:
            raise
        except ImportError:
            missing.append(name)
        except (Exception, SystemExit) as error:  # meshio ends the process where a file cannot be read
            why = said.getvalue() if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
            failed.append(f"{name} says {' '.join(why.split()) or 'nothing'}")
        else:
            declared = _declared(Path(path))
            if declared is not None and n_faces < declared:
                raise InputError(
                    f"{path} declares {declared} faces and has {n_faces}: it was cut short, write it again"
                )
            if len(triangles) and triangles.min() >= 0 and triangles.max() < len(vertices):
                return vertices, triangles
            # as meshio does where vertices are counted back from the last one
            failed.append(
                f"{name} finds {'vertices that are not there' if len(triangles) else 'no triangles'}"
            )
    if not failed:
        raise ImportError('meshes are read by meshio or trimesh: pip install "taskfmm[meshes]"')
    also = f"; pip install {missing[0]} may read it" if missing else ""
    raise InputError(
        f"{path} cannot be read: {', '.join(failed)}{also}; it may be empty, damaged or of another kind than its "
        "suffix says"
    )


def _by_meshio(path: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Vertices, triangles, and of how many faces these are."""
    import meshio

    mesh = meshio.read(path)
    curved = sorted({cells.type for cells in mesh.cells if cells.dim == 2 and cells.type not in FACES})
    if curved:
        raise InputError(
            f"{path} has faces of the kind {curved[0]}, which are curved: save it with flat ones"
        )
    faces = [np.asarray(cells.data, np.int64) for cells in mesh.cells if cells.type in FACES]
    faces.sort(key=lambda rows: rows.shape[1] > 3)
    more = sum(len(rows) for rows in faces if rows.shape[1] > 3)
    if more:
        logger.warning("%s: %d faces with more than three corners are divided into triangles", path, more)
    fans = [rows[:, (0, k, k + 1)] for rows in faces for k in range(1, rows.shape[1] - 1)]
    points = np.asarray(mesh.points, np.float64)
    flat = np.zeros((len(points), 3 - points.shape[1]))  # some files have x and y alone
    rows = np.concatenate([np.empty((0, 3), np.int64), *fans])
    return np.hstack([points, flat]), rows, sum(map(len, faces))


def _declared(path: Path) -> int | None:
    """How many faces the head of an OFF or PLY file tells; None where it does not."""
    heads = {".off": rb"OFF\s+(?:#.*\s+)*\d+\s+(\d+)", ".ply": rb"element face (\d+)"}
    head = heads.get(path.suffix.lower())
    if head is None:
        return None
    with path.open("rb") as file:
        found = re.search(head, file.read(HEAD))
    return int(found[1]) if found else None


def _by_trimesh(path: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """The same; faces with more corners count as often as they are divided."""
    import trimesh

    mesh = trimesh.load_mesh(path, process=False)
    return np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64), len(mesh.faces)
