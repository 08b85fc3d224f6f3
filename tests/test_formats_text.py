"""Tables of text: which columns are read, by names alone, and what is refused."""

from __future__ import annotations

import numpy as np
from cases import each
from tables import NAMES, TABLE, Q, X, read, refusal, row, text

from taskfmm.files.input import InputFile
from taskfmm.kernels import KERNELS


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
            ["x,y,z,position_x,position_y,position_z,q", "1,2,3,4,5,6,7"],
            "sources may be position_x,position_y,position_z or x,y,z: say which, as --column sources=position_x,",
        ),
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
    found = read(path, sources=["A", "b", "C"], charges=["CHARGE"])
    np.testing.assert_array_equal(found.sources, X)
    np.testing.assert_array_equal(found.given["charges"], np.full(30, 2.0))
    twice = text(tmp_path / "c.csv", "x,y,z,P,p", "1,2,3,4,5")
    assert read(twice, charges=["p"]).given["charges"].tolist() == [5.0]
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
