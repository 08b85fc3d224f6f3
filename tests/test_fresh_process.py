"""A second process finds every compiled loop on the disk, and each loop is the right one."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import sys
import numba, numpy as np
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, found):
        compiled.append(found.data["dispatcher"].py_func.__qualname__)
    def on_end(self, found):
        pass

event.register("numba:compile", Listener())
import taskfmm

rng = np.random.default_rng(6676587)
x, q = np.concatenate([rng.random((500, 3)), 1e-3 * rng.random((500, 3))]), np.ones(1000)
for kernel in sys.argv[1].split(","):
    fmm = taskfmm.Fmm(x, kernel=kernel, order=3, leaf_size=20)
    for how in (dict(scheduler="synchronous"), dict(scheduler="threads", num_workers=2)):
        for output in sys.argv[2].split(","):
            found = fmm.evaluate(q, output)[output].compute(**how)
            exact = taskfmm.direct(x, q, kernel=kernel, outputs=output)[output]
            wrong = np.linalg.norm(found - exact)
            assert wrong <= 5e-2 * np.linalg.norm(exact), (kernel, output, how, wrong)
if "one" in sys.argv[1]:
    assert (taskfmm.Fmm(x, kernel="one", leaf_size=20).serial(q) == 1000).all()
sys.stdout.write(" ".join(compiled))
"""


def run(kernels: str, outputs: str) -> list[str]:
    """What a new process compiled; it checks its own results against the direct sum of another loop."""
    command = [sys.executable, "-c", RUN, kernels, outputs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def cached() -> None:
    """One process has run every kernel and output, and left in the cache what was not there before."""
    run("laplace,one", "potential,gradient")


@pytest.mark.parametrize(
    "kernels, outputs",
    [("one,laplace", "gradient,potential"), ("laplace", "gradient"), ("one", "potential")],
)
def test_nothing_is_compiled_again(cached, kernels, outputs):
    """In another order, and without the loops that were compiled first."""
    assert run(kernels, outputs) == []
