"""Scheduler configurations: every shipped one loads and gives the same bits, and hostile ones change nothing."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest
import yaml
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.runtime import configurations, schedulers, starters

NAMES = ("hybrid", "kubernetes", "local-cluster", "slurm", "synchronous", "threads")
LOCAL = {"taskfmm__cluster__dashboard_address": ":0", "taskfmm__cluster__memory_limit": "1GiB"}


@pytest.fixture(autouse=True)
def nothing_left():
    """Whatever a test does, the configuration is afterwards what it was before."""
    configurations.check({"jobqueue": {}, "kubernetes": {}}, "test")  # their defaults are registered
    before = copy.deepcopy(dask.config.config)
    yield
    if schedulers._current is not None:
        schedulers._current.close()
    assert dask.config.config == before


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(61093)
    fmm = taskfmm.Fmm(rng.random((1500, 3)), order=3, leaf_size=40)
    charges = rng.uniform(-1, 1, 1500)
    return fmm, charges, fmm.serial(charges)


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "given.yaml"
        path.write_text(text)
        return path

    return write


def test_the_shipped_names():
    assert tuple(configurations.names()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files_load_by_name_and_by_path(name):
    by_name = configurations.load(name)
    assert by_name == configurations.load(configurations.directory() / f"{name}.yaml")
    assert by_name["optimization"]["fuse"]["active"] is False


@pytest.mark.parametrize("name", ["synchronous", "threads", "hybrid"])
def test_the_same_bits_in_this_process(small, name):
    fmm, charges, expected = small
    with taskfmm.use(name) as client:
        assert client is None
        assert dask.config.get("scheduler") == configurations.load(name)["scheduler"]
        np.testing.assert_array_equal(fmm.potential(charges).compute(), expected)


def test_a_local_cluster_gives_the_same_bits_and_is_closed(small):
    fmm, charges, expected = small
    with taskfmm.use("local-cluster", taskfmm__cluster__n_workers=2, **LOCAL) as client:
        workers = list(client.run(os.getpid).values())
        assert len(client.scheduler_info()["workers"]) == len(workers) == 2
        np.testing.assert_array_equal(fmm.potential(charges).compute(), expected)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.computations)) == 1
        with pytest.raises(InputError, match="'thread'"):
            taskfmm.use("thread")
        assert client.status == "running"  # the wrong one replaced nothing
        assert set(client.run(lambda: dask.config.get("taskfmm.cluster.kind")).values()) == {"local"}
        taskfmm.use("synchronous")
        assert client.status == "closed"
        assert dask.config.get("scheduler") == "synchronous"
    assert dask.config.get("scheduler") == "synchronous"  # the end of the replaced one changes nothing
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in workers)


def test_a_plain_call_holds_until_closed_or_replaced():
    session = taskfmm.use("threads", num_workers=3)
    assert session.client is None
    assert (dask.config.get("scheduler"), dask.config.get("num_workers")) == ("threads", 3)
    other = taskfmm.use("synchronous")
    assert dask.config.get("scheduler") == "synchronous"
    session.close()
    assert dask.config.get("scheduler") == "synchronous"
    other.close()
    other.close()
    assert dask.config.get("scheduler", None) is None


def test_without_a_name_the_configuration_counts(small, monkeypatch):
    started = []
    monkeypatch.setitem(starters.STARTERS, "local", lambda: started.append("local") or pytest.skip.Exception)
    monkeypatch.setattr(schedulers.Session, "_start", lambda self, starter: starter())
    with taskfmm.use():
        assert not started
    with dask.config.set({"taskfmm.cluster.kind": "local"}):
        with taskfmm.use():
            assert started == ["local"]
        with taskfmm.use("threads"):  # a file without a cluster wants none
            assert started == ["local"]
    with dask.config.set({"taskfmm.cluster.kind": "locale"}), pytest.raises(InputError, match="locale"):
        taskfmm.use()


def test_a_failing_start_leaves_nothing(monkeypatch):
    def fail():
        raise OSError("no such interface")

    monkeypatch.setitem(starters.STARTERS, "local", fail)
    with pytest.raises(OSError, match="interface"):
        taskfmm.use("local-cluster")
    assert schedulers._current is None


BOMB = "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))])
MERGES = "\n".join(["m0: &m0 {a: 1}", *(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 40))])


@pytest.mark.parametrize(
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
        ("[" * 100_000, "cannot be read as YAML"),
        ("? [1, 2]\n: 3", "cannot be read as YAML"),
        ("x: !!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("a: &a [*a]", "more than 10000 values"),
        (BOMB, "more than 10000 values"),
        (MERGES, "more than 10000 values"),
        ("a: " + "x" * 2_000_000, "more than 1000000 bytes"),
    ],
    ids=lambda value: value[:20],
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


def test_more_workers_than_cores_is_said(monkeypatch, says):
    monkeypatch.setattr(starters, "cores", lambda: 4)
    monkeypatch.setattr("distributed.LocalCluster", lambda **options: options)
    with dask.config.set({"taskfmm.cluster.threads-per-worker": 2}):
        assert starters.local()["n_workers"] == 2  # as many as the cores hold
        assert not says()
        with dask.config.set({"taskfmm.numba-threads": 2}):
            assert starters.local()["n_workers"] == 1
            with dask.config.set({"taskfmm.cluster.n-workers": 3}):
                assert starters.local()["n_workers"] == 3
    (line,) = says()
    assert "3 workers x 2 threads x 2 Numba threads are more than 4 cores" in line


def test_numba_threads_do_not_go_before_the_spawn(write):
    """A nanny sets those variables in the client's own process too, and Numba refuses to change its threads."""
    text = (
        "taskfmm: {cluster: {kind: local}}\ndistributed: {nanny: {pre-spawn-environ: {NUMBA_NUM_THREADS: 1}}}"
    )
    with pytest.raises(InputError, match=r"distributed\.nanny\.environ"):
        taskfmm.use(write(text))


