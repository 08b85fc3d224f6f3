"""Points that never meet on workers that share no directory: the same bits, and nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from bounds import ROUNDING
from boxes import l2_error
from cases import each

import taskfmm
from taskfmm.errors import StorageError
from taskfmm.graph import reference
from taskfmm.runtime import cluster as runtime
from taskfmm.testing import DISTRIBUTIONS

distributed = pytest.importorskip("distributed")

from taskfmm.spread import exchange, lease, room  # noqa: E402  needs distributed
from taskfmm.spread import hosts as hosts_of  # noqa: E402

N, PATIENCE = 4000, 60.0
HOW = dict(eps=1e-5, leaf_size=20, region=N // 5)


def lazy(array: np.ndarray, size: int = 1000) -> da.Array:
    return da.from_array(array, chunks=(size, *array.shape[1:]))


X = np.ascontiguousarray(DISTRIBUTIONS["plummer"](N, np.random.default_rng(501)))
Q = np.random.default_rng(502).uniform(-1, 1, N)


def set_apart(apart: bool, dask_worker=None) -> None:
    """Whether a worker takes itself for one of a host of its own, from which files come in small pieces."""
    dask_worker.plugins[exchange.NAME].host = [dask_worker.address] if apart else lease.host()
    exchange.PIECE = 5000 if apart else 2**23


def kept(dask_worker) -> list[str]:
    """The files of a worker."""
    root = Path(dask_worker.local_directory) / "taskfmm"
    # that walk minds no directory that is removed meanwhile
    found = [Path(directory) / name for directory, _, names in os.walk(root) for name in names]
    return sorted(str(path.relative_to(root)) for path in found)


def every_file(client) -> list[str]:
    return [path for files in client.run(kept).values() for path in files]


def wait_until_nothing_is_kept(client) -> None:
    until = time.monotonic() + PATIENCE
    while (left := every_file(client)) and time.monotonic() < until:
        gc.collect()
        reference.release()
        time.sleep(0.05)
    assert left == []


@pytest.fixture
def nothing_shared(monkeypatch) -> None:
    """All workers are elsewhere, as far as this process sees."""
    monkeypatch.setattr(runtime, "workers_are_here", lambda client: False)


@pytest.fixture
def hosts(client, nothing_shared) -> Iterator[object]:
    """A client whose workers are on two hosts, as far as they know."""
    hosts_of.Workers(client).join()
    client.run(set_apart, True)
    yield client
    client.run(set_apart, False)


def results(plan) -> dict[str, np.ndarray]:
    lazily = plan.evaluate(lazy(Q), ("potential", "gradient"))
    return dict(zip(lazily, dask.compute(*lazily.values()), strict=True))


@each("apart", [True, False])
@each("others", [False, True])
def test_the_bits_are_those_of_a_shared_directory(client, tmp_path, monkeypatch, says, apart, others):
    """Of workers on two hosts, or on one where they could have shared it."""
    targets = X[::3] + 0.01 if others else None
    arrays = [lazy(X), lazy(targets, 700)] if others else [lazy(X)]
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        expected = results(taskfmm.Fmm.from_dask(*arrays, **HOW))
        shared = set(tmp_path.iterdir())
        hosts_of.Workers(client).join()
        client.run(set_apart, apart)
        with monkeypatch.context() as patch:
            patch.setattr(runtime, "workers_are_here", lambda client: False)
            plan = taskfmm.Fmm.from_dask(*arrays, **HOW)
            found = results(plan)
        client.run(set_apart, False)
        assert set(tmp_path.iterdir()) <= shared
    assert plan.n_regions >= 3
    for output, values in found.items():
        np.testing.assert_array_equal(values, expected[output])
    assert l2_error(found["potential"], taskfmm.direct(X, Q, targets)) <= HOW["eps"]
    assert any(path.endswith(exchange.SOME) for path in every_file(client)) == apart
    said = [
        each_one for each_one in says() if each_one.startswith("points that never meet are kept in files")
    ]
    assert len(said) == 1
    del plan
    wait_until_nothing_is_kept(client)


@pytest.mark.parametrize("known_by", ["cluster", "address"])
def test_a_plan_waits_for_the_first_worker(known_by, monkeypatch):
    """Its memory decides on regions, and where it runs on the directory."""
    limits, of_memory = [], room.of_memory

    def seen(*args):
        limits.append(args[4])
        return of_memory(*args)

    monkeypatch.setattr(room, "of_memory", seen)
    of_nobody = dict(n_workers=0, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0")
    with (
        distributed.LocalCluster(**of_nobody) as cluster,
        distributed.Client(cluster if known_by == "cluster" else cluster.scheduler_address),
    ):
        starting = threading.Timer(0.5, cluster.scale, [1])
        starting.start()
        found = taskfmm.Fmm.from_dask(lazy(X), **HOW)
        starting.join()
        assert limits == [2**31]
        assert found.plan.depot.path.is_absolute()


def test_files_are_removed_with_evaluations_plans_and_clients(cluster, hosts):
    plan = taskfmm.Fmm.from_dask(lazy(X), **HOW)
    own = plan.plan.depot.path
    assert {Path(path).name.split("-")[0] for path in every_file(hosts)} == {
        *("facts", "points", "blocks", "order", "split", "boxes", "works"),
    }
    found = plan.potential(lazy(Q)).compute()
    of_evaluation = {path for path in every_file(hosts) if len(Path(path).parts) > 3}
    assert of_evaluation
    until = time.monotonic() + PATIENCE
    while of_evaluation & set(every_file(hosts)) and time.monotonic() < until:
        gc.collect()
        reference.release()
    assert {str(Path(path).parent) for path in every_file(hosts)} == {str(own)}
    del plan, found
    wait_until_nothing_is_kept(hosts)
    with distributed.Client(cluster) as other:
        plan = taskfmm.Fmm.from_dask(lazy(X), **HOW)
        assert every_file(hosts)
        assert plan.plan.depot.path.parts[0] == other.id
    wait_until_nothing_is_kept(hosts)


def test_lengths_of_softened_bodies_go_where_they_are_needed(hosts):
    h, m = 0.1 * np.random.default_rng(503).random(N), np.abs(Q)
    kernel = taskfmm.kernels.Gravity(lazy(h, 700), kind="spline")
    plan = taskfmm.Fmm.from_dask(lazy(X), kernel=kernel, **HOW)
    found, exact = plan.potential(lazy(m)).compute(), taskfmm.direct(X, m, kernel=kernel)
    assert l2_error(found, exact) <= HOW["eps"]
    assert plan.error_estimate(lazy(m), exact, 200) <= ROUNDING


def test_no_copy_is_older_than_the_file(hosts, tmp_path):
    """Charges that are others whenever they are computed."""
    np.save(tmp_path / "q.npy", Q)

    def load(block, block_info=None):
        begin, end = block_info[0]["array-location"][0]
        return np.load(tmp_path / "q.npy")[begin:end]

    charges = da.zeros(N, chunks=1000).map_blocks(load, dtype=float, meta=np.empty(0))
    phi = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(charges)
    found = phi.compute()
    np.save(tmp_path / "q.npy", 2 * Q)
    np.testing.assert_array_equal(phi.compute(), 2 * found)


def lose(name: str, dask_worker=None) -> None:
    for path in (Path(dask_worker.local_directory) / "taskfmm").rglob(name):
        path.unlink()


def test_works_that_nobody_has_are_written_again(hosts):
    phi = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q))
    expected = phi.compute()
    hosts.run(lose, "works-*")
    np.testing.assert_array_equal(phi.compute(), expected)


def test_points_that_nobody_has_are_named(hosts):
    """Those who lose a file that cannot be written again."""
    phi = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q))
    hosts.run(lose, "blocks-1.h5")
    says = r"blocks-1.h5: no worker has this file any more.* stage 'gather' of planning wrote it.* plan again"
    with pytest.raises(StorageError, match=says):
        phi.compute()


def test_who_is_no_worker_of_the_plan_is_told(hosts):
    phi = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q))
    with pytest.raises(
        StorageError, match=r"kept by the workers that it was made on.* taskfmm.shared-directory"
    ):
        phi.compute(scheduler="threads")


def test_a_disk_without_room_is_refused_before_the_start(hosts, monkeypatch):
    monkeypatch.setattr(hosts_of.Workers, "free", lambda self: 1000)
    with pytest.raises(StorageError, match=r"0.98 kiB are free in the workers' local directories"):
        taskfmm.Fmm.from_dask(lazy(X), **HOW)
    monkeypatch.undo()
    free = hosts_of.Workers(hosts).free()
    assert 0 < free <= shutil.disk_usage("/").total * 3


def test_a_worker_that_dies_loses_files_and_no_digits(nothing_shared):
    """Until a plan is made again, that is an error or the same bits."""
    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        hosts_of.Workers(client).join()
        client.run(set_apart, True)
        phi = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q))
        expected = phi.compute()
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        with contextlib.suppress(StorageError):
            np.testing.assert_array_equal(phi.compute(), expected)
        client.wait_for_workers(2, timeout=PATIENCE)
        again = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q))
        np.testing.assert_array_equal(again.compute(), expected)


SCRIPT = """
import sys
import dask.array as da, numpy as np
from distributed import Client
import taskfmm
from taskfmm.runtime import cluster

