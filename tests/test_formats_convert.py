"""Files of other programs on the command line: what `taskfmm convert` says and writes, and what `run` reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from tables import TABLE, Q, X, call, read, row, text

import taskfmm


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


def test_charges_are_neutralized_and_masses_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "x,y,z,charge,M", *(row((*values, 1.0)) for values in TABLE))
    told = call("convert", "a.csv", "c.h5", "--neutralize").output
    assert f"sum          {Q.sum():g}, of all charges" in told
    assert f"neutralized  {Q.mean():g} is taken from each of them" in told
    assert f"a net charge of {Q.sum():g} is more than rounding leaves over" in told
    report = json.loads(call("convert", "a.csv", "--dry-run", "--neutralize", "--json").output)
    assert report["taken_from_each"] == pytest.approx(Q.mean(), rel=1e-15)
    np.testing.assert_allclose(read("c.h5").given["charges"], Q - Q.mean(), atol=1e-15)
    call("run", "c.h5", "-o", "d.h5", "--eps", "1e-3", "--box", "1")
    again = call("convert", "c.h5", "--dry-run", "--neutralize").output
    assert "is taken from each of them" in again and "a net charge" not in again
    for options in (("--kernel", "gravity"), ("--column", "charges=M"), ("--column", "charges=m")):
        told = call("convert", "a.csv", "e.h5", "--neutralize", *options, code=1).stderr
        assert "--neutralize is for charges" in told and "are masses, which all attract: leave it out" in told
    forces = ("--kernel", "stokes", "--column", "forces=x,y,z", "--neutralize")
    assert "there are no forces to neutralize" in call("convert", "a.csv", "e.h5", *forces, code=1).stderr
    assert not os.path.lexists("e.h5")


def test_explain_reads_a_directory_of_zarr(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "x,y,z,charge", *map(row, TABLE))
    call("convert", "a.csv", "a.zarr")
    assert "30 sources" in call("explain", "a.zarr").output
