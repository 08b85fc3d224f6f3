"""Ctrl-C and worker processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal

from distributed import Worker, WorkerPlugin


class Uninterrupted(WorkerPlugin):
    """Worker processes ignore Ctrl-C: a terminal sends it to all, and a worker that ends itself in the middle of a
    task keeps its cluster waiting for seconds. The client ends them."""

    name = "taskfmm-uninterrupted"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Called by every worker; those in the client's own process are left alone."""
        if multiprocessing.parent_process() is not None:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGINT, signal.SIG_IGN)
