"""The messages that docs/troubleshooting.md quotes are those that the package prints, but for their numbers."""

from __future__ import annotations

import re
from pathlib import Path

import dask.array as da
import numpy as np
import pytest

import taskfmm
from taskfmm import jit
from taskfmm.graph import reference
from taskfmm.runtime import cluster, once

PAGE = Path(__file__).resolve().parents[1] / "docs" / "troubleshooting.md"
X = np.random.default_rng(2645751311064591).random((300, 3))
Q = np.linspace(-1.0, 2.0, 300)


def plain(message: str) -> str:
    """Without numbers and units of bytes, as these are examples."""
    message = re.sub(r"\b[kMG]iB\b", "bytes", message)
    return re.sub(r"[-+]?(?:\d[\d,]*\.?\d*(?:e[-+]?\d*)?|nan)", "#", message)


def rows(*extra: object) -> np.ndarray:
    return np.vstack([X[:10], *extra])


def not_kept() -> None:
    """What is said where Numba finds no place for compiled loops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "_said", False)
        calls: list[bool] = []

        def njit(**options: object):
            calls.append("cache" in options)
            if len(calls) == 1:
                raise RuntimeError("no locator available")
            return lambda body: body

        patch.setattr(jit.numba, "njit", njit)
        jit._compiled(not_kept)


ERRORS = {
    "a flat cloud": lambda: taskfmm.Fmm(X[:, :2]),
    "nan": lambda: taskfmm.Fmm([[0, 0, 0], [0, float("nan"), 1]]),
    "a missing value": lambda: taskfmm.Fmm(rows([[3e38] * 3])),
    "other points": lambda: taskfmm.Fmm(X).potential(Q[:100]),
    "an unknown output": lambda: taskfmm.Fmm(X).evaluate(Q, "grad"),
    "charged": lambda: taskfmm.Fmm(X, box=1.0, eps=1e-3).potential(Q),
    "unknown chunks": lambda: taskfmm.Fmm.from_dask(da.from_array(X)[da.from_array(X)[:, 0] > 0.5]),
    "eps": lambda: taskfmm.Fmm(X, eps=1e-15, leaf_size=30),
    "memory": lambda: (taskfmm.Fmm(X, leaf_size=30), taskfmm.Fmm(X, memory_limit="1MiB", leaf_size=30)),
    "a scheduler": lambda: taskfmm.use("thread"),
    "no plan": lambda: taskfmm.Fmm.load("plan.h5"),
    "no file": lambda: taskfmm.dataset("points.h5", "sources"),
}

QUOTED = [
    " ".join(block.split()) for block in re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.M | re.S)
]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_quoted_as_they_are(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.h5").write_text("hello")
    with pytest.raises(taskfmm.TaskfmmError) as found:
        ERRORS[name]()
    assert plain(" ".join(str(found.value).split())) in {plain(each) for each in QUOTED}


def test_warnings_are_quoted_as_they_are(monkeypatch, caplog):
    monkeypatch.setattr(once, "_said", set())
    taskfmm.Fmm(np.vstack([X, np.zeros((2000, 3))]), leaf_size=64)
    not_kept()
    warnings = {plain(record.getMessage()) for record in caplog.records}
    for beginning in ("2000 points share a leaf", "compiled kernels cannot be kept"):
        (quoted,) = (plain(each) for each in QUOTED if each.startswith(beginning))
        assert any(said.startswith(quoted) for said in warnings), quoted
    (sent,) = (each for each in QUOTED if each.startswith("every evaluation sends"))
    source = re.sub(r'"\s+"', "", Path(reference.__file__).read_text())
    assert sent.replace("182", "%.0f").replace(cluster.SHARED_DIRECTORY, "%s") in source


def test_every_quoted_message_is_one_that_is_tested():
    assert len(QUOTED) == len(ERRORS) + 3
