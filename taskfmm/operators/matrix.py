"""Dense kernel matrices between two sets of points."""

from __future__ import annotations

import numpy as np

from taskfmm.kernels import Kernel, gather_loops, spread_loops


def kernel_matrix(kernel: Kernel, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Potentials at the targets of unit sources, number by number, without the kernel's constant factor.

    targets : float64 [3, n_t]; sources : float64 [3, n_s]

    Returns
    -------
    float64 [columns * n_potential * n_t, n_numbers * n_s], columns slowest, then components
    """
    n_rows = kernel.columns * kernel.n_potential
    out = np.zeros((kernel.n_numbers * sources.shape[1], n_rows, targets.shape[1]))
    spread_loops(kernel).matrix(
        0,
        kernel.n_numbers * sources.shape[1],
        np.ascontiguousarray(targets),
        np.ascontiguousarray(sources),
        kernel.n_numbers,
        kernel.constants,
        out,
    )
    return out.reshape(out.shape[0], -1).T


def value_matrix(kernel: Kernel, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """All outputs at the targets of unit sources, number by number, without the kernel's constant factor.

    targets : float64 [3, n_t]; sources : float64 [3, n_s]

    Returns
    -------
    float64 [n_components, n_t, n_numbers * n_s], numbers slowest
    """
    n, size = targets.shape[1], sources.shape[1]
    last = kernel.names[-1]
    rows = np.arange(kernel.n_numbers * size)
    q = np.zeros((kernel.n_numbers, rows.size))
    q[rows // size, rows] = 1.0
    out = np.zeros((kernel.n_components(last), n * rows.size))
    gather_loops(kernel, last).points_to_points(
        0,
        rows.size,
        n * np.append(rows, rows.size),
        *np.ascontiguousarray(np.tile(targets, rows.size), np.float64),
        np.append(rows, rows.size),
        rows,
        rows + 1,
        *np.ascontiguousarray(np.tile(sources, kernel.n_numbers), np.float64),
        q,
        kernel.constants,
        out,
    )
    return out.reshape(-1, rows.size, n).transpose(0, 2, 1)
