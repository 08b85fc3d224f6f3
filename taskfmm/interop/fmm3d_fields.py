"""Between the arrays of fmm3dpy, points last, and those of taskfmm, points first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from math import pi
from typing import Any

import numpy as np

from taskfmm import kernels
from taskfmm.interop.given import unmasked
from taskfmm.interop.merging import merged
from taskfmm.interop.sums import FEW, evaluate

logger = logging.getLogger("taskfmm")

SCALAR = {"potential": "pot", "gradient": "grad", "hessian": "hess"}
FLOW = {"velocity": "pot", "pressure": "pre", "velocity_gradient": "grad"}
"""Outputs of taskfmm, and the fields that have them: the flag 1 asks for the first one, 2 for two, 3 for all."""

HESSIAN = [0, 4, 8, 1, 2, 5]
"""xx, yy, zz, xy, xz, yz among the entries of a matrix."""


class Output:
    """Results by the names of fmm3dpy; None is what was not asked for. ``ier`` is 0: errors are raised."""

    pot: Any = None
    grad: Any = None
    hess: Any = None
    pre: Any = None
    pottarg: Any = None
    gradtarg: Any = None
    hesstarg: Any = None
    pretarg: Any = None
    E = curlE = divE = Etarg = curlEtarg = divEtarg = None
    ier = 0


def scalar(
    kernel: Any,
    few: int | None,
    eps: float,
    sources: Any,
    charges: Any,
    dipvec: Any,
    targets: Any,
    pg: int,
    pgt: int,
    nd: int,
    thresh: float = 0.0,
) -> Output:
    """Potentials and their derivatives; few : of `evaluate`, None to sum all pairs."""
    fields = dict(list(SCALAR.items())[: 3 if kernel == "laplace" else 2])
    dtype = np.float64 if kernel == "laplace" else np.complex128
    y, x = _points("sources", sources), None if targets is None else _points("targets", targets)
    vectors, given = () if nd == 1 else (nd,), {}
    if charges is not None:
        given["charges"] = _columns("charges", charges, (*vectors, len(y)), dtype)
    if dipvec is not None:
        given["dipoles"] = _columns("dipvec", dipvec, (*vectors, 3, len(y)), dtype)
    if x is not None and 1 <= pg <= len(fields) and pg != pgt:
        raise AssertionError(
            f"pg is {pg} and pgt {pgt}: where there are targets and a pg, give both the same"
        )
    return _evaluated(kernel, fields, few, eps, y, x, given, pg, pgt, nd, thresh)


def flow(
    eps: float | None,
    sources: Any,
    strengths: tuple[Any, ...],
    targets: Any,
    ifppreg: int,
    ifppregtarg: int,
    nd: int,
    thresh: float = 0.0,
) -> Output:
    """Stokes flow; eps : None to sum all pairs."""
    y, x = _points("sources", sources), None if targets is None else _points("targets", targets)
    names = "stoklet", "strslet", "strsvec", "rotlet", "rotvec", "doublet", "doubvec"
    shape = (3, len(y)) if nd == 1 else (nd, 3, len(y))
    found = {
        name: _columns(name, array, shape, np.float64)
        for name, array in zip(names, strengths, strict=True)
        if array is not None
    }
    for one, other in zip(names[1::2], names[2::2], strict=True):
        if (one in found) != (other in found):
            logger.warning("nothing is computed: give both %s and %s, or neither of them", one, other)
            return Output()
    few = None if eps is None else FEW
    flags = min(ifppreg, len(FLOW)), min(ifppregtarg, len(FLOW))
    given = _of_flow(found)
    out = _evaluated(kernels.Stokes(), FLOW, few, eps or 0.0, y, x, given, *flags, nd, thresh)
    if nd == 1:
        for name, values in vars(out).items():
            setattr(out, name, values[None])
    return out


def _of_flow(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Forces, stresslets and rotlets; a doublet is one of each, and an isotropic stresslet for the source."""
    given = {"forces": found["stoklet"]} if "stoklet" in found else {}
    for kind, strength, orientation in (
        ("stresslets", "strslet", "strsvec"),
        ("rotlets", "rotlet", "rotvec"),
    ):
        if strength in found:
            given[kind] = _products(found[strength], found[orientation])
    if "doublet" in found:
        products = _products(found["doublet"], found["doubvec"])
        trace = np.trace(products, axis1=1, axis2=2)[:, None, None]
        one = np.eye(3).reshape((1, 3, 3) + (1,) * (products.ndim - 3))
        given["stresslets"] = given.get("stresslets", 0.0) + products - trace * one / 3.0
        given["rotlets"] = given.get("rotlets", 0.0) + products
    return given


