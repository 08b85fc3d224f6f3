"""Profiles of distributed workers.

Records of a profile are told one by one, as tasks end, so that a worker that dies takes none of its finished ones
with it: a plugin makes every worker, those that join later too, log a record as an event on a topic of this process.
The scheduler keeps few events but passes each on to who subscribed; a record leaves its worker before the result
does and takes the same way, so when a result has come, the records of all that led to it have.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from distributed import Client, Worker, WorkerPlugin

from taskfmm.profiling import recording
from taskfmm.profiling.recording import Record


class Reporter(WorkerPlugin):
    """Makes a worker report its tasks to the process that wants them, unless it is a thread of that process."""

    def __init__(self, topic: str, process: str) -> None:
        self.topic = topic
        self.process = process
        self.worker: Worker | None = None

    def setup(self, worker: Worker) -> None:
        """Called by the worker when it starts, or when a profile opens."""
        if self.process != recording.process():
            self.worker = worker
            recording.listen(self.report)

    def teardown(self, worker: Worker) -> None:
        """Called by the worker when it stops, or when the last profile closes."""
        recording.forget(self.report)

    def report(self, record: Record) -> None:
        """A process may hold several workers: each reports its own tasks."""
        if self.worker is not None and record.worker == self.worker.address:
            self.worker.log_event(self.topic, [*record[:1], list(record.needs), *record[2:]])


_open: Counter[str] = Counter()
_changing = threading.Lock()


def _topic() -> str:
    return f"taskfmm-profile-{recording.process()}"


def attach(client: Client) -> None:
    """The workers of this client report to this process, until as many `detach` as `attach` were called."""
    with _changing:
        _open[client.id] += 1
        if _open[client.id] == 1:
            client.subscribe_topic(_topic(), _receive)
            client.register_plugin(Reporter(_topic(), recording.process()), name=_topic())


def detach(client: Client) -> dict[str, int]:
    """See `attach`; returns the threads of each worker there is, none if the client has been closed."""
    with _changing:
        _open[client.id] -= 1
        last = _open[client.id] == 0
        if last:
            del _open[client.id]
        if client.status != "running":
            return {}
        if last:
            client.unregister_worker_plugin(_topic())
            client.unsubscribe_topic(_topic())
        return dict(client.nthreads())


def _receive(event: Any) -> None:
    _, (key, needs, *rest) = event
    recording.publish(Record(key, tuple(needs), *rest))
