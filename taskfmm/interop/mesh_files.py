"""Files of triangle meshes, read by meshio or trimesh, whichever is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from taskfmm.errors import InputError
from taskfmm.files.formats import headers, meshes
from taskfmm.files.serving import Refused

logger = logging.getLogger("taskfmm")

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
    try:
        headers.refuse_damaged(path)
    except Refused as error:
        raise InputError(f"{path} {error}") from error
    missing, failed = [], []
    for name, reader in (("meshio", _by_meshio), ("trimesh", _by_trimesh)):
        try:
            vertices, triangles = reader(path)
        except InputError:
            raise
        except ImportError:
            missing.append(name)
        except Refused as error:
            failed.append(f"by {name}, since it {error}")
        except Exception as error:
            failed.append(f"by {name}, which says {type(error).__name__}: {' '.join(str(error).split())}")
        else:
            if len(triangles) and triangles.min() >= 0 and triangles.max() < len(vertices):
                return vertices, triangles
            # as meshio does where vertices are counted back from the last one
            found = "vertices that are not there" if len(triangles) else "no triangles"
            failed.append(f"by {name}, which finds {found}")
    if not failed:
        raise ImportError('meshes are read by meshio or trimesh: pip install "taskfmm[meshes]"')
    also = f"; pip install {missing[0]} may read it" if missing else ""
    raise InputError(
        f"{path} cannot be read {', nor '.join(failed)}{also}; it may be empty, damaged or of another kind than its "
        "suffix says"
    )


def _by_meshio(path: Any) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles."""
    mesh = meshes.load(path)
    curved = sorted({cells.type for cells in mesh.cells if cells.dim == 2 and cells.type not in FACES})
    if curved:
        raise InputError(
            f"{path} has faces of the kind {curved[0]}, which are curved: save it with flat ones"
        )
    faces = [np.asarray(cells.data, np.int64) for cells in mesh.cells if cells.type in FACES]
    faces.sort(key=lambda rows: rows.shape[1] > 3)
    fans = [rows[:, (0, k, k + 1)] for rows in faces for k in range(1, rows.shape[1] - 1)]
    triangles = np.concatenate([np.empty((0, 3), np.int64), *fans])
    n_faces = sum(map(len, faces))
    headers.refuse_fewer(path, "faces", n_faces)
    _say_divided(path, n_faces, len(triangles))
    if mesh.points.shape[1] == 2:
        logger.warning("%s: %s", path, meshes.FLAT)
    return meshes.in_space(mesh).astype(np.float64), triangles


def _by_trimesh(path: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same."""
    import trimesh

    mesh = trimesh.load_mesh(path, process=False)
    triangles = np.array(mesh.faces, np.int64)
    headers.refuse_fewer(path, "faces", len(triangles))
    declared = headers.faces(path)
    if declared is not None:
        _say_divided(path, declared, len(triangles))
    return np.array(mesh.vertices, np.float64), triangles


def _say_divided(path: Any, n_faces: int, n_triangles: int) -> None:
    if n_triangles > n_faces:
        logger.warning(
            "%s: faces with more than three corners are divided, %d faces into %d triangles",
            *(path, n_faces, n_triangles),
        )
