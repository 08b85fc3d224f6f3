"""Rates of the machine: kept, read back, refused when they are no measurement; and what is said of the machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cases import each
from click.testing import CliRunner

from taskfmm import calibrate, doctor
from taskfmm.cli import main
from taskfmm.cost import rates
from taskfmm.files import numbers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(tmp_path))
    rates.current.cache_clear()
    yield tmp_path
    rates.current.cache_clear()


def test_defaults_until_something_is_kept(cache):
    assert rates.current() == rates.DEFAULT
    other = replace(rates.DEFAULT, near_one=2 * rates.DEFAULT.near_one)
    rates.keep(other)
    assert rates.current() == other
    assert [p.name for p in cache.iterdir()] == [rates.path().name]


def signed(**changed) -> str:
    """A file of rates as it is kept."""
    found = asdict(rates.DEFAULT) | changed
    return json.dumps({"numbers": found, "sha256": numbers._digest(found)})


@each(
    "damage",
    [
        "not json",
        "[]",
        json.dumps({"near_one": 1.0}),
        "[" * 60_000,
        signed(near_one=float("nan")),
        signed(run=-1.0),
        signed(m2l_meeting=1.0),
        signed(run=3e-8).replace("3e-08", "4e-08"),
        signed(near_pair=0.45e-9, m2l_pair=15e-9, box=2e-6),  # of an older version,
    ],
)
def test_what_is_no_measurement_is_not_used(damage, caplog):
    rates.current.cache_clear()
    caplog.clear()
    rates.path().parent.mkdir(exist_ok=True)
    rates.path().write_text(damage)
    assert rates.current() == rates.DEFAULT
    assert "taskfmm calibrate" in caplog.text


def test_rates_are_measured_and_kept(monkeypatch):
    monkeypatch.setattr(calibrate, "N", 4000)
    monkeypatch.setattr(calibrate, "LEAF_SIZE", 20)
    done = CliRunner().invoke(main, ["calibrate", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["seconds"] == json.loads(rates.path().read_text())["numbers"]
    assert found["kept"] == str(rates.path())
    monkeypatch.setattr(calibrate, "measure", lambda: rates.Rates(**found["seconds"]))
    text = CliRunner().invoke(main, ["calibrate"], catch_exceptions=False).output
    assert all(name in text for name in asdict(rates.DEFAULT))


def test_the_doctor_looks_and_leaves_all_as_it_is(cache, monkeypatch):
    monkeypatch.setattr(calibrate, "measure", None)
    found = json.loads(CliRunner().invoke(main, ["doctor", "--json"], catch_exceptions=False).output)
    assert found["cores"] >= 1
    assert found["blas"]
    assert found["vector instructions"] in (*doctor.VECTORS, "none")
    assert any("taskfmm calibrate" in each for each in found["advice"])
    text = CliRunner().invoke(main, ["doctor"], catch_exceptions=False).output
    assert all(name in text for name in found if name != "advice")
    assert not list(cache.iterdir())
    rates.keep(rates.DEFAULT)
    assert not any("taskfmm calibrate" in each for each in doctor.advice())


def well(monkeypatch):
    """A machine to which nothing is to be said."""
    rates.keep(rates.DEFAULT)
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(doctor, "cores", doctor.n_cores)
    monkeypatch.setattr(doctor, "threading_layer", lambda: "omp")
    monkeypatch.setattr(doctor, "_loops", lambda: rates.path().parent)
    monkeypatch.setattr(doctor, "vectors", lambda: "avx2")
    monkeypatch.setattr(doctor, "_blas", lambda: [{"architecture": "Haswell"}])
    assert doctor.advice() == []


@each(
    "name,value,told",
    [
        ("cores", lambda: 1000, "NUMBA_NUM_THREADS"),
        ("threading_layer", lambda: "workqueue", "tbb"),
        ("_loops", lambda: None, "NUMBA_CACHE_DIR"),
        ("_blas", lambda: [{"architecture": "Prescott"}], "OPENBLAS_CORETYPE"),
        ("directory", lambda: Path(os.devnull, "none"), "TASKFMM_CACHE_DIR"),
    ],
)
def test_what_could_be_better_is_told_once(name, value, told, monkeypatch):
    well(monkeypatch)
    monkeypatch.setattr(doctor, name, value)
    (advice,) = doctor.advice()
    assert told in advice


def test_a_busy_machine(monkeypatch):
    well(monkeypatch)
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (1e3, 0.0, 0.0))
    (advice,) = doctor.advice()
    assert "load is 1000.0" in advice
