"""Dense kernel matrices between two sets of points."""

from __future__ import annotations

import numpy as np

from taskfmm.kernels import Kernel, spread_loops


def kernel_matrix(kernel: Kernel, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Potentials at the targets of unit charges at the sources, without the kernel's constant factor.

    targets : float64 [3, n_t]; sources : float64 [3, n_s]

    Returns
    -------
    float64 [n_potential * n_t, n_charge * n_s], components slowest
    """
    out = np.zeros((kernel.n_charge * sources.shape[1], kernel.n_potential, targets.shape[1]))
    spread_loops(kernel.name).matrix(
        np.ascontiguousarray(targets), np.ascontiguousarray(sources), kernel.n_charge, out
    )
    return out.reshape(out.shape[0], -1).T
