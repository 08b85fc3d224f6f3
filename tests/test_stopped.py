"""Commands that are stopped while they write: they leave no file behind, whatever ends them but SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cases import each
from tables import TABLE, row, text

WRITING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
from taskfmm.cli import main
from taskfmm.files import disk, output, zarr_output

def write(*_):
    print("writing", flush=True)
    while True:
        try:
            time.sleep(100)
        except KeyboardInterrupt:
            if not {lost}:
                raise

if "plan" in {arguments}:
    disk.write_all = write
else:
    output.OutputFile.write = zarr_output.ZarrOutput.write = write
main({arguments})
"""


@each(
    "arguments, number, lost",
    [
        (["convert", "a.csv", "out.h5"], signal.SIGTERM, False),
        (["convert", "a.csv", "out.h5"], signal.SIGINT, False),
        (["convert", "a.csv", "out.h5"], signal.SIGTERM, True),  # HDF5 may lose an exception
        (["run", "a.csv", "-o", "out.h5"], signal.SIGTERM, False),
        (["run", "a.csv", "-o", "out.h5"], signal.SIGINT, True),
        (["plan", "a.csv", "-o", "out.h5"], signal.SIGTERM, False),
    ],
)
def test_stopped_while_writing(arguments, number, lost, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "x,y,z,q", *map(row, TABLE))
    stopped(arguments, number, lost)
    assert os.listdir() == ["a.csv"]


def test_a_directory_of_zarr(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    text(Path("a.csv"), "x,y,z,q", *map(row, TABLE))
    for lost in (False, True):
        stopped(["convert", "a.csv", "out.zarr"], signal.SIGTERM, lost)
        assert os.listdir() == ["a.csv"]


def stopped(arguments, number, lost):
    code = WRITING.format(arguments=arguments, lost=lost)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout.readline() == "writing\n"
            assert any(name.endswith(".part") for name in os.listdir())
            running.send_signal(number)
            assert running.wait(60) == 128 + number
        finally:
            running.kill()
