"""Shared by all tests: plans made once, cut into many small shards so that halos cross them everywhere."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import settings

import taskfmm
from taskfmm.kernels import KERNELS
from taskfmm.operators import levels
from taskfmm.plan import cost, plan
from taskfmm.runtime import once
from taskfmm.testing import DISTRIBUTIONS

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

HERE = Path(__file__).parent
OURS = [str(Path(taskfmm.__file__).parents[1]), str(HERE / "kernels_of_users")]
# Every process that a test starts has this taskfmm and its compiled loops, wherever it runs; some would find another
# one, which is installed, and compile all of it. Workers need the kernels whichever test has started them.
sys.path.append(OURS[1])
os.environ["PYTHONPATH"] = os.pathsep.join([*OURS, *filter(None, [os.environ.get("PYTHONPATH")])])

# Tests compile their loops before they begin, see `pytest_sessionstart`.
os.environ["DASK_TASKFMM__COMPILE_AHEAD"] = "false"
dask.config.set({"taskfmm.compile-ahead": False})


# Workers in a process of tests pause where it holds most of the machine's memory.
levels.MOST = 2**30


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the cores share them for BLAS, too: its threads wait for each other without sleeping."""
    processes = config.getoption("numprocesses", None)
    if processes:  # in the process that starts them
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before several processes share the whole suite, the loops are compiled once: see `compile_loops.py`."""
    if _shared(session.config) and not session.config.option.collectonly:
        script = HERE / "compile_loops.py"
        # what fails here fails in a test, too, where it is reported
        for running in [subprocess.Popen([sys.executable, script, part]) for part in "01"]:
            running.wait()


def _shared(config: pytest.Config) -> bool:
    """Whether this process starts others that share the whole suite."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return everything and bool(config.getoption("numprocesses", None))


LONGEST = (
    "kernels_of_users",
    "cancellation",
    "library_kernels",
    "dying_kernels",
    "schedulers",
    "sharing",
    "yardstick",
    "batch_measured",
)
"""Files whose tests take longest, without being many: one that began last would leave the other process idle."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest files first, all others in their order; files that one process is given by name stay in theirs."""
    if not (_shared(config) or hasattr(config, "workerinput")):
        return
    rank = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def others_can_read() -> bool:
    """Whether another user gets at the package, and with it at its compiled loops."""
    return all(place.stat().st_mode & 0o1 for place in Path(taskfmm.__file__).parents)


@contextmanager
def tasks_cut_small() -> Iterator[None]:
    """Plans made within it have tasks two hundred times shorter, charges and results in pieces of 1200 and 1500."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "SHORTEST", 2e-5)
        patch.setattr(cost, "LONGEST", 2e-4)
        patch.setattr(cost, "FEWEST_BOXES", 16)
        patch.setattr(plan, "CHUNK", 1500)
        patch.setattr(plan, "CHARGES_OF_A_SHARD", 1200)
        yield


@pytest.fixture
def small_shards() -> Iterator[None]:
    """The whole test runs within `tasks_cut_small`."""
    with tasks_cut_small():
        yield


@pytest.fixture(scope="session")
def clustered() -> taskfmm.Fmm:
    """Targets are the sources; all eight operators, many shards on many levels, several chunks."""
    rng = np.random.default_rng(5308417)
    points = np.concatenate([DISTRIBUTIONS["plummer"](4000, rng), DISTRIBUTIONS["sphere"](3000, rng) * 30])
    with tasks_cut_small():
        return taskfmm.Fmm(points, order=3, leaf_size=30)


@pytest.fixture(scope="session")
def separate() -> taskfmm.Fmm:
    """Other targets than sources; all eight operators."""
    rng = np.random.default_rng(2750161)
    sources, targets = DISTRIBUTIONS["plummer"](4000, rng), DISTRIBUTIONS["plummer"](2500, rng)
    with tasks_cut_small():
        return taskfmm.Fmm(sources, targets, order=3, leaf_size=29)


@pytest.fixture(params=["clustered", "separate"])
def fmm(request) -> taskfmm.Fmm:
    """One after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def charges(fmm) -> np.ndarray:
    return np.random.default_rng(3391753).uniform(-1, 1, len(fmm.sources))


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """Two worker processes of one thread each, shared by all tests that leave them alive."""
    distributed = pytest.importorskip("distributed")
    options = dict(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0")
    with distributed.LocalCluster(**options) as found:
        yield found


@pytest.fixture
def client(cluster) -> Iterator[object]:
    """Dask's default for one test."""
    from distributed import Client

    with Client(cluster) as found:
        yield found


@pytest.fixture
def page(client) -> str:
    """The address of the page of taskfmm on the dashboard; nothing has been counted yet."""
    from pages import plugin

    address = taskfmm.dashboard(client)
    plugin(client).table.clear()
    return address


@pytest.fixture
def says(monkeypatch, caplog):
    """What is said in this test, as if nothing had been said before."""
    monkeypatch.setattr(once, "_said", set())
    caplog.set_level(logging.WARNING, "taskfmm")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "taskfmm"]


@pytest.fixture
def by_reference(monkeypatch) -> None:
    """Plans of any size travel by reference."""
    from taskfmm.graph import reference

    monkeypatch.setattr(reference, "SMALL", 0)


@pytest.fixture(scope="session")
def tiny() -> tuple[taskfmm.Fmm, np.ndarray]:
    """Few tasks, for schedulers that take milliseconds for each."""
    rng = np.random.default_rng(9274013)
    return taskfmm.Fmm(rng.random((900, 3)), order=3, leaf_size=20), rng.uniform(-1, 1, 900)


@pytest.fixture
def kernels_kept() -> Iterator[None]:
    """Kernels that a test registers, if only by their use, are gone afterwards."""
    before = dict(KERNELS)
    yield
    KERNELS.clear()
    KERNELS.update(before)


@pytest.fixture
def configuration_kept() -> Iterator[None]:
    """Whatever a test does, Dask's configuration is afterwards what it was before."""
    from taskfmm.sessions import configurations, schedulers

    configurations.check({"jobqueue": {}, "kubernetes": {}}, "test")  # their defaults are registered
    before = copy.deepcopy(dask.config.config)
    yield
    if schedulers._current is not None:
        schedulers._current.close()
    assert dask.config.config == before


@pytest.fixture
def written(tmp_path) -> Callable[..., list[str]]:
    """Writes the matrix and the configuration of a batch; gives the arguments of the command."""
    from batches import write

    return partial(write, tmp_path)
