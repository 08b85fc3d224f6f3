"""The table of operators, its columns and its picture, without a scheduler."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest

import taskfmm
from taskfmm import bounds
from taskfmm.cost import rates
from taskfmm.errors import InputError
from taskfmm.forecast import evaluations
from taskfmm.live import columns, table
from taskfmm.live.table import Cell, Table, TaskForecast, of_records
from taskfmm.live.task_forecasts import task_forecasts
from taskfmm.profiling.names import MARK, name_of, without_charges

ONE, TWO = (MARK + digit * 16 for digit in "12")
HERE, THERE = "tcp://host:1", "tcp://host:2"


def key(operator: str, level: int, number: int, token: str = ONE) -> tuple:
    return (f"{operator}-{token}", level, number)


@pytest.fixture
def filled() -> Table:
    """Two levels of M2M, whose results P2P of another worker reads; M2M has a forecast."""
    found = Table()
    found.keep_forecasts(ONE, {without_charges(key("M2M", 2, 0)): TaskForecast(0.5, 0.25, 0.0, 2e9)})
    found.add(key("M2M", 3, 0), HERE, 0.3, 100, [])
    found.add(key("M2M", 2, 0), HERE, 1.0, 1000, [key("M2M", 3, 0)])
    found.add(key("P2P", 2, 0), THERE, 2.0, 10, [key("M2M", 2, 0), ("of others", 1)])
    return found


def test_sums_by_operator_level_and_worker(filled):
    assert filled.by("operator", "level")["M2M", 2] == Cell(1, 1.0, 1, 1.0, 0.5, 0.25, 0.0, 2e9)
    assert filled.by("worker")[HERE,].seconds == pytest.approx(1.3)
    assert filled.total() == Cell(3, pytest.approx(3.3), 1, 1.0, 0.5, 0.25, 0.0, 2e9)
    assert filled.evaluations == 1


def test_only_what_another_worker_reads_is_sent_and_once_to_each(filled):
    assert filled.sent == {(HERE, THERE, "M2M"): 1000}
    filled.add(key("P2P", 2, 1), THERE, 2.0, 10, [key("M2M", 2, 0)])
    assert filled.sent == {(HERE, THERE, "M2M"): 1000}
    filled.add(key("P2P", 2, 2), "tcp://host:3", 2.0, 10, [key("M2M", 2, 0), key("P2P", 2, 1)])
    assert filled.sent[HERE, "tcp://host:3", "M2M"] == 1000
    assert filled.sent[THERE, "tcp://host:3", "P2P"] == 10


def test_a_task_that_ran_again_counts_with_its_last_run(filled):
    filled.add(key("M2M", 2, 0), THERE, 4.0, 1000, [])
    assert filled.by("operator", "worker")["M2M", THERE] == Cell(1, 4.0, 1, 4.0, 0.5, 0.25, 0.0, 2e9)
    assert filled.by("operator", "level")["M2M", 2].tasks == 1
    total = filled.total()
    assert (total.tasks, total.again, total.again_seconds) == (3, 1, 1.0)
    assert filled.evaluations == 1
    assert any("computed again: 1 run, 1 s" in line for line in columns.summary(filled))


def test_a_task_that_was_forgotten_is_of_another_evaluation(filled):
    for each in [key("M2M", 3, 0), key("M2M", 2, 0), key("P2P", 2, 0), ("of others", 1)]:
        filled.forget(each)
    filled.add(key("M2M", 2, 0), HERE, 3.0, 1000, [])
    assert filled.by("operator", "level")["M2M", 2].seconds == 4.0
    assert filled.total().again == 0
    assert filled.evaluations == 2
    filled.add(key("M2M", 2, 0, TWO), HERE, 3.0, 1000, [])
    assert filled.evaluations == 3
    assert filled.total().with_forecast == 2  # the third has no forecast


def test_tasks_of_others_are_left_out(filled):
    before = filled.total()
    filled.add(("sum-abc", 1), HERE, 1.0, 8, [])
    filled.add("fmm0", HERE, 1.0, 8, [])
    assert filled.total() == before


def test_beginning_anew_keeps_forecasts(filled):
    version = filled.version
    filled.clear()
    assert columns.summary(filled) == [columns.NOTHING]
    assert filled.version > version and not filled.sent
    filled.add(key("M2M", 2, 0), HERE, 3.0, 1000, [])
    assert filled.total() == Cell(1, 3.0, 1, 3.0, 0.5, 0.25, 0.0, 2e9)


def test_the_oldest_forecasts_are_forgotten_and_equal_ones_are_one(monkeypatch):
    monkeypatch.setattr(table, "KEPT", 3)
    found, forecasts = Table(), {("M2M", "", 2, 0): TaskForecast(1.0, 0.0, 0.0, 0.0)}
    for number in range(5):
        found.keep_forecasts(f"{number}", dict(forecasts))
    assert list(found._forecasts) == ["2", "3", "4"]
    assert len({id(each) for each in found._forecasts.values()}) == 1


def test_columns(filled):
    found = columns.shown(filled)
    assert found["levels"]["row"] == ["M2M, level 2", "M2M, level 3", "P2P, level 2"]
    assert found["levels"]["rate"] == ["2 GFLOP/s", "", ""]
    of = {name: values[0] for name, values in found["levels"].items()}
    assert (of["seconds"], of["forecast"], of["over_forecast"], of["of_best"]) == (1.0, 0.5, 2.0, 0.25)
    assert (of["gflops"], math.isnan(of["gpairs"])) == (2.0, True)
    assert all(math.isnan(found["levels"][name][2]) for name in ("forecast", "of_best", "at_best", "gflops"))
    assert found["operators"]["operator"] == ["M2M", "P2P"]
    assert found["operators"]["sent"] == [1000, 0]
    # of the tasks that have a forecast
    assert (found["operators"]["over_forecast"][0], found["operators"]["gflops"][0]) == (2.0, 2.0)
    assert found["rates"]["operator"] == ["M2M"]
    assert found["workers"]["worker"] == ["host:1", "host:2"]
    assert found["workers"]["seconds"] == pytest.approx([1.3, 2.0])
    assert found["sent"] == {
        "source": ["host:1"],
        "target": ["host:2"],
        "bytes": [1000],
        "text": ["0.98 kiB"],
        "parts": ["M2M 0.98 kiB"],
    }
    assert any("No forecast of 2 of these" in line for line in columns.summary(filled))
    assert "2.00 times the 0.5 s" in columns.summary(filled)[0]  # of the same tasks, not of all


def test_pieces_of_a_worker_follow_each_other(filled):
    filled.add(key("M2M", 3, 1), THERE, 0.5, 100, [])
    found = columns.shown(filled)["parts"]
    rows = list(zip(found["worker"], found["operator"], found["left"], found["right"], strict=True))
    assert ("host:2", "M2M", 0.0, 0.5) in rows and ("host:2", "P2P", 0.5, 2.5) in rows


def test_of_many_workers_the_others_are_one_row(monkeypatch):
    monkeypatch.setattr(columns, "MOST_WORKERS", 2)
    found = Table()
    for number in range(5):
        found.add(key("P2M", 3, number), f"tcp://host:{number}", 1.0 + number, 8, [])
    found.add(key("M2M", 2, 0), "tcp://host:4", 1.0, 8, [key("P2M", 3, number) for number in range(5)])
    shown = columns.shown(found)
    assert shown["workers"]["worker"] == ["host:3", "host:4", "3 others"]
    assert shown["workers"]["seconds"] == [4.0, 6.0, 6.0]
    assert dict(zip(shown["sent"]["source"], shown["sent"]["bytes"], strict=True)) == {
        "host:3": 8,
        "3 others": 24,
    }


def test_forecasts_of_tasks_are_parts_of_that_of_the_evaluation(fmm, charges):
    """Seconds of operators without the scheduler's share, pairs of points, and seconds at best of each task."""
    found, best = fmm.forecast(), bounds.measure(seconds=0.001)
    each = task_forecasts(found, best)
    assert len(each) == len(found.keys)
    assert sum(one.pairs for name, one in each.items() if name[0] == "P2P") == pytest.approx(_pairs(fmm))
    products = [
        sum(count for rate, count in effort.counts.shared.items() if rate.startswith("m2l_multiply_add"))
        for name, effort in zip(found.keys, found.efforts, strict=True)
        if name[0] == "M2L"
    ]
    operations = sum(one.operations for name, one in each.items() if name[0] == "M2L")
    assert 0 < operations == pytest.approx(2 * sum(products))
    least = bounds.by_operator(zip(found.keys, found.efforts, strict=True), best)
    for operator, seconds in least.items():
        of_it = [one for name, one in each.items() if name[0] == operator]
        assert sum(one.at_best for one in of_it) == pytest.approx(seconds)
        assert sum(one.seconds for one in of_it) < found.by_operator[operator]["seconds"]
    of_scheduler = [
        rates.current().task + rates.current().edge * len(inputs) for inputs in found.tasks.inputs
    ]
    own = [each[name].seconds for name in found.names]
    np.testing.assert_allclose(found.tasks.seconds, np.add(own, of_scheduler))
    assert all(one.at_best == 0.0 for one in task_forecasts(found, None).values())


