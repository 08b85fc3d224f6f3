"""Scheduler configurations: every shipped one loads, and what cannot be meant changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import pytest
from cases import each

import taskfmm
from taskfmm.errors import InputError
from taskfmm.sessions import configurations, schedulers

pytestmark = pytest.mark.usefixtures("configuration_kept")

NAMES = ("hybrid", "kubernetes", "local-cluster", "slurm", "synchronous", "threads")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "given.yaml"
        path.write_text(text)
        return path

    return write


def test_the_shipped_names():
    assert tuple(configurations.names()) == NAMES


@each("name", NAMES)
def test_shipped_files_load_by_name_and_by_path(name):
    by_name = configurations.load(name)
    assert by_name == configurations.load(configurations.directory() / f"{name}.yaml")
    assert by_name["optimization"]["fuse"]["active"] is False


BOMB = "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))])
MERGES = "\n".join(["m0: &m0 {a: 1}", *(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 40))])


@each(
    "text, says",
    [
        (
            "distributed: {scheduler: {no-worker-timeout: 3s}}",
            "did you mean distributed.scheduler.no-workers-timeout",
        ),
        ("schedulr: threads", "did you mean scheduler"),
        ("num_worker: 3", "did you mean num_workers"),
        ("taskfmm: {numba_thread: 1}", "did you mean taskfmm.numba-threads"),
        ("taskfmm: {cluster: {n_worker: 1}}", "did you mean taskfmm.cluster.n-workers"),
        ("jobqueue: {slurm: {walltim: '1'}}", "did you mean jobqueue.slurm.walltime"),
        ("kubernetes: {imag: x}", "did you mean kubernetes.image"),
        ("zzz: 1", "zzz is unknown"),
        ("1: 2", "1 is unknown"),
        ("scheduler: thread", "scheduler has a wrong value: 'thread'"),
        ("num-workers: two", "num_workers has a wrong value: 'two'"),
        ("num_workers: 0", "num_workers"),
        ("taskfmm: {numba-threads: 0}", "taskfmm.numba-threads"),
        ("taskfmm: {numba_threads: 1.5}", "taskfmm.numba-threads"),
        ("taskfmm: {cluster: {kind: ssh}}", "taskfmm.cluster.kind"),
        ("jobqueue: {slurm: {walltime: 10:00:00}}", "jobqueue.slurm.walltime has a wrong value: 36000"),
        ("kubernetes: {image: 3}", "kubernetes.image"),
        ("distributed: 3", "distributed is 3, expected a mapping"),
        ("distributed: {scheduler: {allowed-failures: many}}", "distributed.scheduler.allowed-failures"),
        ("", "not a YAML mapping"),
        ("threads", "not a YAML mapping"),
        ("[scheduler, threads]", "not a YAML mapping"),
        ("scheduler: threads\nscheduler: processes", "scheduler stands twice"),
        ("a: [", "cannot be read as YAML"),
        ("\x00", "cannot be read as YAML"),
        ("[" * 100_000, "more than 50 levels of nesting"),
        ("? [1, 2]\n: 3", "cannot be read as YAML"),
        ("x: !!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("a: &a [*a]", "more than 10000 values"),
        (BOMB, "more than 10000 values"),
        (MERGES, "more than 10000 values"),
        ("a: " + "x" * 2_000_000, "more than 1000000 bytes"),
    ],
)
def test_files_that_cannot_be_meant(write, text, says):
    with pytest.raises(InputError) as failed:
        taskfmm.use(write(text))
    assert says in str(failed.value)
    assert str(failed.value).startswith(str(write("")))
    assert schedulers._current is None


def test_no_such_configuration(tmp_path):
    for name in ("locl-cluster", tmp_path, tmp_path / "none.yaml", "/dev/null"):
        with pytest.raises(InputError, match="local-cluster"):
            taskfmm.use(name)


def test_keys_of_the_user_are_the_users(write):
    text = "distributed: {nanny: {pre-spawn-environ: {MY_VARIABLE: 1}}}\nscheduler: threads\nnum-workers: 2"
    with taskfmm.use(write(text)):
        found = dask.config.get("distributed.nanny.pre-spawn-environ")
        assert found["MY_VARIABLE"] == 1
        assert found["OMP_NUM_THREADS"] == 1  # what the file does not mention stays
        assert dask.config.get("num_workers") == 2


def test_overrides_are_checked():
    with pytest.raises(InputError, match="overrides: num-workrs is unknown: did you mean num_workers"):
        taskfmm.use("threads", **{"num_workrs": 2})
    with pytest.raises(InputError, match=r"overrides: taskfmm\.numba-threads"):
        taskfmm.use("threads", taskfmm__numba_threads="two")


@pytest.mark.parametrize("kind, package", [("slurm", "dask_jobqueue"), ("kubernetes", "dask_kubernetes")])
def test_a_missing_package_names_the_extra(monkeypatch, write, kind, package):
    find = configurations.importlib.util.find_spec
    monkeypatch.setattr(
        configurations.importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    with pytest.raises(InputError, match=rf"pip install 'taskfmm\[{kind}\]'"):
        taskfmm.use(kind)
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"pip install 'taskfmm\[{kind}\]'"):
        taskfmm.use(write(f"taskfmm: {{cluster: {{kind: {kind}}}}}"))


def test_numba_threads_do_not_go_before_the_spawn(write):
    """A nanny sets those variables in the client's own process too, and Numba refuses to change its threads."""
    text = (
        "taskfmm: {cluster: {kind: local}}\ndistributed: {nanny: {pre-spawn-environ: {NUMBA_NUM_THREADS: 1}}}"
    )
    with pytest.raises(InputError, match=r"distributed\.nanny\.environ"):
        taskfmm.use(write(text))
