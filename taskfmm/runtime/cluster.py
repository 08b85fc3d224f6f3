"""The cluster in use, if there is one: what is arranged with it once, and where its workers can read files.

Nothing here fails or waits for anything but one answer of a scheduler, and not even that where waiting is not
possible: in a task, or under an asynchronous client.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import psutil

from taskfmm.runtime.once import said, say_once

NO_WORKERS_TIMEOUT = 30.0
"""Seconds without any worker after which the tasks of a local cluster fail instead of waiting on."""

ENOUGH_SECONDS = 0.5
"""Of work, below which a distributed scheduler takes longer to place the tasks than threads to run them."""

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for a scheduler to describe its workers."""

SHARED_DIRECTORY = "taskfmm.shared-directory"
"""Key in Dask's configuration: a directory that all workers see under the same name."""

FRESH = 5.0
"""Seconds for which what a scheduler said of its workers is believed."""

_told: weakref.WeakKeyDictionary[Any, tuple[float, list[dict[str, Any]]]] = weakref.WeakKeyDictionary()
_arranged: weakref.WeakSet[Any] = weakref.WeakSet()

TOO_SMALL = (
    "this evaluation is about %.2g s of work, too little for a distributed scheduler, which takes a millisecond "
    'or two for each task: threads are quicker, e.g. phi.compute(scheduler="threads")'
)


def active_client() -> Any:
    """The distributed client that ``compute`` would use here, or None; never starts one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.client._get_global_client()
    except Exception:  # a private function; Dask's own default is found through it too
        return None
    return client if client is not None and client.status == "running" else None


def prepare(client: Any, seconds: Callable[[], float]) -> None:
    """What is to be done with a client when an evaluation is made under it; most of it the first time only.

    The scheduler of a `distributed.LocalCluster` gets a ``no-workers-timeout`` if none was set: there nobody will
    bring new workers, and a computation would hang. Its worker processes ignore Ctrl-C, as that is for the client to
    act on. Other clusters may have workers waiting in a queue: theirs is left as it is.

    Parameters
    ----------
    client : distributed.Client
    seconds : callable
        Gives the expected time of the evaluation on one core; asked for until it was said once that a job is
        too small.
    """
    with contextlib.suppress(Exception):  # an optional courtesy: it must never stop a computation
        if client not in _arranged:
            scheduler = local_scheduler(client)
            _arranged.add(client)
            if scheduler is not None and scheduler.no_workers_timeout is None:
                scheduler.no_workers_timeout = NO_WORKERS_TIMEOUT
            if scheduler is not None and not client.asynchronous:
                from taskfmm.runtime.interrupt import Uninterrupted

                client.register_plugin(Uninterrupted())
        if not said(TOO_SMALL) and (expected := seconds()) < ENOUGH_SECONDS:
            say_once(TOO_SMALL, expected)


def local_scheduler(client: Any) -> Any:
    """The scheduler of a `distributed.LocalCluster`, which runs in this process; None for other clusters."""
    import distributed

    cluster = getattr(client, "cluster", None)
    return cluster.scheduler if isinstance(cluster, distributed.LocalCluster) else None


def workers(client: Any) -> list[dict[str, Any]]:
    """What is known of the workers: "host", "nthreads", "memory_limit", ...; empty if nothing is."""
    scheduler = local_scheduler(client)
    if scheduler is not None:
        return [state.identity() for state in list(scheduler.workers.values())]
    when, found = _told.get(client, (-FRESH, []))
    if time.monotonic() - when >= FRESH:
        with contextlib.suppress(OSError, TimeoutError):  # whoever computes next will hear of it
            found = _ask(client) or found
            _told[client] = (time.monotonic(), found)
    return found


def ask_again(client: Any) -> None:
    """Forget what the scheduler said of its workers, so that the next call of `workers` asks it."""
    _told.pop(client, None)


def _ask(client: Any) -> list[dict[str, Any]]:
    """The workers as the scheduler describes them, or nothing where asking would block."""
    import distributed

    with contextlib.suppress(ValueError):
        distributed.get_worker()
        return []  # in a task
    if client.asynchronous or local_scheduler(client) is not None:
        return []
    found = client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=ANSWER_TIMEOUT)
    return list(found["workers"].values())


def workers_are_here(client: Any) -> bool:
    """Whether all workers run on this machine, as far as is known."""
    if local_scheduler(client) is not None:
        return True
    hosts = {worker["host"] for worker in workers(client)}
    return bool(hosts) and hosts <= _addresses()


def _addresses() -> set[str]:
    found = {address.address for each in psutil.net_if_addrs().values() for address in each}
    return found | {"localhost", "127.0.0.1", "::1"}


def shared_directory() -> Path | None:
    """Where a file can be read by whoever runs tasks now; None if no such place is known."""
    named = dask.config.get(SHARED_DIRECTORY, default=None)
    if named:
        return Path(os.path.expanduser(os.path.expandvars(named))).absolute()
    client = active_client()
    if client is not None and not workers_are_here(client):
        return None
    return Path(dask.config.get("temporary-directory", default=None) or tempfile.gettempdir()).absolute()