def _pairs(fmm) -> float:
    u, tree = fmm.plan.lists.u, fmm.plan.tree
    n_sources, n_targets = (np.diff(ptr, axis=1)[:, 0] for ptr in (tree.source_ptr, tree.target_ptr))
    return float((n_targets[u.rows] * n_sources[u.idx]).sum())


def test_forecasts_are_found_by_the_tokens_of_evaluations(fmm, charges):
    """Other charges have another token and the same names; every task of a profile has a forecast."""
    for q in (3.0 * charges, 2.0 * charges[::-1]):  # of no other test, whose outputs would be found as well
        phi = fmm.potential(q)
        with taskfmm.profile() as prof:
            phi.compute()
        (evaluation,) = {record.evaluation for record in prof.tasks}
        (found,) = evaluations.forecasts(evaluation)
        filled = of_records(prof.tasks, {evaluation: task_forecasts(found, None)}, {})
        total = filled.total()
        assert total.tasks == total.with_forecast == len(found.keys) == prof.totals()["tasks"]
        assert total.forecast == pytest.approx(
            sum(each.seconds for each in task_forecasts(found, None).values())
        )


def test_a_table_of_records_is_that_of_the_profile(fmm, charges):
    """Every run counts, of several evaluations of the same charges as well."""
    phi = fmm.potential(charges)
    with taskfmm.profile() as prof:
        phi.compute()
        phi.compute()
    found = of_records(prof.tasks, {}, {}).by("operator", "level")
    rows = prof.table()
    assert len(found) == len(rows)
    for row in rows:
        cell = found[row["operator"], row["level"]]
        assert (cell.tasks, cell.seconds) == (row["tasks"], pytest.approx(row["seconds"]))
    assert not any(cell.again for cell in found.values())


