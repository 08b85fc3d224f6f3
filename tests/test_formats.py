"""Files of other programs: what of them is read, by names alone, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.files import charges
from taskfmm.files.formats import molecules, table
from taskfmm.files.input import InputFile
from taskfmm.files.reader import Refused
from taskfmm.files.slices import Slices
from taskfmm.kernels import KERNELS

RNG = np.random.default_rng(90210)
X, Q = RNG.random((30, 3)), RNG.normal(size=30)
TABLE = np.column_stack([X, Q])
NAMES = ("x", "y", "z", "charge")


def read(path, kernel="laplace", **named):
    with InputFile(path, KERNELS[kernel], named=named) as file:
        return charges.read_open(file, KERNELS[kernel])


def refusal(path, kernel="laplace", **named) -> str:
    with pytest.raises(InputError) as caught:
        read(path, kernel, **named)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def text(path, *lines) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def row(values, delimiter=","):
    return delimiter.join(map(repr, map(float, values)))


@each(
    "suffix, delimiter, names, comment",
    [
        (".csv", ",", None, False),
        (".csv", ",", ("x", "y", "z", "charge"), False),
        (".csv", ";", ("Q", "Z", "Y", "X"), False),
        (".csv", ",", ("y", "mass", "q", "x", "z"), True),
        (".tsv", "\t", ("charge", "x", "y", "z"), False),
        (".txt", " ", ("z", "x", "y", "q"), True),
        (".txt", "  ", None, True),
        (".dat", " ", ("x", "y", "z", "q"), False),
        (".xyz", " ", None, False),
    ],
)
def test_tables_of_text(tmp_path, suffix, delimiter, names, comment):
    """Columns are found by their names, wherever they stand; without names, x, y, z and the charge are in order."""
    given = dict(zip(NAMES, TABLE.T, strict=True)) | {"q": Q, "mass": 0.0 * Q}
    columns = NAMES if names is None else [name.lower() for name in names]
    rows = [row(values, delimiter) for values in zip(*(given[name] for name in columns), strict=True)]
    head = [] if names is None else [("# " if comment else "") + delimiter.join(names)]
    path = text(tmp_path / f"points{suffix}", *(["# made by hand", ""] if comment else []), *head, *rows)
    found = read(path)
    np.testing.assert_array_equal(found.sources, X)
    np.testing.assert_array_equal(found.given["charges"], Q)
    assert found.targets is None


def test_words_beside_numbers_and_a_mark_of_byte_order(tmp_path):
    path = tmp_path / "atoms.csv"
    rows = [f'"C, {i}",{row(values)}' for i, values in enumerate(TABLE)]
    path.write_text("\n".join(['name,x,y,"z",charge', *rows]), encoding="utf-8-sig")
    with InputFile(path, KERNELS["laplace"]) as file:
        assert file.notes == ["words, not numbers: name"]
        np.testing.assert_array_equal(file.sources(), X)


@each(
    "lines, told",
    [
        ([], "holds no rows of numbers"),
        (["", "# nothing"], "holds no rows of numbers"),
        (["x,y,z,q"], "a line of names and no rows"),
        (["x,y,z,q", "1,2,3,4", "1,2,3"], "requires 4 columns but 3 were found at row 2"),
        (["x,y,z,q", "1,2,3,4", "1,2,3,4,5"], "requires 4 columns but 5 were found at row 2"),
        (["1 2 3 4", "1 2 3"], "requires 4 columns but 3 were found"),
        (["x,y,z,q", "1,2,3,4", "1,2,,4"], "could not convert string '' to float64 at row 1, column 3"),
        (["x,y,z,q", "1,2,3,4", "1,2,NA,4"], "could not convert string 'NA'"),
        (["x,y,z", "1,2,3,4"], "has 3 names and 4 columns"),
        (["x,y,y,q", "1,2,3,4"], "names that do not tell columns apart: 'x', 'y', 'y', 'q'"),
        (["C 1 2 3 4"], "has numbers and words in its first row"),
        (["0,1,2,3", "5,6,7,8"], "begins with '0,1,2,3', which may be names or a point"),
        (["x,y,z,q", "1,2,3,4", "1,2,3,nan"], "charges row 1 is not finite"),
        (["x,y,z,q", "1,inf,3,4"], "sources row 0 is not finite"),
        (["x,y,z", "1,2,3"], "no source of kernel laplace is there; found x, y, z; expected /sources"),
        (["x,y,z,q,charge", "1,2,3,4,5"], "charges may be q or charge: say which, as --column charges=q"),
        (["x,y,z,q,X", "1,2,3,4,5"], "sources may be x,y,z or X,y,z: say which"),
        (
            ["a,b,c,q", "1,2,3,4"],
            "/sources is missing; found a, b, c, q; expected /sources (n, 3) and at least",
        ),
        (["x,y,z,mass", "1,2,3,4"], "no source of kernel laplace is there; found x, y, z, mass"),
        (["1,2,3,4,5", "1,2,3,4,6"], "has 5 columns without names, and x, y, z and charges are wanted"),
        (["1,2"], "has 2 columns without names"),
        (["x,y,z,größe"], "a line of names and no rows"),
        (
            ["x,y,z,q", "1,2,3,", "4,5,6,7"],
            "charges is from column q, which has a word or nothing in its first row",
        ),
        (["x,y,z,q,charge", "1,2,3,NA,5", "4,5,6,7,8"], "charges may be q or charge"),
        (
            ["x,y,z,q,dipole_x,dipole_y,dipole_z", "1,2,3,4,9,,9"],
            "dipoles is from column dipole_y, which has a word",
        ),
        (["x,y,z,q,target_x,target_y,target_z", "1,2,3,4,9,-,9"], "targets is from column target_y"),
        (
            ["x,y,z,q,dipole_z,dipole_x", "1,2,3,4,93,91"],
            "dipole_x,dipole_y,dipole_z, and dipole_y is not there",
        ),
        (["1,2,3"], "no source of kernel laplace is there; found 1, 2, 3"),
    ],
)
def test_tables_that_are_refused(tmp_path, lines, told):
    assert told in refusal(text(tmp_path / "points.csv", *lines))


@each("comments", [["units: e nm nm nm"], [""], ["------"], ["q is in e"], ["2"]])
def test_names_in_a_comment_count_whatever_comments_follow(tmp_path, comments):
    lines = ["# q x y z #", *(f"# {each}" for each in comments), "1 2 3 4", "5 6 7 8"]
    found = read(text(tmp_path / "a.txt", *lines))
    assert found.sources.tolist() == [[2, 3, 4], [6, 7, 8]] and found.given["charges"].tolist() == [1, 5]


@each("comment", ["columns: q x y z", "q | x | y | z", "q x y z   # in nm", "Charge Pos:0 Pos:1 Pos:2 (e)"])
def test_comments_that_seem_to_tell_names(tmp_path, comment):
    """Columns are not taken by their places beside one; only by what a caller says."""
    path = text(tmp_path / "a.txt", f"# {comment}", "1 2 3 4", "5 6 7 8")
    assert f"a comment that seems to tell them, '{comment}': give a first line of names" in refusal(path)
    found = read(path, sources=["2", "3", "4"], charges=["1"])
    assert found.sources.tolist() == [[2, 3, 4], [6, 7, 8]] and found.given["charges"].tolist() == [1, 5]


def test_rows_behind_a_mark_of_comments(tmp_path):
    with InputFile(text(tmp_path / "a.csv", "x,y,z,q", "#1,2,3,1", "4,5,6,7", "# 8,9,9,9")) as file:
        assert file.notes == ["comments that seem to be rows are not read: 2, as '1,2,3,1'"]


def test_text_that_is_not_utf_8_and_files_of_no_known_kind(tmp_path):
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "a.csv").write_text("x,y,z,größe\n1,2,3,4\n", encoding=encoding)
        assert "is no text in UTF-8: save it as UTF-8" in refusal(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"x,y,z,q\n" + b"1,2,3,4\n" * 3000 + b"# gr\xf6\xdfe\n")
    assert "is no text in UTF-8: save it as UTF-8" in refusal(tmp_path / "b.csv")
    told = refusal(text(tmp_path / "a.csv.gz", "x"))
    assert (
        "damaged or of another kind (of others .csv, .tsv, .txt, " in told and "are read, unpacked)" in told
    )


def test_columns_that_are_named(tmp_path):
    path = text(tmp_path / "a.csv", "a,b,c,d,q,charge", *(row((*values, 1.0, 2.0)) for values in TABLE))
    found = read(path, sources=["a", "b", "c"], charges=["d"])
    np.testing.assert_array_equal(found.sources, X)
    np.testing.assert_array_equal(found.given["charges"], Q)
    numbered = text(tmp_path / "b.csv", *(row((7.0, *values, 2.0)) for values in TABLE))
    found = read(numbered, sources=["2", "3", "4"], charges=["5"])
    np.testing.assert_array_equal(found.sources, X)
    np.testing.assert_array_equal(found.given["charges"], Q)
    where = dict(sources=["a", "b", "c"])
    assert "charges is to be e, which is not there; found a, b, c, d" in refusal(path, **where, charges=["e"])
    assert "masses is named, and what is read is sources, targets, charges" in refusal(path, masses=["d"])
    assert "/sources is missing" in refusal(numbered, charges=["5"])
    assert "sources has shape (30, 2)" in refusal(path, sources=["a", "b"], charges=["d"])


def test_other_kernels(tmp_path):
    """Columns of vectors, and masses."""
    both = np.column_stack([X, X[::-1], np.abs(Q)])
    path = text(tmp_path / "a.csv", "x,y,z,force_x,force_y,force_z,M", *map(row, both))
    np.testing.assert_array_equal(read(path, "stokes").given["forces"], X[::-1])
    np.testing.assert_array_equal(
        read(path, "biot_savart", vorticity=["force_x", "force_y", "force_z"]).sources, X
    )
    paraview = text(
        tmp_path / "b.csv",
        '"dipoles:0","dipoles:1","dipoles:2","Points:0","Points:1","Points:2"',
        *(map(row, both[:, :6])),
    )
    found = read(paraview)
    np.testing.assert_array_equal(found.sources, X[::-1])
    np.testing.assert_array_equal(found.given["dipoles"], X)
    bare = text(tmp_path / "c.txt", *map(row, both[:, :6]))
    np.testing.assert_array_equal(read(bare, "stokes").given["forces"], X[::-1])
    four = text(tmp_path / "d.txt", *map(row, both[:, :4]))
    assert "--column sources=1,2,3 --column forces=4,5,6, or give" in refusal(four, "stokes")


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
    odd = snapshot(tmp_path / "d.h5", MassTable="many")
    assert "MassTable that is no number" in refusal(odd, "gravity")


def test_a_library_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "hidden").mkdir()
    text(tmp_path / "hidden" / "meshio.py", "raise ModuleNotFoundError('gone', name='meshio')")
    monkeypatch.syspath_prepend(str(tmp_path / "hidden"))
    told = refusal(text(tmp_path / "a.vtk", "anything"))
    assert "is read by meshio, and meshio is missing: pip install 'taskfmm[formats]'" in told


def test_convert_says_what_it_does_and_writes_it_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "id,x,y,z,charge", *(row((i, *values)) for i, values in enumerate(TABLE)))
    dry = call("convert", "a.csv", "a.h5", "--dry-run").output
    for part in (
        "a.csv: a table of text",
        "sources      from x, y, z",
        "charges      from charge",
        "not used     id",
    ):
        assert part in dry
    assert "30 sources" in dry and "nothing, as it is a dry run" in dry and os.listdir() == ["a.csv"]
    assert call("convert", "a.csv", "--dry-run").output == dry
    report = json.loads(call("convert", "a.csv", "a.h5", "--json").output)
    assert report["from"] == {"sources": ["x", "y", "z"], "charges": ["charge"]}
    assert report["sum"] == pytest.approx(Q.sum()) and report["written"] == "a.h5"
    np.testing.assert_array_equal(read("a.h5").sources, X)
    with h5py.File("a.h5") as file:
        assert set(file) == {"sources", "charges"} and file.attrs["from"] == "a.csv"
    before = Path("a.h5").read_bytes()
    assert "a.h5: is there already" in call("convert", "a.csv", "a.h5", code=1).stderr
    text(Path("bad.csv"), "x,y,z,charge", "1,2,3,nan")
    call("convert", "bad.csv", "a.h5", "--overwrite", code=1)
    assert Path("a.h5").read_bytes() == before and sorted(os.listdir()) == ["a.csv", "a.h5", "bad.csv"]
    call("convert", "a.csv", "a.h5", "--overwrite", "--column", "charges=id")
    np.testing.assert_array_equal(read("a.h5").given["charges"], np.arange(30.0))
    call(
        "convert",
        "a.h5",
        "b.h5",
        "--column",
        "sources=sources",
        "--kernel",
        "gravity",
        "--column",
        "masses=charges",
    )
    np.testing.assert_array_equal(read("b.h5", "gravity").given["masses"], np.arange(30.0))
    told = call("convert", "a.csv", "c.h5", "--neutralize").output
    assert f"{Q.sum():g}, of all charges or masses: taken from all of them in equal parts" in told
    np.testing.assert_allclose(read("c.h5").given["charges"], Q - Q.mean(), atol=1e-15)
    call("run", "c.h5", "-o", "d.h5", "--eps", "1e-3", "--box", "1")
    told = call(
        "convert",
        "a.csv",
        "--dry-run",
        "--kernel",
        "stokes",
        "--column",
        "forces=x,y,z",
        "--neutralize",
        code=1,
    )
    assert "there are no forces to neutralize" in told.stderr
    assert "give OUT.h5, or --dry-run" in call("convert", "a.csv", code=2).stderr
    told = call("convert", "a.csv", "b.csv", code=1).stderr
    assert "b.csv: results are written as HDF5 or Zarr, not as .csv" in told and not os.path.lexists("b.csv")
    assert "is not WHAT=NAME" in call("convert", "a.csv", "--dry-run", "--column", "charges", code=2).stderr
    assert "is the input file" in call("convert", "a.h5", "a.h5", "--overwrite", code=1).stderr


def test_run_reads_the_same_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "x,y,z,q,p", *(row((*values, 1.0)) for values in TABLE))
    result = call("run", "a.csv", "-o", "a.h5")
    assert "a.csv: a table of text: sources from x, y, z; charges from q" in result.stderr
    call("run", "a.csv", "-o", "b.h5", "--column", "charges=p")
    for name, given in (("a.h5", Q), ("b.h5", np.ones(30))):
        with h5py.File(name) as file:
            np.testing.assert_allclose(file["potential"][()], taskfmm.direct(X, given), rtol=1e-12)
    assert "points stay in HDF5 or Zarr" in call("run", "a.csv", "-o", "c.h5", "--spread", code=1).stderr
    told = call("run", "a.csv", "-o", "c.h5", "--charges-batch", "--column", "charges=p", code=2).stderr
    assert "--column cannot be given with --charges-batch" in told
    assert "30 sources" in call("explain", "a.csv").output
    text(Path("b.csv"), *map(row, TABLE))
    call("plan", "b.csv", "-o", "plan.h5")
    call("run", "b.csv", "--plan", "plan.h5", "-o", "c.h5")
    with h5py.File("c.h5") as file:
        np.testing.assert_allclose(file["potential"][()], taskfmm.direct(X, Q), rtol=1e-12)