def _products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[:, :, None] * other[:, None]


def _evaluated(
    kernel: Any,
    fields: Mapping[str, str],
    few: int | None,
    eps: float,
    sources: np.ndarray,
    targets: np.ndarray | None,
    given: Mapping[str, np.ndarray],
    at_sources: int,
    at_targets: int,
    nd: int,
    thresh: float,
) -> Output:
    """The fields that the two flags ask for."""
    out = Output()
    if not (at_sources or at_targets) or not given:
        logger.warning("nothing is computed: give strengths of sources, and a flag that is not zero")
        return out
    sources, targets = merged(sources, targets, thresh)
    for flag, places, ending in ((at_sources, None, ""), (at_targets, targets, "targ")):
        if not 1 <= flag <= len(fields) or (ending and places is None):
            continue
        outputs, most = list(fields)[:flag], np.inf if few is None else few
        found = evaluate(kernel, eps, sources, places, outputs, given, nd, most)
        for output, values in found.items():
            setattr(out, fields[output] + ending, _as_theirs(output, values))
    return out


def _as_theirs(output: str, values: np.ndarray) -> np.ndarray:
    if output == "hessian":
        values = values.reshape(len(values), 9, *values.shape[3:])[:, HESSIAN]
    return np.asfortranarray(values.T)


def _points(name: str, array: Any) -> np.ndarray:
    shape = np.shape(array)
    if len(shape) not in (1, 2) or shape[0] != 3:
        raise AssertionError(f"{name} has shape {shape}, expected (3, n): one column for each point")
    return np.array(np.reshape(unmasked(name, array), (3, -1)).T, np.float64, order="C")


def _columns(name: str, array: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A copy with the points first."""
    found = np.shape(array)
    if _without_ones(found) != _without_ones(shape):
        raise AssertionError(f"{name} has shape {found}, expected {shape}: densities first, points last")
    return np.asarray(unmasked(name, array)).reshape(shape).T.astype(dtype, order="C", copy=True)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Fortran does not see last axes of length 1."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def comperr(*, ntest: int, out: Any, outex: Any, pg: int = 0, pgt: int = 0, nd: int = 1) -> float:
    """The relative l2 error of all fields of ``out`` together, at the first ``ntest`` points, if ``outex`` is exact.

    pg, pgt : the flags by which potentials, gradients and Hessians were computed
    """
    names = [*list(SCALAR.values())[:pg], *(f"{name}targ" for name in list(SCALAR.values())[:pgt])]
    pairs = [[np.ravel(getattr(each, name)[..., :ntest]) for each in (out, outex)] for name in names]
    wrong = np.sqrt(sum(np.linalg.norm(found - exact) ** 2 for found, exact in pairs))
    return float(wrong / np.sqrt(sum(np.linalg.norm(exact) ** 2 for _, exact in pairs)))


def unscaled(function: Callable[..., Output]) -> Callable[..., Output]:
    """The same without the factor 1 / (4 pi), as fmm3dpy 1 has it."""

    @wraps(function)
    def of_version_1(**arguments: Any) -> Output:
        later = {"rotlet", "rotvec", "doublet", "doubvec"} & {*arguments}
        if later:
            raise TypeError(f'{min(later)} came with fmm3dpy 2: install(scaling="2")')
        if arguments.get("strslet") is not None:
            arguments["strslet"] = -np.asarray(arguments["strslet"])
        out = function(**arguments)
        for name, values in vars(out).items():
            setattr(out, name, 4.0 * pi * values)
        return out

    return of_version_1
