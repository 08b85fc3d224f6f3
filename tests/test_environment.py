"""Places where programs run: warnings as errors, no home, no terminal, nothing writable, an empty environment."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from conftest import others_can_read

import taskfmm

ROOT = str(Path(taskfmm.__file__).parents[1])
KERNELS_KEPT = numba.config.CACHE_DIR
PATIENCE = 120

EVERYTHING = """
import sys
import dask, numpy as np, taskfmm

def main():
    rng = np.random.default_rng(83120447)
    x, q = rng.random((1200, 3)), rng.uniform(-1, 1, 1200)
    fmm = taskfmm.Fmm(x, eps=1e-3, leaf_size=20)
    assert fmm.error_estimate(q, fmm.potential(q)) < 1e-3
    exact = taskfmm.direct(x, q, outputs=("potential", "gradient"))
    with taskfmm.profile() as prof:
        found = dask.compute(fmm.evaluate(q))[0]
    assert prof.totals()["tasks"] > 5 and str(prof)
    for output, values in found.items():
        assert np.linalg.norm(values - exact[output]) < 1e-3 * np.linalg.norm(exact[output])
    assert repr(fmm) and fmm.explain() and fmm._repr_html_() and fmm.forecast().facts()
    for name in ("synchronous", "threads", "hybrid"):
        with taskfmm.use(name):
            dask.compute(fmm.evaluate(q))
    single = taskfmm.Fmm(x, x[:7] + 2.0, eps=1e-3, leaf_size=100, dtype=np.float32)
    single.potential(q).compute(scheduler="threads")
    if "cluster" in sys.argv:
        with taskfmm.use("local-cluster", taskfmm__cluster__n_workers=1):
            np.testing.assert_array_equal(fmm.potential(q).compute(), fmm.serial(q))

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(EVERYTHING)
    return path


def bare(**variables) -> dict[str, str]:
    """Hardly an environment: kernels that were compiled already, and where this package is."""
    kept = {name: os.environ[name] for name in ("NUMBA_CACHE_DIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {"PYTHONPATH": ROOT, "PATH": os.defpath, **kept, **variables}


def run(command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


@pytest.mark.parametrize("where", [[], pytest.param(["cluster"], marks=pytest.mark.nightly)])
def test_no_warning_anywhere(script, where):
    """With every warning an error, those that Python hides by default among them."""
    done = run([sys.executable, "-W", "error", "-X", "dev", script, *where])
    assert "Warning" not in done.stderr


def test_no_warning_on_the_command_line(tmp_path):
    strict = [sys.executable, "-W", "error"]
    run([*strict, "-m", "taskfmm", *shlex.split("generate cube -n 1000 -o in.h5")], cwd=tmp_path)
    code = (
        "import sys; from taskfmm.cli import main\n"
        "for line in sys.argv[1:]: main(line.split(), standalone_mode=False)"
    )
    lines = "run in.h5 -o out.h5 --eps 1e-3", "explain in.h5 --eps 1e-3"
    run([*strict, "-c", code, *lines], cwd=tmp_path)


WITHOUT_STREAMS = """
import sys, traceback

def keep(*error):
    with open("error.txt", "w") as file:
        traceback.print_exception(*error, file=file)

sys.excepthook = keep
"""
"""Nobody would see an error."""

COMPILES = """
    import numba

    def loop(x):
        return x + 1

    loop.__module__ = "taskfmm.of_the_test"
    assert numba.njit(loop)(1) == 2
"""
"""One more line of the script: kernels may be compiled already, and a process says so when it compiles any."""


def without_streams(command, here) -> None:
    """Run with no standard streams at all, and in a session of its own."""
    streams = ["sh", "-c", f"{shlex.join(map(str, command))} <&- >&- 2>&-"]
    options = dict(env=bare(HOME=str(here)), cwd=here, start_new_session=True, timeout=PATIENCE)
    returned, error = subprocess.run(streams, **options).returncode, here / "error.txt"
    assert returned == 0, error.read_text() if error.exists() else returned


def test_without_a_terminal(script, tmp_path):
    script.write_text(WITHOUT_STREAMS + EVERYTHING.replace("\nif __name__", f"{COMPILES}\nif __name__"))
    without_streams([sys.executable, script], tmp_path)


def test_files_are_read_without_a_terminal(tmp_path):
    """A file gets a descriptor that is none of a standard stream of the process that reads it."""
    command = [sys.executable, "-m", "taskfmm"]
    run([*command, *shlex.split("generate cube -n 1000 -o in.h5")], cwd=tmp_path)
    without_streams([*command, *shlex.split("run in.h5 -o out.h5 --eps 1e-3")], tmp_path)
    assert (tmp_path / "out.h5").exists()


def test_without_a_home_nothing_lands_in_the_working_directory(script, tmp_path):
    """And with no environment to speak of, and streams that lead nowhere. The user's entry among the accounts is no
    home either."""
    code = (
        "import pwd, os, runpy, sys\n"
        "def nobody(*_): raise KeyError\n"
        "pwd.getpwuid = nobody\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    here = tmp_path / "here"
    here.mkdir()
    command = shlex.join([sys.executable, "-B", "-c", code, str(script)])
    run(["sh", "-c", f"{command} </dev/null >/dev/null"], env=bare(), cwd=here)
    assert list(here.iterdir()) == []


AS_NOBODY = """
import os, sys
sys.path.insert(0, {root!r})
{everything}
# all that is read from places of root's: modules, compiled kernels, also those that make operators
os.environ["TASKFMM_CACHE_DIR"] = {cold!r}
main()
from taskfmm.operators import levels
levels._kept.clear()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.environ["TASKFMM_CACHE_DIR"] = {cache!r}
main()
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"
)
@pytest.mark.skipif(not others_can_read(), reason="the package lies where no other user can read")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_as_a_user_who_may_not_write_the_cache(tmp_path, mode):
    """Python may lie where only root can read, so the process becomes another user once all is loaded."""
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(mode)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o5 != 0o5:
            parent.chmod(parent.stat().st_mode | 0o055)
    everything = EVERYTHING.split("if __name__")[0]
    code = AS_NOBODY.format(root=ROOT, everything=everything, cache=str(cache), cold=str(tmp_path / "cold"))
    done = run([sys.executable, "-c", code], env=dict(os.environ), cwd="/")
    lines = [line for line in done.stderr.splitlines() if line]
    assert any("Permission denied" in line for line in lines)
    assert len(lines) <= 2, done.stderr
    assert list(cache.iterdir()) == []
