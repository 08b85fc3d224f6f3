"""Rates of the machine: kept, read back, and refused when they are no measurement."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from cases import each
from click.testing import CliRunner

from taskfmm import doctor
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
    assert "taskfmm doctor" in caplog.text


def test_doctor_measures_and_keeps(monkeypatch):
    monkeypatch.setattr(doctor, "N", 4000)
    monkeypatch.setattr(doctor, "LEAF_SIZE", 20)
    done = CliRunner().invoke(main, ["doctor", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert found["cores"] >= 1
    assert found["blas"]
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["seconds"] == json.loads(rates.path().read_text())["numbers"]
    monkeypatch.setattr(doctor, "measure", lambda: rates.Rates(**found["seconds"]))
    text = CliRunner().invoke(main, ["doctor"], catch_exceptions=False).output
    assert all(name in text for name in asdict(rates.DEFAULT))
