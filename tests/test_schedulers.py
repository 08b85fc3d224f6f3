"""Schedulers: every shipped configuration gives the same bits, and leaves nothing behind."""

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
from cases import each
from click.testing import CliRunner

import taskfmm
from taskfmm.cli import main
from taskfmm.errors import InputError
from taskfmm.sessions import configurations, schedulers, starters

pytestmark = pytest.mark.usefixtures("configuration_kept")

LOCAL = {"taskfmm__cluster__dashboard_address": ":0", "taskfmm__cluster__memory_limit": "1GiB"}


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(61093)
    fmm = taskfmm.Fmm(rng.random((1500, 3)), order=3, leaf_size=40)
    charges = rng.uniform(-1, 1, 1500)
    return fmm, charges, fmm.serial(charges)


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


@each("missing", ["cores", "memory"])
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
    if "evaluate" in sys.argv:
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
        ("synchronous", ["synchronous", None, False, None]),
        ("threads", ["threads", None, False, None]),
        ("hybrid", ["threads", None, False, True]),
        ("local-cluster", [None, "local", False, True]),
        ("slurm", [None, "slurm", False, None]),
        ("kubernetes", [None, "kubernetes", False, None]),
    ],
)
def test_a_fresh_process_with_dask_config(tmp_path, name, expected):
    """Two of them evaluate, one in the process and one in others; all bits are compared above."""
    script = tmp_path / "script.py"
    script.write_text(ENVIRONMENT)
    file = configurations.directory() / f"{name}.yaml"
    environment = dict(
        os.environ,
        DASK_CONFIG=str(file),
        DASK_TASKFMM__CLUSTER__DASHBOARD_ADDRESS=":0",
        PYTHONWARNINGS="ignore",
    )
    command = [sys.executable, str(script), *(["evaluate"] if expected[-1] else [])]
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


def test_the_command_line_takes_a_name_or_a_file(tmp_path):
    written = tmp_path / "given.yaml"
    written.write_text("scheduler: threads\nnum_workers: 2")
    given = cloud(tmp_path / "in.h5", 500)
    for config in ("synchronous", str(written)):
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
    given = cloud(tmp_path / "in.h5", 400_000)
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