x, q = np.load(sys.argv[2]), np.load(sys.argv[3])
with Client(sys.argv[1], timeout=60) as client:
    client.wait_for_workers(2, timeout=60)
    assert not cluster.workers_are_here(client)
    plan = taskfmm.Fmm.from_dask(da.from_array(x, chunks=(1000, 3)), eps=1e-5, leaf_size=20, region=len(x) // 5)
    np.save(sys.argv[4], plan.potential(da.from_array(q, chunks=1000)).compute())
"""


class Host:
    """A network namespace, with a name and a directory of its own."""

    def __init__(self, name: str, private: Path) -> None:
        self.name, self.private, self.running = name, private, []

    def start(self, *command: str, **options) -> subprocess.Popen:
        """A process there: what it sees under the directory's name, no other host does."""
        inside = (
            f'hostname {self.name} && mount -t tmpfs none {self.private} && cd {self.private} && exec "$@"'
        )
        enter = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sh", "-c", inside, "sh"]
        environment = os.environ | {
            "TMPDIR": str(self.private),
            "DASK_TEMPORARY_DIRECTORY": str(self.private),
        }
        found = subprocess.Popen([*enter, *command], env=environment, text=True, **options)
        self.running.append(found)
        return found

    def close(self) -> None:
        for each_one in self.running:
            each_one.terminate()
        for each_one in self.running:
            each_one.wait(PATIENCE)
        ip("netns", "del", self.name)


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


@pytest.fixture
def two_hosts(tmp_path) -> Iterator[list[Host]]:
    """Two network namespaces that are joined by a cable: 10.213.77.1 and 10.213.77.2."""
    private, tag = tmp_path / "private", os.getpid()
    private.mkdir()
    with contextlib.ExitStack() as stack:
        found = []
        try:
            for number in (1, 2):
                ip("netns", "add", f"host{number}-{tag}")
                found.append(Host(f"host{number}-{tag}", private))
                stack.callback(found[-1].close)
            ends = [f"v{number}-{tag}" for number in (1, 2)]
            ip(
                "link",
                "add",
                ends[0],
                "netns",
                found[0].name,
                "type",
                "veth",
                "peer",
                "name",
                ends[1],
                "netns",
                found[1].name,
            )
            for number, (end, host) in enumerate(zip(ends, found, strict=True), 1):
                ip("-n", host.name, "addr", "add", f"10.213.77.{number}/24", "dev", end)
                for device in (end, "lo"):
                    ip("-n", host.name, "link", "set", device, "up")
            assert found[0].start("true").wait(PATIENCE) == 0
        except (OSError, subprocess.CalledProcessError, AssertionError) as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield found


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_two_hosts_that_share_nothing_but_a_network(two_hosts, tmp_path):
    first = two_hosts[0]
    address, python = "tcp://10.213.77.1:8786", sys.executable
    for name, array in (("x", X), ("q", Q)):
        np.save(tmp_path / f"{name}.npy", array)
    first.start(python, "-m", "distributed.cli.dask_scheduler", "--host", "10.213.77.1", "--no-dashboard")
    for host in two_hosts:
        worker = ("-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard")
        host.start(python, *worker, "--memory-limit", "2GiB", "--local-directory", str(first.private))
    files = [str(tmp_path / name) for name in ("x.npy", "q.npy", "found.npy")]
    client = first.start(python, "-c", SCRIPT, address, *files, stderr=subprocess.PIPE)
    _, said = client.communicate(timeout=10 * PATIENCE)
    assert client.returncode == 0, said
    assert said.count("points that never meet are kept in files of each worker") == 1
    with dask.config.set(scheduler="synchronous"):
        here = taskfmm.Fmm.from_dask(lazy(X), **HOW).potential(lazy(Q)).compute()
        alone = taskfmm.Fmm(X, eps=1e-5, leaf_size=20).potential(lazy(Q)).compute()
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), here)
    assert l2_error(here, alone) <= 5e-7
