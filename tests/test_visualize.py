"""The drawing of the graph, the palette, and what notebooks show."""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np
import pytest

import taskfmm
from taskfmm.errors import InputError, StorageError
from taskfmm.profiling.names import COLOURS, OPERATORS


def test_every_operator_has_a_colour_of_its_own():
    assert tuple(COLOURS) == OPERATORS
    rgb = {name: [int(c[i : i + 2], 16) for i in (1, 3, 5)] for name, c in COLOURS.items()}
    for a, b in combinations(OPERATORS, 2):
        assert np.abs(np.subtract(rgb[a], rgb[b])).max() > 35, (a, b)


def test_nodes_and_lines_hold_all_tasks_and_bytes(fmm):
    from taskfmm.report.drawing import aggregate

    found = fmm.forecast(("potential", "gradient"))
    nodes, lines = aggregate(found)
    assert sum(row["tasks"] for row in nodes.values()) == len(found.keys)
    assert sum(row["seconds"] for row in nodes.values()) == pytest.approx(found.task_seconds)
    assert sum(lines.values()) == found.edge_bytes
    assert {operator for operator, _ in nodes} == set(OPERATORS) - {"P2I", "I2L"}


def test_far_images_are_drawn():
    pytest.importorskip("matplotlib")
    points = np.random.default_rng(8944394323791464).random((3000, 3))
    figure = taskfmm.Fmm(points, eps=1e-3, box=1.0).visualize()
    assert {"P2I", "I2L"} <= {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_is_returned_and_written(clustered, tmp_path, ending):
    pytest.importorskip("matplotlib")
    target = tmp_path / f"graph.{ending}"
    figure = clustered.visualize(str(target))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"P2M", "M2M", "M2L", "P2L", "L2L", "L2P", "M2P", "P2P", "charges", "potential"} <= set(texts)
    assert f"{len(clustered.forecast().keys):,} tasks" in figure.axes[0].get_title(loc="left")
    assert target.stat().st_size > 5000


def test_a_picture_that_cannot_be_written_is_one_error(clustered, tmp_path):
    pytest.importorskip("matplotlib")
    with taskfmm.profile() as profile:
        pass
    for draw in (clustered.visualize, profile.plot):
        with pytest.raises(StorageError, match=r"none/graph\.png: .* No such file or directory"):
            draw(str(tmp_path / "none" / "graph.png"))
        with pytest.raises(InputError, match=r"graph\.doc: .* not supported"):
            draw(str(tmp_path / "graph.doc"))
    assert not list(tmp_path.iterdir())


def test_the_smallest_graph_is_drawn():
    pytest.importorskip("matplotlib")
    figure = taskfmm.Fmm([[0, 0, 0], [0, 0, 1]]).visualize()
    assert "P2P" in [text.get_text() for text in figure.axes[0].texts]


def test_without_matplotlib_the_error_says_what_to_install(clustered, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"taskfmm\[viz\]"):
        clustered.visualize()


def test_notebooks_show_a_table(clustered):
    shown = clustered._repr_html_()
    assert shown.startswith("<table") and shown.endswith("</table>")
    for word in (f"{len(clustered.sources):,}", "leaf size", "expected", "peak memory"):
        assert word in shown
    assert "expected" not in taskfmm.Fmm(np.empty((0, 3)))._repr_html_()
