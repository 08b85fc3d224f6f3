"""A small cloud in tables of text and other files, and what is read from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.files import charges
from taskfmm.files.input import InputFile
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
