"""The dashboard: every operator by its name and in a colour of its own."""

from __future__ import annotations

import json
import urllib.request

import numpy as np
import pytest

import taskfmm

distributed = pytest.importorskip("distributed")

OPERATORS = {"charges", "P2M", "M2M", "M2L", "L2L", "L2P", "P2P", "potential"}


@pytest.fixture
def evaluated(client):
    """A potential that was just computed."""
    rng = np.random.default_rng(330197)
    fmm = taskfmm.Fmm(rng.random((900, 3)), order=3, leaf_size=20)
    q = rng.uniform(-1, 1, 900)
    client.get_task_stream()  # turns it on
    phi = fmm.potential(q).persist()
    distributed.wait(phi)
    return phi


def fetch(client, page: str) -> bytes:
    """From the running dashboard."""
    address = client.dashboard_link.removesuffix("status")
    with urllib.request.urlopen(f"{address}{page}", timeout=30) as answer:
        return answer.read()


def test_the_task_stream_shows_operators(client, evaluated):
    """Names as the plot's hover shows them, from the data that the page is drawn from."""
    from distributed.diagnostics.task_stream import TaskStreamPlugin

    plugin = client.cluster.scheduler.plugins[TaskStreamPlugin.name]
    rectangles = plugin.rectangles(istart=0)
    colors = {}
    for name, color in zip(rectangles["name"], rectangles["color"], strict=True):
        colors.setdefault(name, set()).add(color)
    assert set(colors) >= OPERATORS
    assert all(len(colors[name]) == 1 for name in OPERATORS)
    distinct = {next(iter(colors[name])) for name in OPERATORS}
    assert len(distinct) >= len(OPERATORS) - 2  # Dask picks one of eleven by a hash of the name


def test_progress_counts_operators(client, evaluated):
    """The bars of the progress plot are task prefixes."""
    prefixes = client.cluster.scheduler.task_prefixes
    assert set(prefixes) >= OPERATORS
    assert prefixes["potential"].states["memory"] == 1
    assert prefixes["P2P"].state_counts["memory"] >= 1


def test_the_pages_answer(client, evaluated):
    counts = json.loads(fetch(client, "json/counts.json"))
    assert counts["workers"] == 2
    assert counts["erred"] == 0
    assert counts["memory"] >= 1
    for page in ("status", "individual-task-stream", "individual-progress"):
        assert b"bokeh" in fetch(client, page).lower()
