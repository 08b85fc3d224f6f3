"""Clusters whose workers tests kill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dask


@contextmanager
def mortal_workers() -> Iterator[object]:
    """A client of a cluster of two processes whose nannies replace what dies."""
    import distributed

    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
    settings = {
        "distributed.scheduler.allowed-failures": 20,
        # a cluster gives up a worker that is away so long after it was first lost, also when it was back meanwhile
        "distributed.deploy.lost-worker-timeout": "1 hour",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
