"""Workers that share no directory, as the client and the scheduler see them; their files: `exchange.py`."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distributed import SchedulerPlugin

from taskfmm.runtime import cluster
from taskfmm.runtime.once import say_once
from taskfmm.spread.exchange import Exchange

SLOWER = (
    "points that never meet are kept in files of each worker, and go from one to another when they are read, since "
    "the workers are not all on this machine: that is slower, and files of workers that die are lost. Name a "
    "directory that all of them see as %s in Dask's configuration"
)

WAITING = "no worker has joined the cluster yet: planning waits for one, as regions are as large as its memory allows"

logger = logging.getLogger("taskfmm")


def await_worker(client: Any) -> None:
    """Wait until there is a worker: the plan's regions and its directory are chosen by the workers that are seen.

    A task waits, so that clusters that adapt to their load start a worker, and local ones without any give up.
    """
    if not cluster.workers(client):
        say_once(WAITING)
        client.submit(os.getpid, key=f"await-worker-{uuid.uuid4().hex}").result()
        cluster.ask_again(client)


class Workers:
    """The workers of a client, as the client's process sees them: those that there are, and those to come."""

    def __init__(self, client: Any) -> None:
        self._client = weakref.ref(client)

    def join(self) -> Path:
        """Make them keep files for each other; returns the directory of a new plan."""
        say_once(SLOWER, cluster.SHARED_DIRECTORY)
        client: Any = self._client()
        client.register_plugin(Exchange())
        try:
            client.register_plugin(Farewell())
        except Exception as error:  # whatever a scheduler without this package says
            logger.warning("files of a plan stay on the workers if this process is killed: %s", error)
        return Path(client.id) / f"taskfmm-{os.getpid()}-{uuid.uuid4().hex}"

    def forget(self, paths: Iterable[Path]) -> None:
        """Remove files, without waiting for it."""
        self._tell("taskfmm_forget", paths)

    def drop(self, path: Path) -> None:
        """Remove a directory, without waiting for it."""
        self._tell("taskfmm_drop", [path])

    def give(self, path: Path, content: bytes) -> None:
        """Put a file there, for each of them."""
        self._ask("taskfmm_keep", path=str(path), content=content)

    def free(self) -> int:
        """Bytes that are free in all of their directories; those of a disk that several have count once."""
        return sum({tuple(which): n for *which, n in self._ask("taskfmm_free").values()}.values())

    def _ask(self, op: str, **what: Any) -> dict[str, Any]:
        client: Any = self._client()
        found: dict[str, Any] = client.sync(client.scheduler.broadcast, msg={"op": op, **what})
        return found

    def _tell(self, op: str, paths: Iterable[Path]) -> None:
        client = self._client()
        if client is not None and client.status == "running":
            client.loop.add_callback(_quietly, client.scheduler, op, [str(path) for path in paths])


class Farewell(SchedulerPlugin):
    """When a client leaves, or is gone, the workers remove the files of its plans; of workers they hear as well."""

    name = "taskfmm-farewell"
    idempotent = True

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Called by the scheduler."""
        scheduler.loop.add_callback(_quietly, scheduler, "taskfmm_drop", [client])

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Called by the scheduler."""
        scheduler.loop.add_callback(_quietly, scheduler, "taskfmm_leave", [worker])


async def _quietly(scheduler: Any, op: str, paths: list[str]) -> None:
    """Tell all workers something; those that are about to close need not hear it."""
    with contextlib.suppress(Exception):
        await scheduler.broadcast(msg={"op": op, "paths": paths}, on_error="ignore")
