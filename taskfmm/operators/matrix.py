"""Dense kernel matrices between two sets of points."""

from __future__ import annotations

import numpy as np

from taskfmm.kernels import Kernel, gather_loops, spread_loops


def kernel_matrix(kernel: Kernel, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Potentials at the targets of unit charges at the sources, without the kernel's constant factor.

    targets : float64 [3, n_t]; sources : float64 [3, n_s]

    Returns
    -------
    float64 [n_potential * n_t, n_charge * n_s], components slowest
    """
    out = np.zeros((kernel.n_charge * sources.shape[1], kernel.n_potential, targets.shape[1]))
    spread_loops(kernel).matrix(
        np.ascontiguousarray(targets), np.ascontiguousarray(sources), kernel.n_charge, kernel.constants, out
    )
    return out.reshape(out.shape[0], -1).T


def value_matrix(kernel: Kernel, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Potential and gradient at the targets of each unit charge alone, without the kernel's constant factor.

    targets : float64 [3, n_t]; sources : float64 [3, n_s]

    Returns
    -------
    float64 [n_components, n_t, n_s]
    """
    n, rows = targets.shape[1], np.arange(sources.shape[1])
    out = np.zeros((kernel.n_components("gradient"), n * rows.size))
    gather_loops(kernel, "gradient").points_to_points(
        n * np.append(rows, rows.size),
        np.ascontiguousarray(np.tile(targets, rows.size), np.float64),
        np.append(rows, rows.size),
        rows,
        rows + 1,
        np.ascontiguousarray(sources, np.float64),
        np.ones((kernel.n_charge, rows.size)),
        kernel.constants,
        out,
    )
    return out.reshape(-1, rows.size, n).transpose(0, 2, 1)
