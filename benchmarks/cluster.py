"""What an evaluation sends to a cluster of processes on this machine, and what that costs in time and memory."""

from __future__ import annotations

import argparse
import json
import pickle
import time
import warnings
from typing import Any

import dask
import distributed
import numpy as np
import psutil

import taskfmm
from taskfmm.generate import cloud


def pickled_bytes(array: Any) -> int:
    """Bytes of the whole graph when Dask sends it."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(array.__dask_graph__(), protocol=5, buffer_callback=buffers.append)
    return len(text) + sum(buffer.raw().nbytes for buffer in buffers)


def worker_memory(client: distributed.Client) -> list[int]:
    """Bytes that each worker process has to itself: pages of shared files are not counted."""
    pids = client.run(lambda: __import__("os").getpid()).values()
    found = [psutil.Process(pid).memory_info() for pid in pids]
    return [info.rss - info.shared for info in found]


def measure(shape: str, n: int, eps: float, workers: int, repeats: int) -> dict[str, Any]:
    """Evaluations with new charges each, on threads of this process and then on worker processes."""
    rng = np.random.default_rng(77101)
    sources, charges = cloud(shape, n, signed=True, seed=5011)
    fmm = taskfmm.Fmm(sources, eps=eps)
    fmm.potential(charges).compute()

    def timed() -> float:
        phi = fmm.potential(rng.uniform(-1.0, 1.0, n))
        started = time.perf_counter()
        phi.compute()
        return time.perf_counter() - started

    threads = [timed() for _ in range(repeats)]
    options = dict(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0")
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        small = taskfmm.Fmm(sources[:20000], eps=eps)  # workers import and compile before anything is timed
        small.potential(charges[:20000]).compute()
        before = worker_memory(client)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seconds = [timed() for _ in range(repeats)]
        after = worker_memory(client)
        phi = fmm.potential(charges)
        size = pickled_bytes(phi)
    return {
        "shape": shape,
        "n": n,
        "eps": eps,
        "tasks": len(phi.__dask_graph__()),
        "pickled_bytes": size,
        "charges_bytes": charges.nbytes,
        "threads_seconds": threads,
        "cluster_seconds": seconds,
        "worker_bytes_before": before,
        "worker_bytes_after": after,
        "warnings": [str(w.message).split("\n")[0] for w in caught],
        "versions": {m.__name__: m.__version__ for m in (dask, distributed, np, taskfmm)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="cube")
    parser.add_argument("-n", type=float, default=1e6)
    parser.add_argument("--eps", type=float, default=1e-6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    given = parser.parse_args()
    print(json.dumps(measure(given.shape, int(given.n), given.eps, given.workers, given.repeats), indent=1))


if __name__ == "__main__":
    main()
