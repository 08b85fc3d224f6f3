"""Files of other programs: what of them is read, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from cases import each
from tables import TABLE, Q, X, read, refusal, text

from taskfmm.files import charges
from taskfmm.files.formats import molecules, table
from taskfmm.files.input import InputFile
from taskfmm.files.serving import Refused
from taskfmm.files.slices import Slices
from taskfmm.kernels import KERNELS


def test_arrays_of_numpy(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(TABLE))
    records = np.zeros(
        30, dtype=[("q", "f4"), ("pos", "f8", 3), ("name", "U4"), ("z", "f8"), ("x", "f8"), ("y", "f8")]
    )
    records["q"], records["x"], records["y"], records["z"] = Q, *X.T
    np.save(tmp_path / "b.npy", records)
    np.savez_compressed(tmp_path / "c.npz", Positions=X, charge=Q, targets=X[:4], note="by hand")
    for name in ("a.npy", "b.npy", "c.npz"):
        found = read(tmp_path / name)
        np.testing.assert_array_equal(found.sources, X)
        np.testing.assert_allclose(found.given["charges"], Q, rtol=1e-7)
    np.testing.assert_array_equal(found.targets, X[:4])
    np.savez(tmp_path / "f.npz", x=X[:2, 0], y=X[:2, 1], z=X[:1, 2], q=Q[:2])
    assert "sources is from arrays of several lengths, x (2), y (2), z (1)" in refusal(tmp_path / "f.npz")
    for array, told in (
        (TABLE.T, "has 30 columns without names"),
        (Q, "holds an array of shape (30,)"),
        (TABLE * 1j, "complex"),
        (np.array([{}, []], dtype=object), "objects of Python, which are not unpickled"),
    ):
        np.save(tmp_path / "d.npy", array, allow_pickle=True)
        assert told in refusal(tmp_path / "d.npy")
    np.savez(tmp_path / "e.npz", **{"points": X, "\x1b[2J": Q})
    assert "names that cannot be printed" in refusal(tmp_path / "e.npz")
    np.savez(tmp_path / "e.npz", points=X, charge=np.array([{}] * 30), allow_pickle=True)
    assert "objects of Python, which are not unpickled" in refusal(tmp_path / "e.npz")
    (tmp_path / "d.npy").write_bytes(b"")
    assert "damaged or of another kind" in refusal(tmp_path / "d.npy")
    (tmp_path / "d.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])
    assert "damaged or of another kind" in refusal(tmp_path / "d.npy")


def pqr(values, i):
    x, y, z, q = values
    return f"ATOM  {i:5d}  C   ALA A{i:4d}    {x:8.3f} {y:8.3f} {z:8.3f} {q:7.4f} 1.5000"


def test_molecules(tmp_path):
    pytest.importorskip("MDAnalysis")
    path = text(tmp_path / "a.pqr", *(pqr(values, i + 1) for i, values in enumerate(TABLE)), "END")
    with InputFile(path, KERNELS["laplace"]) as file:
        assert "angstrom" in file.format.units and "radii" in file.found
        found = charges.read_open(file, KERNELS["laplace"])
    np.testing.assert_allclose(found.sources, X, atol=6e-4)
    np.testing.assert_allclose(found.given["charges"], Q, atol=6e-5)
    gro = [f"{1:5d}ALA  {'C':>5}{i + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}" for i, (x, y, z) in enumerate(X)]
    path = text(tmp_path / "a.gro", "water", "30", *gro, "2.0 2.0 2.0")
    told = refusal(path)
    assert (
        "no source of kernel laplace is there; found positions; a box with sides and angles 20 20 20 90"
        in told
    )
    pdb = ["ATOM      1  C   ALA A   1       1.000   2.000   3.000  0.25  0.50           C", "END"]
    path = text(tmp_path / "a.pdb", *pdb)
    assert read(path, charges=["tempfactors"]).given["charges"].tolist() == [0.5]
    assert "found positions, tempfactors, occupancies" in refusal(path)
    assert "damaged or of another kind" in refusal(text(tmp_path / "b.gro", "water", "30", "nothing"))
    frame = ["2", "a comment", "C 0 0 0", "O 0 0 1.2"]
    chemical = text(tmp_path / "a.xyz", *frame)
    assert table.of(chemical).name == "XYZ" and set(molecules.read(str(chemical)).arrays) == {"positions"}
    with pytest.raises(Refused, match="has 2 frames: write one of them"):
        molecules.read(str(text(tmp_path / "b.xyz", *frame, *frame)))
    psf = ["PSF", "", "       1 !NTITLE", " REMARKS", "", "       1 !NATOM"]
    psf += [
        "       1 A    1    ALA  C    CT1    0.070000       12.0110           0",
        "",
        "       0 !NBOND",
        "",
    ]
    with pytest.raises(Refused, match=r"has no coordinates: taskfmm.interop.mdanalysis"):
        molecules.read(str(text(tmp_path / "a.psf", *psf)))


def test_several_frames_that_are_read_as_one(tmp_path):
    """Of a GRO file the first frame is taken by MDAnalysis, and all of a PQR file as one; neither says so."""
    pytest.importorskip("MDAnalysis")
    atoms = [pqr(values, i + 1) for i, values in enumerate(TABLE[:2])]
    model = ["MODEL 1", *atoms, "ENDMDL"]
    for lines in ([*model, *model], [*atoms, "END", *atoms, "END"]):
        assert "has 2 frames: write one of them" in refusal(text(tmp_path / "a.pqr", *lines))
    assert len(read(text(tmp_path / "a.pqr", "REMARK", *atoms, "TER", *atoms, "TER", "END")).sources) == 4
    frame = ["", "1", f"{1:5d}ALA  {'C':>5}{1:5d}{1:8.3f}{2:8.3f}{3:8.3f}", "2.0 2.0 2.0"]
    with pytest.raises(Refused, match="has 2 frames"):
        molecules.read(str(text(tmp_path / "a.gro", *frame, *frame)))
    assert len(molecules.read(str(text(tmp_path / "a.gro", *frame, ""))).arrays["positions"]) == 1
    place = "ATOM      {}  CA {}ALA A   1       1.000   2.000   3.000  0.50  1.50           C"
    two = text(tmp_path / "a.pdb", place.format(1, "A"), place.format(2, "B"), "END")
    assert molecules.read(str(two)).notes == [
        "atoms at alternate locations are all read: 1 besides the first ones"
    ]


LAMMPS = """data

