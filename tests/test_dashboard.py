"""The dashboard: every operator by its name and in a colour of its own, and the page of taskfmm."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import urllib.request

import dask
import numpy as np
import pytest
from pages import charges, divisions, document, plugin, source_with

import taskfmm
from taskfmm.forecast import evaluations
from taskfmm.gallery.dashboard import BROWSERS, opened
from taskfmm.live.columns import NOTHING
from taskfmm.live.table import of_records
from taskfmm.live.task_forecasts import task_forecasts
from taskfmm.profiling.names import name_of, operator_of

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


# The page of taskfmm: `test_live.py` has what needs no scheduler.


def test_the_page_has_the_operators_and_their_numbers(client, page, tiny):
    tiny[0].potential(charges()).compute()
    assert page == client.dashboard_link.removesuffix("status") + "taskfmm"
    found = document(page)
    rows = source_with(found, "row", "rate")
    cells = plugin(client).table.by("operator", "level")
    assert set(rows["operator"]) == OPERATORS
    assert list(zip(rows["operator"], rows["level"], rows["tasks"], rows["seconds"], strict=True)) == [
        (*at, cells[at].tasks, cells[at].seconds) for at in zip(rows["operator"], rows["level"], strict=True)
    ]
    assert all(value > 0 for value in (*rows["forecast"], *rows["at_best"]))
    assert any("Gpairs/s" in text for text in rows["rate"])
    text = divisions(found)
    assert "1 evaluation," in text and "times the" in text and "No forecast" not in text
    for name in OPERATORS:
        assert f"{name} <span" in text
    for (name,), cell in plugin(client).table.by("operator").items():
        assert f"{cell.seconds:.4f}" in text and f"{cell.forecast:.4f}" in text, name
    assert b"taskfmm" in fetch(client, "status")  # in the head of Dask's own pages


def test_an_open_page_follows(client, page, tiny):
    """Twice a second it looks whether the table has grown."""
    from bokeh.document import Document

    from taskfmm.live.page import document as fill

    shown, table = Document(), plugin(client).table
    fill(table, {}, shown)
    assert NOTHING in divisions(shown)
    tiny[0].potential(charges()).compute()
    (look,) = shown.session_callbacks
    assert look.period == 500
    look.callback()
    assert "1 evaluation," in divisions(shown) and "P2P <span" in divisions(shown)
    assert sum(source_with(shown, "row", "rate")["tasks"]) == table.total().tasks > 0


def test_the_button_begins_anew(client, page, tiny):
    from taskfmm.live.page import Page

    tiny[0].potential(charges()).compute()
    table = plugin(client).table
    drawn = Page(table)
    assert table.total().tasks and "P2P" in drawn.operators.text
    drawn._clear()
    assert not table.total().tasks and "P2P" not in drawn.operators.text


LETTERS = """(() => {
const found = [];
const walk = node => {
  if (node.nodeType === 3 && !["SCRIPT", "STYLE"].includes(node.parentNode.nodeName)) found.push(node.textContent);
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return found.join(" ");
})()"""


async def seen(ask, *words: str) -> str:
    """The letters of a page in Chromium, when it shows all of these."""
    letters = ""
    for _ in range(300):
        answer = await ask("Runtime.evaluate", expression=LETTERS)
        letters = answer["result"].get("value", "")  # none while the page loads
        if all(word in letters for word in words):
            return letters
        await asyncio.sleep(0.1)
    raise AssertionError(f"the page never showed {words}, but {letters}")


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs Chromium")
def test_a_browser_shows_the_page(client, page, tiny):
    """What Chromium makes of it, by its own letters."""
    phi = tiny[0].potential(charges())

    async def watched() -> str:
        async with opened(page) as ask:
            await seen(ask, NOTHING)
            held = phi.persist()
            found = await seen(ask, "1 evaluation, ", "potential ")
            del held
            return found

    shown = asyncio.run(watched())
    for name in (*OPERATORS, "measured / forecast", "press Begin anew after them", "Gpairs/s"):
        assert name in shown
    seconds = plugin(client).table.by("operator")["P2P",].seconds
    assert f"{seconds:.4f}" in shown


def test_the_same_tasks_as_a_profile(client, page, clustered):
    """By operator, level and worker; Dask's seconds are those of a task and of what calls it. Bytes that workers
    read of each other are those of the results that they took."""
    phi = clustered.potential(charges(len(clustered.sources)))
    with taskfmm.profile(client) as prof:
        phi.compute()
    table = plugin(client).table
    found = of_records(prof.tasks, {}, {})
    assert {at: cell.tasks for at, cell in table.cells.items()} == {
        at: cell.tasks for at, cell in found.cells.items()
    }
    for at, cell in table.cells.items():
        assert cell.seconds > found.cells[at].seconds - 1e-3 * cell.tasks, at
    elapsed = prof.totals()["elapsed_seconds"]
    assert all(cell.seconds < 1.1 * elapsed + 0.1 for (_,), cell in table.by("worker").items())
    assert table.sent == found.sent and sum(table.sent.values()) > 0
    total = table.total()
    assert total.tasks == total.with_forecast == len(prof.tasks) and total.pairs > 0


async def steal(allowed: bool, dask_scheduler) -> None:
    """A worker that loses a task to another one has taken for nothing what the task reads."""
    stealing = dask_scheduler.extensions["stealing"]
    await (stealing.start() if allowed else stealing.stop())


def test_bytes_are_those_that_went_between_workers(client, page, clustered):
    """As the workers say who sent what to whom."""
    client.run(lambda dask_worker: dask_worker.transfer_incoming_log.clear())
    phi = clustered.potential(charges(len(clustered.sources)))
    client.run_on_scheduler(steal, allowed=False)
    try:
        distributed.wait(persisted := phi.persist())
    finally:
        client.run_on_scheduler(steal, allowed=True)
    logs = client.run(lambda dask_worker: list(dask_worker.transfer_incoming_log))
    told = {}
    for worker, log in logs.items():
        for each in log:
            told[each["who"], worker] = told.get((each["who"], worker), 0) + sum(
                n for key, n in each["keys"].items() if operator_of(key)
            )
    found = {}
    for (source, target, _), n in plugin(client).table.sent.items():
        found[source, target] = found.get((source, target), 0) + n
    assert found == told
    del persisted


def test_the_same_charges_again_are_another_evaluation(client, page, tiny):
    """Nothing was lost: everything was forgotten before."""
    phi = tiny[0].potential(charges())
    table = plugin(client).table
    for number in (1, 2):
        client.compute(phi).result()
        until = time.monotonic() + 30
        while table._runs and time.monotonic() < until:  # the scheduler hears late that nobody wants them
            time.sleep(0.05)
        assert (table.evaluations, table.total().again) == (number, 0)
    assert table.total().tasks == table.total().with_forecast


def test_the_forecast_is_that_of_the_workers(client, page, tiny):
    """Whose tasks have one Numba thread each, whatever scheduler is in use where the array is made."""
    with dask.config.set(scheduler="synchronous"):
        phi = tiny[0].potential(charges())
    phi.compute()
    (found,) = evaluations.forecasts(name_of((phi.name, 0)).evaluation)
    of_tasks = task_forecasts(found, None, threads=1)
    assert plugin(client).table.total().forecast == pytest.approx(
        sum(each.seconds for each in of_tasks.values())
    )


def test_other_tasks_and_evaluations_without_forecast(client, page, tiny, monkeypatch):
    import dask.array as da

    da.ones((100, 100), chunks=50).sum().compute()
    assert not plugin(client).table.cells
    monkeypatch.setattr(evaluations, "listeners", ())
    tiny[0].potential(charges()).compute()
    total = plugin(client).table.total()
    assert total.tasks > 0 and total.with_forecast == 0
    assert f"No forecast of {total.tasks} of these" in divisions(document(page))