def test_of_other_targets_and_of_several_outputs(fmm, charges):
    """Tasks of the plan whose multipoles are read, and those that two evaluations share, have forecasts as well."""
    probe = fmm.at(fmm.sources[::3] + 1e-3)
    arrays = [probe.potential(charges), fmm.evaluate(charges, "gradient")["gradient"]]
    with taskfmm.profile() as prof:
        for array in arrays:
            array.compute()
    forecasts = {}
    for evaluation in {record.evaluation for record in prof.tasks}:
        forecasts[evaluation] = {}
        for one in evaluations.forecasts(evaluation):
            forecasts[evaluation] |= task_forecasts(one, None)
    total = of_records(prof.tasks, forecasts, {}).total()
    assert total.tasks == total.with_forecast > 0


def test_no_plan_is_kept_alive():
    q = np.ones(700)
    fmm = taskfmm.Fmm(np.random.default_rng(41887).random((700, 3)), order=3, leaf_size=20)
    phi = fmm.potential(q)
    evaluation = name_of((phi.name, 0)).evaluation
    assert len(evaluations.forecasts(evaluation)) == 1
    fmm.potential(q)
    assert len(evaluations.forecasts(evaluation)) == 1
    del fmm
    gc.collect()
    assert evaluations.forecasts(evaluation) == []