2 atoms
1 atom types

0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Masses

1 4.0

Atoms{}

1 {} 1.0 2.0 3.0 0 0 0
{} 4.0 5.0 6.0 0 0 0
"""


@each(
    "style, first, second, expected",
    [
        (" # full", "1 1 0.5", "2 1 1 -0.5", [0.5, -0.5]),
        ("", "1 1 0.5", "2 1 1 -0.5", [0.5, -0.5]),
        (" # charge", "1 0.5", "2 1 -0.5", [0.5, -0.5]),
        (" # atomic", "1", "2 1", None),
        (" # molecular", "1 1", "2 1 1", None),
    ],
)
def test_data_of_lammps(style, first, second, expected, tmp_path):
    """Columns are those of the style of the atoms."""
    pytest.importorskip("MDAnalysis")
    (tmp_path / "a.data").write_text(LAMMPS.format(style, first, second))
    found = molecules.read(str(tmp_path / "a.data")).arrays
    assert found["positions"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found["masses"].tolist() == [4, 4]
    assert found.get("charges", np.array(None)).tolist() == expected


def test_data_of_lammps_that_are_refused(tmp_path):
    pytest.importorskip("MDAnalysis")
    path = tmp_path / "a.data"
    path.write_text(LAMMPS.format(" # ellipsoid", "1 1 0.5", "2 1 1 -0.5"))  # a density, not a charge
    assert "has atoms of the style ellipsoid, and what is read is molecular," in refusal(path)
    path.write_text(LAMMPS.format(" # full", "1 1 0.5", "2 1 1 -0.5").replace("2 atoms", "3 atoms"))
    assert "declares 3 atoms in its header and has 2" in refusal(path)


def test_units_are_told_where_the_file_tells_them(tmp_path):
    text(tmp_path / "a.data", ""), text(tmp_path / "a.gro", "")
    assert (
        "angstrom" in table.of(tmp_path / "a.gro").units
        and "does not tell" in table.of(tmp_path / "a.data").units
    )


def test_meshes(tmp_path):
    meshio = pytest.importorskip("meshio")
    cells = [("triangle", np.array([[0, 1, 2], [3, 4, 5]]))]
    data = {"charge": Q, "dipole": X[::-1]}
    for name in ("a.vtk", "a.vtu"):
        meshio.Mesh(X, cells, point_data=data, cell_data={"area": [np.ones(2)]}).write(tmp_path / name)
        with InputFile(tmp_path / name, KERNELS["laplace"]) as file:
            found = charges.read_open(file, KERNELS["laplace"])
            assert file.notes == [
                "cells are not read, points are: 2 of type triangle",
                "data of cells are not read: area",
            ]
        np.testing.assert_array_equal(found.sources, X)
        np.testing.assert_array_equal(found.given["charges"], Q)
        np.testing.assert_array_equal(found.given["dipoles"], X[::-1])
    meshio.Mesh(X, cells, cell_data={"charge": [np.ones(2)]}).write(tmp_path / "b.vtu")
    assert "data of cells are not read: charge" in refusal(tmp_path / "b.vtu")
    (tmp_path / "c.vtu").write_bytes((tmp_path / "a.vtu").read_bytes()[:300])
    assert "damaged or of another kind" in refusal(tmp_path / "c.vtu")


def snapshot(path, **header):
    with h5py.File(path, "w") as file:
        file["PartType0/Coordinates"], file["PartType0/Masses"] = X[:10].astype("f4"), np.abs(Q[:10])
        file["PartType1/Coordinates"] = X[10:]
        file.create_group("Header").attrs.update(header)
    return path


def test_snapshots(tmp_path):
    """Masses of a type that has none of its own are those of the header's table."""
    path = snapshot(
        tmp_path / "snap.hdf5", MassTable=[0.0, 2.5, 7.0, 0, 0, 0], NumFilesPerSnapshot=1, BoxSize=50.0
    )
    with InputFile(path, KERNELS["gravity"]) as file:
        found = charges.read_open(file, KERNELS["gravity"])
        assert "PartType0 (10), PartType1 (20)" in file.notes[0] and "a box of 50" in file.notes[1]
        np.testing.assert_array_equal(file.rows("sources", 8, 12), found.sources[8:12])
    np.testing.assert_array_equal(found.sources, np.concatenate([X[:10].astype("f4"), X[10:]]))
    np.testing.assert_array_equal(found.given["masses"], [*np.abs(Q[:10]), *np.full(20, 2.5)])
    with InputFile(path, KERNELS["gravity"]) as file:
        for name, whole in (("sources", found.sources), ("masses", found.given["masses"])):
            np.testing.assert_array_equal(Slices.of(file, name)[5:25], whole[5:25])
    assert "masses, which --kernel gravity takes" in refusal(path)
    one = read(path, sources=["/PartType0/Coordinates"], charges=["PartType0/Masses"])
    np.testing.assert_array_equal(one.given["charges"], np.abs(Q[:10]))
    assert "charges is to be mass, which is not there" in refusal(path, charges=["mass"])
    assert "one of the 4 files of a snapshot" in refusal(
        snapshot(tmp_path / "b.h5", NumFilesPerSnapshot=4), "gravity"
    )
    assert "no masses for PartType1" in refusal(snapshot(tmp_path / "c.h5", MassTable=np.zeros(6)), "gravity")
    mass = dict(MassTable=[0.0, 2.5, 0, 0, 0, 0])
    for name in ("NumPart_ThisFile", "NumPart_Total"):
        more = snapshot(tmp_path / "e.h5", **mass, **{name: [10, 21, 0, 0, 0, 0]})
        assert f"has 20 particles of PartType1, and the header's {name} is 21" in refusal(more, "gravity")
        read(snapshot(tmp_path / "e.h5", **mass, **{name: [10, 20, 0, 0, 0, 0]}), "gravity")
    with h5py.File(snapshot(tmp_path / "e.h5", **mass, NumPart_ThisFile=[10, 20, 3, 0, 0, 0]), "a") as file:
        file["PartType2/ParticleIDs"] = np.arange(3)  # tracers
    assert len(read(tmp_path / "e.h5", "gravity").sources) == 30
    with h5py.File(tmp_path / "e.h5", "a") as file:
        file["PartType2/Masses"] = np.ones(3)
    assert "/PartType2 has masses and no Coordinates" in refusal(tmp_path / "e.h5", "gravity")
    with h5py.File(snapshot(tmp_path / "f.h5", **mass), "a") as file:  # neutrinos of SWIFT
        file["PartType6/Coordinates"], file["PartType6/Masses"] = X[:2], [3.0, 4.0]
    assert read(tmp_path / "f.h5", "gravity").given["masses"][-2:].tolist() == [3.0, 4.0]
    odd = snapshot(tmp_path / "d.h5", MassTable="many")
    assert "MassTable that is no number" in refusal(odd, "gravity")


@each("kind", ["h5", "zarr"])
def test_datasets_whose_names_differ_in_case(kind, tmp_path):
    """Targets are not left out, and nothing is guessed."""
    path = tmp_path / f"a.{kind}"
    if kind == "zarr":
        group = pytest.importorskip("zarr").create_group(store=path)
        for name, array in (("sources", X), ("charges", Q), ("Targets", X[:4])):
            group.create_array(name, data=array)
    else:
        with h5py.File(path, "w") as file:
            file["sources"], file["charges"], file["Targets"] = X, Q, X[:4]
    assert (
        "has /Targets and no /targets: rename it, or say what it is, as --column targets=Targets"
        in refusal(path)
    )
    np.testing.assert_array_equal(read(path, targets=["Targets"]).targets, X[:4])


def test_a_library_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "hidden").mkdir()
    text(tmp_path / "hidden" / "meshio.py", "raise ModuleNotFoundError('gone', name='meshio')")
    monkeypatch.syspath_prepend(str(tmp_path / "hidden"))
    told = refusal(text(tmp_path / "a.vtk", "anything"))
    assert "is read by meshio, and meshio is missing: pip install 'taskfmm[formats]'" in told
