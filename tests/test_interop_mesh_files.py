"""Files of triangle meshes: what is read, and what is refused."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from cases import each
from surfaces import ROUNDING, sphere

from taskfmm import InputError
from taskfmm.files.input import InputFile
from taskfmm.interop.meshes import read, winding_number


def points_of(path):
    """As `taskfmm run` reads them."""
    with InputFile(path) as file:
        return file.sources()


FORMATS = ["stl", "obj", "ply", "off", "vtk", "msh"]


@each("ending", FORMATS)
def test_files(ending, tmp_path):
    meshio = pytest.importorskip("meshio")
    vertices, rows = sphere(2)
    path = tmp_path / f"sphere.{ending}"
    meshio.write_points_cells(
        path, vertices, [("triangle", rows)], **({"binary": True} if ending == "stl" else {})
    )
    found = read(path)
    assert found[0].dtype == np.float64 and found[1].dtype == np.int64 and found[1].shape == rows.shape
    np.testing.assert_allclose(winding_number(*found, [[0, 0, 0], [2, 0, 0]]), [1.0, 0.0], atol=1e-5)


@each("ending", FORMATS[:4])
def test_files_without_meshio(ending, tmp_path, monkeypatch):
    trimesh = pytest.importorskip("trimesh")
    vertices, rows = sphere(1)
    path = tmp_path / f"sphere.{ending}"
    trimesh.Trimesh(vertices, rows, process=False).export(path)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "meshio", None)
        np.testing.assert_allclose(winding_number(*read(path), [[0, 0, 0]]), 1.0, atol=1e-5)
        patched.setitem(sys.modules, "trimesh", None)
        with pytest.raises(ImportError, match=r'pip install "taskfmm\[meshes\]"'):
            read(path)


def test_files_of_other_faces(tmp_path, caplog):
    meshio = pytest.importorskip("meshio")
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]])
    cells = [
        ("line", [[0, 1]]),
        ("quad", [[3, 2, 1, 0]]),
        ("triangle", [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]),
    ]
    meshio.write_points_cells(tmp_path / "pyramid.vtk", corners, cells)
    with caplog.at_level(logging.WARNING, "taskfmm"):
        vertices, rows = read(tmp_path / "pyramid.vtk")
    assert "divided, 5 faces into 6 triangles" in caplog.text
    assert rows.tolist() == [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [3, 2, 1], [3, 1, 0]]
    np.testing.assert_allclose(winding_number(vertices, rows, [[0.5, 0.5, 0.3]]), 1.0, atol=ROUNDING)
    meshio.write_points_cells(tmp_path / "curved.vtk", np.eye(6, 3), [("triangle6", [[0, 1, 2, 3, 4, 5]])])
    meshio.write_points_cells(tmp_path / "volume.vtk", np.eye(4, 3), [("tetra", [[0, 1, 2, 3]])])
    (tmp_path / "text.ply").write_text("no mesh")
    (tmp_path / "short.off").write_text("OFF\n3 5 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    for name, told in (
        ("curved.vtk", "faces of the kind triangle6, which are curved"),
        ("volume.vtk", "by meshio, which finds no triangles"),
        ("short.off", "declares 8 rows of points and faces in its header and has 4"),
        ("none.stl", "is no file"),
        ("text.ply", "cannot be read by meshio, since it is damaged .* meshio says"),
    ):
        with pytest.raises(InputError, match=told):
            read(tmp_path / name)


PLY = "ply\nformat ascii 1.0\nelement vertex {}\n{}{}end_header\n{}"
XYZ = "property float x\nproperty float y\nproperty float z\n"
FACES = "element face {}\nproperty list uchar int {}\n"
CORNERS = "0 0 0\n1 0 0\n0 1 0\n"
DAMAGED = {
    "few.ply": (PLY.format(3, XYZ, "", "0 0 0\n1 0 0\n"), "declares 3 rows .* has 2"),
    "many.ply": (PLY.format(2, XYZ, "", CORNERS), "declares 2 rows .* has 3"),
    "faces.ply": (
        PLY.format(3, XYZ, FACES.format(2, "vertex_indices"), CORNERS + "3 0 1 2\n"),
        "5 rows .* has 4",
    ),
    "many.off": ("OFF\n3 1 0\n" + CORNERS + "3 0 1 2\n3 0 2 1\n", "declares 4 rows .* has 5"),
    "cut.stl": (
        "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\n"
        "endfacet\n",
        "has no endsolid",
    ),
}


@each("name", DAMAGED)
def test_files_that_hold_more_or_less_than_they_declare(name, tmp_path):
    """Neither as a mesh nor as points: what reads them is content with what is there."""
    pytest.importorskip("meshio")
    content, told = DAMAGED[name]
    (tmp_path / name).write_text(content)
    for reader in (read, points_of):
        with pytest.raises(InputError, match=told):
            reader(tmp_path / name)


def test_binary_files_that_are_cut_short(tmp_path):
    meshio = pytest.importorskip("meshio")
    vertices, rows = sphere(1)
    meshio.write_points_cells(tmp_path / "a.ply", vertices, [("triangle", rows)])
    content = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(content[: -2 * (1 + 3 * 4)])
    with pytest.raises(InputError, match="declares 32 faces in its header and has 30"):
        read(tmp_path / "a.ply")
    cloud = b"ply\nformat binary_little_endian 1.0\nelement vertex 9\n" + XYZ.encode() + b"end_header\n"
    (tmp_path / "b.ply").write_bytes(cloud + np.zeros((8, 3), "<f4").tobytes())
    with pytest.raises(InputError, match="declares 9 points in its header and has 8"):
        points_of(tmp_path / "b.ply")


def test_binary_stl_that_begins_like_a_text(tmp_path):
    meshio = pytest.importorskip("meshio")
    vertices, rows = sphere(1)
    meshio.write_points_cells(tmp_path / "a.stl", vertices, [("triangle", rows)], binary=True)
    content = (tmp_path / "a.stl").read_bytes()
    (tmp_path / "a.stl").write_bytes(b"solid ".ljust(80) + content[80:])
    assert len(read(tmp_path / "a.stl")[1]) == len(rows)


def test_plane_meshes(tmp_path, caplog):
    """Points with x and y alone are in the plane z = 0, of triangles and of charges."""
    pytest.importorskip("meshio")
    path = tmp_path / "plane.mesh"
    path.write_text(
        "MeshVersionFormatted 2\nDimension 2\nVertices\n3\n5 1 1\n6 1 1\n5 2 1\nTriangles\n1\n1 2 3 1\nEnd\n"
    )
    expected = [[5.0, 1.0, 0.0], [6.0, 1.0, 0.0], [5.0, 2.0, 0.0]]
    with caplog.at_level(logging.WARNING, "taskfmm"):
        vertices, rows = read(path)
    assert vertices.tolist() == expected and rows.tolist() == [[0, 1, 2]]
    assert "x and y alone" in caplog.text
    with InputFile(path) as file:
        assert file.sources().tolist() == expected and "x and y alone" in file.notes[0]


@each("order", ["x z y", "x y q z", "q y z x"])
def test_coordinates_of_ply_in_another_order(order, tmp_path):
    """What meshio takes for x, y and z is not; trimesh goes by names."""
    pytest.importorskip("meshio"), pytest.importorskip("trimesh")
    names = order.split()
    values = [dict(zip("xyzq", map(float, row), strict=True)) for row in ("1234", "2357", "9468")]
    lines = "".join(" ".join(str(each[name]) for name in names) + "\n" for each in values)
    properties = "".join(f"property float {name}\n" for name in names)
    path = tmp_path / "a.ply"
    path.write_text(PLY.format(3, properties, FACES.format(1, "vertex_indices"), lines + "3 0 1 2\n"))
    assert read(path)[0].tolist() == [[each[name] for name in "xyz"] for each in values]
    with pytest.raises(InputError):
        points_of(path)


@each(
    "name, content",
    [
        ("a.off", "OFF\n# a square\n\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n\n4 0 1 2 3\n"),
        (
            "a.ply",
            PLY.format(4, XYZ, FACES.format(1, "vertex_index"), "0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n"),
        ),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n"),
    ],
)
def test_quads_that_only_trimesh_reads_are_divided_aloud(name, content, tmp_path, caplog):
    pytest.importorskip("trimesh")
    (tmp_path / name).write_text(content)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "taskfmm"):
        assert len(read(tmp_path / name)[1]) == 2
    assert "1 faces into 2 triangles" in caplog.text