def test_the_oldest_evaluations_are_forgotten(tiny, monkeypatch):
    monkeypatch.setattr(evaluations, "KEPT", 2)
    fmm, q = tiny
    for times in range(1, 5):
        fmm.potential(times * q)
    assert len(evaluations._known) == 2


def test_the_picture_has_bars_forecasts_and_rates(tiny):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    fmm, q = tiny
    phi = fmm.potential(q)
    with taskfmm.profile() as prof:
        phi.compute()
    ax = taskfmm.plots.operators(prof)
    measured, forecast = ax.containers
    rows = prof.table()
    names = [columns.label(row["operator"], row["level"]) for row in rows]
    assert [each.get_text() for each in ax.get_yticklabels()] == names
    assert [bar.get_width() for bar in measured] == pytest.approx([row["seconds"] for row in rows])
    evaluation = prof.tasks[0].evaluation
    (found,) = evaluations.forecasts(evaluation)
    forecast_seconds = sum(each.seconds for each in task_forecasts(found, None).values())
    assert sum(bar.get_width() for bar in forecast) == pytest.approx(forecast_seconds)
    texts = [each.get_text() for each in ax.texts]
    assert any("Gpairs/s" in text for text in texts) and any("GFLOP/s" in text for text in texts)
    assert "seconds" in ax.get_xlabel() and "a core at best" in ax.get_xlabel()
    assert "in this process" in ax.get_title(loc="left")
    _, given = pyplot.subplots()
    assert taskfmm.plots.operators(prof, ax=given) is given
    with taskfmm.profile() as prof:
        pass
    assert columns.NOTHING in taskfmm.plots.operators(prof).get_title(loc="left")
    pyplot.close("all")


@pytest.mark.parametrize("width", [4.0, 6.4, 16.0])
def test_words_of_the_picture_stay_beside_its_axes(tiny, width):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    fmm, q = tiny
    with taskfmm.profile() as prof:
        fmm.potential(q).compute()
    figure, ax = pyplot.subplots(figsize=(width, 5.0), layout="constrained")
    taskfmm.plots.operators(prof, ax=ax)
    figure.canvas.draw()
    assert ax.get_window_extent().width > 0.6 * figure.bbox.width
    title = next(each for each in ax.findobj(pyplot.Text) if "1 evaluation" in each.get_text())
    for each in (title, ax.get_legend(), ax.xaxis.label):
        found = each.get_window_extent()
        assert found.x0 >= 0.0 and found.y0 >= 0.0
        assert found.x1 <= figure.bbox.x1 and found.y1 <= figure.bbox.y1
    pyplot.close("all")


def test_a_picture_without_forecasts_says_so(tiny):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    fmm = taskfmm.Fmm(tiny[0].sources, order=3, leaf_size=20)
    phi = fmm.potential(3.0 * tiny[1])
    evaluations._known.clear()
    with taskfmm.profile() as prof:
        phi.compute()
    ax = taskfmm.plots.operators(prof)
    assert f"No forecast of {len(prof.tasks)} of these" in ax.get_title(loc="left")
    pyplot.close("all")
    with pytest.raises(InputError, match=r"profile is Fmm, expected a taskfmm.profile"):
        taskfmm.plots.operators(fmm)
