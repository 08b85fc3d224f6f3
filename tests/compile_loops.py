"""Compile the loops before the tests: the two processes that share a cold run would each compile all of them.

``python tests/compile_loops.py 0`` and ``1`` are run at the same time by `conftest.py`. They begin with different
loops and end with the same ones, and what one has compiled and left on the disk, the other one loads.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np

import taskfmm
from taskfmm.kernels import KERNELS, Kernel, register

KERNELS_OF_USERS = ("dipoles", "stokeslet", "screened")
WAYS = (dict(scheduler="synchronous"), dict(scheduler="threads", num_workers=2))
"""One task with all cores, and two with one core each: the parallel and the serial form of each loop."""


def compile_all(kernel: Kernel) -> None:
    """By the use of every loop: the direct sum of few points, then a plan with all lists."""
    rng = np.random.default_rng(1873)
    points = np.concatenate([rng.random((500, 3)), 1e-3 * rng.random((500, 3))])
    for some, options in ((points[:50], {}), (points, dict(order=3, leaf_size=20))):
        fmm = taskfmm.Fmm(some, kernel=kernel, **options)
        n = len(some)
        numbers = {
            kind.given_as: rng.random((n, kind.n_numbers) if kind.n_numbers > 1 else n)
            for kind in kernel.sources
        }
        for output, how in itertools.product(kernel.names, WAYS):
            fmm.evaluate(outputs=output, **numbers)[output].compute(**how)


def main(half: int) -> None:
    sys.path.insert(0, str(Path(__file__).with_name("kernels_of_users")))
    theirs = [register(importlib.import_module(name).KERNEL) for name in KERNELS_OF_USERS]
    ours = [KERNELS["laplace"], KERNELS["one"]]
    for kernel in (*ours, *theirs) if half == 0 else (*theirs, *ours):
        compile_all(kernel)


if __name__ == "__main__":
    main(int(sys.argv[1]))
