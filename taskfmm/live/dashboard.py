"""The page on Dask's dashboard: it is installed here, and hears of the evaluations that this process makes."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from typing import Any

from taskfmm import bounds
from taskfmm.bounds import Best
from taskfmm.errors import InputError
from taskfmm.forecast import evaluations
from taskfmm.live.task_forecasts import task_forecasts
from taskfmm.runtime import cluster, layout
from taskfmm.runtime.once import say_once

AFTERWARDS = "Instead, record a taskfmm.profile and draw taskfmm.plots.operators(profile) afterwards"

_watched: weakref.WeakKeyDictionary[Any, Best | None] = weakref.WeakKeyDictionary()
"""Clients whose schedulers have the page, and the best rates of their workers."""

_changing = threading.Lock()


def dashboard(client: Any = None) -> str:
    """Add a page to Dask's dashboard that shows the operators while they run.

    It shows the seconds of tasks by operator, level and worker, beside the forecast of the same tasks and what they
    would take at the best rates of a core; rates in Gpairs/s and GFLOP/s; and how many bytes workers read of each
    other. Evaluations that are made afterwards, in this process, bring their forecasts along. Sums are over all
    evaluations since the page is there, ``client.restart()`` or its button "Begin anew".

    Parameters
    ----------
    client : distributed.Client, optional
        The current one, if left out.

    Returns
    -------
    str
        The address of the page.

    Raises
    ------
    InputError
        There is no client, or it is asynchronous or closed; its scheduler cannot import taskfmm, or has no dashboard.

    Notes
    -----
    The page is a plugin of the scheduler, for everyone who uses this, and stays as long as it lives: calling this
    again changes nothing. The best rates are measured once, in about a second, on one worker of each host, and the
    best of these count; where there are no workers yet, call this again when they are there. Seconds are those by
    the clock on the wall that Dask's workers report, so other programs on the machine make them longer.

    A task that ran again, because its result was lost with a worker, counts with its last run. Pairs of other kernels
    than Laplace's are counted as so many pairs of 1 / r as take as long.

    Examples
    --------
    >>> import numpy as np, taskfmm
    >>> from distributed import Client
    >>> rng = np.random.default_rng(1729)
    >>> with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
    ...     page = taskfmm.dashboard(client)
    ...     phi = taskfmm.Fmm(rng.random((2000, 3)), eps=1e-3).potential(np.ones(2000)).compute()
    >>> page.rsplit("/", 1)[-1]
    'taskfmm'
    """
    client = _usable(client)
    with _changing:
        _install(client)
        if _watched.get(client) is None:
            _watched[client] = _measure(client)
        evaluations.listen(_tell)
    return str(client.dashboard_link).removesuffix("status").rstrip("/") + "/taskfmm"


def _usable(given: Any) -> Any:
    client = given if given is not None else cluster.active_client()
    distributed = sys.modules.get("distributed")
    if distributed is None or not isinstance(client, distributed.Client):
        if given is not None:
            raise InputError(
                f"client is {type(given).__name__}, expected a distributed.Client, as Client(cluster)"
            )
        raise InputError("there is no distributed.Client: give one, or make one before. " + AFTERWARDS)
    if client.status != "running":
        raise InputError(f"the client is {client.status}: give one that is running")
    if client.asynchronous:
        raise InputError("the client is asynchronous: call this from a program with a Client of its own")
    return client


def _install(client: Any) -> None:
    from taskfmm.live import plugin

    try:
        # asked before, as Dask would log a traceback if the plugin failed
        usable = client.run_on_scheduler(plugin.has_dashboard)
        if usable:
            client.register_plugin(plugin.Dashboard(), name=plugin.NAME)
    except Exception as error:  # of the scheduler, of any kind
        raise InputError(
            f"the scheduler at {client.scheduler.address} takes no page ({error!r}): it needs taskfmm installed, and "
            f"distributed.scheduler.pickle. {AFTERWARDS}"
        ) from error
    if not usable:
        raise InputError(
            f"the scheduler at {client.scheduler.address} has no dashboard: start it with a dashboard_address, where "
            f"Bokeh is installed. {AFTERWARDS}"
        )


def _measure(client: Any) -> Best | None:
    """The best rates of all hosts, which the page is told; None if there are no workers."""
    from taskfmm.live import plugin

    one_of = {worker["host"]: address for address, worker in _workers(client).items()}
    if not one_of:
        return None
    found = list(client.run(_rates, workers=list(one_of.values())).values())
    best = found[0]
    for other in found[1:]:
        best = best.better(other)
    client.run_on_scheduler(plugin.keep_best, best.as_rates())
    return best


def _workers(client: Any) -> dict[str, dict[str, Any]]:
    return dict(client.scheduler_info(n_workers=-1)["workers"])


async def _rates() -> Best:
    """Run on a worker, which answers others meanwhile."""
    return await asyncio.to_thread(bounds.measure)


def _tell(evaluation: str, find: evaluations.Find) -> None:
    """The forecast of a new evaluation to all schedulers that have the page."""
    from taskfmm.live import plugin

    for client, best in list(_watched.items()):
        if client.status != "running" or client.asynchronous:
            continue
        try:
            found = find()
            if found is not None:
                # of its workers, whatever scheduler is in use here
                of_tasks = task_forecasts(found, best, layout.current(client).loop_threads)
                client.run_on_scheduler(plugin.keep_forecasts, evaluation, of_tasks)
        except Exception as error:  # the computation goes on without it
            say_once("the dashboard has no forecast of an evaluation: %r", error)
