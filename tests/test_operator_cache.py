"""Operators on the disk: what was kept comes back to the bit, what is damaged is built again with one warning."""

from __future__ import annotations

import logging
import os

import h5py
import numpy as np
import pytest

from taskfmm.kernels import KERNELS
from taskfmm.operators import accuracy, expansions, store

KERNEL = KERNELS["laplace"]
ACCURACY = accuracy.of_order(3)


@pytest.fixture
def built(tmp_path, monkeypatch):
    """Operators that are kept in a cache of the test's own."""
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(tmp_path / "cache"))
    operators = expansions.build(KERNEL, ACCURACY)
    store.save(KERNEL, operators)
    return operators


def flip_a_bit(path, operators):
    raw = bytearray(path.read_bytes())
    raw[raw.index(operators.m2m[5].tobytes()) + 8] ^= 1
    path.write_bytes(raw)


def cut_short(path, operators):
    path.write_bytes(path.read_bytes()[:-1000])


def of_another_version(path, operators):
    with h5py.File(path, "a") as file:
        file.attrs["identity"] = file.attrs["identity"].replace("laplace", "yukawa")


def unfinished(path, operators):
    with h5py.File(path, "a") as file:
        file.attrs["complete"] = False


def without_l2l(path, operators):
    with h5py.File(path, "a") as file:
        del file["l2l"]


def test_what_was_kept_comes_back(built, caplog):
    found = store.load(KERNEL, ACCURACY)
    assert found is not None
    assert found.accuracy == ACCURACY
    for name in ("check_to_multipole", "multipole_to_density", "local_to_density", "m2m", "l2l"):
        np.testing.assert_array_equal(getattr(found, name), getattr(built, name))
    for name in ("rank", "start", "right", "left"):
        np.testing.assert_array_equal(getattr(found.m2l, name), getattr(built.m2l, name))
    assert not caplog.records
    assert store.load(KERNEL, accuracy.of_order(4)) is None
    assert not caplog.records


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, of_another_version, unfinished, without_l2l])
def test_damage_is_noticed(built, damage, caplog):
    path = store.path(KERNEL, ACCURACY)
    damage(path, built)
    with caplog.at_level(logging.WARNING, "taskfmm"):
        assert store.load(KERNEL, ACCURACY) is None
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    store.save(KERNEL, built)
    assert store.load(KERNEL, ACCURACY) is not None


def test_a_cache_that_cannot_be_written_is_no_error(built, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TASKFMM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    store.save(KERNEL, built)
    assert store.load(KERNEL, ACCURACY) is None


def test_what_could_not_be_moved_into_place_is_removed(built, monkeypatch):
    before = store.path(KERNEL, ACCURACY).read_bytes()

    def refuse(*paths):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    store.save(KERNEL, built)
    assert os.listdir(store.path(KERNEL, ACCURACY).parent) == [store.path(KERNEL, ACCURACY).name]
    assert store.path(KERNEL, ACCURACY).read_bytes() == before