def test_the_job_script():
    text = schedulers.job_script("slurm", taskfmm__numba_threads=2, jobqueue__slurm__queue="long")
    lines = text.splitlines()
    for line in (
        "#SBATCH -p long",
        "#SBATCH --cpus-per-task=32",
        "#SBATCH --mem=64G",
        "#SBATCH -t 01:00:00",
        "export DASK_TASKFMM__NUMBA_THREADS=2",
        "export NUMBA_NUM_THREADS=2",
        "export OMP_NUM_THREADS=2",
        "export OPENBLAS_NUM_THREADS=1",
        "export MKL_NUM_THREADS=1",
    ):
        assert line in lines
    (command,) = (line for line in lines if "distributed.cli.dask_worker" in line)
    assert command.startswith(sys.executable)
    assert max(map(lines.index, [line for line in lines if line.startswith("export")])) < lines.index(command)
    for option in ("--nthreads 4", "--nworkers 4", "--memory-limit 16.00GiB", "--death-timeout 300"):
        assert option in command


def test_the_job_script_keeps_what_is_configured():
    prologue = ["module load python", "export TASKFMM_CACHE_DIR=/project/cache"]
    given = dict(jobqueue__slurm__job_script_prologue=prologue, jobqueue__slurm__job_cpu=48)
    lines = schedulers.job_script("slurm", **given).splitlines()
    assert "#SBATCH --cpus-per-task=48" in lines
    assert set(prologue) < set(lines)
    assert "export NUMBA_NUM_THREADS=1" in lines
    one = schedulers.job_script(
        "slurm", jobqueue__slurm__processes=None, taskfmm__cluster__threads_per_worker=8
    )
    assert "--nworkers 2" in one
    assert "--nthreads 8" in one


@pytest.mark.parametrize("missing", ["cores", "memory"])
def test_a_job_needs_cores_and_memory(missing):
    with pytest.raises(InputError, match=rf"jobqueue\.slurm\.{missing} is not set"):
        schedulers.job_script("slurm", **{f"jobqueue__slurm__{missing}": None})


def test_cores_that_processes_cannot_share():
    with pytest.raises(InputError, match="cannot share evenly"):
        schedulers.job_script("slurm", jobqueue__slurm__processes=5)


