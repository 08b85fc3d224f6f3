"""Other fast multipole codes that pip installs, behind one small interface.

Each adapter takes points and eps and gives a function from charges to a potential in the units of taskfmm,
charge / (4 pi length), with (n, 3) gradients where asked for and known. What the peer can prepare without
charges is prepared when the adapter is made. Orders were chosen so that the error stays at or below eps for
1e5 random-sign charges in the cube and on the sphere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Evaluate = Callable[[np.ndarray], dict[str, np.ndarray]]

FERREUS_ORDERS = {1e-2: 4, 1e-3: 5, 1e-4: 6, 1e-5: 7, 1e-6: 8, 1e-7: 9, 1e-8: 10, 1e-9: 12, 1e-10: 13}
"""Chebyshev nodes an edge: 5 gives 6e-5, 6 9e-6, 7 1.3e-6, 8 2e-7, 9 5e-8, 12 2e-10, 13 4e-11."""

JAX_ORDERS = {1e-2: 3, 1e-3: 4, 1e-4: 5, 1e-5: 6, 1e-6: 7, 1e-7: 8, 1e-8: 9, 1e-9: 10}
"""Points per edge of a surface: 4 gives 2e-4, 7 5e-7."""


def order(orders: Mapping[float, int], eps: float) -> int:
    """The order for the loosest eps of the table that is tight enough."""
    enough = [limit for limit in orders if limit <= eps * (1 + 1e-9)]
    if not enough:
        raise ValueError(f"no order is known for eps {eps:g}: the table ends at {min(orders):g}")
    return orders[max(enough)]


def _fmm3dpy(points: np.ndarray, eps: float, gradient: bool) -> Evaluate:
    """FMM3D's own wrapper: one call does everything, so its tree is made again for every charge vector."""
    import fmm3dpy

    columns = np.asfortranarray(points.T)

    def evaluate(charges: np.ndarray) -> dict[str, np.ndarray]:
        # 2.1 includes the factor 1 / (4 pi), earlier versions did not
        out = fmm3dpy.lfmm3d(eps=eps, sources=columns, charges=charges, pg=2 if gradient else 1)
        found = {"potential": np.asarray(out.pot)}
        if gradient:
            found["gradient"] = np.asarray(out.grad).T
        return found

    return evaluate


def _ferreus_bbfmm(points: np.ndarray, eps: float, gradient: bool) -> Evaluate:
    """Black-box (Chebyshev) FMM in Rust; the number of threads is RAYON_NUM_THREADS."""
    import ferreus_bbfmm as bbfmm

    kernel = bbfmm.KernelParams(bbfmm.FmmKernelType.Laplacian)
    tree = bbfmm.FmmTree(points, order(FERREUS_ORDERS, eps), kernel, True)
    factor = 1.0 / (4.0 * np.pi)

    def evaluate(charges: np.ndarray) -> dict[str, np.ndarray]:
        weights = charges[:, None].copy()
        tree.set_weights(weights)
        if not gradient:
            return {"potential": factor * np.ravel(tree.evaluate(weights, points))}
        values, slopes = tree.evaluate_with_gradients(weights, points)
        return {"potential": factor * np.ravel(values), "gradient": factor * np.asarray(slopes)}

    return evaluate


def _jaxfmm(points: np.ndarray, eps: float, gradient: bool) -> Evaluate:
    """The kernel-independent engine of jaxFMM in float64; its setup compiles, which takes most of a minute."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxfmm import kifmm

    setup = kifmm.setup(points, p=order(JAX_ORDERS, eps), p2p_mixed=eps > 1e-5)
    potential = kifmm.compile_evaluator(setup)
    field = kifmm.compile_evaluator(setup, field=True) if gradient else None

    def evaluate(charges: np.ndarray) -> dict[str, np.ndarray]:
        found = {"potential": np.asarray(potential(charges))}
        if field is not None:
            found["gradient"] = -np.asarray(field(charges))
        return found

    return evaluate


PEERS: dict[str, Callable[[np.ndarray, float, bool], Evaluate]] = {
    "fmm3dpy": _fmm3dpy,
    "ferreus_bbfmm": _ferreus_bbfmm,
    "jaxfmm": _jaxfmm,
}


def installed() -> list[str]:
    """The peers that can be imported here."""
    return [name for name in PEERS if importlib.util.find_spec(name)]


def make(name: str, points: np.ndarray, eps: float, gradient: bool) -> Any:
    """Prepare a peer for these points."""
    return PEERS[name](points, eps, gradient)
