"""Other fast multipole codes that pip installs, behind one small interface.

Each adapter takes points and a case (`benchmarks.problem`) and gives a function from the arrays of the sources to
those of the outputs, in the units and the order of taskfmm. What the peer can prepare without charges is prepared
when the adapter is made. Orders were chosen so that the error stays at or below eps for 1e5 random-sign charges in
the cube and on the sphere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.problem import kernel_of

Arrays = Mapping[str, np.ndarray]
Evaluate = Callable[[Arrays], dict[str, np.ndarray]]

FERREUS_ORDERS = {1e-2: 4, 1e-3: 5, 1e-4: 6, 1e-5: 7, 1e-6: 8, 1e-7: 9, 1e-8: 10, 1e-9: 12, 1e-10: 13}
"""Chebyshev nodes an edge: 5 gives 6e-5, 6 9e-6, 7 1.3e-6, 8 2e-7, 9 5e-8, 12 2e-10, 13 4e-11."""

JAX_ORDERS = {1e-2: 3, 1e-3: 4, 1e-4: 5, 1e-5: 6, 1e-6: 7, 1e-7: 8, 1e-8: 9, 1e-9: 10}
"""Points per edge of a surface: 4 gives 2e-4, 7 5e-7."""

OF_CHARGES = {"laplace": {"charges", "potential", "gradient"}}

OFFERED: dict[str, dict[str, set[str]]] = {
    "fmm3dpy": {
        "laplace": {"charges", "dipoles", "potential", "gradient", "hessian"},
        "helmholtz": {"charges", "dipoles", "potential", "gradient"},
        "stokes": {"forces", "stresslets", "rotlets", "velocity", "pressure", "velocity_gradient"},
    },
    "ferreus_bbfmm": OF_CHARGES,
    "jaxfmm": OF_CHARGES,
}
"""Sources and outputs that a peer has for a kernel, by the names of taskfmm."""


def offers(name: str, case: dict[str, Any]) -> bool:
    """Whether a peer has the kernel of a case, with its sources and outputs."""
    return {*case["sources"], *case["outputs"]} <= OFFERED[name].get(case["kernel"], set())


def order(orders: Mapping[float, int], eps: float) -> int:
    """The order for the loosest eps of the table that is tight enough."""
    enough = [limit for limit in orders if limit <= eps * (1 + 1e-9)]
    if not enough:
        raise ValueError(f"no order is known for eps {eps:g}: the table ends at {min(orders):g}")
    return orders[max(enough)]


def _fmm3dpy(points: np.ndarray, case: dict[str, Any]) -> Evaluate:
    """FMM3D's own wrapper: one call does everything, so its tree is made again for every charge vector.

    2.1 includes the factor 1 / (4 pi), earlier versions did not.
    """
    import fmm3dpy

    kernel, columns = kernel_of(case), np.asfortranarray(points.T)
    common = {"eps": case["eps"], "sources": columns}
    last = 1 + kernel.names.index(kernel.last(case["outputs"]))  # it computes the outputs before this one too

    def scalar(given: Arrays) -> dict[str, np.ndarray]:
        own = {"charges": given.get("charges"), "dipvec": _columns(given.get("dipoles"))}
        if case["kernel"] == "laplace":
            out = fmm3dpy.lfmm3d(**common, **own, pg=last)
        else:
            out = fmm3dpy.hfmm3d(**common, **own, pg=last, zk=complex(*kernel.parameters))
        found = {"potential": np.asarray(out.pot)}
        if last > 1:
            found["gradient"] = np.asarray(out.grad).T
        if last > 2:
            xx, yy, zz, xy, xz, yz = np.asarray(out.hess)
            found["hessian"] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)
        return found

    def stokes(given: Arrays) -> dict[str, np.ndarray]:
        own = {"stoklet": _columns(given.get("forces"))}
        for kind, names in (("stresslets", ("strslet", "strsvec")), ("rotlets", ("rotlet", "rotvec"))):
            if kind in given:
                own |= dict(zip(names, map(_columns, _vectors(given[kind])), strict=True))
        out = fmm3dpy.stfmm3d(**common, **own, ifppreg=last)
        (viscosity,) = kernel.parameters
        found = {"velocity": np.asarray(out.pot).reshape(3, -1).T / viscosity}
        if last > 1:
            found["pressure"] = np.asarray(out.pre).ravel()
        if last > 2:  # the derivative comes first, then the component
            found["velocity_gradient"] = np.asarray(out.grad).reshape(3, 3, -1).transpose(2, 1, 0) / viscosity
        return found

    return stokes if case["kernel"] == "stokes" else scalar


def _columns(vectors: np.ndarray | None) -> np.ndarray | None:
    """Vectors, [n, 3], as Fortran takes them."""
    return None if vectors is None else np.asfortranarray(vectors.T)


def _vectors(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two vectors [n, 3] of which each matrix of [n, 3, 3] is the product."""
    along = products @ np.array([0.8, 0.5, 0.3])  # parallel to the first ones
    return along, np.einsum("nij,ni->nj", products, along) / np.einsum("ni,ni->n", along, along)[:, None]


def _ferreus_bbfmm(points: np.ndarray, case: dict[str, Any]) -> Evaluate:
    """Black-box (Chebyshev) FMM in Rust; the number of threads is RAYON_NUM_THREADS."""
    import ferreus_bbfmm as bbfmm

    kernel = bbfmm.KernelParams(bbfmm.FmmKernelType.Laplacian)
    tree = bbfmm.FmmTree(points, order(FERREUS_ORDERS, case["eps"]), kernel, True)
    factor = 1.0 / (4.0 * np.pi)

    def evaluate(given: Arrays) -> dict[str, np.ndarray]:
        weights = given["charges"][:, None].copy()
        tree.set_weights(weights)
        if "gradient" not in case["outputs"]:
            return {"potential": factor * np.ravel(tree.evaluate(weights, points))}
        values, slopes = tree.evaluate_with_gradients(weights, points)
        return {"potential": factor * np.ravel(values), "gradient": factor * np.asarray(slopes)}

    return evaluate


def _jaxfmm(points: np.ndarray, case: dict[str, Any]) -> Evaluate:
    """The kernel-independent engine of jaxFMM in float64; its setup compiles, which takes most of a minute."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxfmm import kifmm

    setup = kifmm.setup(points, p=order(JAX_ORDERS, case["eps"]), p2p_mixed=case["eps"] > 1e-5)
    potential = kifmm.compile_evaluator(setup)
    field = kifmm.compile_evaluator(setup, field=True) if "gradient" in case["outputs"] else None

    def evaluate(given: Arrays) -> dict[str, np.ndarray]:
        found = {"potential": np.asarray(potential(given["charges"]))}
        if field is not None:
            found["gradient"] = -np.asarray(field(given["charges"]))
        return found

    return evaluate


PEERS: dict[str, Callable[[np.ndarray, dict[str, Any]], Evaluate]] = {
    "fmm3dpy": _fmm3dpy,
    "ferreus_bbfmm": _ferreus_bbfmm,
    "jaxfmm": _jaxfmm,
}


def installed() -> list[str]:
    """The peers that can be imported here."""
    return [name for name in PEERS if importlib.util.find_spec(name)]


def make(points: np.ndarray, case: dict[str, Any]) -> Evaluate:
    """Prepare the peer of a case for these points."""
    return PEERS[case["code"]](points, case)