def test_the_kubernetes_resource_is_valid():
    jsonschema = pytest.importorskip("jsonschema")
    import dask_kubernetes

    resources = (
        Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    )
    crd = yaml.safe_load((resources / "daskcluster.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    manifest = schedulers.cluster_manifest("kubernetes", taskfmm__numba_threads=2)
    jsonschema.validate(manifest, schema)
    worker = manifest["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    assert worker["replicas"] == 4
    assert container["args"][:3] == ["dask-worker", "--nthreads", "2"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["DASK_TASKFMM__NUMBA_THREADS"] == variables["NUMBA_NUM_THREADS"] == "2"
    assert variables["TASKFMM_CACHE_DIR"] == "/tmp/taskfmm"
    json.dumps(manifest)
    broken = copy.deepcopy(manifest)
    broken["spec"]["worker"]["replicas"] = "four"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


ENVIRONMENT = """
import json, sys
import dask, numpy as np, taskfmm

def main():
    import taskfmm.runtime.settings
    kind = dask.config.get("taskfmm.cluster.kind")
    same = None
    if kind in (None, "local"):
        rng = np.random.default_rng(61093)
        fmm = taskfmm.Fmm(rng.random((1500, 3)), order=3, leaf_size=40)
        charges = rng.uniform(-1, 1, 1500)
        with taskfmm.use() as client:
            assert (client is None) == (kind is None)
            same = bool((fmm.potential(charges).compute() == fmm.serial(charges)).all())
    fuse = dask.config.get("optimization.fuse.active")
    sys.stdout.write(json.dumps([dask.config.get("scheduler", None), kind, fuse, same]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    "name, expected",
    [
        ("synchronous", ["synchronous", None, False, True]),
        ("threads", ["threads", None, False, True]),
        ("hybrid", ["threads", None, False, True]),
        ("local-cluster", [None, "local", False, True]),
        ("slurm", [None, "slurm", False, None]),
        ("kubernetes", [None, "kubernetes", False, None]),
    ],
)
def test_a_fresh_process_with_dask_config(tmp_path, name, expected):
    script = tmp_path / "script.py"
    script.write_text(ENVIRONMENT)
    file = configurations.directory() / f"{name}.yaml"
    environment = dict(
        os.environ,
        DASK_CONFIG=str(file),
        DASK_TASKFMM__CLUSTER__DASHBOARD_ADDRESS=":0",
        PYTHONWARNINGS="ignore",
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.mark.nightly
def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import taskfmm\ntaskfmm.use('local-cluster')\n")
    environment = dict(os.environ, DASK_DISTRIBUTED__DASHBOARD__LINK="", PYTHONWARNINGS="ignore")
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "TaskfmmError: the cluster did not start" in done.stderr
    assert "__main__" in done.stderr


def cloud(path: Path, n: int) -> Path:
    made = CliRunner().invoke(main, ["generate", "cube", "-n", str(n), "-o", str(path), "--seed", "977"])
    assert made.exit_code == 0, made.output
    return path


def test_the_command_line_takes_a_name_or_a_file(tmp_path, write):
    given = cloud(tmp_path / "in.h5", 500)
    for config in ("synchronous", str(write("scheduler: threads\nnum_workers: 2"))):
        out = tmp_path / "out.h5"
        done = CliRunner().invoke(main, ["run", str(given), "-o", str(out), "--config", config])
        assert done.exit_code == 0, done.output
        out.unlink()
    failed = CliRunner().invoke(main, ["run", str(given), "-o", str(out), "--config", "thread"])
    assert failed.exit_code == 1
    assert "did you mean threads" in failed.stderr
    assert not out.exists()


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("whole_group", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_an_interrupted_run_leaves_no_process(tmp_path, whole_group):
    """As from a terminal, which sends the signal to all, and as from ``kill -INT``."""
    given = cloud(tmp_path / "in.h5", 1_000_000)
    plans = tmp_path / "plans"
    command = [sys.executable, "-m", "taskfmm", "run", str(given), "-o", str(tmp_path / "out.h5")]
    command += ["--config", "local-cluster", "--eps", "1e-10"]
    environment = dict(
        os.environ, DASK_TASKFMM__CLUSTER__DASHBOARD_ADDRESS=":0", DASK_TEMPORARY_DIRECTORY=str(plans)
    )
    running = subprocess.Popen(
        command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        process = psutil.Process(running.pid)
        # the plan is written when the evaluation is sent to the workers, which have seconds to do then
        wait_for(lambda: running.poll() is not None or any(plans.glob("taskfmm-*.h5")))
        time.sleep(0.5)
        family = process.children(recursive=True)
        sent = time.monotonic()
        (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
        complaint = running.communicate(timeout=60)[1]
        assert time.monotonic() - sent < 20  # two seconds on a machine of one's own
        assert running.returncode in (1, 130, -signal.SIGINT), complaint  # a shell calls the last 130 too
        wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), 10)
        assert not (tmp_path / "out.h5").exists()
        assert not any(plans.glob("taskfmm-*.h5"))
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
