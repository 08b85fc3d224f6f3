"""The page of the dashboard where something goes wrong: nothing counts twice, and no computation is harmed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pages import charges, divisions, document, plugin
from workers import mortal_workers

import taskfmm
from taskfmm import InputError
from taskfmm.forecast import evaluations
from taskfmm.profiling.names import MARK, operator_of

distributed = pytest.importorskip("distributed")


def test_calling_it_again_changes_nothing(client, page, tiny):
    scheduler = client.cluster.scheduler
    before = plugin(client), len(scheduler.http_application.applications), len(scheduler.plugins)
    tiny[0].potential(charges()).compute()
    tasks = plugin(client).table.total().tasks
    assert taskfmm.dashboard() == taskfmm.dashboard(client) == page
    assert (plugin(client), len(scheduler.http_application.applications), len(scheduler.plugins)) == before
    assert plugin(client).table.total().tasks == tasks > 0
    assert len(evaluations.listeners) == len(set(evaluations.listeners))


def test_a_fault_of_the_page_harms_no_computation(client, page, tiny, monkeypatch, says):
    fmm, q = tiny
    expected = fmm.potential(q).compute(scheduler="synchronous")
    table = plugin(client).table

    def fails(*_):
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(table, "add", fails)
    monkeypatch.setattr(table, "keep_forecasts", fails)
    monkeypatch.setattr(table, "faults", 0)
    phi = fmm.potential(q)
    n_tasks = sum(operator_of(key) is not None for key in phi.__dask_graph__())
    np.testing.assert_array_equal(phi.compute(), expected)
    assert table.faults == n_tasks
    assert any("no forecast of an evaluation: ZeroDivisionError" in line for line in says())
    monkeypatch.undo()
    table.faults = 3
    fmm.potential(charges()).compute()
    assert "log says: 3 tasks" in divisions(document(page))
    table.faults = 0


def break_once() -> None:
    """The next operator of each kind fails in this worker."""
    from taskfmm.graph import tasks

    whole, failed = tasks.operate, set()

    def operate(name, *args):
        if name not in failed:
            failed.add(name)
            raise OSError("of the test")
        return whole(name, *args)

    tasks.operate = operate
    tasks.unbroken = whole


def mend() -> None:
    from taskfmm.graph import tasks

    tasks.operate = tasks.unbroken


def test_a_task_that_was_tried_again_counts_once(client, page, tiny):
    fmm, q = tiny[0], charges()
    phi = fmm.potential(q)
    keys = {key for key in phi.__dask_graph__() if operator_of(key) is not None}
    client.run(break_once)
    try:
        found = client.compute(phi, retries=5).result()
    finally:
        client.run(mend)
    np.testing.assert_array_equal(found, phi.compute(scheduler="synchronous"))
    total = plugin(client).table.total()
    assert (total.tasks, total.with_forecast, total.again) == (len(keys), len(keys), 0)


def test_of_a_task_that_was_tried_again_the_last_time_counts():
    from taskfmm.live.plugin import Dashboard

    key = (f"P2M-{MARK}{'7' * 20}", 3, 1)
    told = {"worker": "tcp://host:1", "nbytes": 8, "type": b"", "typename": "", "stimulus_id": "of the test"}
    starts = [
        {"action": "compute", "start": 1.0, "stop": 9.0},
        {"action": "transfer", "start": 9.0, "stop": 9.5},
    ]
    found = Dashboard()
    found.scheduler = SimpleNamespace(tasks={key: SimpleNamespace(dependencies=set())})
    found.transition(key, "waiting", "processing", stimulus_id="of the test")
    found.transition(
        key,
        "processing",
        "memory",
        startstops=[*starts, {"action": "compute", "start": 9.5, "stop": 10.0}, *starts[1:]],
        **told,
    )
    assert found.table.total().seconds == 0.5 and not found.table.faults
    found.transition(key, "processing", "memory", startstops=[], **told)
    assert found.table.total().seconds == 0.5 and found.table.faults == 1


def test_what_was_lost_with_a_worker_counts_once(clustered):
    with mortal_workers() as client:
        page = taskfmm.dashboard(client)
        phi = clustered.potential(charges(len(clustered.sources)))
        keys = {key for key in phi.__dask_graph__() if operator_of(key) is not None}
        held = phi.persist()
        distributed.wait(held)
        table = plugin(client).table
        assert table.total().tasks == len(keys) and not table.total().again
        pids = client.run(os.getpid)
        holder = next(iter(next(iter(client.who_has(held).values()))))
        os.kill(pids[holder], signal.SIGKILL)
        values = held.compute()
        np.testing.assert_array_equal(values, phi.compute(scheduler="synchronous"))
        total = table.total()
        assert total.tasks == total.with_forecast == len(keys)
        assert total.again > 0 and "computed again" in divisions(document(page))
        assert table.evaluations == 1
        # and after a restart all begins anew
        del held
        client.wait_for_workers(2)
        client.restart()
        assert not table.cells
        assert taskfmm.dashboard(client) == page
        clustered.potential(charges(len(clustered.sources))).compute()
        total = table.total()
        assert total.tasks == total.with_forecast == len(keys)
        assert "P2P" in divisions(document(page))


def test_the_scheduler_of_a_closed_client_is_left_alone(cluster, tiny):
    with distributed.Client(cluster, set_as_default=False) as client:
        taskfmm.dashboard(client)
    asked = []
    client.run_on_scheduler = lambda *args, **options: asked.append(args)
    tiny[0].potential(charges()).compute(scheduler="synchronous")
    assert not asked
    with pytest.raises(InputError, match="closed"):
        taskfmm.dashboard(client)


def test_without_a_scheduler_that_takes_a_page_it_is_one_error(cluster):
    assert not distributed.client._get_global_client()
    with pytest.raises(InputError, match=r"no distributed.Client.*plots.operators"):
        taskfmm.dashboard()
    with pytest.raises(InputError, match=r"client is str, expected a distributed.Client"):
        taskfmm.dashboard("tcp://127.0.0.1:8786")
    with distributed.Client(cluster, set_as_default=False) as client:

        def refused(*_, **__):
            raise ModuleNotFoundError("No module named 'taskfmm'")

        client.register_plugin = refused
        with pytest.raises(InputError, match=r"No module named.*installed.*plots.operators"):
            taskfmm.dashboard(client)

    async def asynchronous():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(InputError, match="asynchronous"):
                taskfmm.dashboard(client)

    asyncio.run(asynchronous())


WITHOUT_DASHBOARD = """
import sys

