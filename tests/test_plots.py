"""Plots of boxes, lists, errors and seconds: what stands in them, and where they are drawn."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import taskfmm
from taskfmm.errors import InputError

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("agg")


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def plan():
    """Leaves of three levels, among them boxes without points."""
    rng = np.random.default_rng(2236067977499789)
    points = np.concatenate([rng.normal(size=(1500, 3)), rng.normal([2.0, 1.0, 0.0], 0.1, (1500, 3))])
    return taskfmm.Fmm(points, leaf_size=60)


def squares(ax):
    """Of all collections, [n, lower and upper corner, two coordinates]."""
    outlines = [
        path.vertices[:4] for found in ax.collections for path in found.get_paths() if len(path.vertices) > 3
    ]
    return np.array([[outline.min(axis=0), outline.max(axis=0)] for outline in outlines])


@pytest.mark.parametrize("axis, across", [("x", [1, 2]), ("y", [0, 2]), ("z", [0, 1])])
def test_a_source_in_the_plane_is_in_one_square(plan, axis, across):
    for row in (3, 700, 1600, 2900):
        ax = plan.plot_tree(axis, at=plan.sources[row, "xyz".index(axis)])
        assert [ax.get_xlabel(), ax.get_ylabel()] == ["xyz"[i] for i in across]
        low, high = np.swapaxes(squares(ax), 0, 1)
        place = plan.sources[row, across]
        assert ((low <= place) & (place < high)).all(axis=1).sum() == 1


def test_dots_are_the_sources_of_the_leaves_that_are_cut(plan):
    ax = plan.plot_tree()
    dots = np.transpose(ax.lines[0].get_data())
    given = {tuple(row) for row in np.round(plan.sources[:, :2], 9)}
    assert 100 < len(dots) < len(plan.sources) and {tuple(row) for row in np.round(dots, 9)} <= given
    low, high = np.swapaxes(squares(ax), 0, 1)
    assert ((low[:, None] <= dots) & (dots <= high[:, None])).all(axis=2).any(axis=0).all()


def test_all_lists_are_drawn(plan):
    lists = plan.plan.lists
    box = int(np.argmax(np.diff(lists.w.ptr)))
    found = [text.get_text() for text in plan.plot_lists(box).get_legend().get_texts()]
    for text, (name, operator) in zip(
        found, {"u": "P2P", "v": "M2L", "w": "M2P", "x": "P2L"}.items(), strict=True
    ):
        csr = getattr(lists, name)
        assert text.startswith(f"{name.upper()}, {operator}: {csr.ptr[box + 1] - csr.ptr[box]} (")


def test_a_place_names_its_leaf(plan):
    place = plan.sources[7]
    ax = plan.plot_lists(place)
    own = np.transpose(ax.lines[0].get_data())
    assert (own.min(axis=0) <= place[:2]).all() and (place[:2] <= own.max(axis=0)).all()
    assert re.match(r"leaf [\d,]+ of level \d", ax.get_title())
    near, far = (int(re.search(r"\((\d+)\)", text.get_text())[1]) for text in ax.get_legend().get_texts()[:2])
    v_list = squares(ax)[near : near + far]
    touching = (v_list[:, 0] < own.max(axis=0) + 1e-9) & (own.min(axis=0) - 1e-9 < v_list[:, 1])
    assert far > 3 and not touching.all(axis=1).any()


def test_images_are_drawn_outside_the_box():
    points = np.random.default_rng(2449489742783178).random((2000, 3))
    ax = taskfmm.Fmm(points, box=1.0, eps=1e-3, leaf_size=40).plot_lists([0.02, 0.02, 0.5])
    found = squares(ax)
    assert found.min() < -0.1
    area = np.prod(found[:, 1] - found[:, 0], axis=1)
    assert area.sum() == pytest.approx(
        np.prod(np.ptp(found.reshape(-1, 2), axis=0))
    )  # without gaps or overlaps


def test_given_axes_are_used(plan):
    _, (one, two) = pyplot.subplots(1, 2)
    assert plan.plot_tree(ax=one) is one and plan.plot_lists(0, ax=two) is two
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda fmm: fmm.plot_tree("w"), "axis"),
        (lambda fmm: fmm.plot_tree(at=1e6), "cuts no leaf"),
        (lambda fmm: fmm.plot_lists(10**6), "no box 1000000"),
        (lambda fmm: fmm.plot_lists([50.0, 0.0, 0.0]), "no leaf is at"),
        (lambda fmm: fmm.plot_lists([0.0, float("nan"), 0.0]), "box"),
        (lambda fmm: taskfmm.Fmm(np.empty((0, 3))).plot_tree(), "no boxes to draw"),
        (lambda fmm: taskfmm.plots.error(fmm.sources, np.ones(3000), eps=[]), "eps is empty"),
        (lambda fmm: taskfmm.plots.error(fmm.sources, np.ones(3000), eps=[1e-3, None]), "eps is None"),
        (lambda fmm: taskfmm.plots.scaling(fmm.sources, np.ones(3000), sizes=[10, 3001]), "1 to 3000"),
        (
            lambda fmm: taskfmm.plots.scaling(fmm.sources, np.ones(3000), targets=fmm.sources[:9]),
            "targets were given",
        ),
        (lambda fmm: fmm.plot_tree(ax=3), "ax is int, expected one matplotlib.axes.Axes"),
        (lambda fmm: fmm.plot_lists(0, ax=np.empty(2, object)), "ax is ndarray"),
    ],
)
def test_what_cannot_be_drawn_is_one_error(plan, call, complaint):
    with pytest.raises(InputError, match=complaint):
        call(plan)
    assert not pyplot.get_fignums()


def test_errors_are_those_of_evaluations(plan):
    charges = np.random.default_rng(3162277660168379).uniform(-1, 1, 3000)
    options = {"n_samples": 200, "seed": 5, "leaf_size": 60}
    ax = taskfmm.plots.error(plan.sources, charges, [1e-2, 1e-5], ["potential", "gradient"], **options)
    eps, potential, gradient = ax.lines
    assert [line.get_label() for line in ax.lines] == ["eps", "potential", "gradient"]
    assert (eps.get_xdata() == eps.get_ydata()).all()
    for line in (potential, gradient):
        assert (line.get_ydata() < line.get_xdata()).all() and (line.get_ydata() > 0).all()
    fmm = taskfmm.Fmm(plan.sources, eps=1e-5, leaf_size=60)
    values = fmm.evaluate(charges, "gradient")["gradient"]
    assert taskfmm.plots.error(plan.sources, charges, 1e-2, **options).lines[1].get_xdata() == [1e-2]
    assert gradient.get_ydata()[0] == fmm.error_estimate(charges, values, 200, 5, "gradient")


def test_seconds_are_drawn_for_every_size_that_is_asked_for(plan):
    ax = taskfmm.plots.scaling(
        plan.sources,
        np.ones((3000, 3)),
        [2000, 500],
        "velocity",
        1,
        10**6,
        kernel=taskfmm.kernels.Stokes(),
        eps=1e-2,
    )
    found = {line.get_label(): line.get_xdata().tolist() for line in ax.lines}
    assert found == {"plan": [500, 2000], "evaluation": [500, 2000], "direct sum": [500]}
    assert all((line.get_ydata() > 0).all() for line in ax.lines)


def test_without_matplotlib_the_error_says_what_to_install(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"taskfmm\[viz\]"):
        plan.plot_tree()
