"""Compile the loops before the tests: the processes that share a cold run would each compile all of them.

``python tests/compile_loops.py 0`` and ``1`` are run at the same time by `conftest.py`, which also tells them where
modules are. They take the loops in another order, and what one of them has compiled and left on the disk, the other
one loads.
"""

from __future__ import annotations

import importlib
import itertools
import sys

import numpy as np

import taskfmm
from taskfmm.kernels import KERNELS, Kernel, register

KERNELS_OF_USERS = ("screened", "stokeslet", "dipoles", "vortices")
WAYS = (dict(scheduler="synchronous"), dict(scheduler="threads", num_workers=2))
"""One task with all cores, and two with one core each."""


def evaluate(kernel: Kernel, n: int, **options: object) -> None:
    """Every usual output, in both ways, and by pairs; of Laplace for charges, which most tests use."""
    kinds = kernel.of_first.sources if kernel.name == "laplace" else kernel.sources
    rng = np.random.default_rng(1873)
    points = rng.random((n, 3)) * rng.choice([1.0, 1e-3], (n, 1))
    numbers = {kind.given_as: rng.random((n, kind.n_numbers) if kind.n_numbers > 1 else n) for kind in kinds}
    fmm = taskfmm.Fmm(points, kernel=kernel, **options)
    for output, how in itertools.product(kernel.usual, WAYS):
        fmm.evaluate(outputs=output, **numbers)[output].compute(**how)
        taskfmm.direct(points, kernel=kernel, outputs=output, **numbers)


def main(part: str) -> None:
    theirs = [register(importlib.import_module(name).KERNEL) for name in KERNELS_OF_USERS]
    kernels = [KERNELS["laplace"], KERNELS["one"], *theirs]
    if part == "0":
        # after a look at the charges, and with M2L in float32
        evaluate(kernels[0], 1000, eps=1e-3, leaf_size=20)
    else:
        kernels.reverse()
        for kernel in kernels:
            evaluate(kernel, 50)  # the direct sum, which needs no tree
    for kernel in kernels:
        evaluate(kernel, 1000, order=3, leaf_size=20)


if __name__ == "__main__":
    main(sys.argv[1])