class WithoutBokeh:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "bokeh":
            raise ModuleNotFoundError(name)

address = None
if "bokeh" in sys.argv:
    address = ":0"
    sys.meta_path.insert(0, WithoutBokeh())

import distributed, taskfmm
with distributed.Client(n_workers=0, processes=False, dashboard_address=address) as client:
    try:
        taskfmm.dashboard(client)
    except taskfmm.InputError as error:
        print(error)
"""


@pytest.mark.parametrize("without", ["address", "bokeh"])
def test_without_a_dashboard_there_is_one_error_and_no_traceback(without):
    command = [sys.executable, "-c", WITHOUT_DASHBOARD, without]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "has no dashboard: start it with a dashboard_address, where Bokeh is installed" in done.stdout
    assert done.stderr == ""


def test_rates_are_measured_when_there_are_workers(tiny):
    options = dict(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0")
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        taskfmm.dashboard(client)
        assert plugin(client).table.best == {}
        cluster.scale(1)
        client.wait_for_workers(1)
        taskfmm.dashboard(client)
        best = plugin(client).table.best
        assert (
            set(best) == {"pair_rate", "gemm_rate", "gemm_rate_single", "copy_rate"}
            and min(best.values()) > 0
        )
        tiny[0].potential(charges()).compute()
        assert plugin(client).table.total().at_best > 0


def test_a_scheduler_imports_neither_loops_nor_plans():
    """What is unpickled there is light."""
    code = "import sys, taskfmm.live.plugin; sys.exit('numba' in sys.modules or 'taskfmm.fmm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
